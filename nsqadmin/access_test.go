package nsqadmin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nsqraft/internal/nsqtest/lookupdtest"
	"nsqraft/internal/nsqtest/nsqdtest"
)

func as(user string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("X-Forwarded-User", user) }
}

func withPassword(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

func withToken(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// Each way to act, by each role: 403 comes before anything is looked at.
func TestRoles(t *testing.T) {
	lookupd := lookupdtest.Start(t)
	node := nsqdtest.Start(t, lookupd.TCP)
	node.Publish("t", "1")
	node.Post("/channel/create?topic=t&channel=c", "")
	file := usersFile(t, `anonymous = "viewer"`)
	in := start(t, func(o *Options) { o.LookupdHTTPAddresses, o.AuthFile = []string{lookupd.HTTP}, file })
	in.await("/api/topics/t/c", "the channel", func(a reply) bool { return a.status == 200 })
	type asker func(*http.Request)
	nobody, b, a := asker(func(*http.Request) {}), asker(withToken("token")), asker(withPassword("a", "secret"))
	tests := []struct {
		method, path, body string
		anonymous, op, adm int
	}{
		{"GET", "/api/topics/t", "", 200, 200, 200},
		{"GET", "/topics/t", "", 200, 200, 200},
		{"GET", "/api/activity", "", 200, 200, 200},
		{"GET", "/api/topics/t/peek?n=1&wait=10ms", "", 403, 200, 200},
		{"POST", "/api/topics", `{"topic":"u"}`, 403, 200, 200},
		{"POST", "/api/topics", `no JSON`, 403, 400, 400},
		{"POST", "/api/topics/t", `[]`, 403, 400, 400},
		{"POST", "/api/topics/t", `{"action":"pause"}`, 403, 200, 200},
		{"POST", "/api/topics/t", `{"action":"unpause"}`, 403, 200, 200},
		{"POST", "/api/topics/t/c", `{"action":"pause"}`, 403, 200, 200},
		{"POST", "/api/topics/t", `{"action":"publish","body":"x"}`, 403, 200, 200},
		{"POST", "/api/topics/t", `{"action":"empty"}`, 403, 403, 200},
		{"POST", "/api/topics/t/c", `{"action":"empty"}`, 403, 403, 200},
		{"DELETE", "/api/nodes/" + node.HTTP, `{"topic":"u"}`, 403, 403, 200},
		{"DELETE", "/api/topics/u", "", 403, 403, 200},
		{"DELETE", "/api/topics/nope", "", 403, 403, 404},
		{"DELETE", "/api/topics/t/c", "", 403, 403, 200},
		{"POST", "/api/nodes/127.0.0.1:1", `{"action":"drain"}`, 403, 403, 404},
		{"POST", "/api/cluster", `{"action":"remove_member","node":"nope"}`, 403, 403, 404},
		{"PUT", "/config/log_level", `info`, 403, 403, 200},
	}
	for _, tt := range tests {
		for _, who := range []struct {
			name string
			as   asker
			want int
		}{{"nobody", nobody, tt.anonymous}, {"an operator", b, tt.op}, {"an admin", a, tt.adm}} {
			if got := in.ask(tt.method, tt.path, tt.body, who.as); got.status != who.want {
				t.Errorf("%s: %s %s %s: %d %s, want %d", who.name, tt.method, tt.path, tt.body, got.status, got.body, who.want)
			} else if strings.Contains(got.body, "Go ") {
				t.Errorf("%s %s %s: %s", tt.method, tt.path, tt.body, got.body)
			}
		}
	}
	for _, path := range []string{"/api/topics", "/", "/metrics", "/api/events"} {
		if got := in.ask("GET", path, "", withPassword("a", "wrong")); got.status != 401 || got.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s with a wrong password: %d %v", path, got.status, got.header)
		}
	}
	if got := in.ask("GET", "/livez", "", withPassword("a", "wrong")); got.status != 200 {
		t.Errorf("a health check: %d", got.status)
	}
	newest := in.events(1, func(e *event) bool { return e.Action == "delete_channel" })
	if len(newest) != 1 || newest[0].User != "a" || newest[0].Text != "a deleted channel c of topic t" {
		t.Errorf("activity %+v, want that a deleted it", newest)
	}
}

// With a role for those who are not known, a browser asks for a password at /login only.
func TestLoggingIn(t *testing.T) {
	file := usersFile(t, `anonymous = "viewer"`)
	in := start(t, func(o *Options) { o.NSQDHTTPAddresses, o.AuthFile = []string{"127.0.0.1:1"}, file })
	a := withPassword("a", "secret")
	if got := in.get("/login?back=/topics"); got.status != 401 || got.header.Get("WWW-Authenticate") == "" {
		t.Errorf("/login: %d %v, want a question for the password", got.status, got.header)
	}
	if got := in.ask("GET", "/login", "", withPassword("a", "wrong")); got.status != 401 || got.header.Get("WWW-Authenticate") == "" {
		t.Errorf("/login with a wrong password: %d %v", got.status, got.header)
	}
	for back, want := range map[string]string{"": "/", "/topics%3Fq%3Dx": "/topics?q=x", "//evil.example": "/evil.example", "https://evil.example": "/https:/evil.example"} {
		if got := in.ask("GET", "/login?back="+back, "", a); got.status != 303 || got.header.Get("Location") != want {
			t.Errorf("/login with back %q: %d to %q, want to %q", back, got.status, got.header.Get("Location"), want)
		}
	}
	const link, button = `<a class="login" href="/login?back=`, `<a class="btn primary" href="/login?back=`
	if got := in.get("/topics?q=x"); !strings.Contains(got.body, link+`%2Ftopics%3Fq%3Dx"`) {
		t.Error("no link to log in")
	}
	if got := in.get("/config"); got.status != 403 || !strings.Contains(got.body, button+`%2Fconfig"`) {
		t.Errorf("a page that is refused: %d, without a way to log in", got.status)
	}
	if got := in.ask("GET", "/config", "", a); got.status != 200 || strings.Contains(got.body, link) {
		t.Errorf("somebody who is logged in: %d, or is asked to", got.status)
	}
	open := start(t, func(o *Options) { o.NSQDHTTPAddresses = []string{"127.0.0.1:1"} })
	if got := open.get("/"); strings.Contains(got.body, link) {
		t.Error("without users there is a link to log in")
	}
	if got := open.get("/login"); got.status != 303 {
		t.Errorf("/login without users: %d", got.status)
	}
}

// Stock's way: a proxy in front names the user.
func TestAdminUsers(t *testing.T) {
	lookupd := lookupdtest.Start(t)
	in := start(t, func(o *Options) { o.LookupdHTTPAddresses, o.AdminUsers = []string{lookupd.HTTP}, []string{"alice"} })
	far := start(t, func(o *Options) {
		o.LookupdHTTPAddresses, o.AdminUsers = []string{lookupd.HTTP}, []string{"alice"}
		o.TrustedProxyCIDRs = []string{"192.0.2.0/24"}
	})
	const body = `{"topic":"t"}`
	if got := in.ask("POST", "/api/topics", body, as("bob")); got.status != 403 || got.JSON["message"] != "FORBIDDEN" {
		t.Errorf("bob: %d %s", got.status, got.body)
	}
	if got := far.ask("POST", "/api/topics", body, as("alice")); got.status != 403 {
		t.Errorf("alice, says anybody: %d %s", got.status, got.body)
	}
	if got := in.ask("POST", "/api/topics", body, as("alice")); got.status != 200 {
		t.Errorf("alice: %d %s", got.status, got.body)
	}
}

// Another site's page can change nothing, whatever the browser tells or does not tell;
// programs, which tell nothing, can.
func TestOtherSites(t *testing.T) {
	lookupd := lookupdtest.Start(t)
	in := start(t, func(o *Options) {
		o.LookupdHTTPAddresses, o.TrustedOrigins = []string{lookupd.HTTP}, []string{"https://proxy.example"}
	})
	in.do200("POST", "/api/topics", `{"topic":"t"}`)
	header := func(pairs ...string) func(*http.Request) {
		return func(r *http.Request) {
			for i := 0; i < len(pairs); i += 2 {
				r.Header.Set(pairs[i], pairs[i+1])
			}
		}
	}
	own := "http://" + in.HTTPAddr().String()
	tests := []struct {
		name    string
		request func(*http.Request)
		want    int
	}{
		{"a program", header(), 200},
		{"our page", header("Origin", own, "Sec-Fetch-Site", "same-origin"), 200},
		{"our page in an old browser", header("Origin", own), 200},
		{"typed", header("Sec-Fetch-Site", "none"), 200},
		{"another site", header("Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site"), 403},
		{"in an old browser", header("Origin", "http://evil.example"), 403},
		{"as text", header("Origin", "http://evil.example", "Content-Type", "text/plain"), 403},
		{"another port", header("Origin", "http://127.0.0.1:1", "Sec-Fetch-Site", "same-site"), 403},
		{"nobody's page", header("Origin", "null"), 403},
		{"a proxy that is named", header("Origin", "https://proxy.example", "Sec-Fetch-Site", "cross-site"), 200},
	}
	for _, tt := range tests {
		if got := in.ask("POST", "/api/topics", `{"topic":"t"}`, tt.request); got.status != tt.want {
			t.Errorf("%s: %d %s to the API, want %d", tt.name, got.status, got.body, tt.want)
		}
		if got := in.ask("PUT", "/config/log_level", "info", tt.request); got.status != tt.want {
			t.Errorf("%s: %d %s to /config, want %d", tt.name, got.status, got.body, tt.want)
		}
		if got := in.ask("POST", "/lookup", "action=nothing", tt.request); (got.status == 403) != (tt.want == 403) {
			t.Errorf("%s: %d to a form, want %d", tt.name, got.status, tt.want)
		}
	}
	if got := in.ask("GET", "/api/topics/t/peek", "", header("Sec-Fetch-Site", "cross-site")); got.status != 403 {
		t.Errorf("a look at messages from another site: %d", got.status)
	}
}

func TestNotifications(t *testing.T) {
	type told struct {
		kind string
		note notification
	}
	notes := make(chan told, 10)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := told{kind: r.Header.Get("Content-Type")}
		if err := json.NewDecoder(r.Body).Decode(&got.note); err != nil {
			t.Errorf("body: %v", err)
		}
		notes <- got
	}))
	defer endpoint.Close()
	lookupd := lookupdtest.Start(t)
	gone := nsqdtest.Start(t, lookupd.TCP)
	gone.Publish("t", "1")
	in := start(t, func(o *Options) {
		o.LookupdHTTPAddresses, o.NotificationHTTPEndpoint = []string{lookupd.HTTP}, endpoint.URL+"/hook"
	})
	in.await("/api/topics/t", "the nsqd", has(gone.HTTP))
	in.do200("POST", "/api/topics", `{"topic":"u","channel":"c"}`)
	gone.Close()
	in.ask("POST", "/api/topics/t?why=not", `{"action":"pause"}`, as("alice"), func(r *http.Request) { r.Header.Set("User-Agent", "test") })
	host, _ := os.Hostname()
	for _, want := range []notification{
		{Action: "create_topic", Topic: "u"},
		{Action: "create_channel", Topic: "u", Channel: "c"},
		{Action: "pause_topic", Topic: "t", User: "alice", UserAgent: "test", URL: in.url + "/api/topics/t?why=not"},
	} {
		var got told
		select {
		case got = <-notes:
		case <-time.After(30 * time.Second):
			t.Fatalf("nothing is told of %s", want.Action)
		}
		n := got.note
		if n.Action != want.Action || n.Topic != want.Topic || n.Channel != want.Channel || n.User != want.User || n.Via != host ||
			n.Timestamp == 0 || n.RemoteIP == "" || got.kind != "application/json" || want.URL != "" && (n.URL != want.URL || n.UserAgent != want.UserAgent) {
			t.Errorf("%s is told as %+v (%s)", want.Action, n, got.kind)
		}
		if failed := n.Action == "pause_topic"; len(n.Result) != 1 || (n.Result[0].Error != "") != failed {
			t.Errorf("result of %s: %+v", n.Action, n.Result)
		}
	}
}

