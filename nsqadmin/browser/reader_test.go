package browser

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// A reader is a browser without JavaScript.
type reader struct {
	t      *testing.T
	base   *url.URL
	http   *http.Client
	header http.Header // of each request besides; nil for a name: without it
}

func newReader(t *testing.T, base string) *reader {
	t.Helper()
	at, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &reader{t: t, base: at, http: &http.Client{Jar: jar, Timeout: patience}}
}

// A sheet is a page that a reader was given.
type sheet struct {
	status int
	at     *url.URL // after redirects
	kind   string   // media type
	policy string   // Content-Security-Policy
	text   string
	doc    *html.Node
}

func (r *reader) get(target string) *sheet {
	r.t.Helper()
	to := parseURL(r.t, target)
	if !to.IsAbs() {
		to = parseURL(r.t, r.base.String()+target)
	}
	req, err := http.NewRequest(http.MethodGet, to.String(), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.send(req)
}

func (r *reader) send(req *http.Request) *sheet {
	r.t.Helper()
	for name, values := range r.header {
		if req.Header.Del(name); len(values) > 0 {
			req.Header[name] = values
		}
	}
	return r.sheet(r.http.Do(req))
}

func (r *reader) sheet(resp *http.Response, err error) *sheet {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	s := &sheet{status: resp.StatusCode, at: resp.Request.URL, text: string(body)}
	s.kind, _, _ = strings.Cut(resp.Header.Get("Content-Type"), ";")
	s.policy = resp.Header.Get("Content-Security-Policy")
	if s.kind == "text/html" {
		if s.doc, err = html.ParseWithOptions(strings.NewReader(s.text), html.ParseOptionEnableScripting(false)); err != nil {
			r.t.Fatal(err)
		}
	}
	return s
}

func parseURL(t *testing.T, target string) *url.URL {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, key string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == key })
}

// all returns the elements of a kind below n.
func all(n *html.Node, kinds ...atom.Atom) (out []*html.Node) {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && slices.Contains(kinds, d.DataAtom) {
			out = append(out, d)
		}
	}
	return out
}

