package nsqadmin

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"nsqraft/internal/clusterinfo"
)

// wideFake has an nsqd with 10,000 topics; the first has 3,000 channels, of which one
// has 5,000 consumers.
func wideFake() *fake {
	f := bigFake(10000, 1)
	address := f.v.Nodes[0].Address
	channels := map[string][2]int64{"busy": {7, 5000}}
	for i := range 2999 {
		channels[fmt.Sprintf("channel.%04d", i)] = [2]int64{1, 0}
	}
	put(f.v, "wide", f.v.Nodes, channels)
	busy := &clusterinfo.ChannelStats{Name: "busy"}
	for i := range 5000 {
		busy.Clients = append(busy.Clients, &clusterinfo.ClientStats{Hostname: fmt.Sprintf("host.%04d", i), RemoteAddress: fmt.Sprint("10.1.1.1:", i)})
	}
	f.consume = map[string]*clusterinfo.NodeStats{address: {Topics: []*clusterinfo.TopicStats{{Name: "wide", Channels: []*clusterinfo.ChannelStats{busy}}}}}
	return f
}

func TestLongListsComeInPages(t *testing.T) {
	s := newSite(t, wideFake(), "")
	node := "/nodes/" + s.v.Nodes[0].Address
	for path, want := range map[string]struct {
		row   string
		rows  int
		texts []string
	}{
		node:                                        {`<details class="fold"`, 100, []string{"Topics 10,001", "topic.00099", "The page of each topic has its consumers"}},
		node + "?page=2":                            {`<details class="fold"`, 100, []string{"topic.00100", "topic.00199"}},
		node + "?page=9999":                         {`<details class="fold"`, 1, []string{"wide", "All 3,000 channels"}},
		node + "?q=topic.0123":                      {`<details class="fold"`, 10, []string{"Topics 10 of 10,001", "topic.01239"}},
		node + "?q=nothing":                         {`<details class="fold"`, 0, []string{"No topic passes the filter."}},
		node + "?q=/(/":                             {`<details class="fold"`, 0, []string{"This is no expression"}},
		"/topics/wide":                              {`<tr data-key="`, 101, []string{"Channels 3,000", "busy", "And 2,991 more: sort by state to see the worst first."}},
		"/topics/wide?sort=-depth":                  {`<tr data-key="`, 101, []string{"busy"}},
		"/topics/wide?q=2998":                       {`<tr data-key="`, 2, []string{"Channels 1 of 3,000", "channel.2998"}},
		"/topics/wide?tab=consumers":                {`<tr data-key="`, 100, []string{"Consumers 5,000", "host.0099"}},
		"/topics/wide?tab=consumers&page=50":        {`<tr data-key="`, 100, []string{"host.4999"}},
		"/topics/wide?tab=consumers&q=HOST.431":     {`<tr data-key="`, 10, []string{"Consumers 10 of 5,000", "host.4319"}},
		"/topics/wide/busy":                         {`<tr data-key="`, 101, []string{"Consumers 5,000", "host.0099"}},
		"/topics/wide/busy?page=2&sort=-client":     {`<tr data-key="`, 101, []string{"host.4899", "host.4800"}},
		"/topics/wide/busy?q=/host.43[12]/&page=77": {`<tr data-key="`, 21, []string{"20 pass the filter", "host.4329"}},
	} {
		got := s.get(path)
		got.want(t, 200, want.texts...)
		if n := strings.Count(got.body, want.row); n != want.rows {
			t.Errorf("%s has %d rows, want %d", path, n, want.rows)
		}
		if len(got.body) > 256<<10 {
			t.Errorf("%s has %d bytes", path, len(got.body))
		}
		for _, f := range faults(got.body, "") {
			t.Errorf("%s: %s", path, f)
		}
	}
}

// A filter keeps the tab and the order of the list, and its links keep the filter.
func TestFiltersAndPagesOfListsKeepEachOther(t *testing.T) {
	got := newSite(t, wideFake(), "").get("/topics/wide?tab=consumers&sort=-client&q=host&page=3").body
	for _, want := range []string{`name="tab" value="consumers"`, `name="sort" value="-client"`, `href="?page=4&amp;q=host&amp;sort=-client&amp;tab=consumers"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
}

// On the page of an nsqd a channel with many consumers does not crowd out the others.
func TestANodeShowsSomeConsumersOfEachChannel(t *testing.T) {
	f := healthyFake()
	address := f.v.Nodes[0].Address
	c := f.consume[address].Topics[0].Channels[0]
	for i := range 30 {
		c.Clients = append(c.Clients, &clusterinfo.ClientStats{Hostname: fmt.Sprintf("host.%02d", i)})
	}
	got := newSite(t, f, "").get("/nodes/" + address)
	got.want(t, 200, "billing-1", "host.18", "11 more on the page of the channel")
	if strings.Contains(got.body, "host.19") {
		t.Error("more than 20 consumers are shown")
	}
}

// The rows of a topic add up to its headline, and say what their tombstones drop.
func TestTheDepthOfATopicOnANodeHasItsChannels(t *testing.T) {
	v := healthyFake().v
	topic := v.Topic("orders")
	sum := int64(0)
	for _, n := range topic.Nodes {
		sum += newTopicNode(n, v.At).Depth
	}
	if total := backlog(topic); sum != total {
		t.Errorf("the rows have %d, the topic %d", sum, total)
	}
	row := newTopicNode(topic.Nodes[0], time.Time{})
	s := newSite(t, &fake{v: v, role: admin}, "")
	s.get("/topics/orders").want(t, 200, "up "+integer(row.Depth)+" 126 1.20M")
	s.get("/topics/orders?confirm=tombstone&node="+row.Node.Address).want(t, 200, "Drops "+count(row.Depth+3*12, "message")+", those in flight")
}

func TestTheTopicsOfAnNsqlookupdAreAllOfThem(t *testing.T) {
	f := stockFake()
	f.v.Lookupds[0].Topics = []string{"audit", "clicks", "orders"}
	f.v.Lookupds[0].Channels = map[string][]string{"new": {"later"}}
	newSite(t, f, "").get("/lookup").want(t, 200, "not replicated 3 3 –")
}
