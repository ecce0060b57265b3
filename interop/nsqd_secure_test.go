package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// certificate makes a certificate for 127.0.0.1 that is its own authority, and returns
// the paths of it and of its key.
func certificate(t testing.TB) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "subject.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// upgrade does the client's part of a TLS handshake on a connection whose IDENTIFY
// has agreed to it, and reads the answer that follows.
func upgrade(name string, config *tls.Config) step {
	return func(s *subject) string {
		s.t.Helper()
		conn := tls.Client(s.conns[name], config)
		conn.SetDeadline(time.Now().Add(replyTimeout))
		if err := conn.Handshake(); err != nil {
			s.hangUp(name)
			return name + " upgrades: no handshake"
		}
		conn.SetDeadline(time.Time{})
		s.conns[name] = conn
		return name + " upgrades: " + send(name, 1, "")(s)
	}
}

func TestNSQDTLS(t *testing.T) {
	cert, key := certificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	flags := func(more ...string) []string {
		return append([]string{"--tls-cert=" + cert, "--tls-key=" + key, "--https-address=127.0.0.1:0"}, more...)
	}
	plain := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS13}
	withCert := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}
	const wants, does = `{"feature_negotiation":true,"tls_v1":true}`, `{"feature_negotiation":true}`
	everything := []string{"NOP\n", "SUB t c\n", "RDY 1\n", "FIN 0123456789abcdef\n", "REQ 0123456789abcdef 0\n", "TOUCH 0123456789abcdef\n", "CLS\n", pub("t", "x"), mpub("t", "x"), dpub("t", "0", "x"), measured("AUTH", "x"), "END\n", "\n", measured("IDENTIFY", `{}`)}
	for _, s := range []story{
		{name: "offered", flags: flags(), steps: []step{
			send("a", 1, hello(does)), send("a", 1, pub("t", "one")),
			send("b", 1, hello(wants)), upgrade("b", plain), send("b", 1, "SUB t c\n"), send("b", 1, "RDY 1\n"), send("b", 1, "FIN <one>\n"+barrier),
			send("c", 1, hello(wants)), upgrade("c", &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}), send("c", 1, pub("t", "two")), send("b", 1, ""),
			last("d", hello(wants)+"NOP\nNOP\nNOP\n"),
			fetch(allStats), fetch("/info"), fetch("/config/tls_required"), status("GET /ping"),
		}},
		{name: "required", flags: flags("--tls-required"), steps: append(append(refusals(magicV2, everything...), refusals(hello(does), everything...)...),
			send("t", 1, hello(wants)), upgrade("t", plain), send("t", 1, pub("t", "one")),
			call("GET", "/ping", ""), call("POST", "/pub?topic=t", "x"), call("GET", "/nope", ""), call("DELETE", "/stats", ""),
		)},
		{name: "required but for HTTP", flags: flags("--tls-required=tcp-https"), steps: append(refusals(hello(does), everything...),
			fetch("/ping"), call("POST", "/pub?topic=t", "x"), fetch("/config/tls_required"),
		)},
		{name: "with a client's certificate", flags: flags("--tls-client-auth-policy=require-verify", "--tls-root-ca-file="+cert), steps: []step{
			send("a", 1, hello(wants)), upgrade("a", withCert), send("a", 1, pub("t", "x")),
			send("b", 1, hello(wants)), upgrade("b", plain),
			status("GET /ping"), send("c", 1, magicV2+"NOP\n"),
		}},
		{name: "with any client's certificate", flags: flags("--tls-client-auth-policy=require", "--tls-required=tcp-https"), steps: []step{
			send("a", 1, hello(wants)), upgrade("a", withCert), send("a", 1, pub("t", "x")), fetch("/config/tls_client_auth_policy"), fetch(allStats),
		}},
	} {
		t.Run(s.name, func(t *testing.T) { compareNSQDs(t, s) })
	}
}

// An authServer answers nsqd's questions by the secret, and keeps them.
type authServer struct {
	*httptest.Server

	mu    sync.Mutex
	asked []string
}

// authAnswers are bodies by secret; any other secret is answered with 403.
var authAnswers = map[string]string{
	"all":        `{"ttl":3600,"identity":"me","identity_url":"http://me.example","authorizations":[{"topic":".*","channels":[".*"],"permissions":["subscribe","publish"]}]}`,
	"two":        `{"ttl":3600,"identity":"","authorizations":[{"topic":"^t$","channels":["^c$"],"permissions":["subscribe"]},{"topic":"^u$","channels":[".*"],"permissions":["publish"]}]}`,
	"unanchored": `{"ttl":3600,"authorizations":[{"topic":"t","channels":["c"],"permissions":["subscribe","publish"]}]}`,
	"nothing":    `{"ttl":3600,"identity":"me","authorizations":[]}`,
	"null":       `null`,
	"no ttl":     `{"authorizations":[{"topic":".*","channels":[".*"],"permissions":["publish"]}]}`,
	"permission": `{"ttl":3600,"authorizations":[{"topic":".*","channels":[".*"],"permissions":["everything"]}]}`,
	"topic":      `{"ttl":3600,"authorizations":[{"topic":"(","channels":[".*"],"permissions":["publish"]}]}`,
	"channel":    `{"ttl":3600,"authorizations":[{"topic":".*","channels":["("],"permissions":["publish"]}]}`,
	"text":       `hello`,
	"short":      `{"ttl":1,"authorizations":[{"topic":".*","channels":[".*"],"permissions":["publish"]}]}`,
}

