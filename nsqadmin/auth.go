package nsqadmin

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/crypto/bcrypt"

	"nsqraft/internal/httpapi"
)

// A role is what somebody may do; each includes those before it.
type role int

const (
	viewer   role = iota // looks
	operator             // publishes, creates, pauses
	admin                // empties, deletes, tombstones, changes the cluster
)

var roleNames = []string{"viewer", "operator", "admin"}

func (r role) String() string { return roleNames[r] }

// UnmarshalText takes the names of roles.
func (r *role) UnmarshalText(text []byte) error {
	i := slices.Index(roleNames, string(text))
	if i < 0 {
		return fmt.Errorf("%q is none of the roles viewer, operator and admin", text)
	}
	*r = role(i)
	return nil
}

const (
	// maxBcryptCost bounds what one login may take: a step doubles it, and 14 is
	// a second on a slow machine.
	maxBcryptCost = 14

	// Passwords that were right are believed again for loginLifetime without
	// bcrypt, so that guessers, who wait for a place to compute, do not hold up
	// those who are in.
	loginLifetime = 5 * time.Minute
	maxLogins     = 1024

	// At most bcryptPlaces passwords are checked at one time, and bcryptQueue more
	// wait for a place, for bcryptWait at most: guessing takes no more than that of
	// the machine, and of its memory.
	bcryptPlaces = 2
	bcryptQueue  = 64
	bcryptWait   = 2 * time.Second

	maxAuthFile = 1 << 20
)

// A users file, --auth-file, is TOML:
//
//	anonymous = "viewer"         # role of those who show no credentials; left out: they get 401
//
//	[users.alice]
//	role = "admin"               # viewer, operator or admin
//	password = "$2y$10$..."      # bcrypt, as "htpasswd -nB alice" prints it
//
//	[users.ci]
//	role = "operator"
//	token_sha256 = "9f86d0..."   # what "printf %s TOKEN | sha256sum" prints
//
// A password is for HTTP basic authentication, a token for "Authorization: Bearer
// TOKEN"; a user may have both. A token must be long and random: its hash is fast.
type users struct {
	Anonymous *role            `toml:"anonymous"`
	Users     map[string]*user `toml:"users"`

	tokens map[[sha256.Size]byte]string // of a token to its user's name
}

type user struct {
	Role     *role  `toml:"role"`
	Password string `toml:"password"`
	Token    string `toml:"token_sha256"`
}

// loadUsers reads a users file.
func loadUsers(file string) (*users, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("read --auth-file: %w", err)
	}
	if info.Size() > maxAuthFile {
		return nil, fmt.Errorf("--auth-file %s is larger than %d bytes", file, maxAuthFile)
	}
	u := &users{tokens: make(map[[sha256.Size]byte]string)}
	meta, err := toml.DecodeFile(file, u)
	if err != nil {
		return nil, fmt.Errorf("read --auth-file %s: %w", file, err)
	}
	if keys := meta.Undecoded(); len(keys) > 0 {
		return nil, fmt.Errorf("read --auth-file %s: unknown key %s", file, keys[0])
	}
	for _, name := range slices.Sorted(maps.Keys(u.Users)) {
		if err := u.add(name, u.Users[name]); err != nil {
			return nil, fmt.Errorf("read --auth-file %s: user %s %w", file, name, err)
		}
	}
	return u, nil
}

// add checks a user and makes the token known.
func (u *users) add(name string, entry *user) error {
	if entry.Role == nil {
		return errors.New("has no role")
	}
	if entry.Password == "" && entry.Token == "" {
		return errors.New("has neither password nor token_sha256")
	}
	if entry.Password != "" {
		cost, err := bcrypt.Cost([]byte(entry.Password))
		if err != nil {
			return fmt.Errorf("has a password that is no bcrypt hash: %w", err)
		}
		if cost > maxBcryptCost {
			return fmt.Errorf("has a password with bcrypt cost %d, of which at most %d is allowed", cost, maxBcryptCost)
		}
	}
	if entry.Token != "" {
		sum, err := hex.DecodeString(entry.Token)
		if err != nil || len(sum) != sha256.Size {
			return errors.New("has a token_sha256 that is not 64 hexadecimal digits")
		}
		key := [sha256.Size]byte(sum)
		if other, ok := u.tokens[key]; ok {
			return fmt.Errorf("has the token of %s", other)
		}
		u.tokens[key] = name
	}
	return nil
}

