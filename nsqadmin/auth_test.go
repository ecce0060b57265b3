package nsqadmin

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/crypto/bcrypt"

	"nsqraft/internal/httpapi"
)

// usersFile writes a users file in which a (admin) has the password "secret" and b
// (operator) the token "token".
func usersFile(t *testing.T, more string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("token"))
	file := filepath.Join(t.TempDir(), "users.toml")
	text := more + "\n[users.a]\nrole = \"admin\"\npassword = \"" + string(hash) + "\"\n" +
		"[users.b]\nrole = \"operator\"\ntoken_sha256 = \"" + hex.EncodeToString(sum[:]) + "\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestWhoMayDoWhat(t *testing.T) {
	const near, far = "127.0.0.1:5000", "192.0.2.1:5000"
	header := func(user string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("X-Forwarded-User", user) }
	}
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	nothing := func(*http.Request) {}
	users, open := usersFile(t, ""), usersFile(t, `anonymous = "viewer"`)
	tests := []struct {
		name    string
		admins  []string
		file    string
		proxies []string
		remote  string
		request func(*http.Request)
		user    string
		role    role
		refused int // status
	}{
		{name: "stock: everybody is admin", remote: far, request: nothing, role: admin},
		{name: "and has the name that the proxy gives", remote: near, request: header("x"), user: "x", role: admin},
		{name: "also that of basic authentication", remote: near, request: basic("x", ""), user: "x", role: admin},
		{name: "which nobody vouches for from afar", remote: far, request: basic("x", ""), role: admin},

		{name: "an admin user", admins: []string{"x"}, remote: near, request: header("x"), user: "x", role: admin},
		{name: "over IPv6", admins: []string{"x"}, remote: "[::1]:5", request: header("x"), user: "x", role: admin},
		{name: "another user", admins: []string{"x"}, remote: near, request: header("y"), user: "y"},
		{name: "nobody", admins: []string{"x"}, remote: near, request: nothing},
		{name: "a header anybody can send", admins: []string{"x"}, remote: far, request: header("x")},
		{name: "a proxy that is trusted", admins: []string{"x"}, proxies: []string{"192.0.2.0/24"}, remote: far, request: header("x"), user: "x", role: admin},
		{name: "basic authentication gives no rights", admins: []string{"x"}, remote: near, request: basic("x", "p"), user: "x"},
		{name: "an address that is none", admins: []string{"x"}, remote: "@", request: header("x")},

		{name: "a password", file: users, remote: far, request: basic("a", "secret"), user: "a", role: admin},
		{name: "a wrong one", file: users, remote: far, request: basic("a", "Secret"), refused: 401},
		{name: "no such user", file: users, remote: far, request: basic("z", "secret"), refused: 401},
		{name: "a user without a password", file: users, remote: far, request: basic("b", ""), refused: 401},
		{name: "a token", file: users, remote: far, request: bearer("token"), user: "b", role: operator},
		{name: "a wrong one", file: users, remote: far, request: bearer("a"), refused: 401},
		{name: "no base64", file: users, remote: far, request: func(r *http.Request) { r.Header.Set("Authorization", "Basic !") }, refused: 401},
		{name: "no credentials", file: users, remote: far, request: nothing, refused: 401},
		{name: "anonymous", file: open, remote: far, request: nothing},
		{name: "wrong is not anonymous", file: open, remote: far, request: bearer("a"), refused: 401},
		{name: "with a file the own host is no proxy", file: users, remote: near, request: header("a"), refused: 401},
		{name: "unless it is named", file: users, proxies: []string{"127.0.0.1/32"}, remote: near, request: header("b"), user: "b", role: operator},
		{name: "an admin user beside the file", file: users, admins: []string{"x"}, proxies: []string{"127.0.0.1/32"}, remote: near, request: header("x"), user: "x", role: admin},
	}
	for _, tt := range tests {
		o := DefaultOptions()
		o.AdminUsers, o.AuthFile, o.TrustedProxyCIDRs = tt.admins, tt.file, tt.proxies
		a, err := newAuthenticator(o, hclog.NewNullLogger())
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = tt.remote
		tt.request(r)
		id, err := a.identify(r)
		e, _ := errors.AsType[*httpapi.Error](err)
		switch {
		case tt.refused != 0 && (e == nil || e.Status != tt.refused):
			t.Errorf("%s: %+v, %v, want %d", tt.name, id, err, tt.refused)
		case tt.refused == 0 && (err != nil || id != identity{tt.user, tt.role}):
			t.Errorf("%s: %+v, %v, want %q as %s", tt.name, id, err, tt.user, tt.role)
		}
	}
}

