package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"nsqraft/internal/drill/env"
	"nsqraft/internal/drill/history"
	"nsqraft/internal/nsqtest"
	"nsqraft/internal/nsqtest/lookupdtest"
	"nsqraft/internal/nsqtest/nsqdtest"
	"nsqraft/internal/wire"
)

// An oddNode answers nsqds as it is told: a command that answer returns "" for is not
// answered.
type oddNode struct {
	ln     net.Listener
	answer func(line string) string
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	ended int // connections that the other side has closed
}

func newOddNode(t *testing.T, answer func(line string) string) *oddNode {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &oddNode{ln: ln, answer: answer}
	o.wg.Go(o.accept)
	t.Cleanup(func() {
		ln.Close()
		o.hangUp()
		o.wg.Wait()
	})
	return o
}

// env returns it as a node; its HTTP port refuses.
func (o *oddNode) env(t *testing.T) *cluster {
	return &cluster{nodes: []env.Node{{Name: "n1", TCP: o.ln.Addr().String(), HTTP: nsqtest.FreeAddress(t)}}}
}

func (o *oddNode) accept() {
	for {
		conn, err := o.ln.Accept()
		if err != nil {
			return
		}
		o.mu.Lock()
		o.conns = append(o.conns, conn)
		o.mu.Unlock()
		o.wg.Go(func() {
			o.serve(conn)
			o.mu.Lock()
			defer o.mu.Unlock()
			o.ended++
		})
	}
}

func (o *oddNode) serve(conn net.Conn) {
	io.ReadFull(conn, make([]byte, 4))
	for {
		var line []byte // byte by byte, for a body may follow
		for b := make([]byte, 1); !strings.HasSuffix(string(line), "\n"); line = append(line, b...) {
			if _, err := conn.Read(b); err != nil {
				return
			}
		}
		command := strings.TrimSpace(string(line))
		if command == "IDENTIFY" {
			if _, err := wire.ReadBody(conn, 1<<10); err != nil {
				return
			}
		}
		if a := o.answer(command); a != "" {
			wire.WriteFrame(conn, []byte(a))
		}
	}
}

// hangUp closes all connections there are.
func (o *oddNode) hangUp() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, conn := range o.conns {
		conn.Close()
	}
	o.conns = nil
}

func (o *oddNode) closed() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ended
}

// obliging answers as an nsqlookupd does.
func obliging(line string) string {
	if line == "IDENTIFY" {
		return "{}"
	}
	return "OK"
}

// A stock nsqd waits a second, closes, and comes again at its next tick. It may have been
// registered.
func TestUnansweredRegister(t *testing.T) {
	o := newOddNode(t, func(line string) string {
		if strings.HasPrefix(line, "REGISTER") {
			return ""
		}
		return obliging(line)
	})
	l := newNotebook()
	w := newWorkload(o.env(t), l, Options{Sessions: 1, Unique: -1, Readers: -1, Mutators: -1, TimeScale: 100})
	run(t, w)
	connects := l.await(t, 2, ofKind(history.Connect))
	register := l.those(ofKind(history.Register))[0]
	if register.Outcome != history.Unknown || register.Return-register.Call < stockTimeout || register.Session != connects[0].Session {
		t.Errorf("REGISTER: %+v", register)
	}
	lost := l.those(ofKind(history.Lost))[0]
	if lost.Session != register.Session || lost.Error == "" || lost.Call != connects[0].Return || lost.Return < register.Return {
		t.Errorf("lost: %+v", lost)
	}
	if connects[1].Session == connects[0].Session || connects[1].Producer != connects[0].Producer || connects[1].Call < lost.Return {
		t.Errorf("connected again: %+v", connects[1])
	}
	eventually(t, func() error {
		if o.closed() == 0 {
			return errors.New("the connection is still open")
		}
		return nil
	})
}

// An answer that is not OK is a refusal, and the end of the session.
func TestRefusedRegister(t *testing.T) {
	o := newOddNode(t, func(line string) string {
		if strings.HasPrefix(line, "REGISTER") {
			return "E_BAD_TOPIC"
		}
		return obliging(line)
	})
	l := newNotebook()
	w := newWorkload(o.env(t), l, Options{Sessions: -1, Unique: 10, Readers: -1, Mutators: -1})
	run(t, w)
	for _, op := range l.await(t, 1, ofKind(history.Register)) {
		if op.Outcome != history.Refused || op.Error != "E_BAD_TOPIC" {
			t.Errorf("%+v", op)
		}
	}
	l.await(t, 1, ofKind(history.Lost))
}

