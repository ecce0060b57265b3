package browser

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html/atom"
)

func TestEveryLinkLeadsToAWellFormedPage(t *testing.T) {
	s := newStack(t)
	s.fill()
	r := newReader(t, s.base)
	r.sees("/topics", "orders")
	kinds := make(map[string]int)
	visited := r.crawl(func(from string, s *sheet) {
		kinds[s.kind]++
		if s.status != http.StatusOK {
			t.Errorf("%s, linked from %s: %d", s.at, from, s.status)
		}
		if s.doc != nil {
			s.judge(t)
		}
	})
	t.Logf("%d links: %v", visited, kinds)
	for _, path := range pagePaths(s) {
		if got := r.get(path); got.status != http.StatusOK {
			t.Errorf("%s: %d", path, got.status)
		}
	}
}

// pagePaths are all pages, by what fill has made.
func pagePaths(s *stack) []string {
	return []string{
		"/", "/topics", "/topics/orders", "/topics/orders/billing", "/topics/temp%23ephemeral", "/topics/temp%23ephemeral/now%23ephemeral",
		"/nodes", "/nodes/" + s.NSQDs()[0].HTTP, "/cluster", "/lookup", "/counter", "/activity", "/config",
	}
}

func TestEveryLinkWithABasePath(t *testing.T) {
	s := newStack(t, "--base-path=/ops/nsq")
	s.fill()
	r := newReader(t, s.base)
	visited := r.crawl(func(from string, s *sheet) {
		if s.status != http.StatusOK || !strings.HasPrefix(s.at.Path, "/ops/nsq") {
			t.Errorf("%s, linked from %s: %d", s.at, from, s.status)
		}
	})
	if visited < 50 {
		t.Errorf("%d links in all", visited)
	}
	got := r.submit(r.sees("/topics/orders/billing", "Depth 240").form(t, "Pause"))
	expectPage(t, got, http.StatusOK, "Paused channel orders / billing")
	if got.at.Path != "/ops/nsq/topics/orders/billing" {
		t.Errorf("the form led to %s", got.at)
	}
	theme := form{method: http.MethodPost, action: parseURL(t, s.base+"/theme"), fields: url.Values{"theme": {"dark"}, "back": {"/nodes"}}}
	expectPage(t, r.submit(theme), http.StatusOK, "Nodes")
	for _, path := range []string{"", "/", "/topics"} {
		if root := all(r.get(path).doc, atom.Html)[0]; attr(root, "data-theme") != "dark" {
			t.Errorf("%s forgets the theme that was chosen", path)
		}
	}
}

func TestWhoMayOnlyLook(t *testing.T) {
	s := newStack(t, "--admin-user=alice")
	s.fill()
	r := newReader(t, s.base)
	for _, path := range []string{"/topics/orders", "/topics/orders/billing", "/cluster", "/lookup", "/nodes/" + s.NSQDs()[0].HTTP} {
		got := r.sees(path, "")
		got.judge(t)
		for _, n := range all(got.doc, atom.A, atom.Button) {
			if label := words(n); slices.Contains([]string{"Empty", "Delete", "Tombstone", "Remove", "Drain", "Snapshot now"}, label) {
				t.Errorf("%s offers %s to somebody who may not", path, label)
			}
		}
	}
	expectPage(t, r.get("/topics/orders?confirm=delete"), http.StatusForbidden, "You may not do that")
	forged := form{method: http.MethodPost, action: parseURL(t, s.base+"/topics/orders"), fields: url.Values{"action": {"delete"}, "confirmed": {"1"}, "typed": {"orders"}}}
	expectPage(t, r.submit(forged), http.StatusForbidden, "You may not do that")
	expectPage(t, r.get("/topics/orders"), http.StatusOK, "Depth 480")

	r.header = http.Header{"X-Forwarded-User": {"alice"}}
	got := r.submit(r.follow(r.get("/topics/orders"), "Empty").form(t, "Empty"))
	expectPage(t, got, http.StatusOK, "Emptied topic orders")
}

// Somebody else's page must not be able to send a form of ours.
func TestFormsOfOtherSitesAreRefused(t *testing.T) {
	s := newStack(t)
	s.fill()
	r := newReader(t, s.base)
	f := form{method: http.MethodPost, action: parseURL(t, s.base+"/topics/orders/billing"), fields: url.Values{"action": {"empty"}, "confirmed": {"1"}}}
	for name, header := range map[string]http.Header{
		"by Sec-Fetch-Site": {"Sec-Fetch-Site": {"cross-site"}},
		"by Origin":         {"Sec-Fetch-Site": nil, "Origin": {"http://elsewhere.example"}},
	} {
		r.header = header
		if got := r.submit(f); got.status != http.StatusForbidden {
			t.Errorf("%s: %d, want 403", name, got.status)
		}
	}
	s.holds("orders", "billing", func(c channelStats) bool { return c.Depth == 120 })
}

// maxAssets is what a browser may have to load beside the page itself.
const maxAssets = 60 << 10