func TestUsersFilesThatAreRefused(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"no role", "[users.x]\npassword = \"p\"", "no role"},
		{"no such role", "[users.x]\nrole = \"root\"", "root"},
		{"nothing to show", "[users.x]\nrole = \"viewer\"", "neither"},
		{"a password in clear", "[users.x]\nrole = \"viewer\"\npassword = \"secret\"", "bcrypt"},
		{"an hour a login", "[users.x]\nrole = \"viewer\"\npassword = \"$2a$31$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\"", "cost 31"},
		{"a token in clear", "[users.x]\nrole = \"viewer\"\ntoken_sha256 = \"token\"", "64 hexadecimal"},
		{"one token of two", "[users.x]\nrole = \"viewer\"\ntoken_sha256 = \"" + strings.Repeat("0", 64) + "\"\n" +
			"[users.y]\nrole = \"admin\"\ntoken_sha256 = \"" + strings.Repeat("0", 64) + "\"", "the token of x"},
		{"a key with a typo", "anonymus = \"viewer\"", "anonymus"},
		{"no TOML", "x:y", "--auth-file"},
	}
	for _, tt := range tests {
		file := filepath.Join(t.TempDir(), "users")
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadUsers(file); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}

// A file that became wrong is not taken, and a user who was taken out is out.
func TestUsersAreReadAgain(t *testing.T) {
	o := DefaultOptions()
	o.AuthFile = usersFile(t, "")
	a, err := newAuthenticator(o, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	login := func() error {
		r := httptest.NewRequest("GET", "/", nil)
		r.SetBasicAuth("a", "secret")
		_, err := a.identify(r)
		return err
	}
	if err := login(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.AuthFile, []byte("["), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.reload(); err == nil {
		t.Error("a broken file is taken")
	}
	if err := login(); err != nil {
		t.Errorf("after a reload that failed: %v", err)
	}
	if err := os.WriteFile(o.AuthFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.reload(); err != nil {
		t.Fatal(err)
	}
	if err := login(); err == nil {
		t.Error("a user who is no longer in the file gets in")
	}
}

// Guessers get no more than the places there are, and do not keep out whoever is in.
func TestGuessingIsBounded(t *testing.T) {
	o := DefaultOptions()
	o.AuthFile = usersFile(t, "")
	a, err := newAuthenticator(o, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	login := func(password string) error {
		r := httptest.NewRequest("GET", "/", nil)
		r.SetBasicAuth("a", password)
		_, err := a.identify(r)
		return err
	}
	if err := login("secret"); err != nil {
		t.Fatal(err)
	}
	for range bcryptPlaces {
		a.places <- struct{}{} // all places are taken
	}
	for range bcryptQueue {
		a.queue <- struct{}{}
	}
	var wg sync.WaitGroup
	for range 2 * bcryptQueue {
		wg.Go(func() {
			e, _ := errors.AsType[*httpapi.Error](login("wrong"))
			if e == nil || e.Status != http.StatusServiceUnavailable {
				t.Errorf("a guess beyond the bound: %v, want 503", e)
			}
		})
	}
	wg.Wait()
	if err := login("secret"); err != nil {
		t.Errorf("who is in: %v", err)
	}
}
