package lookupd

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/lookupd/peerpb"
)

// waiting makes n4 and later nodes wait to be taken in.
func (c *testCluster) waiting() {
	c.tweak = func(o *Options) {
		if o.NodeID > "n3" {
			o.InitialCluster, o.Join, o.RaftAdvertise = nil, joinWait, o.NodeID+":4162"
		} else {
			o.InitialCluster = []string{"n1=n1:4162,n2=n2:4162,n3=n3:4162"}
		}
	}
}

// api is the HTTP port of n.
func (c *testCluster) api(n *testNode) http.Handler {
	a := newHTTPAPI(c.t.Context(), n.node, n.node, new(sessions), newMetrics(), hclog.NewNullLogger(), time.Minute)
	return a.routes(n.clusterRoutes)
}

func (c *testCluster) votes(n *testNode) {
	c.t.Helper()
	c.eventually(20*time.Second, "%s votes and is ready", func() bool {
		_, ok := c.leader().voter(n.id)
		return ok && n.ready.Load()
	}, n.id)
}

func TestWaitingNodeIsTakenInThroughAnyMember(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.register(c.connect(c.leader(), "nsqd"), "orders", "")
		c.waiting()
		for i, id := range []string{"n4", "n5"} {
			through := c.leader()
			if i == 1 {
				through = c.followers()[0]
			}
			n := c.start(id)
			time.Sleep(time.Minute)
			if n.hasConfiguration() || n.ready.Load() {
				t.Fatalf("%s is in a cluster before anyone has taken it in", id)
			}
			w := ask(c.api(through), "POST /cluster/add?address="+id+":4162")
			if want := `{"node":"` + id + `"}`; w.Code != 200 || w.Body.String() != want {
				t.Fatalf("take in %s: %d %s, want %s", id, w.Code, w.Body, want)
			}
			c.ids = append(c.ids, id)
			c.votes(n)
		}
		c.seen(time.Second, "orders", "nsqd")
		c.register(c.connect(c.nodes["n5"], "other"), "orders", "")
		c.seen(time.Second, "orders", "nsqd other")

		// It is a member like any other: its flag has no effect any more.
		c.kill("n4")
		c.votes(c.start("n4"))
	})
}

func TestNodesThatAreNotTakenIn(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.waiting()
		waiting := c.tweak
		c.tweak = func(o *Options) {
			waiting(o)
			switch o.NodeID {
			case "n6": // joins by itself, if it could
				o.Join = "nobody:4162"
			case "n7": // a cluster of its own
				o.Join = ""
			case "n8": // cannot be reached where it says
				o.RaftAdvertise = "elsewhere:4162"
			}
		}
		leader, follower := c.leader(), c.followers()[0]
		c.start("n5")
		// n5 was a member, and has been removed.
		if w := ask(c.api(leader), "POST /cluster/add?address=n5:4162"); w.Code != 200 {
			t.Fatalf("take in n5: %d %s", w.Code, w.Body)
		}
		c.votes(c.nodes["n5"])
		if err := leader.remove(t.Context(), "n5"); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"n6", "n7", "n8"} {
			c.start(id)
		}
		c.must(c.nodes["n7"].do(t.Context(), createTopic("theirs")))
		for _, tt := range []struct {
			query string
			code  int
			text  string
		}{
			{"", 400, "MISSING_ARG_ADDRESS"},
			{"?address=", 400, refusedAddress},
			{"?address=n4", 400, refusedAddress},
			{"?address=0.0.0.0:4162", 400, refusedAddress},
			{"?address=nobody:4162", 409, refusedSilent},
			{"?address=" + leader.address(), 409, refusedMember},
			{"?address=" + follower.address(), 409, refusedMember},
			{"?address=n5:4162", 409, refusedUsed},
			{"?address=n6:4162", 409, refusedAwake},
			{"?address=n7:4162", 409, refusedForeign},
			{"?address=n8:4162", 409, refusedSilent},
		} {
			for _, n := range []*testNode{leader, follower} {
				w := ask(c.api(n), "POST /cluster/add"+tt.query)
				if w.Code != tt.code || !strings.HasPrefix(w.Body.String(), `{"message":"`+tt.text) {
					t.Errorf("%q through %s: %d %s, want %d %s", tt.query, n.id, w.Code, w.Body, tt.code, tt.text)
				}
			}
		}
		if got := len(leader.servers()); got != 3 {
			t.Errorf("%d members after refusals, want 3", got)
		}
	})
}

func TestNobodyIsTakenInWithoutALeader(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.waiting()
		c.start("n4")
		last := c.leader()
		for _, n := range c.followersOf(last) {
			c.kill(n.id)
		}
		time.Sleep(5 * time.Second)
		if w := ask(c.api(last), "POST /cluster/add?address=n4:4162"); w.Code != 503 || w.Body.String() != message("NO_LEADER") {
			t.Errorf("got %d %s, want 503", w.Code, w.Body)
		}
		if c.nodes["n4"].cluster() != "" {
			t.Error("n4 is part of the cluster all the same")
		}
	})
}

// The leader replicates to a new member before that has noted its cluster.
func TestWaitingNodeThatMissedTheAnswerAsksWhomItKnows(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.waiting()
		store := memoryStorage("n4")
		save := store.saveIdentity
		store.saveIdentity = func(identity) error { return errors.New("killed first") }
		c.nodes["n4"] = &testNode{id: "n4", store: store}
		n4 := c.start("n4")
		if w := ask(c.api(c.followers()[0]), "POST /cluster/add?address=n4:4162"); w.Code != 504 || w.Body.String() != message("UNKNOWN_OUTCOME") {
			t.Errorf("take in n4, whose disk fails: %d %s, want 504", w.Code, w.Body)
		}
		c.eventually(5*time.Second, "n4 hears of its cluster", n4.hasConfiguration)
		c.kill("n4")
		store.saveIdentity = save
		n4 = c.start("n4")
		c.votes(n4)
		if n4.cluster() != c.leader().cluster() {
			t.Errorf("n4 says it is of cluster %q, the leader %q", n4.cluster(), c.leader().cluster())
		}
	})
}

func TestInviteIsForThoseWhoWait(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader := c.leader()
		if err := c.followers()[0].acceptInvite(t.Context(), &peerpb.InviteRequest{Via: leader.address()}); !errors.Is(err, errRejected) {
			t.Errorf("a member is invited: %v, want errRejected", err)
		}
		c.waiting()
		n4 := c.start("n4")
		for _, via := range []string{"", "nowhere", "0.0.0.0:4162"} {
			if err := n4.acceptInvite(t.Context(), &peerpb.InviteRequest{Via: via}); !errors.Is(err, errRejected) {
				t.Errorf("invited by %q: %v, want errRejected", via, err)
			}
		}
	})
}
