package nsqadmin

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"golang.org/x/net/html"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/httpapi"
)

// A site is the pages over a fake.
type site struct {
	*fake
	t    *testing.T
	mux  http.Handler
	base string
}

func newSite(t *testing.T, f *fake, base string) *site {
	s := *f.setup()
	s.basePath = base
	f.options = &s
	p := &pages{src: f, judge: new(judge), base: base, now: func() time.Time { return now }}
	mux := chi.NewMux()
	mux.Route("/"+strings.TrimPrefix(base, "/"), p.routes)
	return &site{f, t, mux, base}
}

// An answer of a site.
type sheet struct {
	path   string
	status int
	header http.Header
	body   string
}

func (s *site) send(method, path string, form url.Values, cookies ...*http.Cookie) *sheet {
	s.t.Helper()
	r := httptest.NewRequest(method, "http://admin.example"+s.base+path, strings.NewReader(form.Encode()))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, c := range cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	return &sheet{path, w.Code, w.Header(), w.Body.String()}
}

func (s *site) get(path string) *sheet {
	s.t.Helper()
	return s.send("GET", path, nil)
}

func (s *site) post(path string, pairs ...string) *sheet {
	s.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return s.send("POST", path, form)
}

// want fails unless the answer has this status and these texts, as somebody reads them.
func (sh *sheet) want(t *testing.T, status int, texts ...string) {
	t.Helper()
	if sh.status != status {
		t.Errorf("%s: status %d, want %d", sh.path, sh.status, status)
	}
	words := sh.words()
	for _, text := range texts {
		if !strings.Contains(words, text) {
			t.Errorf("%s does not say %q but\n%s", sh.path, text, words)
		}
	}
}

// words are the text of the page with single spaces.
func (sh *sheet) words() string {
	doc, err := html.Parse(strings.NewReader(sh.body))
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for n := range doc.Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
			if n.NextSibling == nil || n.NextSibling.Data == "progress" {
				b.WriteByte(' ')
			}
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

var void = strings.Fields("area base br col embed hr img input link meta source track wbr")

// faults returns what a page must not have: elements that are not closed in order,
// style and script in the page, two elements of one id, a link out of the base path.
func faults(body, base string) (out []string) {
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	var open []string
	ids := map[string]bool{}
	z := html.NewTokenizer(strings.NewReader(body))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			if z.Err() != io.EOF {
				add("%v", z.Err())
			}
			break
		}
		token := z.Token()
		if kind == html.EndTagToken {
			if len(open) == 0 || open[len(open)-1] != token.Data {
				add("</%s> closes %v", token.Data, open)
				return out
			}
			open = open[:len(open)-1]
			continue
		}
		if kind != html.StartTagToken && kind != html.SelfClosingTagToken {
			continue
		}
		attrs := map[string]string{}
		for _, a := range token.Attr {
			if _, twice := attrs[a.Key]; twice {
				add("<%s> has %s twice", token.Data, a.Key)
			}
			attrs[a.Key] = a.Val
			switch {
			case a.Key == "style" || strings.HasPrefix(a.Key, "on"):
				add("<%s> has %s", token.Data, a.Key)
			case a.Key == "id" && ids[a.Val]:
				add("two elements have the id %s", a.Val)
			case a.Key == "id":
				ids[a.Val] = true
			case a.Key == "href" || a.Key == "src" || a.Key == "action":
				own := strings.HasPrefix(a.Val, base+"/") || a.Val == base || strings.HasPrefix(a.Val, "?") || strings.HasPrefix(a.Val, "#")
				if !own && a.Val != "https://nsq.io/" {
					add("<%s> leads to %s", token.Data, a.Val)
				}
			}
		}
		if token.Data == "style" || token.Data == "script" && attrs["src"] == "" {
			add("there is a <%s> in the page", token.Data)
		}
		if kind == html.StartTagToken && !slices.Contains(void, token.Data) {
			open = append(open, token.Data)
		}
	}
	if len(open) > 0 {
		add("not closed: %v", open)
	}
	return out
}

