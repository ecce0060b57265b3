package nsqd

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// authServers are the HTTP servers that say what a client may do. With none of them
// everybody may do everything.
type authServers struct {
	urls   []string
	post   bool
	client *http.Client
}

const (
	// maxAuthAnswer bounds an auth server's answer.
	maxAuthAnswer = 1 << 20
	// maxAuthTTL bounds for how long one counts.
	maxAuthTTL = 365 * 24 * time.Hour
)

// newAuthServers returns the servers of o, which are asked over TLS with what certs
// trusts.
func newAuthServers(o *Options, certs *certificates) *authServers {
	a := &authServers{post: strings.EqualFold(o.AuthHTTPMethod, "post")}
	for _, address := range o.AuthHTTPAddresses {
		if !strings.Contains(address, "://") {
			address = "http://" + address + "/auth"
		}
		a.urls = append(a.urls, address)
	}
	dialer := &net.Dialer{Timeout: o.HTTPConnectTimeout}
	a.client = &http.Client{
		Timeout: o.HTTPRequestTimeout,
		Transport: &http.Transport{
			DialContext: dialer.DialContext,
			DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return (&tls.Dialer{NetDialer: dialer, Config: certs.client()}).DialContext(ctx, network, address)
			},
		},
	}
	return a
}

func (a *authServers) enabled() bool { return len(a.urls) > 0 }

func (a *authServers) close() {
	if a != nil {
		a.client.CloseIdleConnections()
	}
}

// authState is what an auth server said of a client.
type authState struct {
	secret      string // what the client has shown
	expires     time.Time
	identity    string
	identityURL string
	grants      []grant
}

// A grant allows what is in permissions on topics and channels that match. As in
// stock the expressions match anywhere in a name unless they are anchored.
type grant struct {
	topic       *regexp.Regexp
	channels    []*regexp.Regexp
	permissions []string
}

// authAnswer is the JSON of an auth server.
type authAnswer struct {
	TTL            int    `json:"ttl"` // seconds
	Identity       string `json:"identity"`
	IdentityURL    string `json:"identity_url"`
	Authorizations []struct {
		Topic       string   `json:"topic"`
		Channels    []string `json:"channels"`
		Permissions []string `json:"permissions"`
	} `json:"authorizations"`
}

// parseAuth reads an auth server's answer, of a time now.
func parseAuth(body []byte, now time.Time) (*authState, error) {
	var answer authAnswer
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	if answer.TTL <= 0 {
		return nil, fmt.Errorf("invalid TTL %d (must be >0)", answer.TTL)
	}
	ttl := time.Duration(min(answer.TTL, int(maxAuthTTL/time.Second))) * time.Second
	state := &authState{expires: now.Add(ttl), identity: answer.Identity, identityURL: answer.IdentityURL}
	for _, a := range answer.Authorizations {
		g := grant{permissions: a.Permissions}
		for _, p := range a.Permissions {
			if p != "subscribe" && p != "publish" {
				return nil, fmt.Errorf("unknown permission %s", p)
			}
		}
		var err error
		if g.topic, err = regexp.Compile(a.Topic); err != nil {
			return nil, fmt.Errorf("unable to compile topic %q: %w", a.Topic, err)
		}
		for _, channel := range a.Channels {
			re, err := regexp.Compile(channel)
			if err != nil {
				return nil, fmt.Errorf("unable to compile channel %q: %w", channel, err)
			}
			g.channels = append(g.channels, re)
		}
		state.grants = append(state.grants, g)
	}
	return state, nil
}

// allows says whether the client may publish to the topic, or with a channel
// subscribe to that.
func (s *authState) allows(topic, channel string) bool {
	need := "subscribe"
	if channel == "" {
		need = "publish"
	}
	return slices.ContainsFunc(s.grants, func(g grant) bool {
		return slices.Contains(g.permissions, need) && g.topic.MatchString(topic) &&
			slices.ContainsFunc(g.channels, func(re *regexp.Regexp) bool { return re.MatchString(channel) })
	})
}

