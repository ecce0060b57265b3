package clusterinfo

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options are those of a Client.
type Options struct {
	ConnectTimeout time.Duration // default 2 s
	RequestTimeout time.Duration // of one request, answer included; default 5 s
	TLS            *tls.Config   // for https addresses and daemons that demand TLS; nil: Go's defaults
	UserAgent      string
	Authorization  string // header of every request; "": none
}

// A Client asks nsqlookupds and nsqds over HTTP. It is safe for concurrent use.
//
// An address is host:port, or a URL whose scheme and path are kept. A daemon that
// demands TLS and says at which port (nsqd with --tls-required) is asked there.
//
// A function that asks several daemons asks them at the same time. If some fail, it
// returns what the others said together with a *PartialError; if all fail, nothing
// and a *DaemonError or *TotalError.
type Client struct {
	http  *http.Client
	opts  Options
	turns chan struct{} // holds a token for each long answer that is being read; nil: any number

	mu     sync.Mutex
	secure map[string]*url.URL // by address: where those that demanded TLS are asked
}

// NewClient returns a Client.
func NewClient(opts Options) *Client {
	if opts.ConnectTimeout == 0 {
		opts.ConnectTimeout = 2 * time.Second
	}
	if opts.RequestTimeout == 0 {
		opts.RequestTimeout = 5 * time.Second
	}
	return &Client{
		opts:   opts,
		secure: make(map[string]*url.URL),
		http: &http.Client{Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: opts.ConnectTimeout}).DialContext,
			TLSClientConfig:        opts.TLS,
			TLSHandshakeTimeout:    opts.ConnectTimeout,
			MaxResponseHeaderBytes: headerLimit,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        90 * time.Second,
			DisableCompression:     true, // lengths are bounded as they come
		}},
	}
}

// A DaemonError is what went wrong with one daemon.
type DaemonError struct {
	Address string // as it was given
	Err     error
}

func (e *DaemonError) Error() string { return fmt.Sprintf("%s: %v", e.Address, e.Err) }
func (e *DaemonError) Unwrap() error { return e.Err }

// A StatusError is an answer that is not 200.
type StatusError struct {
	Status int
	Text   string // the message of the body, such as TOPIC_NOT_FOUND; cut short if long

	header http.Header
}

func (e *StatusError) Error() string { return fmt.Sprintf("answers %d %s", e.Status, e.Text) }

// Is says whether target is ErrUnknownOutcome and the answer that: 504 is of a daemon, or of
// a proxy before it, that has waited in vain for what it passed on.
func (e *StatusError) Is(target error) bool {
	return target == ErrUnknownOutcome && e.Status == http.StatusGatewayTimeout
}

// is says whether err is an answer of that status and text.
func (e *StatusError) is(status int, text string) bool { return e.Status == status && e.Text == text }

// A PartialError says which of the daemons asked gave no answer.
type PartialError struct {
	Errors []*DaemonError // at least one, sorted by address
	Asked  int            // daemons asked, more than there are Errors
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("%d of %d failed: %v", len(e.Errors), e.Asked, e.Errors[0])
}

// Unwrap returns all errors.
func (e *PartialError) Unwrap() []error { return plain(e.Errors) }

// A TotalError says that none of several daemons gave an answer.
type TotalError struct {
	Errors []*DaemonError // two at least, sorted by address
}

func (e *TotalError) Error() string {
	return fmt.Sprintf("all %d failed: %v", len(e.Errors), e.Errors[0])
}

// Unwrap returns all errors.
func (e *TotalError) Unwrap() []error { return plain(e.Errors) }

func plain(errs []*DaemonError) []error {
	all := make([]error, len(errs))
	for i, err := range errs {
		all[i] = err
	}
	return all
}

// ErrNotClustered is returned for an nsqlookupd that has no /cluster: stock's, or one
// older than ours.
var ErrNotClustered = errors.New("this nsqlookupd is not part of a replicated cluster")

// ErrUnknownOutcome is in the chain of the error of an action whose request was sent and
// not answered, or answered 504: it may have been done, and may still be. Any other
// error of an action means that it was not done.
var ErrUnknownOutcome = errors.New("unknown outcome, it may still happen")

// A said is what one daemon answered.
type said[T any] struct {
	address string
	value   T
}

// askAll asks every address, each once, and returns the answers in the order of the
// addresses, with the error that the Client promises.
func askAll[T any](addresses []string, ask func(address string) (T, error)) ([]said[T], error) {
	addresses = once(addresses)
	values := make([]T, len(addresses))
	errs := make([]error, len(addresses))
	var wg sync.WaitGroup
	for i, address := range addresses {
		wg.Go(func() { values[i], errs[i] = ask(address) })
	}
	wg.Wait()

	var answers []said[T]
	var failed []*DaemonError
	for i, address := range addresses {
		if errs[i] != nil {
			failed = append(failed, &DaemonError{address, errs[i]})
			continue
		}
		answers = append(answers, said[T]{address, values[i]})
	}
	return answers, failure(failed, len(addresses))
}

// failure returns the error that the Client promises when failed of the daemons asked
// gave no answer; nil if there are none.
func failure(failed []*DaemonError, asked int) error {
	slices.SortFunc(failed, func(a, b *DaemonError) int { return strings.Compare(a.Address, b.Address) })
	switch {
	case len(failed) == 0:
		return nil
	case len(failed) < asked:
		return &PartialError{failed, asked}
	case len(failed) == 1:
		return failed[0]
	}
	return &TotalError{failed}
}

// once returns names without repetitions, in their order.
func once(names []string) []string {
	var all []string
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if !seen[name] {
			seen[name] = true
			all = append(all, name)
		}
	}
	return all
}