// words returns the text of n with single spaces.
func words(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent.DataAtom != atom.Script && d.Parent.DataAtom != atom.Style {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// links returns where the page leads on this host, and what it loads.
func (s *sheet) links() (out []*url.URL) {
	for _, n := range all(s.doc, atom.A, atom.Link, atom.Script, atom.Img) {
		to := attr(n, "href")
		if to == "" {
			to = attr(n, "src")
		}
		u, err := s.at.Parse(to)
		if to == "" || err != nil || u.Host != s.at.Host || u.Scheme == "data" {
			continue
		}
		u.Fragment = ""
		out = append(out, u)
	}
	return out
}

// A form is what a person could fill in.
type form struct {
	*html.Node
	method string
	action *url.URL
	fields url.Values // as they stand; what buttons add is left out
}

func (s *sheet) forms() (out []form) {
	for _, n := range all(s.doc, atom.Form) {
		f := form{Node: n, method: strings.ToUpper(attr(n, "method")), fields: url.Values{}}
		f.action, _ = s.at.Parse(attr(n, "action"))
		for _, in := range all(n, atom.Input, atom.Textarea, atom.Select) {
			kind := attr(in, "type")
			if attr(in, "name") == "" || kind == "submit" || (kind == "checkbox" || kind == "radio") && !has(in, "checked") {
				continue
			}
			value := attr(in, "value")
			switch in.DataAtom {
			case atom.Textarea:
				value = words(in)
			case atom.Select:
				for i, o := range all(in, atom.Option) {
					if i == 0 || has(o, "selected") {
						value = attr(o, "value")
					}
				}
			}
			f.fields.Add(attr(in, "name"), value)
		}
		out = append(out, f)
	}
	return out
}

// form returns the one that a button with the given words sends, with what the button adds.
func (s *sheet) form(t *testing.T, button string) form {
	t.Helper()
	var labels []string
	for _, f := range s.forms() {
		for _, b := range all(f.Node, atom.Button, atom.Input) {
			label := words(b)
			if b.DataAtom == atom.Input {
				if attr(b, "type") != "submit" {
					continue
				}
				label = attr(b, "value")
			}
			labels = append(labels, label)
			if label == button {
				if name := attr(b, "name"); name != "" {
					f.fields.Add(name, attr(b, "value"))
				}
				return f
			}
		}
	}
	t.Fatalf("no button %q on %s, only %q", button, s.at, labels)
	return form{}
}

// follow goes where the link with these words leads.
func (r *reader) follow(s *sheet, label string) *sheet {
	r.t.Helper()
	for _, n := range all(s.doc, atom.A) {
		if words(n) == label {
			to, err := s.at.Parse(attr(n, "href"))
			if err != nil {
				r.t.Fatal(err)
			}
			return r.get(to.String())
		}
	}
	r.t.Fatalf("no link %q on %s", label, s.at)
	return nil
}

// submit sends a form as its button does, with some fields filled in.
func (r *reader) submit(f form, filled ...string) *sheet {
	r.t.Helper()
	for i := 0; i+1 < len(filled); i += 2 {
		f.fields.Set(filled[i], filled[i+1])
	}
	if f.method != http.MethodPost {
		u := *f.action
		u.RawQuery = f.fields.Encode()
		return r.get(u.String())
	}
	req, err := http.NewRequest(http.MethodPost, f.action.String(), strings.NewReader(f.fields.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin") // as browsers say
	req.Header.Set("Origin", r.base.Scheme+"://"+r.base.Host)
	return r.send(req)
}

// until loads a page until ok.
func (r *reader) until(target, what string, ok func(*sheet) bool) *sheet {
	r.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(4 * glance) {
		s := r.get(target)
		if ok(s) {
			return s
		}
		if time.Now().After(end) {
			r.t.Fatalf("not within %v: %s %s:\n%s", patience, target, what, words(s.doc))
		}
	}
}

// sees waits until a page has text on it.
func (r *reader) sees(target, text string) *sheet {
	r.t.Helper()
	return r.until(target, "shows "+text, func(s *sheet) bool { return strings.Contains(words(s.doc), text) })
}

// judge reports what is wrong with a page.
func (s *sheet) judge(t *testing.T) {
	t.Helper()
	for _, f := range illFormed(s.text) {
		t.Errorf("%s: %s", s.at, f)
	}
	if !strings.HasPrefix(s.policy, "default-src 'none';") || strings.Contains(s.policy, "unsafe") || !strings.Contains(s.policy, "frame-ancestors 'none'") {
		t.Errorf("%s: content security policy %q", s.at, s.policy)
	}
	titles, heads, mains := titlesOf(s.doc), all(s.doc, atom.H1), all(s.doc, atom.Main)
	if len(titles) != 1 || words(titles[0]) == "" || len(heads) != 1 || words(heads[0]) == "" || len(mains) != 1 {
		t.Errorf("%s has %d titles, %d first headings and %d main parts, want one of each", s.at, len(titles), len(heads), len(mains))
	}
	if roots := all(s.doc, atom.Html); attr(roots[0], "lang") == "" {
		t.Errorf("%s does not say its language", s.at)
	}
	for _, n := range all(s.doc, atom.Input, atom.Select, atom.Textarea) {
		if kind := attr(n, "type"); kind != "hidden" && kind != "submit" && !s.labelled(n) {
			t.Errorf("%s: the field %s has no label", s.at, attr(n, "name"))
		}
	}
	for _, n := range all(s.doc, atom.A, atom.Button) {
		if words(n) == "" && attr(n, "aria-label") == "" && attr(n, "title") == "" {
			t.Errorf("%s: a %s without words (%s)", s.at, n.Data, attr(n, "href"))
		}
	}
	for _, n := range all(s.doc, atom.Img) {
		if !has(n, "alt") {
			t.Errorf("%s: the picture %s has no alt", s.at, attr(n, "src"))
		}
	}
	for _, f := range s.forms() {
		if f.action == nil || f.action.Host != s.at.Host {
			t.Errorf("%s: a form leads to %v", s.at, f.action)
		}
	}
}

// titlesOf returns the titles of a page; a drawing has some of its own.
func titlesOf(doc *html.Node) []*html.Node {
	return slices.DeleteFunc(all(doc, atom.Title), func(n *html.Node) bool {
		return n.Parent == nil || n.Parent.DataAtom != atom.Head || n.Namespace != ""
	})
}

// labelled reports whether a person hears what a field is for.
func (s *sheet) labelled(n *html.Node) bool {
	if attr(n, "aria-label") != "" || attr(n, "aria-labelledby") != "" || attr(n, "title") != "" {
		return true
	}
	for p := n.Parent; p != nil; p = p.Parent {
		if p.DataAtom == atom.Label {
			return true
		}
	}
	id := attr(n, "id")
	return id != "" && slices.ContainsFunc(all(s.doc, atom.Label), func(l *html.Node) bool { return attr(l, "for") == id })
}

// visits returns the key under which a link counts as seen: pages that differ in the
// values of a query only are alike.
func visits(u *url.URL) string {
	keys := make([]string, 0, len(u.Query()))
	for k := range u.Query() {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return u.Path + "?" + strings.Join(keys, "&")
}

// crawl visits all that can be reached from "/" by links, at most a few of what differs in
// its query only, and returns the sheets by URL.
func (r *reader) crawl(judge func(from string, s *sheet)) (visited int) {
	const alike, most = 4, 600
	seen, counts := make(map[string]bool), make(map[string]int)
	type way struct{ from, to string }
	queue := []way{{"nowhere", r.base.String() + "/"}}
	for len(queue) > 0 && visited < most {
		next := queue[0]
		queue = queue[1:]
		s := r.get(next.to)
		visited++
		judge(next.from, s)
		if s.doc == nil {
			continue
		}
		for _, u := range s.links() {
			to := u.String()
			if key := visits(u); !seen[to] && counts[key] < alike {
				seen[to] = true
				counts[key]++
				queue = append(queue, way{s.at.RequestURI(), to})
			}
		}
	}
	return visited
}

// expectPage checks status and text of a page, and judges it.
func expectPage(t *testing.T, s *sheet, status int, text string) {
	t.Helper()
	if s.doc == nil {
		t.Fatalf("%s: %d %s: %.300s", s.at, s.status, s.kind, s.text)
	}
	s.judge(t)
	if s.status != status || !strings.Contains(words(s.doc), text) {
		t.Errorf("%s: %d, want %d and %q: %s", s.at, s.status, status, text, words(s.doc))
	}
}
