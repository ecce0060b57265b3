package nsqd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"nsqraft/internal/wire"
)

const (
	// channelsWait bounds what the first message of a topic waits for the names of
	// its channels.
	channelsWait = time.Second
	// maxQueries bounds the connections to one nsqlookupd's HTTP port at one time.
	maxQueries = 8
	// maxChannelsBody bounds the answer to one question for channels: some 60,000.
	maxChannelsBody = 4 << 20
)

// newQueryClient returns the HTTP client that asks nsqlookupds.
func newQueryClient(o *Options) *http.Client {
	return &http.Client{
		Timeout: o.HTTPRequestTimeout,
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: o.HTTPConnectTimeout}).DialContext,
			MaxConnsPerHost:        maxQueries,
			IdleConnTimeout:        10 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
		// An nsqlookupd answers itself; nobody else is asked on its word.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// An answer is what one nsqlookupd says.
type answer struct {
	link  *link
	names []string
	err   error
}

// channels returns, sorted, the channels of topic that any nsqlookupd knows, without
// ephemeral ones: those need a consumer to exist. All are asked at once whose HTTP
// address has been learnt. After channelsWait, or when ctx ends, it returns what has
// come until then. One that is late then is not waited for again until it has
// answered, so that an nsqlookupd that hangs costs that time once.
//
// The error says which could not be asked or have failed; what the others know is
// returned all the same.
func (l *links) channels(ctx context.Context, topic string) ([]string, error) {
	all := l.list()
	var errs []error
	answers := make(chan answer, len(all))
	waiting := make(map[*link]bool)
	for _, k := range all {
		addr := k.httpAddress()
		if addr == "" {
			continue
		}
		wait, ask := k.mayAsk()
		if ask && !l.start(func() {
			names, err := l.query(k, addr, topic)
			k.asked(err)
			answers <- answer{k, names, err}
		}) {
			return nil, ErrClosing
		}
		if wait {
			waiting[k] = true
		} else {
			errs = append(errs, fmt.Errorf("nsqlookupd at %s is not waited for, it did not answer before", addr))
		}
	}
	if len(waiting) == 0 && len(errs) == 0 {
		if len(all) > 0 {
			l.log.Error("no available nsqlookupd to query for channels to pre-create for topic " + topic)
		}
		return nil, nil
	}

	var names []string
	late := time.NewTimer(channelsWait)
	defer late.Stop()
collect:
	for len(waiting) > 0 {
		select {
		case a := <-answers:
			delete(waiting, a.link)
			names = append(names, a.names...)
			if a.err != nil {
				errs = append(errs, a.err)
			}
		case <-late.C:
			for k := range waiting {
				k.late()
				errs = append(errs, fmt.Errorf("no answer from nsqlookupd at %s within %v", k.addr, channelsWait))
			}
			break collect
		case <-ctx.Done():
			errs = append(errs, ctx.Err())
			break collect
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !wire.ValidChannel(name) || wire.Ephemeral(name) })
	slices.Sort(names)
	return slices.Compact(names), errors.Join(errs...)
}

// query asks one nsqlookupd, within the client's time.
func (l *links) query(k *link, addr, topic string) ([]string, error) {
	u := &url.URL{Scheme: "http", Host: addr, Path: "/channels", RawQuery: url.Values{"topic": {topic}}.Encode()}
	req := &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{"Accept": {"application/vnd.nsq; version=1.0"}}}
	resp, err := l.client.Do(req.WithContext(k.ctx))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("nsqlookupd at %s answers %s", addr, resp.Status)
	}
	var body struct {
		Channels []string `json:"channels"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxChannelsBody)).Decode(&body); err != nil {
		return nil, fmt.Errorf("answer of nsqlookupd at %s: %w", addr, err)
	}
	return body.Channels, nil
}

// mayAsk says whether to ask this nsqlookupd and whether to wait for its answer. One
// that hangs is asked one question at a time, to see whether it answers again.
func (k *link) mayAsk() (wait, ask bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	ask = !k.hung || k.asking == 0
	if ask {
		k.asking++
	}
	return !k.hung, ask
}

// asked is called when a question of mayAsk has its answer, or will have none.
func (k *link) asked(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asking--
	// What fails at once holds nobody up.
	netErr, ok := errors.AsType[net.Error](err)
	k.hung = ok && netErr.Timeout()
}

// late notes that nobody should wait for this nsqlookupd.
func (k *link) late() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hung = true
}
