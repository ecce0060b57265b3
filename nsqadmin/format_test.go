package nsqadmin

import (
	"math"
	"testing"
	"time"
)

func TestFormats(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{integer(10206), "10,206"}, {integer(int64(-1234)), "-1,234"}, {integer(uint64(math.MaxUint64)), "18,446,744,073,709,551,615"},
		{short(0), "0"}, {short(9999), "9,999"}, {short(9999.6), "10.0k"}, {short(12345), "12.3k"}, {short(999499), "999k"}, {short(999600), "1.00M"},
		{short(4.56e6), "4.56M"}, {short(-4.56e6), "-4.56M"}, {short(7e9), "7.00G"}, {short(1.2e18), "1.20E"}, {short(math.MaxInt64), "9.22E"}, {short(math.NaN()), "–"}, {short(math.Inf(1)), "–"},
		{perSecond(0), "0"}, {perSecond(0.004), "0"}, {perSecond(0.25), "0.25"}, {perSecond(7), "7"}, {perSecond(7.46), "7.5"}, {perSecond(120.4), "120"},
		{signed(31.5), "+32"}, {signed(-0.5), "−0.50"}, {signed(0), "0"}, {signed(math.NaN()), "–"},
		{size(1990000), "1.9 MiB"}, {size(int64(-1)), "–"}, {size(0), "0 B"},
		{span(0), "0 s"}, {span(80 * time.Microsecond), "80 µs"}, {span(250 * time.Millisecond), "250 ms"}, {span(1500 * time.Millisecond), "1.5 s"},
		{span(41 * time.Second), "41 s"}, {span(59600 * time.Millisecond), "1m"}, {span(125 * time.Second), "2m5s"}, {span(134 * time.Minute), "2h14m"},
		{span(74 * time.Hour), "3d2h"}, {span(-41 * time.Second), "−41 s"},
		{latency(0), "0 ms"}, {latency(420e3), "420 µs"}, {latency(33.5e6), "33.5 ms"}, {latency(250e6), "250 ms"}, {latency(1.25e9), "1.25 s"}, {latency(60.333e9), "1m0.3s"},
		{latency(math.NaN()), "–"},
		{quantile(0.5), "p50"}, {quantile(0.99), "p99"}, {quantile(0.999), "p99.9"}, {quantile(0.9999), "p99.99"}, {quantile(1), "p100"},
		{count(1, "nsqd"), "1 nsqd"}, {count(0, "nsqd"), "0 nsqds"}, {count(int64(10206), "message"), "10,206 messages"},
		{list(nil), ""}, {list([]string{"a"}), "a"}, {list([]string{"a", "b"}), "a and b"}, {list([]string{"a", "b", "c"}), "a, b and c"},
		{list([]string{"a", "b", "c", "d", "e"}), "a, b, c and 2 more"},
		{shell("http://h/a?b=c"), "'http://h/a?b=c'"}, {shell("it's; rm -rf $(x)"), `'it'\''s; rm -rf $(x)'`},
		{cutText(3, "Grüße"), "Grü…"}, {cutText(5, "Grüße"), "Grüße"},
		{string(number(int64(999999))), "999,999"}, {string(number(int64(1203400))), `<span title="1,203,400">1.20M</span>`},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

func TestDrainTime(t *testing.T) {
	for _, tt := range []struct {
		depth    int64
		pub, fin float64
		want     string
	}{
		{0, 5, 5, ""}, {100, 5, 15, "10 s"}, {100, 5, 5, "never"}, {100, 0, 0, "never"}, {100, math.NaN(), 5, ""},
		{1 << 62, 0, 1, "over a year"}, {7200, 0, 1, "2h"},
	} {
		if got, _ := drainTime(tt.depth, tt.pub, tt.fin); got != tt.want {
			t.Errorf("%d at +%v -%v: got %q, want %q", tt.depth, tt.pub, tt.fin, got, tt.want)
		}
	}
}

func TestAlike(t *testing.T) {
	names := []string{"orders", "orders.dead", "clicks", "audit", "presence#ephemeral"}
	for _, tt := range []struct{ name, want string }{
		{"order", "orders"}, {"ordres", "orders"}, {"ORDERS", "orders"}, {"click", "clicks"}, {"presence", "presence#ephemeral"}, {"zzzzzz", ""}, {"", ""},
	} {
		got := alike(tt.name, names)
		if first := append(got, "")[0]; first != tt.want {
			t.Errorf("%q: got %q, want %q first", tt.name, got, tt.want)
		}
	}
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "abc", 3}, {"kitten", "sitting", 3}, {"same", "same", 0}, {"abcdefgh", "12345678", 4}} {
		if got := distance(tt.a, tt.b, 3); got != tt.want {
			t.Errorf("from %q to %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
