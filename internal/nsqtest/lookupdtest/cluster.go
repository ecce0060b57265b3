package lookupdtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

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
	for range 10 {
		members, err := openCluster(t, n)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue // somebody else took a port between its choice and its use
		}
		if err != nil {
			t.Fatal(err)
		}
		awaitHealthy(t, members)
		return members
	}
	t.Fatal("no free ports for a cluster")
	return nil
}

// StartWaiting returns an nsqlookupd called id that waits to be taken into a cluster.
func StartWaiting(t testing.TB, id string) *Member {
	t.Helper()
	for range 10 {
		m := &Member{ID: id, Raft: freeAddress(t)}
		var err error
		m.Lookupd, err = openMember(t, m, func(o *lookupd.Options) { o.Join, o.RaftAdvertise = "wait", m.Raft })
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	t.Fatal("no free port for a member")
	return nil
}

// openCluster chooses free ports for the members and opens them. What was opened is
// closed if one cannot be.
func openCluster(t testing.TB, n int) ([]*Member, error) {
	var members []*Member
	var initial []string
	for i := range n {
		m := &Member{ID: fmt.Sprintf("n%d", i+1), Raft: freeAddress(t)}
		members = append(members, m)
		initial = append(initial, m.ID+"="+m.Raft)
	}
	for i, m := range members {
		var err error
		if m.Lookupd, err = openMember(t, m, func(o *lookupd.Options) { o.InitialCluster = initial }); err != nil {
			for _, opened := range members[:i] {
				opened.Close()
			}
			return nil, err
		}
	}
	return members, nil
}

func openMember(t testing.TB, m *Member, change func(*lookupd.Options)) (*Lookupd, error) {
	o := lookupd.DefaultOptions()
	o.TCPAddress, o.HTTPAddress, o.BroadcastAddress = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1"
	// Longer than a busy machine makes a member wait, so that who leads goes on to.
	o.HeartbeatTimeout, o.ElectionTimeout, o.LeaderLeaseTimeout = time.Second, time.Second, time.Second
	o.NodeID, o.DataPath, o.RaftAddress = m.ID, t.TempDir(), m.Raft
	change(o)
	if err := o.Validate(); err != nil {
		return nil, err
	}
	l := &Lookupd{t: t, server: lookupd.New(o, hclog.NewNullLogger())}
	if err := l.server.Open(); err != nil {
		return nil, err
	}
	t.Cleanup(l.Close)
	l.TCP, l.HTTP = l.server.TCPAddr().String(), l.server.HTTPAddr().String()
	return l, nil
}

// freeAddress returns an address on which nobody listens.
func freeAddress(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
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
