package nsqadmin

import (
	"fmt"
	"strings"
	"testing"

	"nsqraft/internal/clusterinfo"
)

func TestTheOverviewLeadsToAllThatNeedsSomebody(t *testing.T) {
	f := hungFake()
	for i := range 10 {
		put(f.v, fmt.Sprintf("z%d", i), f.v.Nodes[:1], map[string][2]int64{"c": {10, 0}})
	}
	got := newSite(t, f, "").get("/")
	got.want(t, 200, "7 more. All that need you: topics , nsqds .")
	if strings.Contains(got.words(), "mores") || !strings.Contains(got.body, `href="/nodes?sort=state">nsqds</a>`) {
		t.Errorf("the rest is not found:\n%s", got.words())
	}
	newSite(t, healthyFake(), "").get("/").want(t, 200, "No topic grows by 0.50/s or more.")
}

func TestNumbersThatWereNeverKnown(t *testing.T) {
	f := hungFake()
	lost := f.v.Nodes[4]
	topic := f.v.Topic("orders")
	topic.Nodes = append(topic.Nodes, &clusterinfo.TopicOnNode{Node: lost, Stats: &clusterinfo.TopicStats{Name: "orders"}})
	got := newSite(t, f, "").get("/topics/orders")
	got.want(t, 200, "Numbers of 10.0.0.5:4151 were never known; totals lack them.")
	if strings.Contains(got.words(), "last known") {
		t.Error("they are said to be the last known")
	}
}

func TestAPausedChannelIsNoPausedTopic(t *testing.T) {
	s := newSite(t, healthyFake(), "")
	c := s.v.Topic("orders").Channel("search")
	c.Paused, c.PausedOn = true, len(c.Nodes)
	s.get("/topics/orders").want(t, 200, "orders channel paused channel search: its consumers get nothing")
	s.get("/topics?q=orders").want(t, 200, "orders channel paused channel search")
	s.v.Topic("orders").Paused, s.v.Topic("orders").PausedOn = true, 3
	newSite(t, s.fake, "").get("/topics/orders").want(t, 200, "orders paused messages wait in the topic")
}

// The chip of the page and the filter of the API have the same topics.
func TestABacklogIsTheSameEverywhere(t *testing.T) {
	f := hungFake()
	put(f.v, "z-edge", f.v.Nodes[:1], map[string][2]int64{"c": {backlogDepth, 1}})
	put(f.v, "z-over", f.v.Nodes[:1], map[string][2]int64{"c": {backlogDepth + 1, 1}})
	for _, row := range new(judge).look(f, f.v).topics {
		if row.backlog != hasBacklog(row.Topic) {
			t.Errorf("%s: the page says %t, the API %t", row.Name, row.backlog, hasBacklog(row.Topic))
		}
	}
	if hasBacklog(f.v.Topic("z-edge")) || !hasBacklog(f.v.Topic("z-over")) {
		t.Error("a backlog is more than backlogDepth")
	}
}
