package nsqd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A fakeAuth answers for auth servers, which are hosts of any name.
type fakeAuth struct {
	mu      sync.Mutex
	answers map[string]func(*http.Request) (*http.Response, error) // by host
	asked   []string                                               // hosts
	values  url.Values                                             // of the last question
	path    string
}

func (f *fakeAuth) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.asked = append(f.asked, r.URL.Host)
	f.values, f.path = r.URL.Query(), r.Method+" "+r.URL.Path
	if r.Body != nil {
		f.values = nil
		json.NewDecoder(r.Body).Decode(&f.values)
	}
	answer := f.answers[r.URL.Host]
	f.mu.Unlock()
	return answer(r)
}

func (f *fakeAuth) says(host string, code int, body string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[host] = func(*http.Request) (*http.Response, error) { return respond(code, body) }
}

// inAuthLab runs a story with auth servers, each of which has its address as its
// name.
func inAuthLab(t *testing.T, method string, servers []string, story func(l *lab, f *fakeAuth)) {
	t.Helper()
	inLab(t, func(o *Options) { o.AuthHTTPAddresses, o.AuthHTTPMethod = servers, method }, func(l *lab) {
		f := &fakeAuth{answers: make(map[string]func(*http.Request) (*http.Response, error))}
		l.auth.client.Transport = f
		story(l, f)
	})
}

// grants returns an auth server's answer.
func grants(ttl int, authorizations string) string {
	return fmt.Sprintf(`{"ttl":%d,"identity":"me","identity_url":"http://me","authorizations":[%s]}`, ttl, authorizations)
}

const everything = `{"topic":".*","channels":[".*"],"permissions":["subscribe","publish"]}`

func auth(secret string) string { return "AUTH\n" + sized(secret) }

const authed = `{"identity":"me","identity_url":"http://me","permission_count":1}`

func TestAuthQuestion(t *testing.T) {
	for method, want := range map[string]string{"get": "GET /auth", "post": "POST /auth"} {
		inAuthLab(t, method, []string{"auth:1"}, func(l *lab, f *fakeAuth) {
			f.says("auth:1", 200, grants(60, everything))
			p := l.dial(auth("s3cr&t ü"))
			p.want(authed)
			if f.path != want {
				t.Errorf("asked %s, want %s", f.path, want)
			}
			if got := f.values.Encode(); got != "common_name=&remote_ip=peer&secret=s3cr%26t+%C3%BC&tls=false" {
				t.Errorf("%s asks %s", method, got)
			}
			p.say(pub("t#ephemeral", "m") + sub("t#ephemeral", "c"))
			p.want("OK", "OK")
			c := l.channel("t#ephemeral", "c").Clients[0]
			if !c.Authed || c.AuthIdentity != "me" || c.AuthIdentityURL != "http://me" {
				t.Errorf("stats: %+v", c)
			}
		})
	}
	// A URL is asked as it is.
	inAuthLab(t, "get", []string{"http://auth:1/deep/path?x=1"}, func(l *lab, f *fakeAuth) {
		f.says("auth:1", 200, grants(60, everything))
		l.dial(auth("s")).want(authed)
		if f.path != "GET /deep/path" || f.values.Get("x") != "1" || f.values.Get("secret") != "s" {
			t.Errorf("asked %s %v", f.path, f.values)
		}
	})
}

func TestAuthFirst(t *testing.T) {
	inAuthLab(t, "get", []string{"auth:1"}, func(l *lab, f *fakeAuth) {
		f.says("auth:1", 200, grants(60, everything))
		for say, want := range map[string]string{
			pub("t", "m"):      "E_AUTH_FIRST AUTH required before PUB",
			multi("t", "m"):    "E_AUTH_FIRST AUTH required before MPUB",
			dpub("t", "", "m"): "E_AUTH_FIRST AUTH required before DPUB",
			sub("t", "c"):      "E_AUTH_FIRST AUTH required before SUB",
		} {
			p := l.dial(say)
			p.want(want)
			p.wantClosed()
		}
		if n := l.dial().negotiate(`"client_id":"x"`); !n.AuthRequired {
			t.Error("auth_required is false")
		}
		p := l.dial(auth("s"), auth("s"))
		p.want(authed, "E_INVALID AUTH already set")
		p.wantClosed()
		for say, want := range map[string]string{
			"AUTH\n\x00\x00\x00\x00": "E_BAD_BODY AUTH invalid body size 0",
			"AUTH\n\xff\xff\xff\xfe": "E_BAD_BODY AUTH invalid body size -2",
			"AUTH\n\x7f\xff\xff\xff": "E_BAD_BODY AUTH body too big 2147483647 > 5242880",
		} {
			p := l.dial(say)
			p.want(want)
			p.wantClosed()
		}
		if l.FindTopic("t") != nil {
			t.Error("who is not allowed to makes topics")
		}
	})
}