// An identity is who sent a request, and what they may do.
type identity struct {
	user string // "" if it is not known
	role role
}

// An authenticator tells identities. There are three ways, and a request may use each:
//
//   - credentials of the users file;
//   - the --acl-http-header of a trusted proxy: an --admin-user is admin, a user of
//     the users file has that role, all others view. Without a users file the own
//     host is trusted, as it is what stock is run behind. With one it is not, unless
//     it is named: a proxy that only forwards would let anybody be anyone;
//   - nothing: anonymous.
type authenticator struct {
	// Read-only after newAuthenticator.
	log     hclog.Logger
	header  string
	admins  []string
	proxies []netip.Prefix
	file    string // "" for none
	places  chan struct{}
	queue   chan struct{}

	users   atomic.Pointer[users] // nil without a file
	ignored sync.Once             // the log line about a header that is not believed

	mu     sync.Mutex
	logins map[[sha256.Size]byte]time.Time // until when a pair of name and password is believed
}

func newAuthenticator(o *Options, log hclog.Logger) (*authenticator, error) {
	a := &authenticator{
		log:    log,
		header: o.ACLHTTPHeader,
		admins: o.AdminUsers,
		file:   o.AuthFile,
		places: make(chan struct{}, bcryptPlaces),
		queue:  make(chan struct{}, bcryptQueue),
		logins: make(map[[sha256.Size]byte]time.Time),
	}
	cidrs := o.TrustedProxyCIDRs
	if len(cidrs) == 0 && o.AuthFile == "" {
		cidrs = []string{"127.0.0.0/8", "::1/128"}
	}
	for _, cidr := range cidrs {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, fmt.Errorf("--acl-trusted-proxy-cidr: %w", err)
		}
		a.proxies = append(a.proxies, prefix)
	}
	return a, a.reload()
}

// reload reads the users file anew. On error what was read before stays.
func (a *authenticator) reload() error {
	if a.file == "" {
		return nil
	}
	u, err := loadUsers(a.file)
	if err != nil {
		return err
	}
	a.users.Store(u)
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.logins)
	return nil
}

var (
	errUnauthorized = &httpapi.Error{
		Status: http.StatusUnauthorized,
		Text:   "UNAUTHORIZED",
		Header: http.Header{"Www-Authenticate": {`Basic realm="nsqadmin", charset="UTF-8"`}},
	}
	errBusy = &httpapi.Error{
		Status: http.StatusServiceUnavailable,
		Text:   "TOO_MANY_LOGINS",
		Header: http.Header{"Retry-After": {"2"}},
	}
)

// identify returns who sent r. The error is an *httpapi.Error: 401 for credentials
// that are wrong, or missing where they are needed; 503 if too many are checked.
func (a *authenticator) identify(r *http.Request) (identity, error) {
	u := a.users.Load()
	if u != nil {
		switch scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.ToLower(scheme) {
		case "bearer":
			return u.byToken(strings.TrimSpace(value))
		case "basic":
			return a.byPassword(r.Context(), u, value)
		}
	}
	if name := a.fromProxy(r); name != "" {
		return a.named(u, name), nil
	}
	switch {
	case u == nil && len(a.admins) == 0:
		return identity{a.passedOn(r), admin}, nil // stock's: everybody is
	case u == nil:
		return identity{user: a.passedOn(r)}, nil
	case u.Anonymous != nil:
		return identity{role: *u.Anonymous}, nil
	}
	return identity{}, errUnauthorized
}

func (u *users) byToken(token string) (identity, error) {
	name, ok := u.tokens[sha256.Sum256([]byte(token))]
	if !ok {
		return identity{}, errUnauthorized
	}
	return identity{name, *u.Users[name].Role}, nil
}

// byPassword checks what basic authentication shows.
func (a *authenticator) byPassword(ctx context.Context, u *users, encoded string) (identity, error) {
	pair, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	name, password, ok := strings.Cut(string(pair), ":")
	if err != nil || !ok {
		return identity{}, errUnauthorized
	}
	entry, known := u.Users[name]
	if !known || entry.Password == "" {
		// A name that does not exist takes as long as one that does.
		entry = &user{Password: nobody}
	}
	login := sha256.Sum256([]byte(entry.Password + "\x00" + string(pair)))
	if !a.believed(login) {
		right, err := a.compare(ctx, entry.Password, password)
		if err != nil {
			return identity{}, err
		}
		if !right || entry.Role == nil {
			return identity{}, errUnauthorized
		}
		a.believe(login)
	}
	return identity{name, *entry.Role}, nil
}

