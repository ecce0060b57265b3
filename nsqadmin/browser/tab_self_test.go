package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// A tab that overlooks faults would make every other test worthless.
func TestTabSeesWhatTheBrowserComplainsAbout(t *testing.T) {
	for path, want := range map[string]string{
		"/inline": "Content Security Policy",
		"/throws": "exception",
		"/logs":   "console: \"oh dear\"",
		"/lost":   "404",
		"/well":   "",
	} {
		t.Run(strings.Trim(path, "/"), func(t *testing.T) {
			mux := http.NewServeMux()
			mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; img-src 'self' data:")
				page := map[string]string{
					"/inline":   `<p>well<p><script>document.title = "no"</script>`,
					"/throws":   `<p>well<script src="/throw.js"></script>`,
					"/logs":     `<p>well<script src="/log.js"></script>`,
					"/lost":     `<p>well<img src="/nowhere">`,
					"/well":     `<p>well`,
					"/throw.js": `throw new Error("oh dear")`,
					"/log.js":   `console.error("oh dear")`,
				}[r.URL.Path]
				if page == "" {
					http.NotFound(w, r)
					return
				}
				if strings.HasSuffix(r.URL.Path, ".js") {
					w.Header().Set("Content-Type", "text/javascript")
					fmt.Fprint(w, page)
					return
				}
				fmt.Fprint(w, `<!doctype html><html lang="en"><link rel="icon" href="data:,">`, page)
			})
			srv := httptest.NewServer(mux)
			defer srv.Close()
			tb := newTab(t, srv.URL)
			tb.open(path)
			tb.see("well")
			tb.until("loaded", "document.readyState === 'complete'")
			if want == "" {
				return
			}
			tb.await(want)
			tb.expect(want)
		})
	}
}

// await waits for a complaint with text in it.
func (tb *tab) await(text string) {
	tb.t.Helper()
	tb.until("a complaint about "+text, fmt.Sprint(true)) // the browser has answered, and before that said all
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if !slices.ContainsFunc(tb.complaints, func(c string) bool { return strings.Contains(c, text) }) {
		tb.t.Errorf("complaints %q, want one about %q", tb.complaints, text)
	}
}