// ask asks the servers, beginning with any of them, until one answers.
func (a *authServers) ask(ctx context.Context, query url.Values) (*authState, error) {
	var errs []error
	first := rand.IntN(len(a.urls))
	for i := range a.urls {
		address := a.urls[(first+i)%len(a.urls)]
		state, err := a.askOne(ctx, address, query)
		if err == nil {
			return state, nil
		}
		errs = append(errs, fmt.Errorf("auth server %s: %w", address, err))
	}
	return nil, errors.Join(errs...)
}

func (a *authServers) askOne(ctx context.Context, address string, query url.Values) (*authState, error) {
	request, err := a.request(ctx, address, query)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/vnd.nsq; version=1.0")
	response, err := a.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAuthAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > maxAuthAnswer:
		return nil, fmt.Errorf("its answer is longer than %d bytes", maxAuthAnswer)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("got response %s %q", response.Status, body[:min(len(body), 200)])
	}
	return parseAuth(body, time.Now())
}

func (a *authServers) request(ctx context.Context, address string, query url.Values) (*http.Request, error) {
	if a.post {
		body, err := json.Marshal(query)
		if err != nil {
			return nil, err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
		if err == nil {
			request.Header.Set("Content-Type", "application/json")
		}
		return request, err
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	merged := u.Query()
	for key, values := range query {
		merged[key] = values
	}
	u.RawQuery = merged.Encode()
	return http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
}

// authenticate is AUTH.
func (c *client) authenticate(params [][]byte) ([]byte, error) {
	if c.state() != stateInit {
		return nil, invalid("cannot AUTH in current state")
	}
	if len(params) != 1 {
		return nil, invalid("AUTH invalid number of parameters")
	}
	secret, err := c.readCommandBody("AUTH")
	if err != nil {
		return nil, err
	}
	if c.about.auth != nil && len(c.about.auth.grants) > 0 {
		return nil, invalid("AUTH already set")
	}
	if !c.srv.auth.enabled() {
		return nil, refusal("E_AUTH_DISABLED", "AUTH disabled")
	}
	state, err := c.queryAuth(string(secret))
	if err != nil {
		return nil, refusal("E_AUTH_FAILED", "AUTH failed")
	}
	if len(state.grants) == 0 {
		return nil, refusal("E_UNAUTHORIZED", "AUTH no authorizations found")
	}
	answer, err := json.Marshal(struct {
		Identity        string `json:"identity"`
		IdentityURL     string `json:"identity_url"`
		PermissionCount int    `json:"permission_count"`
	}{state.identity, state.identityURL, len(state.grants)})
	if err != nil {
		return nil, refusal("E_AUTH_ERROR", "AUTH error %v", err)
	}
	return answer, nil
}

// queryAuth asks an auth server what the client may do with secret, and keeps that.
func (c *client) queryAuth(secret string) (*authState, error) {
	query := url.Values{
		"remote_ip":   {hostOf(c.conn.RemoteAddr().String())},
		"tls":         {strconv.FormatBool(c.about.tls != nil)},
		"secret":      {secret},
		"common_name": {c.commonName()},
	}
	state, err := c.srv.auth.ask(c.srv.stopping, query)
	if err != nil {
		c.srv.log.Warn("PROTOCOL(V2): [" + c.conn.RemoteAddr().String() + "] AUTH failed " + err.Error())
		return nil, err
	}
	state.secret = secret
	c.mu.Lock()
	c.about.auth = state
	c.mu.Unlock()
	return state, nil
}

// commonName returns that of the client's certificate, "" if it has shown none.
func (c *client) commonName() string {
	if c.about.tls == nil || len(c.about.tls.PeerCertificates) == 0 {
		return ""
	}
	return c.about.tls.PeerCertificates[0].Subject.CommonName
}

// authorize says whether the client may use the command on the topic, and channel.
func (c *client) authorize(command, topic, channel string) error {
	if !c.srv.auth.enabled() {
		return nil
	}
	state := c.about.auth
	if state == nil || len(state.grants) == 0 {
		return refusal("E_AUTH_FIRST", "AUTH required before %s", command)
	}
	if !time.Now().Before(state.expires) {
		var err error
		if state, err = c.queryAuth(state.secret); err != nil {
			return refusal("E_AUTH_FAILED", "AUTH failed")
		}
	}
	if !state.allows(topic, channel) {
		return refusal("E_UNAUTHORIZED", "AUTH failed for %s on %q %q", command, topic, channel)
	}
	return nil
}