func TestFaultsAreSeen(t *testing.T) {
	for body, want := range map[string]string{
		`<p><b>x</p>`: "closes", `<p style="x">y</p>`: "has style", `<b onclick="x">y</b>`: "has onclick", `<script>x</script>`: "there is a <script>",
		`<b id="a"></b><b id="a"></b>`: "the id a", `<a href="//evil">x</a>`: "leads to", `<p>`: "not closed", `<a href="/b/topics">x</a><br><path/>`: "",
	} {
		if got := strings.Join(faults(body, "/b"), "; "); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}

// allPaths are those of all pages, as far as there is what they are about.
func allPaths(f *fake) []string {
	paths := []string{"/", "/topics", "/topics?q=o&f=paused&sort=-depth&page=2", "/topics?q=/(/", "/nodes", "/nodes?sort=-depth", "/cluster", "/lookup", "/counter",
		"/activity", "/activity?kind=leader&q=n2", "/config", "/nowhere", "/topics/absent", "/topics/orders/absent", "/nodes/absent:1"}
	for _, t := range f.v.Topics[:min(len(f.v.Topics), 8)] {
		p := link("topics", t.Name)
		paths = append(paths, p, p+"?span=24h", p+"?tab=messages", p+"?tab=consumers", p+"?tab=settings", p+"?confirm=empty", p+"?confirm=delete")
		for _, c := range t.Channels {
			p := link("topics", t.Name, c.Name)
			paths = append(paths, p, p+"?confirm=empty", p+"?confirm=delete")
		}
		for _, n := range t.Nodes {
			paths = append(paths, p+"?confirm=tombstone&node="+n.Node.Address)
		}
	}
	for _, n := range f.v.Nodes[:min(len(f.v.Nodes), 5)] {
		paths = append(paths, link("nodes", n.Address), link("nodes", n.Address)+"?confirm=drain", link("nodes", n.Address)+"?q=ord")
	}
	if c, _ := f.v.Cluster(); c != nil {
		for _, m := range c.Members {
			paths = append(paths, "/cluster?confirm=transfer&node="+m.ID, "/cluster?confirm=remove&node="+m.ID)
		}
	}
	return append(paths, "/topics?confirm=pause", "/topics?confirm=empty&name=orders", "/topics?confirm=delete&q=o")
}

func TestEveryPageOfEveryCluster(t *testing.T) {
	for name, fresh := range fakes {
		for _, base := range []string{"", "/admin"} {
			s := newSite(t, fresh(), base)
			roles := []role{viewer, operator, admin}
			if base != "" {
				roles = roles[2:]
			}
			for _, s.role = range roles {
				for _, path := range allPaths(s.fake) {
					got := s.get(path)
					for _, f := range faults(got.body, base) {
						t.Errorf("%s, role %d, %s%s: %s", name, s.role, base, path, f)
					}
					if n := strings.Count(got.body, "<h1"); n != 1 {
						t.Errorf("%s, role %d, %s: %d first headings", name, s.role, path, n)
					}
					if got.status != 200 && got.status != 404 && !(got.status == 403 && s.role < admin) && !(got.status == 503 && name == "empty") {
						t.Errorf("%s, role %d, %s: %d", name, s.role, path, got.status)
					}
					if strings.Contains(got.body, "ZgotmplZ") || strings.Contains(got.body, "NaN") || strings.Contains(got.body, "&lt;nil") || strings.Contains(got.body, "%!") {
						t.Errorf("%s, role %d, %s shows what nobody meant:\n%s", name, s.role, path, got.words())
					}
				}
			}
		}
	}
	if len(newSite(t, healthyFake(), "").fake.done) != 0 {
		t.Error("a GET did something")
	}
}

func TestWhatBrowsersLoadIsSmall(t *testing.T) {
	sum := 0
	s := newSite(t, healthyFake(), "")
	for name := range assets {
		got := s.get("/static/" + name + "?v=" + assetVersion)
		if got.status != 200 || !strings.Contains(got.header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d, %v", name, got.status, got.header)
		}
		sum += len(got.body)
	}
	if sum > 60<<10 {
		t.Errorf("%d bytes, want at most 60 KiB", sum)
	}
	if got := s.get("/static/app.css?v=old"); got.header.Get("Cache-Control") != "no-cache" {
		t.Errorf("of another version: %v", got.header)
	}
	s.options.staticDir = t.TempDir()
	if err := os.WriteFile(filepath.Join(s.options.staticDir, "app.css"), []byte("body {}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := s.get("/static/app.css?v=" + assetVersion); got.body != "body {}" || got.header.Get("Cache-Control") != "no-cache" {
		t.Errorf("of a folder: %q, %v", got.body, got.header)
	}
	for _, name := range []string{"pages.go", "app.js", "..%2Fapp.css"} {
		if got := s.get("/static/" + name); got.status != 404 {
			t.Errorf("%s: %d", name, got.status)
		}
	}
}

func TestHostileNamesAreHarmless(t *testing.T) {
	names := []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='x`, `a'b;$(reboot)`, `javascript:alert(1)`, "{{.}}"}
	f := healthyFake()
	for _, name := range names {
		topic := put(f.v, name, f.v.Nodes, map[string][2]int64{name: {5000, 0}})
		topic.Nodes[0].Tombstoned = true
		f.happened = append(f.happened, &event{Kind: name, Text: name, User: name, Remote: name, Results: []resultJSON{{Address: name, Error: name}}})
	}
	slices.SortFunc(f.v.Topics, func(a, b *clusterinfo.Topic) int { return strings.Compare(a.Name, b.Name) })
	client := f.consume["10.0.0.1:4151"].Topics[0].Channels[0].Clients[0]
	client.Hostname, client.UserAgent, client.AuthIdentity, client.Authed = names[0], names[1], names[2], true
	f.v.Nodes[0].Hostname, f.v.Nodes[0].Version, f.v.Nodes[0].Err = names[0], names[1], errors.New(names[0])
	f.v.Lookupds[0].Err, f.v.Lookupds[0].Version = errors.New(names[1]), names[0]
	f.user = names[0]
	f.messages[1].Body, f.messages[1].Size = []byte(names[3]), len(names[3])
	s := newSite(t, f, "")
	paths := append(allPaths(f), "/topics?q="+url.QueryEscape(names[1])+"&f="+url.QueryEscape(names[0]), "/activity?q="+url.QueryEscape(names[1]))
	for _, name := range names {
		paths = append(paths, link("topics", name), link("topics", name, name), link("topics", name)+"?confirm=delete", link("nodes", name), link(name))
	}
	for _, path := range paths {
		for _, fault := range faults(s.get(path).body, "") {
			t.Errorf("%s: %s", path, fault)
		}
	}
	got := s.post("/topics/orders", "action", "peek", "count", "10")
	got.want(t, 200, "3 messages seen in 3 s", "it's <b>fine</b>", "attempt 2")
	if want := html.EscapeString(`curl --data-binary 'a'\''b;$(reboot)' 'http://10.0.0.2:4151/pub?topic=orders'`); !strings.Contains(got.body, want) {
		t.Errorf("no command %s", want)
	}
	if fs := faults(got.body, ""); fs != nil {
		t.Error(fs)
	}
}

func TestNumbersOfNodesThatDoNotAnswerHaveTheirAge(t *testing.T) {
	s := newSite(t, hungFake(), "")
	s.get("/topics/slow").want(t, 200, "2 of 3 nsqds", "41 s ago", "Numbers of 10.0.0.4:4151 are the last known", "partly known", "p99 max of nodes")
	s.get("/topics/slow/a").want(t, 200, "2 of 3 nsqds", "41 s ago")
	s.get("/topics/stuck").want(t, 200, "no answer", "5,040", "0 of 1 nsqds")
	s.get("/nodes").want(t, 200, "15,246", "41 s ago", "never answered at its broadcast address")
	s.get("/").want(t, 200, "3 of 5 nsqds answer", "nsqd 10.0.0.5:4151 is registered but was never reached.", "Look, and at 4 more")
	s.get("/topics").want(t, 200, "1 of 3 nsqds do not answer")

	dead := newSite(t, deadFake(), "")
	dead.get("/").want(t, 200, "No nsqlookupd answers.", "0 of 3", "1,128")
	dead.get("/topics/orders").want(t, 200, "759", "2m ago", "0 of 3 nsqds", "none of its nsqds answers; the numbers are the last known")
	dead.get("/cluster").want(t, 200, "None of the 3 nsqlookupds answers.")
	dead.get("/topics/orders/billing").want(t, 200, "Consumers of 10.0.0.1:4151, 10.0.0.2:4151 and 10.0.0.3:4151 are not shown")

	newSite(t, emptyFake(), "").get("/").want(t, 200, "Starting.", "No topic yet")
}

func TestOldNumbersOfNodesThatAnswerHaveTheirAge(t *testing.T) {
	f := healthyFake()
	n := f.v.Nodes[0]
	n.Late, n.StatsAt = true, f.v.At.Add(-22*time.Second)
	s := newSite(t, f, "")
	for _, path := range []string{"/nodes", "/nodes/" + n.Address, "/topics/orders", "/topics/orders/billing"} {
		s.get(path).want(t, 200, "22 s ago", "up")
	}
	if at := statsAt(n); at == nil || !at.Equal(n.StatsAt) {
		t.Errorf("the API says that its numbers are of %v", at)
	}
}

func TestLatenciesOfNodesThatKeepDifferentOnes(t *testing.T) {
	f := healthyFake()
	f.v.Topics[3].Nodes[1].Stats.E2ELatency = &clusterinfo.LatencyStats{Percentiles: []map[string]float64{{"quantile": 0.95, "value": 5e6}}}
	got := newSite(t, f, "").get("/topics/orders")
	got.want(t, 200, "nsqd p50 p95 p99 p99.9", "max of nodes 2 ms – 33.5 ms 1m0.3s", "10.0.0.2:4151 – 5 ms – –")
}

// A screen reader must not read out each new number.
func TestOnlyTheVerdictIsReadOutAndNotItsNumbers(t *testing.T) {
	got := newSite(t, hungFake(), "").get("/topics/slow").body
	if n := strings.Count(got, "aria-live"); n != 1 || !strings.Contains(got, `aria-live="polite">Trouble: nodes 10.0.0.5:4151</span>`) {
		t.Errorf("%d live regions:\n%s", n, got)
	}
}

func TestTheClusterPage(t *testing.T) {
	newSite(t, healthyFake(), "").get("/cluster").want(t, 200, "3 of 3 voters healthy, n2 leads term 7 for 21m, can lose 1 more.",
		"Registry identical on 3 of 3 members at index 48,211 (b3f19c02).", "Who led", "no leader", "n2 leads, term 7")
	s := newSite(t, leaderlessFake(), "")
	s.get("/cluster").want(t, 200, "No leader since 15:08:19 UTC.", "Lookups still answer (1m8s old); registrations and changes wait. Start n2 and n3 again.",
		"1 of 3 voters answers, 2 are needed: no leader for 1m7s, term 7.", "Still works", "Waits", "What to do", "unreachable")
	newSite(t, stockFake(), "").get("/cluster").want(t, 200, "None of the 2 nsqlookupds is replicated.", "not replicated")

	newSite(t, nsqdsFake(), "").get("/cluster").want(t, 200, "All is well. 3 nsqds up.", "nsqadmin asks nsqds only.")

	f := healthyFake()
	f.v.Lookupds[0].Cluster.Members[0].RegistryHash = "ffffffffffffffff"
	newSite(t, f, "").get("/cluster").want(t, 200, "Registries differ at index 48211.", "That is a bug.")
}

func TestMembersAreRemovedOnlyIfAMajorityIsLeft(t *testing.T) {
	s := newSite(t, healthyFake(), "")
	s.get("/cluster?confirm=remove&node=n1").want(t, 200, "2 voters remain, of which 2 are healthy; 2 are a majority.", "Type n1 to go on")
	s.post("/cluster", "action", "remove", "node", "n1", "confirmed", "1", "typed", "n2").want(t, 422, "That is not the name. Nothing was done.")
	s.fake.v.Lookupds[0].Cluster.Members[2].Healthy = false
	s.get("/cluster?confirm=remove&node=n1").want(t, 200, "would be no majority")
	s.post("/cluster", "action", "remove", "node", "n1", "confirmed", "1", "typed", "n1").want(t, 422, "Nothing was done.")
	if len(s.done) != 0 {
		t.Fatalf("done: %+v", s.done)
	}
	s.post("/cluster", "action", "remove", "node", "n3", "confirmed", "1", "typed", "n3").want(t, 303)
	s.post("/cluster", "action", "transfer", "node", "n2").want(t, 200, "Let n2 lead?")
	s.post("/cluster", "action", "transfer", "node", "n1", "confirmed", "1").want(t, 303)
	s.post("/cluster", "action", "snapshot", "node", "n1").want(t, 303)
	s.post("/cluster", "action", "explode").want(t, 400, "There is no such action.")
	names := make([]string, len(s.done))
	for i, a := range s.done {
		names[i] = a.name + " " + a.node
	}
	if want := []string{"remove_member n3", "transfer_leadership n1", "snapshot n1"}; !slices.Equal(names, want) {
		t.Errorf("done: %v, want %v", names, want)
	}
}

func TestNonAdminsSeeNoButtons(t *testing.T) {
	s := newSite(t, hungFake(), "")
	s.role = viewer
	for _, path := range allPaths(s.fake) {
		if strings.Contains(path, "confirm=") {
			s.get(path).want(t, 403, "You may not do that.")
			continue
		}
		got := s.get(path)
		if n := strings.Count(got.body, `method="post"`); n != 1 { // that of the theme
			t.Errorf("%s has %d forms that change something", path, n-1)
		}
		if strings.Contains(got.body, "confirm=") {
			t.Errorf("%s leads to what a viewer may not do", path)
		}
	}
	s.role = operator
	for _, path := range []string{"/topics/orders", "/topics/orders/billing", "/topics", "/cluster", "/lookup", "/nodes/10.0.0.1:4151"} {
		if got := s.get(path); strings.Contains(got.body, "confirm=") || strings.Contains(got.body, `value="delete"`) {
			t.Errorf("%s leads to what an operator may not do", path)
		}
	}
	s.post("/topics/orders", "action", "pause").want(t, 303)
	s.post("/topics/orders", "action", "delete", "confirmed", "1", "typed", "orders").want(t, 403)
}

func TestDestructiveActionsAskFirst(t *testing.T) {
	s := newSite(t, hungFake(), "")
	ok := []clusterinfo.Result{{Address: "10.0.0.1:4151", Kind: "nsqd"}, {Address: "10.0.0.2:4151", Kind: "nsqd"}, {Address: "n1:4161", Kind: "nsqlookupd"}}
	s.results = ok
	s.post("/topics/slow/b", "action", "empty").want(t, 200, "Empty channel slow / b?", "Drops 15,534 messages on 3 nsqds: 10.0.0.2:4151 (5,178), 10.0.0.3:4151 (5,178) and 10.0.0.4:4151 (5,178).",
		"10.0.0.4:4151 does not answer: its 5,178 messages stay until you do it again.")
	s.get("/topics/stuck/only?confirm=delete").want(t, 200, "It is the last channel of stuck", "Type only to go on", "Disconnects 2 consumers")
	s.get("/topics/orders?confirm=tombstone&node=10.0.0.1:4151").want(t, 200, "Tombstone topic orders on nsqd 10.0.0.1:4151?", "Consumers of orders stop finding it", "Drops 289 messages, those in flight and deferred included.")
	s.get("/nodes/10.0.0.1:4151?confirm=drain").want(t, 200, "Drain nsqd 10.0.0.1:4151?", "It takes no new messages")
	s.post("/topics/orders", "action", "delete", "confirmed", "1", "typed", "order").want(t, 422, "That is not the name. Nothing was done.")
	s.post("/topics/orders", "action", "explode").want(t, 400)
	s.post("/topics/orders", "action", "tombstone", "confirmed", "1").want(t, 400)
	s.post("/topics/orders/billing", "action", "tombstone", "confirmed", "1", "node", "10.0.0.1:4151").want(t, 400)
	if got := s.get("/topics/new?confirm=delete&back=lookup"); !strings.Contains(got.body, `name="back" value="lookup"`) || !strings.Contains(got.body, `href="/lookup" data-cancel`) {
		t.Errorf("it does not lead back to where one came from:\n%s", got.body)
	}
	if len(s.done) != 0 {
		t.Fatalf("done without a confirmation: %+v", s.done)
	}
	got := s.post("/topics/orders", "action", "delete", "confirmed", "1", "typed", "orders")
	got.want(t, 303)
	if to := got.header.Get("Location"); to != "/topics" {
		t.Errorf("leads to %s", to)
	}
	flash := (&http.Response{Header: got.header}).Cookies()[0]
	shown := s.send("GET", "/topics", nil, flash)
	shown.want(t, 200, "Deleted topic orders on 2 nsqds and 1 nsqlookupd.")
	if c := (&http.Response{Header: shown.header}).Cookies(); len(c) != 1 || c[0].Name != "flash" || c[0].MaxAge >= 0 {
		t.Errorf("the message is shown again: %v", c)
	}
	if a := s.done[0]; a.name != "delete_topic" || a.topic != "orders" || a.nodes != nil {
		t.Errorf("did %+v", a)
	}
}

func TestPartialFailuresAreListedAndCanBeRetried(t *testing.T) {
	s := newSite(t, hungFake(), "")
	s.results = []clusterinfo.Result{
		{Address: "10.0.0.2:4151", Kind: "nsqd", Took: 3 * time.Millisecond}, {Address: "10.0.0.4:4151", Kind: "nsqd", Err: errors.New("timeout <2s>"), Took: 2 * time.Second},
	}
	got := s.post("/topics/slow/b", "action", "empty", "confirmed", "1")
	got.want(t, 200, "Failed in part: emptied channel slow / b", "nsqd 10.0.0.2:4151 done 3 ms", "nsqd 10.0.0.4:4151 failed timeout <2s> 2 s", "Try again where it failed")
	if !strings.Contains(got.body, `name="node" value="10.0.0.4:4151"`) || strings.Contains(got.body, `name="node" value="10.0.0.2:4151"`) {
		t.Errorf("retries elsewhere:\n%s", got.body)
	}
	s.results = s.results[1:]
	s.post("/topics/slow/b", "action", "empty", "confirmed", "1", "node", "10.0.0.4:4151").want(t, 502, "Failed everywhere")
	if a := s.done[1]; !slices.Equal(a.nodes, []string{"10.0.0.4:4151"}) {
		t.Errorf("did %+v", a)
	}
}

func TestWhatIsUnknownIsNotToldAsFailed(t *testing.T) {
	late := clusterinfo.Result{Address: "10.0.0.4:4151", Kind: "nsqd", Err: fmt.Errorf("%w: no answer within 2s", clusterinfo.ErrUnknownOutcome)}
	refused := clusterinfo.Result{Address: "10.0.0.3:4151", Kind: "nsqd", Err: errors.New("connection refused")}
	done := clusterinfo.Result{Address: "10.0.0.2:4151", Kind: "nsqd"}
	const failed, may = "Where it failed, nothing is known to have changed.", "it may still happen. Look before you try again."
	for _, tt := range []struct {
		name     string
		results  []clusterinfo.Result
		status   int
		title    string
		failed   bool
		code     int // of the API; 0: done
		sentence string
		metric   string
	}{
		{"all", []clusterinfo.Result{late}, 504, "Outcome unknown: emptied", false, 504, "somebody emptied channel b of topic slow, of unknown outcome: it may still happen", "unknown"},
		{"one", []clusterinfo.Result{done, late}, 200, "Outcome unknown: emptied", false, 0, "somebody emptied channel b of topic slow, of unknown outcome on 1 of 2 daemons: it may still happen there", "partial"},
		{"and failed", []clusterinfo.Result{refused, late}, 200, "Failed in part: emptied", true, 504, "somebody emptied channel b of topic slow, which failed on 1 of 2 daemons, of unknown outcome on 1 of 2 daemons: it may still happen there", "unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, hungFake(), "")
			s.results = tt.results
			got := s.post("/topics/slow/b", "action", "empty", "confirmed", "1")
			got.want(t, tt.status, tt.title, "10.0.0.4:4151 unknown unknown outcome, it may still happen: no answer within 2s", may)
			if strings.Contains(got.words(), failed) != tt.failed {
				t.Errorf("it says %q", got.words())
			}
			_, err := answerTo(tt.results, nil)
			e, _ := errors.AsType[*httpapi.Error](err)
			if (e == nil) != (tt.code == 0) || e != nil && (e.Status != tt.code || !strings.HasPrefix(e.Text, "UNKNOWN_OUTCOME: ")) {
				t.Errorf("the API says %v", err)
			}
			rows := resultsJSON(tt.results)
			if last := rows[len(rows)-1]; last.Outcome != "unknown" || last.Error == "" {
				t.Errorf("the API says of the late one %+v", last)
			}
			a := action{name: "empty_channel", topic: "slow", channel: "b"}
			if got := a.sentence(actions[a.name], "", tt.results); got != tt.sentence {
				t.Errorf("the activity says %q", got)
			}
			m := newMetricsPage()
			m.countAction(a.name, tt.results)
			families, err := m.registry.Gather()
			if err != nil || !strings.Contains(fmt.Sprint(families), `value:"`+tt.metric+`"`) {
				t.Errorf("not counted as %s (%v)", tt.metric, err)
			}
		})
	}
	s := newSite(t, hungFake(), "")
	s.results = []clusterinfo.Result{late}
	_, rest, _ := strings.Cut(s.get("/topics?confirm=pause&name=slow").body, `name="expect" value="`)
	expect, _, _ := strings.Cut(rest, `"`)
	s.post("/topics", "action", "pause", "confirmed", "1", "expect", expect, "name", "slow").want(t, 504, "Outcome unknown: paused 0 topics", "slow nsqd 10.0.0.4:4151 unknown", may)
}

