package workload

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/nsqio/go-nsq"

	"nsqraft/internal/drill/history"
)

const (
	// findInterval is how often nsqlookupds are asked for nsqds; one after the other.
	findInterval = time.Second
	maxInFlight  = 50
	// stopTimeout is how long go-nsq's consumer may take to say goodbye.
	stopTimeout = 500 * time.Millisecond
)

// consumeAll keeps a consumer at each nsqd that any nsqlookupd has named.
func (w *Workload) consumeAll() {
	var consumers sync.WaitGroup
	defer consumers.Wait()
	known := make(map[string]bool)
	turn := 0
	find := func() {
		n := w.nodes[turn%len(w.nodes)]
		turn++
		for _, addr := range w.find(n) {
			if !known[addr] {
				known[addr] = true
				consumers.Go(func() { w.consumeFrom(addr) })
			}
		}
	}
	find()
	every(w.run, findInterval, find)
}

// find returns the TCP addresses of the nsqds that a node names.
func (w *Workload) find(n *daemon) (addrs []string) {
	r, err := n.api.do(w.run, http.MethodGet, "/lookup?topic="+url.QueryEscape(w.names.messages()), "")
	if err != nil || r.status != http.StatusOK {
		return nil
	}
	var answer struct {
		Producers []struct {
			Host string `json:"broadcast_address"`
			Port int    `json:"tcp_port"`
		} `json:"producers"`
	}
	if json.Unmarshal(r.body, &answer) != nil {
		return nil
	}
	for _, p := range answer.Producers {
		addrs = append(addrs, net.JoinHostPort(p.Host, strconv.Itoa(p.Port)))
	}
	return w.reach.at(addrs)
}

// A reach is where clients of this machine find nsqds that call themselves otherwise to
// nsqlookupds, as those in containers do.
type reach struct {
	mu sync.Mutex
	to map[string]string // TCP addresses, by those that nsqds announce
}

// at returns where to connect to for addrs that nsqlookupds have named.
func (r *reach) at(addrs []string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]string, len(addrs))
	for i, addr := range addrs {
		out[i] = cmp.Or(r.to[addr], addr)
	}
	return out
}

// learn asks an nsqd how it calls itself. What does not answer so is taken at the word of
// nsqlookupds.
func (r *reach) learn(ctx context.Context, n *daemon) error {
	answer, err := n.api.do(ctx, http.MethodGet, "/info", "")
	if err != nil {
		return err
	}
	var info struct {
		Host string `json:"broadcast_address"`
		Port int    `json:"tcp_port"`
	}
	if answer.status != http.StatusOK || json.Unmarshal(answer.body, &info) != nil || info.Host == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.to == nil {
		r.to = make(map[string]string)
	}
	r.to[net.JoinHostPort(info.Host, strconv.Itoa(info.Port))] = n.TCP
	return nil
}

// consumeFrom consumes from one nsqd, over one connection after the other.
func (w *Workload) consumeFrom(addr string) {
	client := w.rec.Client()
	for w.run.Err() == nil {
		if q, err := dialQueue(w.run, addr); err == nil {
			w.consumeOver(q, client)
			q.close()
		}
		sleep(w.run, 200*time.Millisecond)
	}
}

// consumeOver finishes what comes until the connection fails.
func (w *Workload) consumeOver(q *queueConn, client int) {
	if q.do(nsq.Subscribe(w.names.messages(), ownChannel)) != nil || q.send(nsq.Ready(maxInFlight)) != nil {
		return
	}
	for {
		m, err := q.nextMessage()
		if _, refused := err.(protocolError); refused {
			continue // a FIN that came too late, say; nsqd closes when it wants to
		}
		if err != nil {
			return
		}
		op := w.received(client, ownChannel, m)
		op.Kind, op.Error, op.Call, op.Return = history.Finish, "", w.rec.Now(), 0
		if err = q.send(nsq.Finish(m.ID)); err != nil {
			op.Outcome, op.Error = history.Unknown, err.Error()
		}
		w.record(op)
		if err != nil {
			return
		}
	}
}

