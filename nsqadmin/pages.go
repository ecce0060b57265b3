package nsqadmin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/httpapi"
)

// A source is where pages get what they show and who does what their forms ask for: a Server.
type source interface {
	view() *clusterinfo.View
	firstView(ctx context.Context) *clusterinfo.View // as view; right after the start when each daemon was asked, or ctx ends
	series(k key, m metric, span time.Duration) []point
	latest(k key, m metric) (value float64, ok bool)
	growth(k key, span time.Duration) (perSecond float64, ok bool)
	nodeFlow(address string) (f flow, ok bool)
	reigns(span time.Duration) []reign
	events(limit int, keep func(*event) bool) []*event
	clients(ctx context.Context, topic, channel, node string) (stats map[string]*clusterinfo.NodeStats, missing []string)
	who(r *http.Request) (user string, role role)
	do(r *http.Request, a action) ([]clusterinfo.Result, error)
	peek(r *http.Request, topic string, count int, wait time.Duration) ([]*peeked, error)
	setup() *setup
}

//go:embed assets templates
var embedded embed.FS

// pages are the handlers of all pages.
type pages struct {
	src   source
	judge *judge
	base  string // "" or "/admin"
	now   func() time.Time
}

// maxForm bounds the body of a form; the longest is a message to publish.
const maxForm = 1 << 20

// pageRoutes adds the pages and assets: GET of each page, and POST of its forms (which
// answer with a redirect or a page, for browsers without JavaScript).
func (s *Server) pageRoutes(mux chi.Router) {
	p := &pages{src: s, judge: &s.judge, base: s.setup().basePath, now: time.Now}
	p.routes(mux)
}

func (p *pages) routes(mux chi.Router) {
	get := func(pattern string, h pageHandler) {
		mux.Method(http.MethodGet, pattern, p.page(h))
	}
	both := func(pattern string, show, act pageHandler) {
		get(pattern, show)
		mux.Method(http.MethodPost, pattern, p.page(act))
	}
	get("/", p.overview)
	both("/topics", p.topics, p.topicsAct)
	both("/topics/{topic}", p.topic, p.topicAct)
	both("/topics/{topic}/{channel}", p.channel, p.channelAct)
	get("/nodes", p.nodes)
	both("/nodes/{node}", p.node, p.nodeAct)
	both("/cluster", p.cluster, p.clusterAct)
	both("/lookup", p.lookup, p.lookupAct)
	get("/counter", p.counter)
	get("/activity", p.activity)
	get("/config", p.config)
	mux.Method(http.MethodPost, "/theme", http.HandlerFunc(p.setTheme))
	mux.Method(http.MethodGet, "/static/{file}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asset(w, r, chi.URLParam(r, "file"))
	}))
	mux.Method(http.MethodGet, "/favicon.ico", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asset(w, r, "icon.svg")
	}))
	mux.NotFound(p.page(p.unknown).ServeHTTP)
}

// A pageHandler returns the page to show, or an *httpapi.Error, which gets a page of its own.
type pageHandler func(w http.ResponseWriter, r *http.Request) (*page, error)

// A page is what one handler shows.
type page struct {
	Template string // the file in templates without .html
	Title    string
	Nav      string // the entry of the menu that is marked
	Status   int    // 0 is 200
	JSON     string // path of the same in the API, with its query; "" if there is none
	Frozen   bool   // no live updates: what it says was true at one time
	Problems []problem
	Again    time.Duration // whole seconds after which the browser asks anew, also without JavaScript; 0: not
	Data     any

	redirect string // instead of a page
	flash    string // shown once on the page after the redirect
}

// A frame is what the layout adds around a page.
type frame struct {
	*page
	Base, Version, Theme, User, Flash, Curl, Path string
	Assets                                        string // version of the assets
	Operator, Admin                               bool
	LogIn                                         string // where somebody who is not known can say who it is; "": nowhere
	Verdict                                       *verdict
	At, Now                                       time.Time
	Query                                         url.Values
}

// page answers with what h returns.
func (p *pages) page(h pageHandler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
			if err := r.ParseForm(); err != nil {
				p.render(w, r, p.failure(r, formError(err)))
				return
			}
		}
		pg, err := h(w, r)
		if err == errSent {
			return
		}
		if err != nil {
			pg = p.failure(r, err)
		}
		if pg.redirect != "" {
			if pg.flash != "" {
				http.SetCookie(w, p.cookie("flash", url.QueryEscape(pg.flash), 60))
			}
			http.Redirect(w, r, pg.redirect, http.StatusSeeOther)
			return
		}
		p.render(w, r, pg)
	})
}