// A question is one request to a daemon.
type question struct {
	method  string // "": GET
	path    string
	query   url.Values
	body    []byte
	again   bool          // may be sent twice, though it is no GET
	limit   int64         // of the answer; 0: answerLimit
	timeout time.Duration // answer included; 0: the Client's
	read    func(io.Reader, http.Header) error
	sent    atomic.Bool    // the request, or one before it that is sent again, may have reached the daemon
	cost    *time.Duration // the time that read took is added here, without that of the network; may be nil
}

// do asks and lets q.read have the body of a 200. A nil q.read drops it.
func (c *Client) do(ctx context.Context, address string, q *question) error {
	if q.timeout == 0 {
		q.timeout = c.opts.RequestTimeout
	}
	asked, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := &turn{ctx: asked, turns: c.turns, deadline: time.Now().Add(q.timeout)}
	t.timer = time.AfterFunc(q.timeout, func() { cancel(context.DeadlineExceeded) })
	defer t.end()
	err := c.ask(asked, address, q, t)
	if err != nil && ctx.Err() == nil && context.Cause(asked) == context.DeadlineExceeded {
		err = fmt.Errorf("no answer within %v: %w", q.timeout, context.DeadlineExceeded)
	}
	return q.outcome(err)
}

// outcome returns err with ErrUnknownOutcome before it if q changes something and may
// have done so.
func (q *question) outcome(err error) error {
	if err == nil || q.method == "" || !q.sent.Load() {
		return err
	}
	if _, answered := errors.AsType[*StatusError](err); answered {
		return err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
}

func (c *Client) ask(ctx context.Context, address string, q *question, t *turn) error {
	base, known, err := c.base(address)
	if err != nil {
		return err
	}
	resp, err := c.send(ctx, base, q)
	if err != nil {
		if known { // it may not demand TLS any more
			c.setSecure(address, nil)
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusForbidden && base.Scheme == "http" {
		secure, refusal := demandsTLS(base, resp)
		if secure == nil {
			return refusal
		}
		if resp, err = c.send(ctx, secure, q); err != nil {
			return err
		}
		defer resp.Body.Close()
		c.setSecure(address, secure)
	}
	if resp.StatusCode != http.StatusOK {
		return refused(resp)
	}
	return q.take(resp, t)
}

func (c *Client) send(ctx context.Context, base *url.URL, q *question) (*http.Response, error) {
	to := *base
	to.Path += q.path
	params := to.Query()
	for key, values := range q.query {
		params[key] = values
	}
	to.RawQuery = params.Encode()
	method := q.method
	if method == "" {
		method = http.MethodGet
	}
	q.sent.Store(false)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { q.sent.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, method, to.String(), bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/vnd.nsq; version=1.0")
	if c.opts.Authorization != "" {
		req.Header.Set("Authorization", c.opts.Authorization)
	}
	if q.again {
		// An empty value is not sent. It lets net/http try again on a connection of
		// its own when one it kept turns out to be closed.
		req.Header["Idempotency-Key"] = nil
	}
	if c.opts.UserAgent != "" {
		req.Header.Set("User-Agent", c.opts.UserAgent)
	}
	resp, err := c.http.Do(req)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // whose address is said already
	}
	return resp, err
}

// base returns the URL to which the paths of the daemon at address are added; known
// says that it is one where TLS was demanded earlier.
func (c *Client) base(address string) (base *url.URL, known bool, err error) {
	c.mu.Lock()
	base = c.secure[address]
	c.mu.Unlock()
	if base != nil {
		return base, true, nil
	}
	base, err = parseAddress(address)
	return base, false, err
}

// maxSecure bounds what a Client keeps of daemons that demand TLS; the others are
// refused and asked again each time.
const maxSecure = 10_000

// setSecure keeps where the daemon at address is asked, nil for address itself.
func (c *Client) setSecure(address string, base *url.URL) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if base == nil {
		delete(c.secure, address)
	} else if len(c.secure) < maxSecure {
		c.secure[address] = base
	}
}

// CheckAddress says what is wrong with address as one of a daemon, nil if nothing is.
func CheckAddress(address string) error {
	_, err := parseAddress(address)
	return err
}

func parseAddress(address string) (*url.URL, error) {
	given := address
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	base, err := url.Parse(address)
	switch {
	case err != nil || base.Hostname() == "":
		return nil, fmt.Errorf("address %q is neither host:port nor a URL", given)
	case base.Scheme != "http" && base.Scheme != "https":
		return nil, fmt.Errorf("address %q: only http and https are spoken", given)
	}
	base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), ""
	return base, nil
}

func portOf(base *url.URL) int {
	port, _ := strconv.Atoi(base.Port()) // which url.Parse has checked
	switch {
	case port != 0:
		return port
	case base.Scheme == "https":
		return 443
	}
	return 80
}

// demandsTLS returns where a daemon that answered 403 at base wants to be asked, nil
// and the refusal if that is not why it did.
func demandsTLS(base *url.URL, resp *http.Response) (*url.URL, error) {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, errorLimit))
	var answer struct {
		Port int `json:"https_port"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Port < 1 || answer.Port > 65535 {
		return nil, &StatusError{resp.StatusCode, message(body), resp.Header}
	}
	secure := *base
	secure.Scheme = "https"
	secure.Host = net.JoinHostPort(base.Hostname(), strconv.Itoa(answer.Port))
	return &secure, nil
}

func refused(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, errorLimit))
	return &StatusError{resp.StatusCode, message(body), resp.Header}
}
