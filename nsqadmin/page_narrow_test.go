package nsqadmin

import (
	"strings"
	"testing"
)

// An address is one text to whoever reads or copies it, and breaks before its port only.
func TestAddressesBreakBeforeTheirPort(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.1:4151": `10.0.0.1<wbr><span class="port">:4151</span>`,
		"[::1]:4151":    `[::1]<wbr><span class="port">:4151</span>`,
		"<b>":           `&lt;b&gt;<wbr><span class="port"></span>`,
	} {
		if got := string(address(text)); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	newSite(t, healthyFake(), "").get("/nodes").want(t, 200, "10.0.0.1:4151")
}

func TestLinesBesideNumbersSayWhatTheySpan(t *testing.T) {
	got := newSite(t, healthyFake(), "").get("/topics")
	got.want(t, 200, "10 min Depth", "10 min Pub/s")
	if n := strings.Count(got.body, `class="over"`); n != 2 {
		t.Errorf("%d headings have a span", n)
	}
}
