package clusterinfo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// large returns what is known of nsqds that each have the same topics with two
// channels each.
func large(topics, nsqds int) *snapshot {
	s := &snapshot{at: time.Now()}
	var names []string
	for i := range topics {
		names = append(names, fmt.Sprintf("a_topic_of_a_service.%05d", i))
	}
	for i := range nsqds {
		stats := new(NodeStats)
		for _, name := range names {
			stats.Topics = append(stats.Topics, &TopicStats{Name: name, Depth: 1, MessageCount: 2, Channels: []*ChannelStats{
				{Name: "archive", Depth: 1, MessageCount: 7, ClientCount: 1}, {Name: "worker", Depth: 2, MessageCount: 9, ClientCount: 2},
			}})
		}
		s.nodes = append(s.nodes, &Node{Address: fmt.Sprintf("nsqd%03d:4151", i), State: Up, Stats: stats})
	}
	s.lookupds = []*Lookupd{{Address: "l:4161", State: Up, Topics: names}}
	return s
}

// BenchmarkView puts together the View of 10,000 topics on each of 100 nsqds.
func BenchmarkView(b *testing.B) {
	s := large(10_000, 100)
	b.ReportAllocs()
	for b.Loop() {
		if v := s.view(); len(v.Topics) != 10_000 || len(v.Topics[0].Nodes) != 100 {
			b.Fatal("not the whole View")
		}
	}
}

// BenchmarkDecodeStats decodes what an nsqd of 10,000 topics says.
func BenchmarkDecodeStats(b *testing.B) {
	text, err := json.Marshal(large(10_000, 1).nodes[0].Stats)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		var s NodeStats
		if err := decodeStats(json.NewDecoder(bytes.NewReader(text)), &s, false); err != nil {
			b.Fatal(err)
		}
	}
}
