package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nsqio/go-nsq"

	"nsqraft/internal/localcluster"
)

// A stack is what a test looks at: three nsqlookupds, two nsqds and nsqadmin, as
// processes on free ports of loopback, all at their defaults.
type stack struct {
	*localcluster.Cluster
	t    *testing.T
	base string // nsqadmin's
}

// startWithin bounds the start of all processes on a busy machine.
const startWithin = time.Minute

// newStack starts one; flags are nsqadmin's.
func newStack(t *testing.T, flags ...string) *stack {
	t.Helper()
	s := &stack{t: t, Cluster: localcluster.New(localcluster.Config{
		Dir: t.TempDir(), Lookupds: 3, NSQDs: 2, Admin: true, BinDir: binDir, FreePorts: true,
		Programs: map[string]localcluster.Program{"nsqadmin": {Args: flags}},
	})}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range s.Processes() {
				t.Logf("the end of %s's log:\n%s", p.Name, p.LogEnd(4))
			}
		}
		for _, p := range s.Processes() {
			if p.State() == localcluster.Paused {
				p.Resume()
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	s.base = "http://" + s.Admin().HTTP
	for _, flag := range flags {
		if path, ok := strings.CutPrefix(flag, "--base-path="); ok {
			s.base += path
		}
	}
	s.ready()
	return s
}

// ready waits until every nsqlookupd lists every nsqd and nsqadmin answers. (Ready of
// the Cluster does not know of base paths.)
func (s *stack) ready() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	for {
		err := s.answers(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			s.t.Fatalf("not ready: %v", err)
		}
		time.Sleep(glance)
	}
}

func (s *stack) answers(ctx context.Context) error {
	for _, l := range s.Lookupds() {
		if err := s.ReadyNode(ctx, l); err != nil {
			return err
		}
	}
	resp, err := http.Get(s.base + "/ping")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("nsqadmin answers /ping with %s", resp.Status)
	}
	return nil
}

// post sends a request to a daemon and fails the test unless the answer is 200.
func (s *stack) post(p *localcluster.Process, target, body string) {
	s.t.Helper()
	resp, err := http.Post("http://"+p.HTTP+target, "application/octet-stream", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if said, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		s.t.Fatalf("POST %s to %s: %d %s", target, p.Name, resp.StatusCode, said)
	}
}

// channel makes topics and channels, as orders/billing, on both nsqds.
func (s *stack) channel(names ...string) {
	s.t.Helper()
	for _, name := range names {
		topic, channel, both := strings.Cut(name, "/")
		topic, channel = url.QueryEscape(topic), url.QueryEscape(channel)
		for _, p := range s.NSQDs() {
			s.post(p, "/topic/create?topic="+topic, "")
			if both {
				s.post(p, "/channel/create?topic="+topic+"&channel="+channel, "")
			}
		}
	}
}

// publish publishes count messages on each nsqd.
func (s *stack) publish(topic string, count int) {
	s.t.Helper()
	for _, p := range s.NSQDs() {
		var lines []string
		for i := range count {
			lines = append(lines, fmt.Sprintf(`{"number":%d,"from":%q}`, i+1, p.Name))
		}
		s.post(p, "/mpub?topic="+url.QueryEscape(topic), strings.Join(lines, "\n"))
	}
}

// consume has a consumer on each nsqd until the test ends.
func (s *stack) consume(topic, channel string, handle func(*nsq.Message) error) {
	s.t.Helper()
	cfg := nsq.NewConfig()
	cfg.ClientID, cfg.UserAgent = "reader", "browser-test/1"
	cfg.MaxInFlight = 20
	consumer, err := nsq.NewConsumer(topic, channel, cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	consumer.SetLoggerLevel(nsq.LogLevelMax)
	consumer.AddHandler(nsq.HandlerFunc(handle))
	for _, p := range s.NSQDs() {
		if err := consumer.ConnectToNSQD(p.TCP); err != nil {
			s.t.Fatal(err)
		}
	}
	s.t.Cleanup(func() {
		consumer.Stop()
		<-consumer.StopChan
	})
}

// channelStats is what an nsqd says of a channel.
type channelStats struct {
	Name   string `json:"channel_name"`
	Depth  int64  `json:"depth"`
	Paused bool   `json:"paused"`
}

// holds waits until ok holds for a channel on every nsqd, by its own word.
func (s *stack) holds(topic, channel string, ok func(channelStats) bool) {
	s.t.Helper()
	for _, p := range s.NSQDs() {
		for end := time.Now().Add(patience); ; time.Sleep(glance) {
			answer, err := s.Ask(context.Background(), p, http.MethodGet, "/stats?format=json&topic="+topic+"&channel="+channel)
			if err != nil {
				s.t.Fatal(err)
			}
			var stats struct {
				Topics []struct {
					Channels []channelStats `json:"channels"`
				} `json:"topics"`
			}
			if err := json.Unmarshal(answer.Body, &stats); err != nil {
				s.t.Fatal(err)
			}
			if len(stats.Topics) == 1 && len(stats.Topics[0].Channels) == 1 && ok(stats.Topics[0].Channels[0]) {
				break
			}
			if time.Now().After(end) {
				s.t.Fatalf("%s says of %s/%s: %s", p.Name, topic, channel, answer.Body)
			}
		}
	}
}

// traffic publishes on each nsqd until the test ends: so many messages a second,
// given how long it has been going on.
func (s *stack) traffic(topic string, perSecond func(since time.Duration) float64) {
	s.t.Helper()
	const pause = 100 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	s.t.Cleanup(func() { cancel(); wg.Wait() })
	for _, p := range s.NSQDs() {
		wg.Go(func() {
			begun, due := time.Now(), 0.0
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				due += perSecond(time.Since(begun)) * pause.Seconds()
				if due < 1 {
					continue
				}
				body := strings.Repeat("{\"order\":4711,\"sum\":12.5}\n", int(due))
				due -= float64(int(due))
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.HTTP+"/mpub?topic="+url.QueryEscape(topic), strings.NewReader(body))
				if err != nil {
					panic(err)
				}
				if resp, err := http.DefaultClient.Do(req); err == nil { // it may be down or stopped
					resp.Body.Close()
				}
			}
		})
	}
}

// steady is always the same rate.
func steady(perSecond float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return perSecond }
}

// fill makes a cluster that has something of everything, and waits until nsqadmin shows it.
func (s *stack) fill() {
	s.t.Helper()
	s.channel("orders/billing", "orders/archive", "clicks/stats", "lonely", "empty.topic/reader", "temp#ephemeral/now#ephemeral")
	s.publish("orders", 120)
	s.publish("clicks", 30)
	s.publish("lonely", 7)
	s.consume("clicks", "stats", func(*nsq.Message) error { return nil })
	r := newReader(s.t, s.base)
	r.sees("/topics/orders/billing", "Depth 240")
	r.sees("/topics/orders/archive", "Depth 240")
	r.sees("/topics/lonely", "Depth 14")
	r.sees("/topics/temp%23ephemeral/now%23ephemeral", "2 of 2 nsqds")
	r.sees("/topics/clicks/stats", "Consumers 2")
	r.sees("/cluster", "leads term")
}