// nobody is what the passwords of users who do not exist are compared with, at
// bcrypt's usual cost. Whatever comes of it, they have no role.
const nobody = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"

// compare says whether hash is that of password, within the bounds on guessing.
func (a *authenticator) compare(ctx context.Context, hash, password string) (bool, error) {
	select {
	case a.queue <- struct{}{}:
		defer func() { <-a.queue }()
	default:
		return false, errBusy
	}
	ctx, cancel := context.WithTimeout(ctx, bcryptWait)
	defer cancel()
	select {
	case a.places <- struct{}{}:
		defer func() { <-a.places }()
	case <-ctx.Done():
		return false, errBusy
	}
	return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil, nil
}

func (a *authenticator) believed(login [sha256.Size]byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Now().Before(a.logins[login])
}

func (a *authenticator) believe(login [sha256.Size]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.logins) >= maxLogins {
		clear(a.logins) // more than any file of people has: they check once more
	}
	a.logins[login] = time.Now().Add(loginLifetime)
}

// fromProxy returns the user whom a trusted proxy names, "" if there is none.
func (a *authenticator) fromProxy(r *http.Request) string {
	name := ""
	if a.header != "" {
		name = r.Header.Get(a.header)
	}
	if !a.trusted(r.RemoteAddr) {
		if name != "" {
			a.ignored.Do(func() {
				a.log.Warn("a header that names the user is ignored: it does not come from a --acl-trusted-proxy-cidr",
					"header", a.header, "remote", r.RemoteAddr)
			})
		}
		return ""
	}
	return name
}

// passedOn returns the name in the basic authentication that a trusted proxy let
// through, as stock's notifications have it. It gives no rights.
func (a *authenticator) passedOn(r *http.Request) string {
	if !a.trusted(r.RemoteAddr) {
		return ""
	}
	name, _, _ := r.BasicAuth()
	return name
}

// named returns the identity of a user whom a trusted proxy vouches for.
func (a *authenticator) named(u *users, name string) identity {
	switch {
	case slices.Contains(a.admins, name):
		return identity{name, admin}
	case u != nil && u.Users[name] != nil:
		return identity{name, *u.Users[name].Role}
	case u == nil && len(a.admins) == 0:
		return identity{name, admin}
	}
	return identity{user: name}
}

// trusted says whether remote, an http.Request's RemoteAddr, is a trusted proxy's.
func (a *authenticator) trusted(remote string) bool {
	addr, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	ip := addr.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(a.proxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}

type identityKey struct{}

// probes are answered to anybody, so that a users file does not end health checks.
var probes = []string{"/ping", "/livez", "/readyz"}

// authenticated lets requests through to next with their identity, and answers those
// that are refused.
func (s *Server) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path, ok := strings.CutPrefix(r.URL.Path, s.base); ok && slices.Contains(probes, path) {
			next.ServeHTTP(w, r)
			return
		}
		id, err := s.auth.identify(r)
		if err != nil {
			refuse(w, err)
			return
		}
		if r.URL.Path == s.base+"/login" {
			s.login(w, r, id)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, id)))
	})
}

// login is where a browser is sent so that it asks for a name and a password, which it
// does only at a 401: with anonymous set it gets none elsewhere. Once it is known who it
// is, it goes back to where it came from.
func (s *Server) login(w http.ResponseWriter, r *http.Request, id identity) {
	w.Header().Set("Cache-Control", "no-store")
	if id.user == "" && s.auth.users.Load() != nil {
		refuse(w, errUnauthorized)
		return
	}
	http.Redirect(w, r, ownPath(s.base, r.FormValue("back")), http.StatusSeeOther)
}

// ownPath returns the path of ours that a request wants to be sent to: whatever it
// says, that leads nowhere else.
func ownPath(base, wanted string) string {
	return base + "/" + strings.TrimLeft(strings.TrimPrefix(wanted, base), "/\\")
}

// who returns who sent the request ("" if it is not known) and what they may do.
func (s *Server) who(r *http.Request) (user string, role role) {
	id, _ := r.Context().Value(identityKey{}).(identity)
	return id.user, id.role
}