func formError(err error) error {
	if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
		return httpapi.NewError(http.StatusRequestEntityTooLarge, "BODY_TOO_BIG")
	}
	return httpapi.NewError(http.StatusBadRequest, "INVALID_REQUEST")
}

func (p *pages) cookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: cmp.Or(p.base, "/"), MaxAge: maxAge, SameSite: http.SameSiteLaxMode}
}

func (p *pages) render(w http.ResponseWriter, r *http.Request, pg *page) {
	v := p.src.view()
	user, role := p.src.who(r)
	f := &frame{
		page: pg, Base: p.base, Version: p.src.setup().version, User: user, Path: r.URL.Path, Assets: assetVersion,
		Operator: role >= operator, Admin: role >= admin,
		Verdict: p.judge.look(p.src, v), At: v.At, Now: p.now(), Query: r.URL.Query(),
	}
	if user == "" && p.src.setup().logsIn {
		f.LogIn = p.base + "/login?" + url.Values{"back": {r.URL.RequestURI()}}.Encode()
	}
	if c, err := r.Cookie("theme"); err == nil && (c.Value == "dark" || c.Value == "light") {
		f.Theme = c.Value
	}
	if c, err := r.Cookie("flash"); err == nil && c.Value != "" {
		f.Flash, _ = url.QueryUnescape(c.Value)
		http.SetCookie(w, p.cookie("flash", "", -1))
	}
	if pg.JSON != "" {
		f.Curl = "curl -s " + shell(origin(r)+p.base+pg.JSON)
	}
	var b bytes.Buffer
	if err := templates[pg.Template].ExecuteTemplate(&b, "layout", p.with(f)); err != nil {
		// Only a mistake in a template leads here; the router logs it and answers 500.
		panic(fmt.Errorf("page %s: %w", pg.Template, err))
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	if pg.Again > 0 {
		h.Set("Refresh", strconv.Itoa(int(pg.Again.Seconds()))) // for browsers
		h.Set("Retry-After", h.Get("Refresh"))
	}
	if pg.Status != 0 {
		w.WriteHeader(pg.Status)
	}
	w.Write(b.Bytes()) // an error means that the client has gone
}

// origin is how the browser reached us, for commands to copy.
func origin(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// scope is what templates see: the frame, and links that know the base path.
type scope struct {
	*frame
	base string
}

func (p *pages) with(f *frame) scope { return scope{f, p.base} }

// Link returns the path of a page from its elements: Link("topics", "a#ephemeral").
func (s scope) Link(elements ...string) string { return s.base + link(elements...) }

// LinkTo is Link for elements in a slice.
func (s scope) LinkTo(elements []string) string { return s.base + link(elements...) }

// Keep returns the query of this page with some of its values changed; "" takes one out.
func (s scope) Keep(pairs ...any) string { return "?" + keep(s.Query, pairs...).Encode() }

// link returns the path of a page below the base path.
func link(elements ...string) string {
	var b strings.Builder
	for _, e := range elements {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(e))
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

// Ago says how long ago unix seconds were, with the time as its title.
func (s scope) Ago(unix int64) template.HTML {
	t := time.Unix(unix, 0).UTC()
	return template.HTML(`<span title="` + t.Format("2006-01-02 15:04:05") + ` UTC">` + span(max(0, s.Now.Sub(t))) + `</span>`)
}

// mostHere bounds the problems that the page of what they are about lists.
const mostHere = 8

// Here are the worst of the problems, and Unlisted is how many there are besides.
func (p *page) Here() []problem { return p.Problems[:min(len(p.Problems), mostHere)] }
func (p *page) Unlisted() int   { return max(0, len(p.Problems)-mostHere) }

// keep returns q with some of its values changed; "" takes one out.
func keep(q url.Values, pairs ...any) url.Values {
	out := make(url.Values, len(q))
	for k, v := range q {
		if k != "confirm" {
			out[k] = v
		}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if value := fmt.Sprint(pairs[i+1]); value == "" {
			out.Del(fmt.Sprint(pairs[i]))
		} else {
			out.Set(fmt.Sprint(pairs[i]), value)
		}
	}
	return out
}

func (p *pages) setTheme(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4096)
	theme := r.FormValue("theme")
	if theme != "dark" && theme != "light" {
		theme = ""
	}
	http.SetCookie(w, p.cookie("theme", theme, 365*24*3600))
	http.Redirect(w, r, ownPath(p.base, r.FormValue("back")), http.StatusSeeOther)
}

var (
	templates    = parse()
	assetVersion = hashAssets()
)

// parse makes one template of the layout and each page.
func parse() map[string]*template.Template {
	layout := template.Must(template.New("").Funcs(functions).ParseFS(embedded, "templates/layout.html", "templates/parts.html"))
	files, err := fs.Glob(embedded, "templates/*.html")
	if err != nil {
		panic(err)
	}
	out := map[string]*template.Template{}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name != "layout" && name != "parts" {
			out[name] = template.Must(template.Must(layout.Clone()).ParseFS(embedded, file))
		}
	}
	return out
}

// assets are the files that browsers load, with their types.
var assets = map[string]string{
	"app.css":  "text/css; charset=utf-8",
	"app.js":   "text/javascript; charset=utf-8",
	"icon.svg": "image/svg+xml",
}

func hashAssets() string {
	h := sha256.New()
	for _, name := range []string{"app.css", "app.js", "icon.svg"} {
		body, err := embedded.ReadFile("assets/" + name)
		if err != nil {
			panic(err)
		}
		h.Write(body)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// asset answers with one of assets. The address has the version of the content in its
// query, so what is asked for with it may be kept forever; those of --dev-static-dir change.
func (p *pages) asset(w http.ResponseWriter, r *http.Request, name string) {
	kind, ok := assets[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	dir := p.src.setup().staticDir
	read := func() ([]byte, error) { return embedded.ReadFile("assets/" + name) }
	if dir != "" {
		read = func() ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }
	}
	body, err := read()
	if err != nil {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-cache")
	if dir == "" && r.URL.Query().Get("v") == assetVersion {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Write(body) // an error means that the client has gone
}

// functions are those that templates call.
var functions = template.FuncMap{
	"int":      formatInteger,
	"num":      number,
	"rate":     perSecond,
	"signed":   signed,
	"size":     formatSize,
	"span":     span,
	"latency":  latency,
	"quantile": quantile,
	"unit":     withUnit,
	"count":    formatCount,
	"clock":    clock,
	"list":     list,
	"when":     when,
	"ms":       func(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond },
	"micro":    func(us uint64) time.Duration { return time.Duration(us) * time.Microsecond },
	"msfloat":  func(ms float64) string { return latency(ms * 1e6) },
	"hash":     func(h string) string { return h[:min(len(h), 8)] },
	"args":     func(values ...any) []any { return values },
	"icon":     icon,
	"address":  address,
	"old":      oldNumbers,
	"cut":      cutText,
}

// address is one that may be broken into lines, but not within its port.
func address(text string) template.HTML {
	host, port := text, ""
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		host, port = text[:i], text[i:]
	}
	return template.HTML(template.HTMLEscapeString(host) + `<wbr><span class="port">` + template.HTMLEscapeString(port) + `</span>`)
}

// icon refers to a symbol of the layout.
func icon(name any) template.HTML {
	return template.HTML(`<svg class="i" aria-hidden="true"><use href="#i-` + template.HTMLEscapeString(fmt.Sprint(name)) + `"/></svg>`)
}

// withUnit sets a unit smaller than its number; what is unknown has none.
func withUnit(number, unit string) template.HTML {
	if number == unknown || unit == "" {
		return template.HTML(template.HTMLEscapeString(number))
	}
	return template.HTML(template.HTMLEscapeString(number) + "<small>" + template.HTMLEscapeString(unit) + "</small>")
}

func toInt64(v any) int64 {
	switch n := v.(type) {
	case int:
		return int64(n)
	case int32:
		return int64(n)
	case int64:
		return n
	case uint64:
		return int64(n)
	case uint32:
		return int64(n)
	}
	panic(fmt.Sprintf("%T is no integer", v))
}

func formatInteger(v any) string {
	if n, ok := v.(uint64); ok {
		return integer(n)
	}
	return integer(toInt64(v))
}

func formatSize(v any) string {
	if n, ok := v.(uint64); ok {
		return size(n)
	}
	return size(toInt64(v))
}

func formatCount(v any, noun string) string { return count(toInt64(v), noun) }

// number is an integer for a table: exact up to a million, short with the exact one
// as its title above.
func number(v any) template.HTML {
	n := toInt64(v)
	if abs(n) < 1e6 {
		return template.HTML(integer(n))
	}
	return template.HTML(`<span title="` + integer(n) + `">` + short(float64(n)) + `</span>`)
}

// when is a time of day: in UTC, and in local time where the script runs.
func when(t time.Time) template.HTML {
	if t.IsZero() {
		return unknown
	}
	u := t.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s UTC">%s</time>`,
		u.Format(time.RFC3339Nano), u.Format("2006-01-02 15:04:05"), u.Format("15:04:05")))
}

// cutText bounds a text from elsewhere.
func cutText(n int, text string) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n]) + "…"
}
