package nsqd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nsqio/go-nsq"

	"nsqraft/internal/nsqtest"
)

// stockProducer and stockConsumer are go-nsq's, on the server; they end with the
// test.
func stockProducer(t *testing.T, s *Server, config *nsq.Config) *nsq.Producer {
	t.Helper()
	p, err := nsq.NewProducer(s.TCPAddr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	p.SetLogger(log.New(io.Discard, "", 0), nsq.LogLevelError)
	t.Cleanup(p.Stop)
	return p
}

func stockConsumer(t *testing.T, s *Server, config *nsq.Config, topic, channel string, handle nsq.HandlerFunc) *nsq.Consumer {
	t.Helper()
	c, err := nsq.NewConsumer(topic, channel, config)
	if err != nil {
		t.Fatal(err)
	}
	c.SetLogger(log.New(io.Discard, "", 0), nsq.LogLevelError)
	c.AddConcurrentHandlers(handle, 4)
	if err := c.ConnectToNSQD(s.TCPAddr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Stop()
		<-c.StopChan
	})
	return c
}

// A tally counts what is received.
type tally struct {
	mu   sync.Mutex
	seen map[string]int
}

func (y *tally) count(body string) int {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.seen == nil {
		y.seen = make(map[string]int)
	}
	y.seen[body]++
	return y.seen[body]
}

func (y *tally) len() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return len(y.seen)
}

func TestStockClient(t *testing.T) {
	a := newAuthority(t)
	a.leaf("nsqd")
	secrets := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("secret") != "open sesame" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		io.WriteString(w, grants(60, everything))
	}))
	defer secrets.Close()
	for _, tt := range []struct {
		name   string
		server func(*Options)
		client func(*nsq.Config)
	}{
		{"plain", func(*Options) {}, func(*nsq.Config) {}},
		{"TLS", func(o *Options) { o.TLSRequired = tlsRequired }, func(*nsq.Config) {}},
		{"snappy", func(*Options) {}, func(c *nsq.Config) { c.Snappy = true }},
		{"deflate", func(*Options) {}, func(c *nsq.Config) { c.Deflate, c.DeflateLevel = true, 3 }},
		{"TLS and snappy", func(*Options) {}, func(c *nsq.Config) { c.Snappy = true }},
		{"TLS and deflate", func(*Options) {}, func(c *nsq.Config) { c.Deflate = true }},
		{"auth", func(o *Options) { o.AuthHTTPAddresses = []string{secrets.URL} }, func(c *nsq.Config) { c.AuthSecret = "open sesame" }},
		{"all on disk", func(o *Options) { o.MemQueueSize = 0 }, func(*nsq.Config) {}},
		{"all synced", func(o *Options) { o.SyncEvery = 1 }, func(*nsq.Config) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startServer(t, func(o *Options) {
				o.TLSCert, o.TLSKey = a.file("nsqd.pem"), a.file("nsqd.key")
				tt.server(o)
			})
			config := nsq.NewConfig()
			config.MaxInFlight = 20
			config.TlsV1, config.TlsConfig = strings.Contains(tt.name, "TLS"), trusting(a)
			tt.client(config)
			p := stockProducer(t, s, config)
			var got tally
			handle := func(m *nsq.Message) error {
				got.count(string(m.Body))
				return nil
			}
			stockConsumer(t, s, config, "t", "c", handle)
			const n = 100
			var many [][]byte
			for i := range n {
				many = append(many, fmt.Appendf(nil, "many %d %s", i, strings.Repeat("x", i*i)))
				if err := p.Publish("t", fmt.Appendf(nil, "one %d", i)); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.MultiPublish("t", many); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			if err := p.DeferredPublish("t", 50*time.Millisecond, []byte("late")); err != nil {
				t.Fatal(err)
			}
			eventually(t, "all messages are received", func() bool { return got.len() == 2*n+1 })
			if d := time.Since(begun); d < 50*time.Millisecond {
				t.Errorf("what was deferred has come after %v", d)
			}
			eventually(t, "all are finished", func() bool {
				c := s.Stats(StatsFilter{Clients: true}).Topics[0].Channels[0]
				return len(c.Clients) == 1 && c.Clients[0].FinishCount == 2*n+1 && c.InFlightCount == 0
			})
			c := s.Stats(StatsFilter{Clients: true}).Topics[0].Channels[0]
			if st := c.Clients[0]; st.TLS != config.TlsV1 || st.Snappy != config.Snappy || st.Deflate != config.Deflate || st.Authed != (config.AuthSecret != "") {
				t.Errorf("stats: %+v", st)
			}
			if c.TimeoutCount != 0 || c.RequeueCount != 0 {
				t.Errorf("%d time-outs, %d requeues", c.TimeoutCount, c.RequeueCount)
			}
		})
	}
}