func TestBulk(t *testing.T) {
	s := newSite(t, hungFake(), "")
	s.get("/topics?confirm=delete&name=audit&name=clicks").want(t, 200, "Delete 2 topics?", "These: audit and clicks.", "Drops 369 messages", "Type 2 to go on")
	s.get("/topics?confirm=delete&name=audit").want(t, 200, "Delete 1 topic?", "Type audit to go on")
	s.post("/topics", "action", "delete", "confirmed", "1", "expect", fingerprint([]*judged{{Topic: s.v.Topic("audit")}}), "typed", "1", "name", "audit").want(t, 422, "That is not audit.")
	s.get("/topics?confirm=pause&f=noconsumer").want(t, 200, "Pause 1 topic?", "These: slow.")
	s.get("/topics?confirm=pause&q=nothing").want(t, 200, "No topic is chosen.")
	expect := func(path string) string {
		_, rest, _ := strings.Cut(s.get(path).body, `name="expect" value="`)
		print, _, _ := strings.Cut(rest, `"`)
		return print
	}
	two := expect("/topics?confirm=delete&name=audit&name=clicks")
	s.post("/topics", "action", "delete", "confirmed", "1", "expect", two, "typed", "3", "name", "audit", "name", "clicks").want(t, 422, "That is not 2. Nothing was done.")
	s.post("/topics", "action", "delete", "confirmed", "1", "expect", two, "typed", "2", "name", "audit", "name", "orders").want(t, 422, "Meanwhile others pass the filter.")
	s.post("/topics", "action", "pause", "q", "s").want(t, 200, "Pause 5 topics?")
	if len(s.done) != 0 {
		t.Fatalf("done: %+v", s.done)
	}
	s.post("/topics", "action", "delete", "confirmed", "1", "expect", two, "typed", "2", "name", "audit", "name", "clicks").want(t, 303)
	var topics []string
	for _, a := range s.done {
		topics = append(topics, a.name+" "+a.topic)
	}
	if slices.Sort(topics); !slices.Equal(topics, []string{"delete_topic audit", "delete_topic clicks"}) {
		t.Errorf("did %v", topics)
	}
	s.results = []clusterinfo.Result{{Address: "10.0.0.4:4151", Kind: "nsqd", Err: errors.New("timeout")}}
	s.post("/topics", "action", "pause", "confirmed", "1", "expect", expect("/topics?confirm=pause&name=slow"), "name", "slow").want(t, 502, "slow", "timeout")
}

