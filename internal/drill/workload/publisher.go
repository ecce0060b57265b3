package workload

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nsqio/go-nsq"

	"nsqraft/internal/drill/history"
)

const (
	// Each nsqd has two publishers. They publish single messages and batches in turn, by
	// TCP and by HTTP.
	publishers = 2
	batch      = 5
	// perRound is the messages of a single one and a batch.
	perRound = 1 + batch

	maxPadding = 400 // bytes of a message beyond its name
)

// The channels of the topic of all messages, which is on each nsqd.
const (
	ownChannel   = "drill"  // whose consumers are of this package
	gonsqChannel = "go-nsq" // whose consumer is go-nsq's
)

// messageBody is the body of the message of a name; no other has it.
func messageBody(name string) []byte {
	h := fnv.New64a()
	h.Write([]byte(name))
	seed := h.Sum64()
	rng := rand.New(rand.NewPCG(seed, 0))
	body := append([]byte(name), ' ')
	for range rng.IntN(maxPadding) {
		body = append(body, byte('!'+rng.IntN(90)))
	}
	return body
}

// messageName returns the name of the message with a body, and says how the body differs
// from what was published, "" if it does not.
func messageName(body []byte) (name, wrong string) {
	name, _, _ = strings.Cut(string(body[:min(len(body), 100)]), " ")
	if string(messageBody(name)) != string(body) {
		wrong = fmt.Sprintf("the body differs: %d bytes, that begin with %.40q", len(body), body)
	}
	return name, wrong
}

// startMessages starts what publishes to the nsqds and consumes from them.
func (w *Workload) startMessages() {
	if w.opts.Messages == 0 || len(w.nsqds) == 0 {
		return
	}
	for i, n := range w.nsqds {
		w.goLoad(func() {
			if !w.makeChannels(n) {
				return
			}
			for k := range publishers {
				p := &publisher{w: w, nsqd: n, name: fmt.Sprintf("%s%c", n.Name, 'a'+k), rng: w.rng(kindPublisher, i*publishers+k)}
				for place := range p.clients {
					p.clients[place] = w.rec.Client()
				}
				w.goLoad(func() { p.run(k == 0) })
			}
		})
	}
	w.goRun(w.consumeAll)
	w.goRun(w.consumeWithGoNSQ)
}

// makeChannels makes both channels on an nsqd: what is published from then on has to
// come to both. It is tried until it is done; false: the load has ended.
func (w *Workload) makeChannels(n *daemon) bool {
	for w.reach.learn(w.run, n) != nil {
		if !sleep(w.load, time.Second) {
			return false
		}
	}
	client := w.rec.Client()
	for _, channel := range []string{ownChannel, gonsqChannel} {
		for {
			op := history.Op{Kind: history.CreateChannel, Client: client, Node: n.Name,
				Topic: w.names.messages(), Channel: channel, Call: w.rec.Now()}
			path := "?topic=" + url.QueryEscape(op.Topic)
			r, err := n.api.do(w.run, http.MethodPost, "/topic/create"+path, "")
			if err == nil && r.status == http.StatusOK {
				r, err = n.api.do(w.run, http.MethodPost, "/channel/create"+path+"&channel="+url.QueryEscape(channel), "")
			}
			op.Return = w.rec.Now()
			settle(&op, r, err)
			w.record(op)
			if op.Outcome == history.Done && op.Status == http.StatusOK {
				break
			}
			if !sleep(w.load, time.Second) {
				return false
			}
		}
	}
	return true
}

// A publisher publishes to one nsqd, each message once.
type publisher struct {
	w       *Workload
	nsqd    *daemon
	clients [batch]int // of the messages of one batch: a client makes one call at a time
	name    string
	rng     *rand.Rand

	count int
	queue *queueConn // nil: there is none
}

// run publishes at the publisher's share of the rate, by TCP or HTTP.
func (p *publisher) run(tcp bool) {
	defer p.hangUp()
	// Two calls make a round.
	interval := time.Second * publishers * perRound / time.Duration(2*p.w.opts.Messages)
	if !sleep(p.w.load, time.Duration(p.rng.Int64N(int64(interval)))) {
		return
	}
	single := false
	every(p.w.load, interval, func() {
		n := batch
		if single = !single; single {
			n = 1
		}
		if tcp {
			p.publish(n, p.byTCP)
		} else {
			p.publish(n, p.byHTTP)
		}
	})
}

func (p *publisher) hangUp() {
	if p.queue != nil {
		p.queue.close()
		p.queue = nil
	}
}

// publish publishes n new messages at once and records them.
func (p *publisher) publish(n int, by func(op *history.Op, bodies [][]byte)) {
	names, bodies := make([]string, n), make([][]byte, n)
	for i := range n {
		p.count++
		names[i] = fmt.Sprintf("%s-%d", p.name, p.count)
		bodies[i] = messageBody(names[i])
	}
	op := history.Op{Kind: history.Publish, Node: p.nsqd.Name, Topic: p.w.names.messages(), Call: p.w.rec.Now()}
	by(&op, bodies)
	op.Return = p.w.rec.Now()
	for i, name := range names {
		op.Client, op.Message = p.clients[i], name
		p.w.record(op)
	}
}

// byTCP sends PUB or MPUB. The connection is closed if it fails.
func (p *publisher) byTCP(op *history.Op, bodies [][]byte) {
	err := p.dial()
	if op.Outcome = history.Done; err != nil {
		op.Outcome, op.Error = history.Refused, err.Error()
		return
	}
	command := nsq.Publish(op.Topic, bodies[0])
	if len(bodies) > 1 {
		command, err = nsq.MultiPublish(op.Topic, bodies)
	}
	if err == nil {
		err = p.queue.do(command)
	}
	if err != nil {
		op.Outcome, op.Error = history.Unknown, err.Error()
		p.hangUp()
	}
}

func (p *publisher) dial() (err error) {
	if p.queue == nil {
		p.queue, err = dialQueue(p.w.run, p.nsqd.TCP)
	}
	return err
}

// byHTTP posts to /pub or /mpub.
func (p *publisher) byHTTP(op *history.Op, bodies [][]byte) {
	path, body := "/pub?topic=", string(bodies[0])
	if len(bodies) > 1 {
		path = "/mpub?topic="
		for _, b := range bodies[1:] {
			body += "\n" + string(b) // no body has a newline in it
		}
	}
	r, err := p.nsqd.api.do(p.w.run, http.MethodPost, path+url.QueryEscape(op.Topic), body)
	settle(op, r, err)
	if op.Outcome == history.Done && op.Status != http.StatusOK {
		op.Outcome = history.Refused // an nsqd knows no 404 here
	}
}
