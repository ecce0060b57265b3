package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// A load has our nodes create topics, as fast as a few clients can, and keeps those
// that were acknowledged.
type load struct {
	t    testing.TB
	name string
	stop func()
	wg   sync.WaitGroup

	mu     sync.Mutex
	topics []string // acknowledged
	at     []time.Time
	failed []error // of the attempts that were not
}

// loadClients are the clients at each node.
const loadClients = 2

// startLoad creates topics that begin with name at each of nodes, over HTTP.
func startLoad(t testing.TB, name string, nodes []*node) *load {
	return beginLoad(t, name, nodes, func(ctx context.Context, l *load, n *node, name string) {
		l.run(ctx, name, func(topic string) error {
			a, err := request("POST", n.http, "/topic/create?topic="+topic, "")
			if err == nil && a.status != http.StatusOK {
				err = fmt.Errorf("status %d: %s", a.status, a.body)
			}
			return err
		})
	})
}

// startRegistrations registers topics that begin with name with each of nodes. Each
// client is an nsqd that connects anew as soon as a command has failed.
func startRegistrations(t testing.TB, name string, nodes []*node) *load {
	return beginLoad(t, name, nodes, func(ctx context.Context, l *load, n *node, name string) {
		r := &registrar{addr: n.tcp, name: name}
		defer r.close()
		l.run(ctx, name, r.register)
	})
}

func beginLoad(t testing.TB, name string, nodes []*node, client func(context.Context, *load, *node, string)) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{t: t, name: name, stop: cancel}
	for _, n := range nodes {
		for i := range loadClients {
			l.wg.Go(func() { client(ctx, l, n, fmt.Sprintf("%s-%s-%d", name, n.id, i)) })
		}
	}
	t.Cleanup(func() { l.end() })
	return l
}

func (l *load) run(ctx context.Context, name string, create func(topic string) error) {
	for i := 0; ctx.Err() == nil; i++ {
		topic := fmt.Sprintf("%s-%06d", name, i)
		err := create(topic)
		now := time.Now()
		l.mu.Lock()
		if err == nil {
			l.topics, l.at = append(l.topics, topic), append(l.at, now)
		} else {
			l.failed = append(l.failed, fmt.Errorf("%s %s: %w", now.Format("15:04:05.000"), topic, err))
		}
		l.mu.Unlock()
		if err != nil {
			time.Sleep(5 * time.Millisecond) // the node is down, or cannot
		}
	}
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.topics)
}

// awaitMore waits until n more topics have been acknowledged.
func (l *load) awaitMore(n int, within time.Duration) {
	l.t.Helper()
	want := l.count() + n
	eventually(l.t, within, fmt.Sprintf("%d more topics of %s acknowledged", n, l.name), func() error {
		if got := l.count(); got < want {
			return fmt.Errorf("%d are missing", want-got)
		}
		return nil
	})
}

// failures returns the errors of the attempts that were not acknowledged so far.
func (l *load) failures() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.failed)
}

// end stops the load and returns what was acknowledged.
func (l *load) end() []string {
	l.stop()
	l.wg.Wait()
	return l.topics
}

// gap returns the longest time without an acknowledgement after since.
func (l *load) gap(since time.Time) (longest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range l.at {
		if at.After(since) {
			longest, since = max(longest, at.Sub(since)), at
		}
	}
	return longest
}

// lostAt returns those of topics that a node, asked consistently, does not know.
func lostAt(n *node, topics []string) (lost []string, err error) {
	known, err := names(n.http, "/topics?consistent=true")
	if err != nil {
		return nil, err
	}
	for _, topic := range topics {
		if _, ok := slices.BinarySearch(known, topic); !ok {
			lost = append(lost, topic)
		}
	}
	return lost, nil
}

// nothingLost returns a check that all nodes know all topics.
func nothingLost(nodes []*node, topics []string) func() error {
	return func() error {
		var errs []error
		for _, n := range nodes {
			lost, err := lostAt(n, topics)
			if err == nil && len(lost) > 0 {
				err = fmt.Errorf("%s lacks %d of %d acknowledged topics, such as %s", n.id, len(lost), len(topics), lost[0])
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
}

// A registrar is one nsqd's connection to one node. It gives up on a command after
// commandTimeout.
type registrar struct {
	addr string
	name string // its broadcast address
	conn net.Conn
}

// commandTimeout is how long a stock nsqd waits for each answer.
const commandTimeout = time.Second

// register sends REGISTER for topic, over a new connection if there is none, and
// closes the connection if the answer is not OK.
func (r *registrar) register(topic string) (err error) {
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if r.conn == nil {
		if r.conn, err = net.DialTimeout("tcp", r.addr, commandTimeout); err != nil {
			return err
		}
		if _, err := r.exchange(magic + string(identify(peer(r.name)))); err != nil {
			return fmt.Errorf("IDENTIFY: %w", err)
		}
	}
	answer, err := r.exchange("REGISTER " + topic + "\n")
	if err == nil && answer != "OK" {
		err = errors.New(answer)
	}
	return err
}

// exchange sends a command and returns the answer.
func (r *registrar) exchange(command string) (string, error) {
	r.conn.SetDeadline(time.Now().Add(commandTimeout))
	if _, err := io.WriteString(r.conn, command); err != nil {
		return "", err
	}
	return readFrame(r.conn)
}

func (r *registrar) close() {
	if r.conn != nil {
		r.conn.Close()
		r.conn = nil
	}
}