func TestCreateAndPublish(t *testing.T) {
	s := newSite(t, healthyFake(), "/admin")
	got := s.post("/topics", "action", "create", "topic", " fresh ", "channel", "")
	got.want(t, 303)
	if to := got.header.Get("Location"); to != "/admin/topics/fresh" {
		t.Errorf("leads to %s", to)
	}
	s.post("/topics/orders", "action", "create", "channel", "c#ephemeral").want(t, 303)
	s.post("/topics/orders", "action", "publish", "body", "a\r\nb", "times", "3", "defer", "30s", "node", "10.0.0.1:4151").want(t, 303)
	s.post("/topics/orders", "action", "publish", "body", "x", "times", "many").want(t, 422, "How often: a number")
	s.post("/topics/orders", "action", "publish", "body", "x", "defer", "soon").want(t, 422, "Defer by: a duration")
	s.post("/topics/orders", "action", "publish", "body", "").want(t, 422, "A message needs a body.")
	s.post("/topics/orders", "action", "publish", "body", strings.Repeat("x", maxForm)).want(t, 413, "That is too much at once.")
	if len(s.done) != 3 {
		t.Fatalf("did %+v", s.done)
	}
	if a := s.done[1]; a.name != "create_channel" || a.channel != "c#ephemeral" {
		t.Errorf("did %+v", a)
	}
	if a := s.done[2]; string(a.body) != "a\nb" || a.count != 3 || a.deferred != 30*time.Second || a.node != "10.0.0.1:4151" {
		t.Errorf("did %+v", a)
	}
	s.get("/topics/new").want(t, 200, "inactive", "Created, and no nsqd has it yet: that is as it should be.")
}