func startAuth(t testing.TB) *authServer {
	a := new(authServer)
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		var params []string
		for _, name := range slices.Sorted(func(yield func(string) bool) {
			for name := range q {
				if !yield(name) {
					return
				}
			}
		}) {
			params = append(params, name+"="+strings.Join(q[name], ","))
		}
		a.mu.Lock()
		a.asked = append(a.asked, fmt.Sprintf("%s %s %s (Accept: %s)", r.Method, r.URL.Path, strings.Join(params, " "), r.Header.Get("Accept")))
		a.mu.Unlock()
		w.Header().Set("X-NSQ-Content-Type", "nsq; version=1.0")
		if answer, known := authAnswers[q.Get("secret")]; known {
			fmt.Fprint(w, answer)
			return
		}
		http.Error(w, `{"message":"NO"}`, http.StatusForbidden)
	}))
	t.Cleanup(a.Close)
	return a
}

// questions shows what has been asked since the last time.
func (a *authServer) questions(*subject) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	text := strings.Join(a.asked, "; ")
	a.asked = nil
	return "the auth server was asked: " + text
}

func TestNSQDAuth(t *testing.T) {
	auth := startAuth(t)
	flags := []string{"--auth-http-address=" + strings.TrimPrefix(auth.URL, "http://")}
	with := func(secret string) string { return hello(`{}`) + measured("AUTH", secret) }
	for _, s := range []story{
		{name: "needed first", flags: flags, steps: append(refusals(magicV2, "SUB t c\n", pub("t", "x"), mpub("t", "x"), dpub("t", "0", "x"), "NOP\nEND\n", "PUB t!\n", "MPUB t!\n", "SUB t!\n", "PUB t\n", "MPUB t\n", "FIN x\n", "CLS\n"),
			send("i", 1, hello(`{"feature_negotiation":true}`)), call("POST", "/pub?topic=t", "x"), fetch(allStats), auth.questions)},
		{name: "answers", flags: flags, steps: []step{
			send("a", 2, with("all")), send("a", 1, measured("AUTH", "all")), auth.questions,
			send("b", 2, with("nothing")), send("c", 2, with("null")), send("d", 2, with("no ttl")), send("e", 2, with("permission")), send("f", 2, with("topic")), send("g", 2, with("channel")),
			send("h", 2, with("text")), send("i", 2, with("who?")), send("j", 1, magicV2+measured("AUTH", "all")), send("k", 2, with("a&b=c d\x00")), auth.questions,
			last("l", hello(`{}`)+measured("AUTH x", "all")), last("m", hello(`{}`)+withSize("AUTH", 0, "")), last("n", hello(`{}`)+withSize("AUTH", -5, "")), last("o", hello(`{}`)+"AUTH\n\x00"), last("p", hello(`{}`)+withSize("AUTH", 9, "all")),
			fetch(allStats),
		}},
		{name: "what is allowed", flags: flags, steps: []step{
			send("a", 2, with("two")), send("a", 1, pub("u", "x")), send("a", 1, mpub("u", "x")), send("a", 1, dpub("u", "0", "x")), send("a", 1, "SUB t c\n"), send("a", 1, pub("t", "x")),
			send("b", 2, with("two")), send("b", 1, "SUB t d\n"), send("c", 2, with("two")), send("c", 1, "SUB u c\n"), send("d", 2, with("two")), send("d", 1, mpub("t", "x")), send("e", 2, with("two")), send("e", 1, dpub("t", "0", "x")),
			send("f", 2, with("unanchored")), send("f", 1, pub("xtx", "x")), send("f", 1, "SUB xtx xcx\n"),
			fetch(allStats), fetch("/stats?include_mem=false"), auth.questions,
		}},
		{name: "asked again when it has expired", flags: flags, steps: []step{
			send("a", 2, with("short")), send("a", 1, pub("t", "x")), send("a", 1, pub("t", "x")), auth.questions,
			quiet("a", 1200e6), send("a", 1, pub("t", "x")), send("a", 1, pub("t", "x")), auth.questions,
		}},
		{name: "nobody there", flags: []string{"--auth-http-address=127.0.0.1:1", "--auth-http-address=127.0.0.1:2"}, steps: []step{send("a", 2, with("all"))}},
		{name: "an address with a path", flags: []string{"--auth-http-address=" + auth.URL + "/some/path"}, steps: []step{send("a", 2, with("all")), auth.questions}},
	} {
		t.Run(s.name, func(t *testing.T) { compareNSQDs(t, s) })
	}
}