func TestStockClientIsRefused(t *testing.T) {
	a := newAuthority(t)
	a.leaf("nsqd")
	s := startServer(t, func(o *Options) {
		o.TLSCert, o.TLSKey, o.TLSRequired = a.file("nsqd.pem"), a.file("nsqd.key"), tlsRequired
	})
	config := nsq.NewConfig()
	p := stockProducer(t, s, config)
	if err := p.Publish("t", []byte("m")); err == nil || !strings.Contains(err.Error(), "TLS required") && !errors.Is(err, nsq.ErrNotConnected) && !errors.Is(err, nsq.ErrStopped) {
		t.Errorf("without TLS: %v", err)
	}
	config = nsq.NewConfig()
	config.TlsV1, config.TlsConfig = true, new(tls.Config)
	if err := stockProducer(t, s, config).Ping(); err == nil {
		t.Error("a client trusts whom it does not know")
	}
}

// A consumer whose handler fails backs off, and gets all in the end.
func TestStockClientBacksOff(t *testing.T) {
	s := startServer(t, nil)
	config := nsq.NewConfig()
	config.MaxInFlight = 5
	config.BackoffMultiplier, config.MaxBackoffDuration = time.Millisecond, 20*time.Millisecond
	config.DefaultRequeueDelay = 0
	p := stockProducer(t, s, config)
	const n = 30
	var got tally
	for i := range n {
		if err := p.Publish("t", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	stockConsumer(t, s, config, "t", "c", func(m *nsq.Message) error {
		if m.Attempts == 1 && len(m.Body) == 1 {
			return errors.New("not this time")
		}
		got.count(string(m.Body))
		return nil
	})
	eventually(t, "all messages are received", func() bool { return got.len() == n })
	eventually(t, "ten were requeued, and all are finished", func() bool {
		c := s.Stats(StatsFilter{}).Topics[0].Channels[0]
		return c.RequeueCount >= 10 && c.InFlightCount == 0 && c.Depth == 0 && c.DeferredCount == 0
	})
}

// Over a restart nothing is lost, and a stock consumer finds back. A stock producer
// does too, but go-nsq has a data race there.
func TestStockClientOverRestart(t *testing.T) {
	for _, memory := range []int64{10000, 0} {
		folder, address := t.TempDir(), nsqtest.FreeAddress(t)
		start := func() *Server {
			return startServer(t, func(o *Options) { o.DataPath, o.TCPAddress, o.MemQueueSize = folder, address, memory })
		}
		s := start()
		config := nsq.NewConfig()
		config.LookupdPollInterval = 20 * time.Millisecond // also how soon it connects anew
		config.MaxInFlight = 7
		const n = 50
		publish := func(from int) {
			t.Helper()
			p := stockProducer(t, s, config)
			for i := from; i < from+n; i++ {
				if err := p.Publish("t", fmt.Append(nil, i)); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.DeferredPublish("t", 300*time.Millisecond, fmt.Append(nil, "late", from)); err != nil {
				t.Fatal(err)
			}
		}
		var got tally
		release := make(chan struct{})
		stockConsumer(t, s, config, "t", "c", func(m *nsq.Message) error {
			<-release // in flight over the restart
			got.count(string(m.Body))
			return nil
		})
		publish(0)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = start()
		close(release)
		publish(n)
		eventually(t, "all messages are received", func() bool { return got.len() == 2*n+2 })
		eventually(t, "all are finished", func() bool {
			c := s.Stats(StatsFilter{}).Topics[0].Channels[0]
			return c.Depth == 0 && c.InFlightCount == 0 && c.DeferredCount == 0
		})
	}
}