func TestAssetsAreSmallAndMayBeKept(t *testing.T) {
	s := newStack(t)
	r := newReader(t, s.base)
	total := 0
	for _, n := range all(r.get("/").doc, atom.Link, atom.Script, atom.Img) {
		to := attr(n, "href") + attr(n, "src")
		resp, err := r.http.Get(s.base + to)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(resp.Header.Get("Cache-Control"), "max-age=") {
			t.Errorf("%s: %d, Cache-Control %q, %v", to, resp.StatusCode, resp.Header.Get("Cache-Control"), err)
		}
		total += len(body)
	}
	t.Logf("%d bytes of assets", total)
	if total == 0 || total > maxAssets {
		t.Errorf("%d bytes of assets, want at most %d", total, maxAssets)
	}
}

func TestUnknownNamesAreFourOhFourWithSuggestions(t *testing.T) {
	s := newStack(t)
	s.fill()
	r := newReader(t, s.base)
	r.sees("/topics/orders", "billing")
	for path, want := range map[string]string{
		"/topics/order":              "orders",
		"/topics/orders/biling":      "billing",
		"/nodes/127.0.0.1:1":         "",
		"/topic":                     "topics",
		"/topics/%3Cscript%3Ex":      "<script>x",
		"/topics/orders/%22%3E%3Cb>": "",
		"/nowhere/at/all":            "",
	} {
		got := r.get(path)
		if got.status != http.StatusNotFound || got.doc == nil {
			t.Errorf("%s: %d %s, want a page with 404", path, got.status, got.kind)
			continue
		}
		got.judge(t)
		if !strings.Contains(words(got.doc), want) {
			t.Errorf("%s does not suggest %s: %s", path, want, words(got.doc))
		}
	}
}

func TestFormsWithoutJavaScript(t *testing.T) {
	s := newStack(t)
	s.fill()
	r := newReader(t, s.base)
	billing := r.sees("/topics/orders/billing", "Depth 240")

	got := r.submit(billing.form(t, "Pause"))
	expectPage(t, got, http.StatusOK, "Paused channel orders / billing")
	s.holds("orders", "billing", func(c channelStats) bool { return c.Paused })
	got = r.submit(got.form(t, "Unpause"))
	expectPage(t, got, http.StatusOK, "Unpaused channel orders / billing")
	s.holds("orders", "billing", func(c channelStats) bool { return !c.Paused })

	got = r.follow(r.sees("/topics/orders/archive", "Depth 240"), "Empty")
	expectPage(t, got, http.StatusOK, "Drops 240 messages on 2 nsqds")
	s.holds("orders", "archive", func(c channelStats) bool { return c.Depth == 120 }) // not yet
	got = r.submit(got.form(t, "Empty"))
	expectPage(t, got, http.StatusOK, "Emptied channel orders / archive")
	s.holds("orders", "archive", func(c channelStats) bool { return c.Depth == 0 })

	got = r.follow(r.get("/topics/lonely"), "Delete")
	expectPage(t, got, http.StatusOK, "Drops 14 messages on 2 nsqds")
	wrong := r.submit(got.form(t, "Delete"), "typed", "lonel")
	expectPage(t, wrong, http.StatusUnprocessableEntity, "Nothing was done")
	expectPage(t, r.get("/topics/lonely"), http.StatusOK, "lonely")
	got = r.submit(wrong.form(t, "Delete"), "typed", "lonely")
	expectPage(t, got, http.StatusOK, "Deleted topic lonely")
	expectPage(t, r.get("/topics/lonely"), http.StatusNotFound, "There is no topic called lonely")

	got = r.submit(r.get("/topics").form(t, "Create"), "topic", "made", "channel", "here")
	expectPage(t, got, http.StatusOK, "Created channel made / here")
	got = r.submit(r.get("/topics").form(t, "Create"), "topic", "not a name")
	expectPage(t, got, http.StatusBadRequest, "no name for a topic")

	got = r.submit(r.get("/topics/orders?tab=messages").form(t, "Publish"), "body", "hello from a form", "times", "3")
	expectPage(t, got, http.StatusOK, "Published")
	r.sees("/topics/orders/archive", "Depth 3")

	got = r.submit(r.get("/topics").form(t, "Filter"), "q", "clic")
	expectPage(t, got, http.StatusOK, "clicks")
	if strings.Contains(words(all(got.doc, atom.Table)[0]), "orders") {
		t.Errorf("%s lists orders", got.at)
	}

	got = r.submit(r.get("/topics?q=orders").form(t, "Pause")) // all that pass the filter
	expectPage(t, got, http.StatusOK, "Pause 1 topic?")
	got = r.submit(got.form(t, "Pause 1 topic"))
	expectPage(t, got, http.StatusOK, "Paused 1 topic")

	got = r.submit(r.get("/cluster").form(t, "Snapshot now"))
	expectPage(t, got, http.StatusOK, "Wrote a snapshot of n1")
	expectPage(t, r.get("/activity"), http.StatusOK, "emptied channel archive of topic orders")
}