// All connections are cut. A unique producer is gone for good; nsqds that stay come back
// with all that they had: ours at once, stock's at the second tick.
func TestKilledConnections(t *testing.T) {
	o := newOddNode(t, obliging)
	l := newNotebook()
	opts := nothing
	opts.Sessions, opts.TimeScale = 2, 10 // the first is as stock, the second as ours
	w := newWorkload(o.env(t), l, opts)
	run(t, w)
	l.await(t, 2*eachHas, ofKind(history.Register))
	s := w.connect(w.run, l.Client(), w.nodes[0], "once", stockTimeout)
	stayed := make(chan bool)
	go func() { stayed <- s.stay(w.run, time.Time{}) }()
	l.await(t, 1, ofKind(history.Ping)) // from the first tick, or from ours
	cut := l.Now()
	o.hangUp()
	if <-stayed {
		t.Error("a session has outlived its connection")
	}
	l.await(t, 4*eachHas, ofKind(history.Register))
	connects := make(map[string]int)
	for _, op := range l.those(ofKind(history.Connect)) {
		connects[op.Producer]++
	}
	if connects["once:4150"] != 1 {
		t.Errorf("connects: %v", connects)
	}
	for _, op := range l.those(ofKind(history.Lost)) {
		if op.Return < cut || op.Call > op.Return {
			t.Errorf("lost when it was not: %+v", op)
		}
	}
	if n := len(l.those(ofKind(history.Lost))); n != 3 {
		t.Errorf("%d sessions were lost, want 3", n)
	}
}

// An nsqd that vanishes leaves its connection open until Run ends.
func TestVanish(t *testing.T) {
	o := newOddNode(t, obliging)
	l := newNotebook()
	w := newWorkload(o.env(t), l, nothing)
	end := run(t, w)
	s := w.connect(w.run, l.Client(), w.nodes[0], "a", stockTimeout)
	s.vanish()
	if s.register("t", "") || s.stay(w.run, time.Time{}) || o.closed() != 0 {
		t.Error("it is still there, or has said goodbye")
	}
	end()
	eventually(t, func() error {
		if o.closed() != 1 {
			return errors.New("the connection is still open")
		}
		return nil
	})
	if ops := l.those(ofKind(history.Vanish)); len(ops) != 1 || len(l.those(ofKind(history.Disconnect, history.Lost))) != 0 {
		t.Errorf("%+v", l.ops)
	}
}

// Whatever hangs, or is not there, Run ends soon.
func TestEndsSoon(t *testing.T) {
	const limit = time.Second
	silent := func(t *testing.T) string { // takes connections, and that is all
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		return ln.Addr().String()
	}
	tests := []struct {
		name string
		c    func(t *testing.T) *cluster
	}{
		{"all is well", func(t *testing.T) *cluster { return clusterOf(t, 1, 1) }},
		{"nothing is there", func(t *testing.T) *cluster {
			gone := env.Node{Name: "x", TCP: nsqtest.FreeAddress(t), HTTP: nsqtest.FreeAddress(t)}
			return &cluster{nodes: []env.Node{gone}, nsqds: []env.Node{gone}}
		}},
		{"all hangs", func(t *testing.T) *cluster {
			hung := env.Node{Name: "x", TCP: silent(t), HTTP: silent(t)}
			return &cluster{nodes: []env.Node{hung}, nsqds: []env.Node{hung}}
		}},
		{"REGISTER hangs", func(t *testing.T) *cluster {
			return newOddNode(t, func(line string) string {
				if line == "IDENTIFY" {
					return "{}"
				}
				return ""
			}).env(t)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.c(t)
			var took time.Duration
			for range 5 { // the machine may be slow, but not always
				l := newNotebook()
				end := run(t, newWorkload(c, l, Options{}))
				time.Sleep(1500 * time.Millisecond) // until everybody does something
				begun := time.Now()
				end()
				if took = time.Since(begun); took < limit {
					check(t, l)
					return
				}
			}
			t.Errorf("Run took %v to end", took)
		})
	}
}

// What an nsqd had taken before it was stopped comes when it is back.
func TestNSQDRestarts(t *testing.T) {
	lookup := lookupdtest.Start(t)
	n := nsqdtest.Start(t, lookup.TCP)
	c := &cluster{
		nodes: []env.Node{{Name: "n1", TCP: lookup.TCP, HTTP: lookup.HTTP}},
		nsqds: []env.Node{{Name: "nsqd1", TCP: n.TCP, HTTP: n.HTTP}},
	}
	l := newNotebook()
	opts := nothing
	opts.Messages = 200
	w := newWorkload(c, l, opts)
	end := run(t, w)
	published := func(op history.Op) bool { return op.Kind == history.Publish && op.Outcome == history.Done }
	before := len(l.await(t, 50, published))
	l.await(t, 20, ofKind(history.Finish))
	data := n.Data
	n.Close()
	l.await(t, 1, func(op history.Op) bool { return op.Kind == history.Publish && op.Outcome == history.Refused })
	nsqdtest.StartIn(t, data, n.TCP, n.HTTP, lookup.TCP)
	l.await(t, before+50, published)
	if err := w.LastReads(t.Context()); err != nil {
		t.Error(err)
	}
	end()
	checkMessages(t, l)
}

