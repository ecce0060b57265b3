package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// requestTimeout bounds one HTTP request of a test, a blocking query excepted.
const requestTimeout = 3 * time.Second

var client = &http.Client{
	Timeout:       time.Minute, // each request brings its own, shorter
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// An answer is what an HTTP request brought back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// request sends one HTTP request to addr (host:port) and reads the whole answer.
func request(method, addr, target, body string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+target, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	// What go-nsq and nsqadmin send.
	req.Header.Set("Accept", "application/vnd.nsq; version=1.0")
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: read body: %w", method, target, err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: b}, nil
}

// get sends a GET and decodes a 200 into v. Any other status is an error.
func get(addr, target string, v any) error {
	a, err := request("GET", addr, target, "")
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("GET %s%s: status %d: %s", addr, target, a.status, a.body)
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		return fmt.Errorf("GET %s%s: %w in %q", addr, target, err, a.body)
	}
	return nil
}

// mustSend sends a request that has to be answered with 200 and returns the body.
func mustSend(t testing.TB, method, addr, target, body string) string {
	t.Helper()
	a, err := request(method, addr, target, body)
	if err != nil {
		t.Fatal(err)
	}
	if a.status != http.StatusOK {
		t.Fatalf("%s %s%s: status %d: %s", method, addr, target, a.status, a.body)
	}
	return string(a.body)
}

// A producer is an nsqd as /lookup and /nodes list it.
type producer struct {
	BroadcastAddress string   `json:"broadcast_address"`
	TCPPort          int      `json:"tcp_port"`
	HTTPPort         int      `json:"http_port"`
	Topics           []string `json:"topics"`     // only in /nodes
	Tombstones       []bool   `json:"tombstones"` // only in /nodes, one for each of Topics
}

// addr returns the nsqd's HTTP address, by which the tests know it.
func (p producer) addr() string { return fmt.Sprintf("%s:%d", p.BroadcastAddress, p.HTTPPort) }

// A lookup is an answer of /lookup.
type lookup struct {
	Channels  []string   `json:"channels"`
	Producers []producer `json:"producers"`
}

// lists reports an error unless the producers are exactly want, each once.
func (l lookup) lists(want ...string) error {
	var got []string
	for _, p := range l.Producers {
		got = append(got, p.addr())
	}
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		return fmt.Errorf("producers %v, want %v", got, want)
	}
	return nil
}

// lookup decodes an answer of /lookup.
func (a answer) lookup() (lookup, error) {
	var l lookup
	if err := json.Unmarshal(a.body, &l); err != nil {
		return l, fmt.Errorf("%w in %q", err, a.body)
	}
	return l, nil
}

// lookupOf asks one nsqlookupd for a topic.
func lookupOf(addr, topic string) (lookup, error) {
	var l lookup
	err := get(addr, "/lookup?topic="+topic, &l)
	return l, err
}

// listed returns a check that every one of addrs lists exactly want for topic.
func listed(addrs []string, topic string, want ...string) func() error {
	return func() error {
		var errs []error
		for _, addr := range addrs {
			l, err := lookupOf(addr, topic)
			if err == nil {
				err = l.lists(want...)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: /lookup of %s: %w", addr, topic, err))
			}
		}
		return errors.Join(errs...)
	}
}

// names decodes an answer of /topics or /channels and returns the names sorted. Any
// other status than 200 is an error.
func (a answer) names() ([]string, error) {
	if a.status != http.StatusOK {
		return nil, fmt.Errorf("status %d: %s", a.status, a.body)
	}
	var v struct {
		Topics   []string `json:"topics"`
		Channels []string `json:"channels"`
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		return nil, fmt.Errorf("%w in %q", err, a.body)
	}
	all := append(v.Topics, v.Channels...)
	slices.Sort(all)
	return all, nil
}

// names asks one nsqlookupd for /topics, or for the /channels of a topic.
func names(addr, target string) ([]string, error) {
	a, err := request("GET", addr, target, "")
	if err != nil {
		return nil, err
	}
	all, err := a.names()
	if err != nil {
		return nil, fmt.Errorf("%s%s: %w", addr, target, err)
	}
	return all, nil
}

// nodesOf returns the /nodes of one nsqlookupd by the producer's HTTP address.
// A producer listed twice is an error.
func nodesOf(addr string) (map[string]producer, error) {
	var v struct {
		Producers []producer `json:"producers"`
	}
	if err := get(addr, "/nodes", &v); err != nil {
		return nil, err
	}
	nodes := make(map[string]producer)
	for _, p := range v.Producers {
		if _, twice := nodes[p.addr()]; twice {
			return nil, fmt.Errorf("%s: /nodes lists %s twice", addr, p.addr())
		}
		if len(p.Topics) != len(p.Tombstones) {
			return nil, fmt.Errorf("%s: /nodes: %d topics and %d tombstones of %s", addr, len(p.Topics), len(p.Tombstones), p.addr())
		}
		nodes[p.addr()] = p
	}
	return nodes, nil
}