func TestPeekFilters(t *testing.T) {
	s := newSite(t, healthyFake(), "")
	s.post("/topics/orders", "action", "peek", "count", "3", "filter", "/^pl.in/").want(t, 200, "3 messages seen in 3 s, 1 of them contains /^pl.in/", "plain text")
	s.post("/topics/orders", "action", "peek", "filter", "/(/").want(t, 200, "The filter is no expression")
	s.options.messageView = false
	s.get("/topics/orders?tab=messages").want(t, 200, "nsqadmin runs with --disable-message-view")
}

func TestTheTopicListFiltersSortsAndPages(t *testing.T) {
	s := newSite(t, bigFake(1234, 10), "")
	got := s.get("/topics?sort=-depth&page=2")
	got.want(t, 200, "Topics 1,234", "All 1,234", "No consumer 246")
	if n := strings.Count(got.body, `<td class="name">`); n != topicsAPage {
		t.Errorf("%d rows, want %d", n, topicsAPage)
	}
	order := func(path string) (names []string) {
		for _, part := range strings.Split(s.get(path).body, `<a class="open" href="/topics/`)[1:] {
			name, _, _ := strings.Cut(part, `"`)
			names = append(names, name)
		}
		return names
	}
	if got := order("/topics?sort=-depth"); got[0] != "topic.01233" || got[49] != "topic.01184" {
		t.Errorf("by depth: %v", got)
	}
	if got := order("/topics?q=/7$/&page=99"); len(got) != 24 && len(got) != 23 || got[len(got)-1] != "topic.01227" {
		t.Errorf("the last page: %v", got)
	}
	if got := order("/topics?q=TOPIC.0000"); len(got) != 10 {
		t.Errorf("in another case: %v", got)
	}
	s.get("/topics?q=/(/").want(t, 200, "This is no expression", "No topic passes the filter.")

	rows, err := csv.NewReader(strings.NewReader(s.get("/topics?q=0001&format=csv").body)).ReadAll()
	if err != nil || len(rows) != 12 || rows[1][0] != "topic.00001" {
		t.Errorf("as CSV: %v, %v", rows, err)
	}
	var out struct{ Topics []exported }
	if err := json.Unmarshal([]byte(s.get("/topics?q=00012&format=json").body), &out); err != nil || len(out.Topics) != 1 || out.Topics[0].Depth != 12 {
		t.Errorf("as JSON: %+v, %v", out, err)
	}
}

