package clusterinfo

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestDaemonsThatDemandTLSAreAskedOverIt(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Nsq-Content-Type", "nsq; version=1.0")
		fmt.Fprintf(w, `{"topics":["%s-%d"]}`, r.Method, len(body))
	}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of the client that does not trust it
	secure.StartTLS()
	defer secure.Close()
	_, port, _ := net.SplitHostPort(secure.Listener.Addr().String())
	refusals := 0
	plain := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refusals++
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"message": "TLS_REQUIRED", "https_port": %s}`, port)
	}))

	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	c := NewClient(Options{RequestTimeout: patience, ConnectTimeout: patience, TLS: &tls.Config{RootCAs: roots}})
	for range 3 {
		topics, err := c.Topics(t.Context(), []string{plain})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "topics", topics, []string{"GET-0"})
	}
	equal(t, "refusals", refusals, 1) // it is remembered

	// A certificate that is not trusted is an error, not a reason to go on without.
	if _, err := newClient().Topics(t.Context(), []string{plain}); err == nil {
		t.Error("an unknown authority is trusted")
	}
	// It has been restarted without TLS.
	secure.Close()
	c.Topics(t.Context(), []string{plain})
	before := refusals
	c.Topics(t.Context(), []string{plain})
	equal(t, "asked in plain again", refusals, before+1)
}

func TestRefusalsWithoutAPortAreErrors(t *testing.T) {
	for _, body := range []string{`{"message":"TLS_REQUIRED","https_port":0}`, `{"message":"FORBIDDEN"}`, `{"message":"TLS_REQUIRED","https_port":70000}`} {
		_, err := newClient().Topics(t.Context(), []string{serve(t, daemon{"/topics": "403 " + body})})
		if e, ok := errors.AsType[*StatusError](err); !ok || e.Status != http.StatusForbidden {
			t.Errorf("%s: got %v, want its 403", body, err)
		}
	}
}
