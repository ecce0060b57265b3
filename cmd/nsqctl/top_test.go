package main

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"nsqraft/internal/clusterinfo"
)

// A tally is what an nsqd says of the topic orders and its channel billing.
type tally struct {
	published, depth, inFlight int64
}

// viewWith is a View of nsqds a and b at a time, with these numbers.
func viewWith(at time.Time, a, b tally) *clusterinfo.View {
	v := &clusterinfo.View{At: at}
	topic := &clusterinfo.Topic{Name: "orders"}
	channel := &clusterinfo.Channel{Topic: "orders", Name: "billing"}
	topic.Channels = []*clusterinfo.Channel{channel}
	for host, n := range map[string]tally{"a": a, "b": b} {
		cs := &clusterinfo.ChannelStats{Name: "billing", MessageCount: n.published, Depth: n.depth, InFlightCount: n.inFlight}
		ts := &clusterinfo.TopicStats{Name: "orders", MessageCount: n.published, Channels: []*clusterinfo.ChannelStats{cs}}
		node := &clusterinfo.Node{Address: host + ":4151", State: clusterinfo.Up, StatsAt: at, Stats: &clusterinfo.NodeStats{Topics: []*clusterinfo.TopicStats{ts}},
			Depth: n.depth, InFlight: n.inFlight}
		v.Nodes = append(v.Nodes, node)
		topic.Nodes = append(topic.Nodes, &clusterinfo.TopicOnNode{Node: node, Stats: ts})
		channel.Nodes = append(channel.Nodes, &clusterinfo.ChannelOnNode{Node: node, Stats: cs})
		channel.Depth += n.depth
		channel.InFlight += n.inFlight
		topic.InFlight += n.inFlight
	}
	v.Topics = []*clusterinfo.Topic{topic}
	return v
}

func TestRates(t *testing.T) {
	start := time.Unix(1000, 0)
	first := viewWith(start, tally{100, 10, 0}, tally{50, 0, 0})
	var r rates
	r.observe(first)
	row := func(v *clusterinfo.View) topRow { return topTopics(t.Context(), nil, v, &r)[0] }
	if got := row(first); got.InRate != nil || got.OutRate != nil {
		t.Errorf("rates of one answer: %v, %v", *got.InRate, *got.OutRate)
	}

	// a took 20 in 2 s and finished 10 of them; b took 4.
	second := viewWith(start.Add(2*time.Second), tally{120, 20, 0}, tally{54, 0, 0})
	r.observe(second)
	r.observe(second) // the same again changes nothing
	if got := row(second); *got.InRate != 12 || *got.OutRate != 7 {
		t.Errorf("%v in, %v out a second; want 12, 7", *got.InRate, *got.OutRate)
	}

	// a was started anew: what is known is of b.
	third := viewWith(start.Add(4*time.Second), tally{1, 1, 0}, tally{64, 0, 0})
	for _, n := range third.Nodes {
		if n.Address == "a:4151" {
			n.Stats.StartTime = 1003
		}
	}
	r.observe(third)
	if got := row(third); *got.InRate != 5 {
		t.Errorf("%v in a second, want 5 of b", *got.InRate)
	}

	// b hangs: nothing is known of it, nor of a topic that is gone.
	fourth := viewWith(start.Add(6*time.Second), tally{3, 1, 0}, tally{64, 0, 0})
	for _, n := range fourth.Nodes {
		if n.Stats.StartTime = 1003; n.Address == "b:4151" {
			n.State = clusterinfo.Suspect
		}
	}
	r.observe(fourth)
	if got := row(fourth); *got.InRate != 1 {
		t.Errorf("%v in a second, want 1 of a", *got.InRate)
	}
	r.observe(&clusterinfo.View{})
	if len(r.seen) != 0 {
		t.Errorf("%d places are kept that are gone", len(r.seen))
	}
}

func TestArrange(t *testing.T) {
	rows := []topRow{{Topic: "b", Depth: 1}, {Topic: "c", Depth: 9}, {Topic: "a", Depth: 1}}
	tests := []struct {
		column  string
		reverse bool
		want    string
	}{
		{"DEPTH", false, "c a b"}, {"DEPTH", true, "a b c"}, {"TOPIC", false, "a b c"}, {"TOPIC", true, "c b a"}, {"PUB/S", false, "a b c"},
	}
	for _, tt := range tests {
		var got []string
		for _, r := range arrange(rows, topColumn(tt.column), tt.reverse, func(*topRow) bool { return true }) {
			got = append(got, r.Topic)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("by %s, reverse %v: %v, want %s", tt.column, tt.reverse, got, tt.want)
		}
	}
}

// newTestScreen is a screen of 60 by 10 that shows v.
func newTestScreen(t *testing.T, v *clusterinfo.View) *screen {
	o := &viewing{}
	if err := o.set("topics", ""); err != nil {
		t.Fatal(err)
	}
	p := &program{env: func(string) (string, bool) { return "", false }, stdout: io.Discard}
	s := newScreen(t.Context(), p, o, v)
	s.Update(tea.WindowSizeMsg{Width: 60, Height: 10})
	return s
}