func TestUnknownThingsAreFourOhFourWithSuggestions(t *testing.T) {
	s := newSite(t, healthyFake(), "")
	s.get("/topics/ordes").want(t, 404, "There is no topic called ordes.", "Did you mean", "orders", "TOPIC_NOT_FOUND")
	if got := s.get("/topics/ordes"); !strings.Contains(got.body, "Create topic ordes") || strings.Contains(s.get("/topics/a%3Cb").body, "Create topic") {
		t.Error("a topic that could be made cannot, or the other way round")
	}
	s.get("/topics/orders/biling").want(t, 404, "Topic orders has no channel called biling.", "billing", "CHANNEL_NOT_FOUND")
	s.get("/nodes/10.0.0.9:4151").want(t, 404, "10.0.0.1:4151", "NODE_NOT_FOUND")
	s.get("/topic").want(t, 404, "topics")
	s.post("/topics/absent", "action", "delete", "confirmed", "1", "typed", "absent").want(t, 404)
	if len(s.done) != 0 {
		t.Errorf("did %+v", s.done)
	}
}

func TestWhatNobodyCanKnowIsNotMissing(t *testing.T) {
	dead := hungFake() // of which nobody has ever answered
	for _, l := range dead.v.Lookupds {
		l.State, l.AnsweredAt, l.Cluster = clusterinfo.Down, time.Time{}, nil
	}
	for _, n := range dead.v.Nodes {
		n.State, n.StatsAt, n.Stats = clusterinfo.Down, time.Time{}, nil
	}
	for name, f := range map[string]*fake{"empty": emptyFake(), "dead": dead} {
		s := newSite(t, f, "")
		for _, path := range []string{"/topics/fresh", "/topics/fresh/c", "/nodes/10.0.0.9:4151"} {
			got := s.get(path)
			got.want(t, 503, "It is not known yet whether there is a", "No daemon has answered since nsqadmin was started.")
			if got.header.Get("Refresh") != "2" || strings.Contains(got.body, "NOT_FOUND") {
				t.Errorf("%s of %s: refresh %q\n%s", path, name, got.header.Get("Refresh"), got.body)
			}
		}
		s.post("/topics/fresh", "action", "pause").want(t, 503, "It is not known yet")
		s.post("/nodes/10.0.0.9:4151", "action", "drain").want(t, 503, "It is not known yet whether there is an nsqd")
	}
	f := healthyFake() // whose lookupds name an nsqd that has never answered
	lost := nsqd(4, clusterinfo.Down, 0)
	lost.StatsAt, lost.Stats = time.Time{}, nil
	f.v.Nodes = append(f.v.Nodes, lost)
	f.v.Topics = append(f.v.Topics, &clusterinfo.Topic{Name: "zz", StaleNodes: 1, Nodes: []*clusterinfo.TopicOnNode{{Node: lost, Stats: &clusterinfo.TopicStats{Name: "zz"}}}})
	s := newSite(t, f, "")
	s.get("/topics/zz").want(t, 200, "zz")
	s.get("/topics/zz/c").want(t, 503, "It is not known yet whether there is a channel called c.", "None of the nsqds that have topic zz has answered")
	if got := s.get("/topics/absent"); got.status != 404 || got.header.Get("Refresh") != "" {
		t.Errorf("absent: %d, refresh %q", got.status, got.header.Get("Refresh"))
	}
}

