package interop

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nsqio/go-nsq"
)

// TestNSQDGoNSQ publishes and consumes with go-nsq, in every way in which it can talk
// to an nsqd: single messages, batches and deferred ones, a handler that fails now and
// then, which has go-nsq back off, and a restart in between.
func TestNSQDGoNSQ(t *testing.T) {
	cert, key := certificate(t)
	auth := startAuth(t)
	withTLS := []string{"--tls-cert=" + cert, "--tls-key=" + key, "--https-address=127.0.0.1:0", "--tls-required=tcp-https"}
	useTLS := func(cfg *nsq.Config) { cfg.TlsV1, cfg.TlsConfig = true, &tls.Config{InsecureSkipVerify: true} }
	for _, tt := range []struct {
		name      string
		flags     []string
		configure func(*nsq.Config)
	}{
		{name: "plain"},
		{name: "disk", flags: []string{"--mem-queue-size=0"}},
		{name: "not buffered", configure: func(cfg *nsq.Config) { cfg.OutputBufferSize, cfg.OutputBufferTimeout = -1, -1 }},
		{name: "TLS", flags: withTLS, configure: useTLS},
		{name: "snappy", configure: func(cfg *nsq.Config) { cfg.Snappy = true }},
		{name: "deflate", configure: func(cfg *nsq.Config) { cfg.Deflate = true }},
		{name: "deflate of level 1", configure: func(cfg *nsq.Config) { cfg.Deflate, cfg.DeflateLevel = true, 1 }},
		{name: "TLS and snappy", flags: withTLS, configure: func(cfg *nsq.Config) { useTLS(cfg); cfg.Snappy = true }},
		{name: "TLS and deflate", flags: withTLS, configure: func(cfg *nsq.Config) { useTLS(cfg); cfg.Deflate = true }},
		{name: "auth", flags: []string{"--auth-http-address=" + strings.TrimPrefix(auth.URL, "http://")}, configure: func(cfg *nsq.Config) { cfg.AuthSecret = "all" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := nsq.NewConfig()
			cfg.MaxInFlight, cfg.BackoffMultiplier, cfg.MaxBackoffDuration, cfg.DefaultRequeueDelay = 50, 10*time.Millisecond, 50*time.Millisecond, 0
			cfg.LookupdPollInterval = 100 * time.Millisecond // of reconnects, too
			if tt.configure != nil {
				tt.configure(cfg)
			}
			s := startNSQDSubject(t, nsqdUnderTest(), tt.flags...)
			c := consumeGoNSQ(t, cfg, s.tcp)
			producer, err := nsq.NewProducer(s.tcp, cfg)
			if err != nil {
				t.Fatal(err)
			}
			producer.SetLogger(log.New(io.Discard, "", 0), nsq.LogLevelError)
			defer producer.Stop()

			var want []string
			publish := func(round string) {
				t.Helper()
				for i := range 20 {
					body := fmt.Sprintf("%s %d single", round, i)
					if err := producer.Publish("t", []byte(body)); err != nil {
						t.Fatalf("Publish: %v", err)
					}
					batch := [][]byte{fmt.Appendf(nil, "%s %d first %s", round, i, strings.Repeat("x", 1000)), fmt.Appendf(nil, "%s %d second", round, i)}
					if err := producer.MultiPublish("t", batch); err != nil {
						t.Fatalf("MultiPublish: %v", err)
					}
					want = append(want, body, string(batch[0]), string(batch[1]))
				}
				body := round + " deferred"
				if err := producer.DeferredPublish("t", 100*time.Millisecond, []byte(body)); err != nil {
					t.Fatalf("DeferredPublish: %v", err)
				}
				want = append(want, body)
			}
			publish("before")
			eventually(t, 15*time.Second, "every message", c.has(want...))

			s.stop()
			s.start()
			// A ping goes out on the old connection, too, as long as go-nsq does not know its end.
			eventually(t, startTimeout, "the producer is back", func() error { return producer.Publish("t", []byte("back")) })
			want = append(want, "back")
			publish("after")
			eventually(t, 15*time.Second, "every message after a restart", c.has(want...))
		})
	}
}

// A goConsumer is a go-nsq consumer of t/c that keeps what it has finished.
type goConsumer struct {
	mu   sync.Mutex
	done map[string]int
}

// consumeGoNSQ starts one. Its handler fails at the first attempt of every tenth body.
func consumeGoNSQ(t testing.TB, cfg *nsq.Config, addr string) *goConsumer {
	t.Helper()
	c := &goConsumer{done: make(map[string]int)}
	consumer, err := nsq.NewConsumer("t", "c", cfg)
	if err != nil {
		t.Fatal(err)
	}
	consumer.SetLogger(log.New(io.Discard, "", 0), nsq.LogLevelError)
	failed := make(map[string]bool)
	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		body := string(m.Body)
		if strings.Contains(body, "5 ") && !failed[body] {
			failed[body] = true
			return errors.New("the first time")
		}
		if failed[body] && m.Attempts < 2 {
			t.Errorf("%q: attempt %d after a failure", body, m.Attempts)
		}
		c.done[body]++
		return nil
	}))
	if err := consumer.ConnectToNSQD(addr); err != nil {
		t.Fatalf("go-nsq: %v", err)
	}
	t.Cleanup(func() {
		consumer.Stop()
		<-consumer.StopChan
	})
	return c
}

// has returns a check that every body has been finished.
func (c *goConsumer) has(want ...string) func() error {
	return func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		var missing []string
		for _, body := range want {
			if c.done[body] == 0 {
				missing = append(missing, body)
			}
		}
		if len(missing) > 0 {
			slices.Sort(missing)
			return fmt.Errorf("%d of %d are missing: %.200q", len(missing), len(want), missing)
		}
		return nil
	}
}
