package nsqd

import (
	"fmt"
	"testing"
)

func TestPublishToFinish(t *testing.T) {
	s := startServer(t, nil)
	p := dial(t, s, pub("orders", "one"), multi("orders", "two", "three"))
	p.want("OK", "OK")
	c := dial(t, s, sub("orders", "archive"), "RDY 10\n")
	c.want("OK")
	for i, want := range []string{"one", "two", "three"} {
		m := c.message()
		if string(m.Body) != want || m.Attempts != 1 {
			t.Errorf("message %d: %q, attempt %d; want %q, 1", i, m.Body, m.Attempts, want)
		}
		c.fin(m)
	}
	c.say("FIN 0123456789abcdef\n")
	c.want("E_FIN_FAILED FIN 0123456789abcdef failed ID not in flight")
	st := s.Stats(StatsFilter{Clients: true})
	if got := fmt.Sprint(st.Topics[0].Channels[0].Clients[0].FinishCount); got != "3" {
		t.Errorf("%s finished", got)
	}
}