func TestPermissions(t *testing.T) {
	for _, tt := range []struct {
		authorization string
		refused       []string // commands of the four
	}{
		{everything, nil},
		{`{"topic":"t","channels":[".*"],"permissions":["publish"]}`, []string{"SUB"}},
		{`{"topic":"t","channels":[".*"],"permissions":["subscribe"]}`, []string{"PUB", "MPUB", "DPUB"}},
		{`{"topic":"other","channels":[".*"],"permissions":["subscribe","publish"]}`, []string{"PUB", "MPUB", "DPUB", "SUB"}},
		// Expressions are not anchored, in stock neither.
		{`{"topic":"opi","channels":["h"],"permissions":["subscribe","publish"]}`, []string{"PUB", "MPUB", "DPUB"}},
		{`{"topic":"^topic$","channels":["^chan$"],"permissions":["subscribe","publish"]}`, []string{"PUB", "MPUB", "DPUB"}},
		{`{"topic":"^opi$","channels":[".*"],"permissions":["subscribe","publish"]}`, []string{"PUB", "MPUB", "DPUB", "SUB"}},
		{`{"topic":"topic","channels":["other"],"permissions":["subscribe"]},{"topic":"x","channels":[""],"permissions":["publish"]}`, []string{"PUB", "MPUB", "DPUB", "SUB"}},
		{`{"topic":"topic","channels":[],"permissions":["subscribe","publish"]}`, []string{"PUB", "MPUB", "DPUB", "SUB"}},
	} {
		inAuthLab(t, "get", []string{"auth:1"}, func(l *lab, f *fakeAuth) {
			f.says("auth:1", 200, grants(60, tt.authorization))
			for command, say := range map[string]string{
				"PUB": pub("topic#ephemeral", "m"), "MPUB": multi("topic#ephemeral", "m"), "DPUB": dpub("topic#ephemeral", "0", "m"),
				"SUB": sub("topic#ephemeral", "chan"),
			} {
				if strings.Contains(tt.authorization, "topic$") {
					say = strings.ReplaceAll(say, "#ephemeral", "")
				}
				p := l.dial(auth("s"), say)
				if _, payload, err := p.frame(); err != nil || !strings.Contains(string(payload), `"identity":"me"`) {
					t.Fatalf("%s: AUTH got %q, %v", tt.authorization, payload, err)
				}
				if _, payload, err := p.frame(); err != nil {
					t.Errorf("%s: %s: %v", tt.authorization, command, err)
				} else if got, want := string(payload) == "OK", !slices.Contains(tt.refused, command); got != want {
					t.Errorf("%s: %s is answered %q", tt.authorization, command, payload)
				} else if !got && !strings.HasPrefix(string(payload), "E_UNAUTHORIZED AUTH failed for "+command+` on "topic`) {
					t.Errorf("%s: %s is answered %q", tt.authorization, command, payload)
				}
			}
		})
	}
}

// Once its time is over, an answer is asked for anew; what it says then counts.
func TestAuthIsAskedAgain(t *testing.T) {
	inAuthLab(t, "get", []string{"auth:1"}, func(l *lab, f *fakeAuth) {
		f.says("auth:1", 200, grants(10, everything))
		p := l.dial(auth("s"))
		p.want(authed)
		say := func(want string, asked int) {
			t.Helper()
			p.say(pub("t#ephemeral", "m"))
			p.want(want)
			if len(f.asked) != asked {
				t.Errorf("asked %d times, want %d", len(f.asked), asked)
			}
		}
		say("OK", 1)
		time.Sleep(10*time.Second - time.Nanosecond)
		say("OK", 1)
		time.Sleep(time.Nanosecond)
		say("OK", 2)
		if f.values.Get("secret") != "s" {
			t.Errorf("asked again about %q", f.values)
		}
		time.Sleep(9 * time.Second)
		say("OK", 2)
		f.says("auth:1", 200, grants(10, `{"topic":"other","channels":[".*"],"permissions":["publish"]}`))
		time.Sleep(time.Second)
		say(`E_UNAUTHORIZED AUTH failed for PUB on "t#ephemeral" ""`, 3)
		p.wantClosed()

		f.says("auth:1", 200, grants(10, everything))
		p = l.dial(auth("s"))
		p.want(authed)
		f.says("auth:1", 403, "no longer")
		time.Sleep(time.Minute)
		say("E_AUTH_FAILED AUTH failed", 5)
		p.wantClosed()

		// A consumer is not asked about again, as in stock.
		f.says("auth:1", 200, grants(10, everything))
		c := l.dial(auth("s"), sub("t#ephemeral", "c"), "RDY 1\n")
		c.want(authed, "OK")
		f.says("auth:1", 403, "no longer")
		for range 2 {
			c.fin(c.message())
		}
	})
}