// press presses keys, each a letter or a name in <>.
func press(s *screen, keys string) (last tea.Cmd) {
	for _, key := range regexp.MustCompile(`<\w+>|.`).FindAllString(keys, -1) {
		k := tea.Key{Text: key, Code: []rune(key)[0]}
		switch key {
		case "<tab>":
			k = tea.Key{Code: tea.KeyTab}
		case "<enter>":
			k = tea.Key{Code: tea.KeyEnter}
		case "<esc>":
			k = tea.Key{Code: tea.KeyEscape}
		case "<back>":
			k = tea.Key{Code: tea.KeyBackspace}
		case "<down>":
			k = tea.Key{Code: tea.KeyDown}
		case "<end>":
			k = tea.Key{Code: tea.KeyEnd}
		case " ":
			k = tea.Key{Code: tea.KeySpace, Text: " "}
		}
		_, last = s.Update(tea.KeyPressMsg(k))
	}
	return last
}

func TestScreen(t *testing.T) {
	start := time.Unix(1000, 0)
	s := newTestScreen(t, viewWith(start, tally{100, 10, 1}, tally{50, 0, 0}))
	shows := func(what string, words ...string) {
		t.Helper()
		content := s.View().Content
		lines := strings.Split(content, "\n")
		for _, line := range lines {
			if len(line) > 60 {
				t.Errorf("%s: a line is too long: %q", what, line)
			}
		}
		if len(lines) != 10 {
			t.Errorf("%s: %d lines, want 10", what, len(lines))
		}
		for _, word := range words {
			if !strings.Contains(content, word) {
				t.Errorf("%s: no %q in\n%s", what, word, content)
			}
		}
	}
	shows("at first", "[1 topics: 1]", "TOPIC   DEPTHv", "orders      10      -      -", "2 nsqds, 1 topic")
	press(s, "<tab>")
	shows("tab", "[2 channels: 1]", "billing")
	press(s, "3")
	shows("3", "[3 nsqds: 2]", "a:4151", "b:4151")
	press(s, "/B:4<back><enter>")
	shows("a filter", "[3 nsqds: 1]", "filter: B:", "b:4151")
	press(s, "1s")
	shows("a filter of all lists, another order", "[1 topics: 0]", "PUB/Sv", "filter: B:")
	press(s, "/<esc>r")
	shows("no filter, reverse", "[1 topics: 1]", "PUB/S^", "orders")
	s.Update(viewed{viewWith(start.Add(2*time.Second), tally{120, 30, 1}, tally{50, 0, 0})})
	shows("rates", "30    10.0    0.0")
	press(s, " ")
	s.Update(viewed{viewWith(start.Add(4*time.Second), tally{160, 70, 1}, tally{50, 0, 0})})
	shows("stopped", "(stopped)", "30    10.0    0.0")
	press(s, " ")
	s.Update(viewed{viewWith(start.Add(6*time.Second), tally{160, 70, 1}, tally{50, 0, 0})})
	shows("goes on", "70     0.0")
	if cmd := press(s, "4"); cmd == nil {
		t.Error("clients are not asked for")
	}
	s.Update(listed{[]topRow{{Topic: "orders", Channel: "billing", Client: "c1", Remote: "r:1"}}})
	shows("clients", "[4 clients: 1]", "c1")
	if cmd := press(s, "14"); cmd != nil {
		t.Error("clients are asked for twice at a time")
	}
	s.Update(refresh{})
	if cmd := press(s, "q"); cmd == nil || cmd() != tea.Quit() {
		t.Error("q does not end it")
	}
}

func TestScreenScrolls(t *testing.T) {
	v := &clusterinfo.View{At: time.Now()}
	for _, name := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
		v.Topics = append(v.Topics, &clusterinfo.Topic{Name: name + "-topic"})
	}
	s := newTestScreen(t, v)
	first := func() string { return strings.Fields(strings.Split(s.View().Content, "\n")[3])[0] }
	for _, tt := range []struct{ keys, want string }{
		{"", "a-topic"}, {"<down><down>", "c-topic"}, {"k", "b-topic"}, {"<end>", "u-topic"}, {"j", "u-topic"}, {"g", "a-topic"}, {"k", "a-topic"},
	} {
		if press(s, tt.keys); first() != tt.want {
			t.Errorf("after %q the first is %s, want %s", tt.keys, first(), tt.want)
		}
	}
	press(s, "<end>")
	s.Update(viewed{&clusterinfo.View{Topics: v.Topics[:1]}})
	if first() != "a-topic" {
		t.Errorf("with one topic left the first is %s", first())
	}
}

// The whole of it, as Bubble Tea runs it.
func TestScreenRuns(t *testing.T) {
	s := newTestScreen(t, viewWith(time.Unix(1000, 0), tally{1, 1, 0}, tally{}))
	asked := make(chan struct{})
	s.next = func(*clusterinfo.View) (*clusterinfo.View, bool) {
		close(asked)
		<-t.Context().Done()
		return nil, false
	}
	in, keys := io.Pipe()
	go func() {
		<-asked
		io.WriteString(keys, "2q")
	}()
	var out bytes.Buffer
	_, err := tea.NewProgram(s, tea.WithInput(in), tea.WithOutput(&out), tea.WithEnvironment([]string{"TERM=xterm"}), tea.WithWindowSize(80, 10), tea.WithoutSignals()).Run()
	keys.Close()
	if err != nil || s.list().name != "channels" {
		t.Errorf("ended with %v, showing %s", err, s.list().name)
	}
}