func TestStorm(t *testing.T) {
	c := clusterOf(t, 1, 0)
	l := newNotebook()
	w := newWorkload(c, l, nothing)
	if _, err := w.Storm(t.Context(), 1, 1); !errors.Is(err, ErrNotRunning) {
		t.Errorf("before Run: %v", err)
	}
	end := run(t, w)
	const n, topics = 200, 3
	leave, err := w.Storm(t.Context(), n, topics)
	if err != nil {
		t.Fatal(err)
	}
	registered := make(map[string]int)
	for _, op := range l.those(ofKind(history.Register)) {
		if op.Outcome == history.Done {
			registered[op.Producer]++
		}
	}
	if len(registered) != n || w.Progress().Sessions != n {
		t.Errorf("%d nsqds are registered, %d sessions, want %d", len(registered), w.Progress().Sessions, n)
	}
	for producer, topicsOf := range registered {
		if topicsOf != topics {
			t.Errorf("%s has %d topics, want %d", producer, topicsOf, topics)
		}
	}
	if err := w.LastReads(t.Context()); err != nil {
		t.Error(err)
	}
	seen := 0
	for _, op := range l.those(func(op history.Op) bool { return op.Kind == history.Lookup && op.Consistent }) {
		seen += len(op.Answer.Producers)
	}
	if seen != n*topics {
		t.Errorf("the last lookups show %d producers, want %d", seen, n*topics)
	}
	leave()
	if left, closed := w.Progress().Sessions, len(l.those(ofKind(history.Disconnect))); left != 0 || closed != n {
		t.Errorf("%d sessions are left, %d were closed, want none and %d", left, closed, n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Storm(ctx, 1000, 1); err == nil {
		t.Log("a thousand were there at once")
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("a storm that was called off: %v", err)
	}
	end()
	if _, err := w.Storm(t.Context(), 1, 1); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after Run: %v", err)
	}
	if err := w.LastReads(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after Run: %v", err)
	}
	if left := w.Progress().Sessions; left != 0 {
		t.Errorf("%d sessions are left", left)
	}
}

// Of nodes that do not know what stock does not, nothing is asked that stock does not
// know.
func TestStock(t *testing.T) {
	c := clusterOf(t, 1, 0)
	l := newNotebook()
	w := newWorkload(c, l, Options{Stock: true, Messages: -1})
	run(t, w)
	l.await(t, 50, ofKind(history.Lookup))
	if err := w.LastReads(t.Context()); err != nil {
		t.Error(err)
	}
	if ops := l.those(func(op history.Op) bool { return op.Consistent }); len(ops) > 0 {
		t.Errorf("asked for: %+v", ops[0])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.samples[0]; !s.Answered || s.Role != "" {
		t.Errorf("sample: %+v", s)
	}
}

// A workload is for once, and says what it cannot work with.
func TestRunOnce(t *testing.T) {
	at := func(tcp, http string) *cluster {
		return &cluster{nodes: []env.Node{{Name: "n1", TCP: tcp, HTTP: http}}}
	}
	for _, tt := range []struct {
		c    *cluster
		opts Options
		want string
	}{
		{new(cluster), Options{}, "needs a node"},
		{at("a", "a:1"), Options{}, "TCP address of n1"},
		{at("a:1", "ftp://a"), Options{}, "HTTP address of n1"},
		{at("a:1", "a:1"), Options{Grace: 30 * time.Second}, "31s"},
		{at("a:1", "a:1"), Options{Grace: 3 * time.Second, TimeScale: 10}, "4s"},
	} {
		if err := newWorkload(tt.c, newNotebook(), tt.opts).Run(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.opts, err, tt.want)
		}
	}
	w := newWorkload(clusterOf(t, 1, 0), newNotebook(), nothing)
	end := run(t, w)
	end()
	if err := w.Run(t.Context()); err == nil {
		t.Error("it has run twice")
	}
}

// An nsqd in a container calls itself by a name that nobody outside knows.
func TestNSQDUnderAnotherName(t *testing.T) {
	c := clusterOf(t, 1, 0)
	d := nsqdtest.StartAs(t, "nsqd1.invalid", c.nodes[0].TCP)
	c.nsqds = []env.Node{{Name: "nsqd1", TCP: d.TCP, HTTP: d.HTTP}}
	l := newNotebook()
	opts := nothing
	opts.Messages = 100
	run(t, newWorkload(c, l, opts))
	for _, channel := range []string{ownChannel, gonsqChannel} {
		l.await(t, 1, func(op history.Op) bool { return op.Kind == history.Receive && op.Channel == channel })
	}
}

// What the workload has made is gone after Remove.
func TestRemove(t *testing.T) {
	c := clusterOf(t, 1, 1)
	w := newWorkload(c, newNotebook(), Options{})
	end := run(t, w)
	if err := w.LastReads(t.Context()); err != nil {
		t.Error(err)
	}
	end()
	if err := w.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range append(w.nodes, w.nsqds...) {
		eventually(t, func() error { // the nsqd tells the node of its topic in its own time
			path := "/topics"
			if n.Name == "nsqd1" {
				path = "/stats?format=json"
			}
			r, err := n.api.do(t.Context(), http.MethodGet, path, "")
			if err == nil && strings.Contains(string(r.body), w.names.tag) {
				err = fmt.Errorf("%s has %s", n.Name, r.body)
			}
			n.api.close()
			return err
		})
	}
}