// received records that a message has come.
func (w *Workload) received(client int, channel string, m *nsq.Message) history.Op {
	name, wrong := messageName(m.Body)
	op := history.Op{Kind: history.Receive, Client: client, Node: w.publishedTo(name), Call: w.rec.Now(), Outcome: history.Done,
		Topic: w.names.messages(), Channel: channel, Message: name, Error: wrong}
	op.Return = op.Call
	w.record(op)
	return op
}

// publishedTo returns the name of the nsqd that a message of that name was published to.
func (w *Workload) publishedTo(name string) string {
	for _, n := range w.nsqds {
		for k := range publishers {
			prefix := n.Name + string(rune('a'+k)) + "-"
			if len(name) > len(prefix) && name[:len(prefix)] == prefix {
				return n.Name
			}
		}
	}
	return ""
}

// consumeWithGoNSQ consumes from all nsqds as an application does, and finds them in its
// way. go-nsq does not tell whether a FIN was written, so no Finish is recorded.
func (w *Workload) consumeWithGoNSQ() {
	config := nsq.NewConfig()
	config.UserAgent, config.MaxInFlight = "nsqdrill", maxInFlight
	config.LookupdPollInterval, config.LookupdPollTimeout = findInterval, requestTimeout
	config.HeartbeatInterval, config.ReadTimeout, config.WriteTimeout = heartbeat, heartbeat*3/2, heartbeat
	config.MsgTimeout, config.MaxAttempts = messageTimeout, 0
	c, err := nsq.NewConsumer(w.names.messages(), gonsqChannel, config)
	if err != nil {
		panic(err) // names and config are our own
	}
	c.SetLogger(log.New(io.Discard, "", 0), nsq.LogLevelMax)
	found := finds{reach: &w.reach}
	c.SetBehaviorDelegate(&found)
	c.SetLookupdHttpClient(w.untilEnd())
	client := w.rec.Client()
	c.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		w.received(client, gonsqChannel, m)
		return nil
	}))
	for _, n := range w.nodes {
		if err := c.ConnectToNSQLookupd(n.HTTP); err != nil {
			panic(fmt.Sprintf("the HTTP address of %s: %v", n.Name, err)) // others have used it by now
		}
	}
	<-w.run.Done()
	stopGoNSQ(c, &found)
}

// stopGoNSQ ends a consumer soon, which Stop alone does not while an nsqd hangs.
func stopGoNSQ(c *nsq.Consumer, found *finds) {
	// A connection that comes about from here on must not bring a message: once stopped,
	// go-nsq panics of it.
	c.ChangeMaxInFlight(0)
	c.Stop()
	select {
	case <-c.StopChan:
	case <-time.After(stopTimeout):
		found.disconnect(c)
		<-c.StopChan
	}
	found.disconnect(c) // what had not come about before
}

// finds are the addresses of nsqds that a consumer of go-nsq was told of.
type finds struct {
	reach *reach
	mu    sync.Mutex
	addrs map[string]bool
}

// Filter implements nsq.DiscoveryFilter.
func (f *finds) Filter(addrs []string) []string {
	addrs = f.reach.at(addrs)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.addrs == nil {
		f.addrs = make(map[string]bool)
	}
	for _, addr := range addrs {
		f.addrs[addr] = true
	}
	return addrs
}

func (f *finds) disconnect(c *nsq.Consumer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for addr := range f.addrs {
		c.DisconnectFromNSQD(addr) // an error says that it is not connected
	}
}

// untilEnd returns an HTTP client whose connections are closed when Run ends, for those
// who put questions without a context.
func (w *Workload) untilEnd() *http.Client {
	dialer := net.Dialer{Timeout: time.Second}
	return &http.Client{Timeout: requestTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &closedAtEnd{conn, context.AfterFunc(w.run, func() { conn.Close() })}, nil
		},
	}}
}

// A closedAtEnd is a connection that its context closes.
type closedAtEnd struct {
	net.Conn
	release func() bool
}

func (c *closedAtEnd) Close() error {
	c.release()
	return c.Conn.Close()
}
