package nsqadmin

import (
	"strings"
	"testing"
)

// While no nsqlookupd answers, what nsqadmin has seen of them stays.
func TestTheClusterPageWithoutAnAnswer(t *testing.T) {
	f := deadFake()
	got := newSite(t, f, "").get("/cluster")
	got.want(t, 200, "None of the 3 nsqlookupds answers.", "Still works", "Consumers that are connected to nsqds stay so.", "Waits", "Lookups: new consumers find no nsqd",
		"Start again: n1:4161, n2:4161 and n3:4161", "changes need a majority", "Who led", "n2 leads, term 7")
	if !strings.Contains(got.body, `class="lane"`) {
		t.Error("no lanes of who led")
	}
	f.kings = nil
	if got := newSite(t, f, "").get("/cluster").words(); strings.Contains(got, "Who led") || strings.Contains(got, "majority") {
		t.Errorf("of nsqlookupds of which no leader was ever seen:\n%s", got)
	}
	f.v.Lookupds = f.v.Lookupds[:1]
	newSite(t, f, "").get("/cluster").want(t, 200, "The nsqlookupd does not answer.")
	one := stockFake()
	one.v.Lookupds = one.v.Lookupds[:1]
	newSite(t, one, "").get("/cluster").want(t, 200, "The nsqlookupd is not replicated.")
}

func TestTheClusterPageWithoutAMajority(t *testing.T) {
	s := newSite(t, leaderlessFake(), "")
	s.get("/cluster").want(t, 200, "If the disks of a majority are gone for good", "start all with empty data paths and the same --initial-cluster", "Can lose 0 more")
	s.get("/").want(t, 200, "Can lose 0 more")
}