func TestBadAuthAnswers(t *testing.T) {
	huge := grants(60, strings.Repeat(everything+",", 1<<20/len(everything))+everything)
	for name, answer := range map[string]struct {
		code int
		body string
		want string // "": AUTH failed
	}{
		"no TTL":              {200, grants(0, everything), ""},
		"a TTL below 0":       {200, grants(-1, everything), ""},
		"an endless TTL":      {200, grants(1<<62, everything), authed},
		"a TTL beyond":        {200, `{"ttl":1e99}`, ""},
		"unknown permissions": {200, grants(60, `{"topic":".*","channels":[".*"],"permissions":["publish","admin"]}`), ""},
		"a bad topic":         {200, grants(60, `{"topic":"(","channels":[".*"],"permissions":["publish"]}`), ""},
		"a bad channel":       {200, grants(60, `{"topic":".*","channels":["["],"permissions":["publish"]}`), ""},
		"no JSON":             {200, "<html>", ""},
		"nothing":             {200, "", ""},
		"no grants":           {200, grants(60, ""), "E_UNAUTHORIZED AUTH no authorizations found"},
		"403":                 {403, grants(60, everything), ""},
		"500":                 {500, "", ""},
		"302":                 {302, "", ""},
		"more than 1 MiB":     {200, huge, ""},
	} {
		inAuthLab(t, "get", []string{"auth:1"}, func(l *lab, f *fakeAuth) {
			f.says("auth:1", answer.code, answer.body)
			p := l.dial(auth("s"))
			want := answer.want
			if want == "" {
				want = "E_AUTH_FAILED AUTH failed"
			}
			_, payload, err := p.frame()
			if err != nil || string(payload) != want {
				t.Errorf("%s: got %q, %v, want %q", name, payload, err, want)
			}
			if want != authed {
				p.wantClosed()
			}
		})
	}
}

// endless is the body of an answer without an end.
type endless struct{ read *int }

func (e endless) Read(p []byte) (int, error) { *e.read += len(p); return len(p), nil }

func TestAuthAnswerWithoutEnd(t *testing.T) {
	inAuthLab(t, "get", []string{"auth:1"}, func(l *lab, f *fakeAuth) {
		var read int
		f.answers["auth:1"] = func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(endless{&read})}, nil
		}
		p := l.dial(auth("s"))
		p.want("E_AUTH_FAILED AUTH failed")
		p.wantClosed()
		if read > 4<<20 {
			t.Errorf("%d bytes of an answer were read", read)
		}
	})
}

// A server that hangs, or is down, costs its time-out; another is asked then. Nobody
// else waits.
func TestAuthServerHangs(t *testing.T) {
	hang := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	inAuthLab(t, "get", []string{"hung:1"}, func(l *lab, f *fakeAuth) {
		f.answers["hung:1"] = hang
		p, begun := l.dial(auth("s")), time.Now()
		p.want("E_AUTH_FAILED AUTH failed")
		elapsed(t, begun, l.opts.HTTPRequestTimeout, "it is given up")
		p.wantClosed()
	})
	inAuthLab(t, "get", []string{"hung:1", "down:1", "good:1"}, func(l *lab, f *fakeAuth) {
		f.answers["hung:1"] = hang
		f.answers["down:1"] = func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }
		f.says("good:1", 200, grants(60, everything))
		for range 20 { // whichever is the first
			begun := time.Now()
			p := l.dial(auth("s"))
			p.want(authed)
			if d := time.Since(begun); d > l.opts.HTTPRequestTimeout {
				t.Errorf("it took %v", d)
			}
			p.conn.Close()
		}
	})
	// Close does not wait for it.
	inAuthLab(t, "get", []string{"hung:1"}, func(l *lab, f *fakeAuth) {
		f.answers["hung:1"] = hang
		l.dial(auth("s"))
		synctest.Wait()
		begun := time.Now()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		elapsed(t, begun, 0, "closed")
	})
}

// The auth server hears who has shown a certificate.
func TestAuthOverTLS(t *testing.T) {
	a := newAuthority(t)
	a.leaf("nsqd")
	a.leaf("client")
	trust := trusting(a)
	trust.Certificates = append(trust.Certificates, a.pair("client"))
	inLab(t, func(o *Options) {
		o.TLSCert, o.TLSKey, o.TLSRootCAFile, o.TLSClientAuthPolicy = a.file("nsqd.pem"), a.file("nsqd.key"), a.file("ca.pem"), "require-verify"
		o.AuthHTTPAddresses = []string{"auth:1"}
	}, func(l *lab) {
		f := &fakeAuth{answers: make(map[string]func(*http.Request) (*http.Response, error))}
		l.auth.client.Transport = f
		f.says("auth:1", 200, grants(60, everything))
		p := l.dial()
		p.negotiate(`"tls_v1":true`)
		if err := p.handshake(trust); err != nil {
			t.Fatal(err)
		}
		p.want("OK")
		p.say(auth("s"))
		p.want(authed)
		if f.values.Get("tls") != "true" || f.values.Get("common_name") != "client" {
			t.Errorf("asked %v", f.values)
		}
	})
}
