package localcluster

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	askWithin = 3 * time.Second // one question
	maxAnswer = 4 << 20         // bytes
	pollPause = 5 * time.Millisecond
)

// Probe is a topic that never exists. To delete it is a write that is committed like
// any other and changes nothing, so that no list shows it.
const Probe = "nsqraft-probe"

// ErrNoLeader is returned when no node leads.
var ErrNoLeader = errors.New("no nsqlookupd leads")

// An Answer is what a daemon said.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// newHTTPClient returns one that keeps connections and knows no proxy.
func newHTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: askWithin}).DialContext,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     time.Minute,
	}}
}

// Ask sends one request to p over HTTP; target is a path with its query. It takes at
// most 3 s and 4 MiB.
func (c *Cluster) Ask(ctx context.Context, p *Process, method, target string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.HTTP+target, nil)
	if err != nil {
		return Answer{}, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("ask %s: %w", p.Name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return Answer{}, fmt.Errorf("ask %s: %w", p.Name, err)
	}
	return Answer{resp.StatusCode, resp.Header, body}, nil
}

// ok is Ask for those who want the body of a 200 and nothing else.
func (c *Cluster) ok(ctx context.Context, p *Process, method, target string) ([]byte, error) {
	a, err := c.Ask(ctx, p, method, target)
	if err == nil && a.Status != http.StatusOK {
		err = fmt.Errorf("%s answers %s with %d %s", p.Name, target, a.Status, firstLine(a.Body))
	}
	return a.Body, err
}

func firstLine(text []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	return string(line[:min(len(line), 200)])
}

// Write has a write committed through the node p and returns when it is, or with the
// reason why not. It changes nothing.
func (c *Cluster) Write(ctx context.Context, p *Process) error {
	_, err := c.ok(ctx, p, http.MethodPost, "/topic/delete?topic="+Probe)
	return err
}

// Status is what a node says of its part in the cluster.
type Status struct {
	Leads bool
	Term  uint64
}

// Status asks the node p alone, which answers from what it knows: it asks nobody.
func (c *Cluster) Status(ctx context.Context, p *Process) (Status, error) {
	text, err := c.ok(ctx, p, http.MethodGet, "/metrics")
	if err != nil {
		return Status{}, err
	}
	var s Status
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "nsqlookupd_raft_is_leader":
			s.Leads = value == "1"
		case "nsqlookupd_raft_term":
			term, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return Status{}, fmt.Errorf("term of %s: %w", p.Name, err)
			}
			s.Term = uint64(term)
		}
	}
	return s, lines.Err()
}

// Leader returns the node that leads: of several that say so, as one does that is cut
// off and does not know it yet, the one with the highest term. ErrNoLeader if none does.
func (c *Cluster) Leader(ctx context.Context) (*Process, error) {
	nodes := c.Lookupds()
	statuses := make([]Status, len(nodes))
	var wg sync.WaitGroup
	for i, p := range nodes {
		if p.State() == Running {
			wg.Go(func() { statuses[i], _ = c.Status(ctx, p) })
		}
	}
	wg.Wait()
	leader := -1
	for i, s := range statuses {
		if s.Leads && (leader < 0 || s.Term > statuses[leader].Term) {
			leader = i
		}
	}
	if leader < 0 {
		return nil, ErrNoLeader
	}
	return nodes[leader], nil
}

// An EndedError says that a process has ended while it was waited for.
type EndedError struct {
	Name   string // of the process
	LogEnd string // the last lines it wrote
}

func (e *EndedError) Error() string {
	return fmt.Sprintf("%s has ended before the cluster was ready; the end of its log:\n%s", e.Name, e.LogEnd)
}

// Ready returns when all is ready: a write is committed and every node has it, every
// node lists every nsqd, and every daemon says that it is well. Otherwise it returns
// when ctx ends, with what was missing, or with an EndedError as soon as a process has
// ended.
func (c *Cluster) Ready(ctx context.Context) error {
	var why error // the newest reason that was not made by the end of ctx
	for {
		err := c.ready(ctx)
		if err == nil {
			return nil
		}
		if why == nil || ctx.Err() == nil {
			why = err
		}
		for _, p := range c.processes {
			if p.State() == Down {
				return &EndedError{p.Name, p.LogEnd(logEndLines)}
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", why)
		case <-time.After(pollPause):
		}
	}
}

// ready returns the first thing that does not hold yet.
func (c *Cluster) ready(ctx context.Context) error {
	if !c.cfg.Unreplicated {
		if err := c.Write(ctx, c.processes[0]); err != nil {
			return err
		}
	}
	for _, p := range c.processes {
		var err error
		switch p.Role {
		case Lookupd:
			err = c.ReadyNode(ctx, p)
		case NSQD, Admin:
			_, err = c.ok(ctx, p, http.MethodGet, "/ping")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ReadyNode returns nil if the nsqlookupd p has everything that was committed before the
// call, lists every nsqd that runs, and says that it is ready: before, it may answer
// consistent reads alone.
func (c *Cluster) ReadyNode(ctx context.Context, p *Process) error {
	body, err := c.ok(ctx, p, http.MethodGet, "/nodes?consistent=true")
	if err != nil {
		return err
	}
	listed, err := parseProducers(body)
	if err != nil {
		return fmt.Errorf("%s answers /nodes with what is no list: %w", p.Name, err)
	}
	for _, d := range c.NSQDs() {
		if d.State() == Running && !listed[d.TCP] {
			return fmt.Errorf("%s does not list %s", p.Name, d.Name)
		}
	}
	if c.cfg.Unreplicated {
		return nil
	}
	_, err = c.ok(ctx, p, http.MethodGet, "/readyz")
	return err
}

// Producers asks the nsqlookupd p and returns the TCP addresses of the producers in its
// answer; target is as /nodes or /lookup?topic=orders.
func (c *Cluster) Producers(ctx context.Context, p *Process, target string) (map[string]bool, error) {
	body, err := c.ok(ctx, p, http.MethodGet, target)
	if err != nil {
		return nil, err
	}
	return parseProducers(body)
}

func parseProducers(body []byte) (map[string]bool, error) {
	var answer struct {
		Producers []struct {
			BroadcastAddress string `json:"broadcast_address"`
			TCPPort          int    `json:"tcp_port"`
		} `json:"producers"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	listed := make(map[string]bool)
	for _, p := range answer.Producers {
		listed[net.JoinHostPort(p.BroadcastAddress, strconv.Itoa(p.TCPPort))] = true
	}
	return listed, nil
}

// Topics asks the nsqlookupd p for the names of all topics.
func (c *Cluster) Topics(ctx context.Context, p *Process) ([]string, error) {
	body, err := c.ok(ctx, p, http.MethodGet, "/topics")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Topics []string `json:"topics"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("%s answers /topics with what is no list: %w", p.Name, err)
	}
	return answer.Topics, nil
}