func TestTheThemeIsKeptAndLeadsNowhereElse(t *testing.T) {
	s := newSite(t, healthyFake(), "/admin")
	for back, want := range map[string]string{
		"/admin/topics": "/admin/topics", "//evil.example": "/admin/evil.example", `/\evil.example`: "/admin/evil.example", "https://evil.example": "/admin/https:/evil.example", "": "/admin/",
	} {
		got := s.post("/theme", "theme", "dark", "back", back)
		c := (&http.Response{Header: got.header}).Cookies()
		if to := got.header.Get("Location"); got.status != 303 || to != want || len(c) != 1 || c[0].Value != "dark" || c[0].Path != "/admin" {
			t.Errorf("%q: %d, to %s, %v", back, got.status, to, c)
		}
	}
	if got := s.send("GET", "/", nil, &http.Cookie{Name: "theme", Value: "dark"}); !strings.Contains(got.body, `data-theme="dark"`) {
		t.Error("not dark")
	}
	if got := s.send("GET", "/", nil, &http.Cookie{Name: "theme", Value: "x-onload=y"}); strings.Contains(got.body, "data-theme") {
		t.Error("a theme that there is not")
	}
}

// ---- the judge ----

func TestWhatLostNsqdsAreCalled(t *testing.T) {
	c := clusterinfo.NewClient(clusterinfo.Options{})
	answers := func(status int, body string) error {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, body)
		}))
		defer srv.Close()
		_, err := c.Stats(t.Context(), srv.URL, clusterinfo.StatsFilter{})
		return err
	}
	refused := errors.New("connection refused")
	for name, tt := range map[string]struct {
		err    error
		state  clusterinfo.State
		given  bool // by --nsqd-http-address
		before bool // it has answered 41 s ago
		word   string
		text   string
		do     string
	}{
		"500":              {answers(500, `{"message":"<img>"}`), clusterinfo.Down, false, false, "wrong answer", "nsqd 10.0.0.4:4151 answers, but not as an nsqd does: answers 500 <img>.", "whether it is an nsqd"},
		"HTML":             {answers(200, "<html>"), clusterinfo.Down, true, false, "wrong answer", "answers, but not as an nsqd does: /stats: invalid answer: ", "whether it is an nsqd"},
		"null":             {answers(200, "null"), clusterinfo.Suspect, false, false, "wrong answer", "answers, but not as an nsqd does: /stats: invalid answer: ", "whether it is an nsqd"},
		"broken JSON":      {answers(200, `{"topics":[`), clusterinfo.Down, false, true, "wrong answer", "answers, but not as an nsqd does: /stats: invalid answer: ", "whether it is an nsqd"},
		"never":            {refused, clusterinfo.Down, false, false, "unreachable", "nsqd 10.0.0.4:4151 is registered but was never reached.", "--broadcast-address"},
		"never, given":     {refused, clusterinfo.Down, true, false, "unreachable", "nsqd 10.0.0.4:4151 was never reached.", "whether that is its HTTP address"},
		"not yet":          {refused, clusterinfo.Suspect, true, false, "suspect", "nsqd 10.0.0.4:4151 does not answer (has not answered yet).", "How many messages are on it is not known"},
		"not any more":     {refused, clusterinfo.Down, false, true, "down", "nsqd 10.0.0.4:4151 does not answer (last answer 41 s ago).", "0 messages on it, by its last answer, cannot"},
		"not for a moment": {refused, clusterinfo.Suspect, true, true, "suspect", "nsqd 10.0.0.4:4151 does not answer (last answer 41 s ago).", "0 messages on it, by its last answer, cannot"},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthyFake()
			n := nsqd(4, tt.state, 41*time.Second)
			n.Err = tt.err
			if tt.given {
				n.Lookupds = nil
			}
			if !tt.before {
				n.Stats, n.StatsAt = nil, time.Time{}
			}
			f.v.Nodes = append(f.v.Nodes, n)
			problems := new(judge).look(f, f.v).ofNode(n.Address)
			if st := nodeStatus(n, f.v.At); st.Word != tt.word {
				t.Errorf("its state is %+v, want %s", st, tt.word)
			}
			if len(problems) == 0 || !strings.Contains(problems[0].Text, tt.text) || !strings.Contains(problems[0].Do, tt.do) {
				t.Errorf("got %+v", problems)
			}
			newSite(t, f, "").get("/nodes/"+n.Address).want(t, 200, tt.word, "The error as it came", tt.err.Error())
		})
	}
}

