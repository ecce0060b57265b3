package interop

import "testing"

// TestDeviations lists every answer that ours gives otherwise than stock, with the
// reason. Both sides are checked: a deviation that has gone is a mistake in this
// table, and stock's answer shows what a user gives up.
//
// More need no row. Arrays are sorted, so that equal registries have equal answers;
// stock's order changes from one answer to the next. Ours adds headers, and the fields
// of transcript_test.go's additive. And what a PING or a closed connection changes is
// seen a moment after the answer to the PING, or the close: neither waits for a commit.
func TestDeviations(t *testing.T) {
	for _, tt := range []struct {
		name string
		why  string
		// before leads both subjects to the state in which they are asked.
		before []step
		ask    step
		stock  string // stock's transcript of ask; empty where stock must not be asked
		ours   string
	}{
		{
			name:  "HEAD is answered as GET without the body",
			why:   "load balancers and uptime checks send it",
			ask:   status("HEAD /ping"),
			stock: "HEAD /ping: 405",
			ours:  "HEAD /ping: 200",
		},
		{
			name: "a length below zero in IDENTIFY",
			why:  "it ends stock's whole process",
			ask:  say("a", magic+"IDENTIFY\n\xff\xff\xff\xff"),
			ours: `a says "  V1IDENTIFY\n\xff\xff\xff\xff": "E_BAD_BODY IDENTIFY invalid body size -1" closed`,
		},
		{
			name: "an IDENTIFY of two gigabytes announced",
			why:  "stock makes room for all of it before a byte of it has come",
			ask:  say("a", magic+"IDENTIFY\n\x7f\xff\xff\xff"),
			ours: `a says "  V1IDENTIFY\n\x7f\xff\xff\xff": "E_BAD_BODY IDENTIFY body too big 2147483647 > 65536" closed`,
		},
		{
			name:   "delete of the topic *",
			why:    "on stock one request empties the registry",
			before: registered(),
			ask:    status("POST /topic/delete?topic=*", "GET /lookup?topic=orders"),
			stock:  "POST /topic/delete?topic=*: 200; GET /lookup?topic=orders: 404",
			ours:   "POST /topic/delete?topic=*: 400; GET /lookup?topic=orders: 200",
		},
		{
			name:   "delete of a topic that no topic can be called",
			why:    "stock says that all went well",
			before: registered(),
			ask:    status("POST /topic/delete?topic=", "POST /topic/delete?topic=or!ders", "POST /topic/tombstone?topic=*&node=one.example:4151", "GET /lookup?topic=orders"),
			stock:  "POST /topic/delete?topic=: 200; POST /topic/delete?topic=or!ders: 200; POST /topic/tombstone?topic=*&node=one.example:4151: 200; GET /lookup?topic=orders: 200",
			ours:   "POST /topic/delete?topic=: 400; POST /topic/delete?topic=or!ders: 400; POST /topic/tombstone?topic=*&node=one.example:4151: 400; GET /lookup?topic=orders: 200",
		},
		{
			name:   "lookup of the topic *",
			why:    "a name with a meaning of its own is a trap; nobody's client asks for it",
			before: registered(),
			ask:    status("GET /lookup?topic=*"),
			stock:  "GET /lookup?topic=*: 200",
			ours:   "GET /lookup?topic=*: 404",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answers := map[string]string{"ours": tt.ours}
			if tt.stock != "" {
				answers["stock"] = tt.stock
			}
			for which := range subjects() {
				want, asked := answers[which]
				if !asked {
					continue
				}
				s := startSubject(t, which)
				for _, do := range tt.before {
					do(s)
				}
				if got := tt.ask(s); got != want {
					t.Errorf("%s: %s, want %s (%s)", which, got, want, tt.why)
				}
				if err := s.running(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
