package browser

import (
	"flag"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/nsqio/go-nsq"
)

var pictures = flag.String("pictures", "", "folder to write the README's pictures to; empty: none")

const (
	// maxPicture is what one may weigh in the repository.
	maxPicture = 200 << 10
	// warmUp is how long there is traffic before the first picture, for charts to
	// have something to show; leadership moves a few times meanwhile.
	warmUp    = 4 * time.Minute
	transfers = 3
)

// TestPictures makes the README's pictures from a cluster under traffic: make pictures.
func TestPictures(t *testing.T) {
	if *pictures == "" {
		t.Skip("make pictures makes them")
	}
	s := newStack(t)
	s.channel("orders/billing", "orders/shipping", "payments/ledger", "payments/fraud", "clicks/stats", "clicks/archive", "mail/sender", "search.updates/indexer", "audit/archive", "metrics#ephemeral/live#ephemeral")
	s.publish("mail", 400) // its consumer is too slow
	quick := func(*nsq.Message) error { return nil }
	for _, c := range [][2]string{{"orders", "billing"}, {"orders", "shipping"}, {"payments", "ledger"}, {"payments", "fraud"}, {"clicks", "stats"}, {"clicks", "archive"},
		{"search.updates", "indexer"}, {"audit", "archive"}, {"metrics#ephemeral", "live#ephemeral"}} {
		s.consume(c[0], c[1], quick)
	}
	s.consume("mail", "sender", func(*nsq.Message) error { time.Sleep(30 * time.Millisecond); return nil })
	phase := 0.0
	for topic, rate := range map[string]float64{"orders": 60, "payments": 30, "clicks": 300, "mail": 20, "search.updates": 90, "audit": 10, "metrics#ephemeral": 50} {
		phase++
		s.traffic(topic, wave(rate, phase))
	}
	tb := newTab(t, s.base)
	tb.open("/")
	for range transfers {
		time.Sleep(warmUp / (transfers + 1))
		s.post(s.Lookupds()[0], "/cluster/transfer", "")
	}
	time.Sleep(warmUp / (transfers + 1))
	take := func(name, path, see string) {
		t.Helper()
		for _, scheme := range []string{"light", "dark"} {
			tb.scheme(scheme)
			tb.do(chromedp.EmulateViewport(1200, 780))
			tb.open(path)
			tb.see(see)
			tb.picture(filepath.Join(*pictures, name+"-"+scheme+".png"))
		}
	}
	take("overview", "/", "Last events")
	take("topics", "/topics", "orders")
	take("topic", "/topics/orders", "billing")
	old := s.leader()
	tb.open("/cluster")
	tb.see(old.Name + " leads term")
	if err := old.Kill(); err != nil {
		t.Fatal(err)
	}
	tb.see("unreachable")
	take("cluster-leader-killed", "/cluster", "unreachable")
	if err := old.Start(); err != nil {
		t.Fatal(err)
	}
}

// wave is a rate as of people: it rises and falls, and is never quite the same.
func wave(mean, phase float64) func(time.Duration) float64 {
	return func(since time.Duration) float64 {
		return mean * (1 + 0.35*math.Sin(phase+since.Minutes()*2.1) + 0.15*math.Sin(phase*3+since.Seconds()/7))
	}
}

// picture writes the window to a file, which must be small enough for a repository.
func (tb *tab) picture(path string) {
	tb.t.Helper()
	data, err := chromedp.Run(tb.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		tb.t.Fatal(err)
	}
	if err := keep(path, data); err != nil {
		tb.t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		tb.t.Fatal(err)
	}
	defer f.Close()
	if cfg, err := png.DecodeConfig(f); err != nil || len(data) > maxPicture {
		tb.t.Errorf("%s: %d bytes, %v; want a PNG of at most %d", path, len(data), err, maxPicture)
	} else {
		tb.t.Logf("%s: %d × %d, %d KB", path, cfg.Width, cfg.Height, len(data)>>10)
	}
}