func TestTheJudgeRemembers(t *testing.T) {
	f := healthyFake()
	var j judge
	look := func(after time.Duration, change func(v *clusterinfo.View)) *verdict {
		v := *healthyFake().v
		v.At = now.Add(after)
		change(&v)
		f.v = &v
		return j.look(f, &v)
	}
	has := func(w *verdict, text string) bool {
		return slices.ContainsFunc(w.Problems, func(p problem) bool { return strings.Contains(p.Text, text) })
	}
	state := func(paused bool, timedOut, free int64) func(v *clusterinfo.View) {
		return func(v *clusterinfo.View) {
			c := v.Topics[3].Channels[0]
			c.Paused, c.PausedOn, c.TimedOut = paused, len(c.Nodes), timedOut
			v.Nodes[0].DiskFreeBytes = free
		}
	}
	w := look(0, state(true, 100, 100<<30))
	if len(w.Problems) != 0 || w.Level != good || w.Text != "All is well." {
		t.Errorf("at first: %v %v %+v", w.Level, w.Text, w.Problems)
	}
	w = look(11*time.Minute, state(true, 650, 99<<30))
	if !has(w, "50 messages of channel orders / billing timed out in a minute.") || !has(w, "The disk of nsqd 10.0.0.1:4151 is full in about 18h") {
		t.Errorf("after eleven minutes: %+v", w.Problems)
	}
	w = look(61*time.Minute, state(true, 650, 99<<30))
	if !has(w, "Channel orders / billing has been paused for 1h1m.") || has(w, "timed out") {
		t.Errorf("after an hour: %+v", w.Problems)
	}
	if again := j.look(f, f.v); again != w {
		t.Error("the same View was judged twice")
	}
	w = look(62*time.Minute, state(false, 650, 99<<30))
	if has(w, "paused") {
		t.Errorf("unpaused: %+v", w.Problems)
	}
	w = look(63*time.Minute, state(true, 650, 99<<30))
	if has(w, "paused") {
		t.Errorf("paused anew: %+v", w.Problems)
	}
}

func TestLostDaemonsComeBeforeTopics(t *testing.T) {
	f := hungFake()
	m := f.v.Lookupds[0].Cluster.Members[2]
	*m = clusterinfo.Member{ID: "n3", Role: "unreachable", Voter: true}
	f.v.Lookupds[0].Cluster.FailureTolerance = 0
	w := new(judge).look(f, f.v)
	var got []string
	for _, p := range w.Problems {
		got = append(got, string(p.Level)+" "+p.Text)
	}
	want := []string{
		"bad nsqd 10.0.0.5:4151 is registered but was never reached.",
		"warn 1 member of 3 does not answer: n3.",
		"warn nsqd 10.0.0.4:4151 does not answer (last answer 41 s ago).",
		"warn Channel slow / b has 15,498 messages waiting and no consumer.",
		"warn Channel slow / a grows by 32 messages/s; 15,120 waiting.",
		"info nsqds of different versions run: 1.2.1 on 1 and 1.3.0+raft.0.1.0 on 4.",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestArrangeKeepsTheOrderOfEquals(t *testing.T) {
	type row struct {
		name string
		n    float64
	}
	rows := []row{{"a", 1}, {"b", math.NaN()}, {"c", 1}, {"d", 2}}
	columns := []column[row]{{Key: "n", Title: "N", Number: true, compare: func(a, b row) int { return byFloat(a.n, b.n) }}, {Key: "x", Title: "X"}}
	heads := arrange(url.Values{"sort": {"-n"}, "q": {"z"}, "page": {"3"}}, "sort", "n", columns, rows)
	if got := fmt.Sprint(rows); got != "[{d 2} {a 1} {c 1} {b NaN}]" {
		t.Errorf("got %s", got)
	}
	if h := heads[0]; h.Sorted != "descending" || h.Link != "?q=z&sort=n" || heads[1].Link != "" {
		t.Errorf("heads %+v", heads)
	}
}

// BenchmarkPages are those of 10,000 topics on each of 100 nsqds, with a View that
// nobody has looked at yet, and with one that was judged, which is what a browser meets:
// the judge looks at each View as it comes.
func BenchmarkPages(b *testing.B) {
	f := everywhereFake(10000, 100)
	p := &pages{src: f, judge: new(judge), now: func() time.Time { return now }}
	mux := chi.NewMux()
	p.routes(mux)
	node := "/nodes/" + f.v.Nodes[0].Address
	for _, path := range []string{"/", "/topics", "/topics?sort=-pub&q=topic", "/topics/topic.00001", "/topics/topic.00001/a", "/nodes", node, "/cluster", "/lookup", "/counter"} {
		run := func(b *testing.B, fresh bool) {
			for b.Loop() {
				if fresh {
					v := *f.v
					f.v = &v
				}
				w := httptest.NewRecorder()
				mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
				if w.Code != 200 {
					b.Fatal(w.Code)
				}
			}
		}
		b.Run("new"+path, func(b *testing.B) { run(b, true) })
		b.Run("judged"+path, func(b *testing.B) { run(b, false) })
	}
}
