package daemon

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
)

func TestVersion(t *testing.T) {
	if got, want := Version("nsqd", "1.3.0"), "nsqd v1.3.0 (built w/"+runtime.Version()+")"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCheckHealth(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/livez" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	for url, want := range map[string]int{srv.URL + "/livez": 0, srv.URL + "/readyz": 1, "http://127.0.0.1:1/": 1, "::": 1} {
		var out bytes.Buffer
		if got := CheckHealth(url, &out); got != want || (want != 0) != (out.Len() > 0) {
			t.Errorf("%s: exit code %d, want %d: %s", url, got, want, out.String())
		}
	}
}
