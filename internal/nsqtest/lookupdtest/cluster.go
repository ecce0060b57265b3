package lookupdtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"nsqraft/internal/nsqtest"
	"nsqraft/lookupd"
)

// patience is how long a cluster may take to be ready.
const patience = time.Minute

// A Member is one nsqlookupd of a cluster.
type Member struct {
	*Lookupd
	ID   string
	Raft string // address of the internal port
}

// StartCluster returns a cluster of n nsqlookupds n1, n2, ... with their logs in
// folders of the test, when all of them are healthy. They end with the test, if not
// before.
func StartCluster(t testing.TB, n int) []*Member {
	t.Helper()
	var members []*Member
	var initial []string
	for i := range n {
		m := &Member{ID: fmt.Sprintf("n%d", i+1), Raft: nsqtest.FreeAddress(t)}
		members = append(members, m)
		initial = append(initial, m.ID+"="+m.Raft)
	}
	for _, m := range members {
		m.open(t, func(o *lookupd.Options) { o.InitialCluster = initial })
	}
	awaitHealthy(t, members)
	return members
}

// StartWaiting returns an nsqlookupd called id that waits to be taken into a cluster.
func StartWaiting(t testing.TB, id string) *Member {
	t.Helper()
	m := &Member{ID: id, Raft: nsqtest.FreeAddress(t)}
	m.open(t, func(o *lookupd.Options) { o.Join, o.RaftAdvertise = "wait", m.Raft })
	return m
}

func (m *Member) open(t testing.TB, change func(*lookupd.Options)) {
	t.Helper()
	m.Lookupd = startWith(t, func(o *lookupd.Options) {
		// Longer than a busy machine makes a member wait, so that who leads goes on to.
		o.HeartbeatTimeout, o.ElectionTimeout, o.LeaderLeaseTimeout = time.Second, time.Second, time.Second
		o.NodeID, o.DataPath, o.RaftAddress = m.ID, t.TempDir(), m.Raft
		change(o)
	})
}

// awaitHealthy returns when each member says that all are healthy.
func awaitHealthy(t testing.TB, members []*Member) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for _, m := range members {
		for m.healthyMembers() < len(members) {
			if time.Now().After(deadline) {
				t.Fatalf("%s does not see %d healthy members after %v", m.ID, len(members), patience)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// healthyMembers is how many members the member thinks to be healthy.
func (m *Member) healthyMembers() (healthy int) {
	resp, err := http.Get("http://" + m.HTTP + "/cluster")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	var answer struct {
		Members []struct{ Healthy bool }
	}
	if json.NewDecoder(resp.Body).Decode(&answer) != nil {
		return 0
	}
	for _, member := range answer.Members {
		if member.Healthy {
			healthy++
		}
	}
	return healthy
}