// An endpoint that is dead, and one that hangs, hold up no action, however many.
func TestNotificationsToNobody(t *testing.T) {
	hung, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	for _, endpoint := range []string{"http://127.0.0.1:1/", "http://" + hung.Addr().String()} {
		in := start(t, func(o *Options) {
			o.LookupdHTTPAddresses, o.NotificationHTTPEndpoint = []string{"127.0.0.1:1"}, endpoint
			o.RequestTimeout = time.Minute
		})
		r := httptest.NewRequest("POST", "/", nil)
		begun := time.Now()
		for range 4 * maxNotifications {
			in.notifier.notify(r, "", &action{name: "pause_topic"}, nil, time.Now())
		}
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("%s: it took %v", endpoint, took)
		}
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	}
}

// selfSigned writes a certificate for 127.0.0.1 with that serial number.
func selfSigned(t *testing.T, cert, key string, serial int64) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHTTPS(t *testing.T) {
	cert, key := filepath.Join(t.TempDir(), "cert"), filepath.Join(t.TempDir(), "key")
	selfSigned(t, cert, key, 1)
	in := start(t, func(o *Options) {
		o.NSQDHTTPAddresses, o.TLSCert, o.TLSKey = []string{"127.0.0.1:1"}, cert, key
	})
	serial := func() int64 {
		t.Helper()
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Get("https://" + in.HTTPAddr().String() + "/ping")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.ProtoMajor != 2 {
			t.Errorf("it speaks %s", resp.Proto)
		}
		return resp.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Errorf("certificate %d, want 1", got)
	}
	selfSigned(t, cert, key, 2)
	if err := in.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Errorf("certificate %d after a reload, want 2", got)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if err := in.Reload(); err == nil {
		t.Error("a key that is gone is no error")
	}
	if got := serial(); got != 2 {
		t.Errorf("certificate %d after a reload that failed, want 2", got)
	}
}
