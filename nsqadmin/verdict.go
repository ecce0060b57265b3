package nsqadmin

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/wire"
)

// A level says how much something matters. It is the name of a colour and an icon too.
type level string

const (
	good    level = "ok"
	neutral level = "off" // nothing is wrong, but it does nothing
	notice  level = "info"
	caution level = "warn"
	bad     level = "bad"
)

func (l level) rank() int { return slices.Index([]level{good, neutral, notice, caution, bad}, l) }

// A status is a word for how something does, with why.
type status struct {
	Level level
	Word  string
	Why   string
}

// A problem is something that wants a person's attention.
type problem struct {
	Level level
	Text  string   // what is the matter
	Do    string   // what to do
	Path  []string // where to look: elements of a page's path
	key   key      // of the topic or channel it is about
	node  string   // the nsqd it is about
	size  int64    // how many messages it is about: of two alike the greater comes first
}

// A verdict is what a judge thinks of a View.
type verdict struct {
	At       time.Time
	Level    level
	Text     string // is it all right
	Do       string // and if not, what to do
	Path     []string
	LinkText string
	Problems []problem // worst first
	topics   []judged  // parallel to View.Topics
}

// A judged is a topic with what its history says.
type judged struct {
	*clusterinfo.Topic
	status
	pub, fin, growth float64 // per second; NaN: unknown
	noConsumer       bool    // some channel has messages and no consumer
	backlog          bool    // some channel has more than backlogDepth waiting
	paused           bool    // it or one of its channels
}

// State and SomePaused are for templates.
func (t *judged) State() status    { return t.status }
func (t *judged) SomePaused() bool { return t.paused }

const (
	backlogDepth  = 1000
	growthSpan    = 5 * time.Minute
	longPause     = time.Hour
	timeoutsAMin  = 10               // this many in a minute are worth a word
	diskSoon      = 24 * time.Hour   // a disk that is full sooner is
	slowFsyncMS   = 50               // p99
	skewMS        = 500              // clocks that differ by more
	markEvery     = time.Minute      // between two counts of timeouts
	diskMarkEvery = 10 * time.Minute // between two measures of a disk
)

// A judge makes verdicts, and remembers of the Views before what it takes to say "for
// an hour" and "in the last minute". Its zero value is ready. It is safe for concurrent use.
type judge struct {
	mu      sync.Mutex
	view    *clusterinfo.View // of which verdict is
	verdict *verdict
	memory  map[key]mark
	disks   map[string]diskMark
	lost    time.Time // since when the cluster has had no leader; zero: it has one
}

// A mark is what was seen of a topic or channel before.
type mark struct {
	pausedSince time.Time
	at          time.Time // of timedOut
	timedOut    int64
	perMinute   float64 // in the minute before at
}

type diskMark struct {
	at        time.Time
	free      int64
	perSecond float64 // by which it shrinks
}

// look returns the verdict on v. Only the first call for a View costs anything. Views
// must come in their order in time.
func (j *judge) look(src source, v *clusterinfo.View) *verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.verdict != nil && (j.view == v || v.At.Before(j.view.At)) {
		return j.verdict
	}
	w := &verdict{At: v.At, topics: make([]judged, len(v.Topics))}
	memory := make(map[key]mark, len(j.memory))
	for i, t := range v.Topics {
		w.topics[i] = j.topic(src, v.At, t, memory, w)
	}
	j.memory = memory
	j.nodes(v, w)
	j.lookupds(src, v, w)
	slices.SortStableFunc(w.Problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(b.Level.rank(), a.Level.rank()), cmp.Compare(a.place(), b.place()), cmp.Compare(b.size, a.size))
	})
	w.sumUp(v)
	j.view, j.verdict = v, w
	return w
}

// place orders problems of one level: a daemon that is lost explains what is wrong with topics.
func (p *problem) place() int {
	switch {
	case p.key.topic != "":
		return 2
	case p.node != "":
		return 1
	}
	return 0
}

func (w *verdict) add(p problem) { w.Problems = append(w.Problems, p) }

func rateOf(src source, k key, m metric) float64 {
	if v, ok := src.latest(k, m); ok {
		return v
	}
	return math.NaN()
}

func growthOf(src source, k key) float64 {
	if v, ok := src.growth(k, growthSpan); ok {
		return v
	}
	return math.NaN()
}

// growing says whether depth grows by enough to be worth a word.
func growing(depth int64, perSecond float64) bool {
	return perSecond*growthSpan.Seconds() > max(100, float64(depth)/10)
}

func (j *judge) topic(src source, now time.Time, t *clusterinfo.Topic, memory map[key]mark, w *verdict) judged {
	k := key{topic: t.Name}
	out := judged{Topic: t, pub: rateOf(src, k, published), fin: rateOf(src, k, finished), growth: growthOf(src, k), paused: t.Paused}
	j.remember(k, now, t.Paused, t.TimedOut, memory)
	worst := topicStatus(t, out.growth)
	for _, c := range t.Channels {
		ck := key{t.Name, c.Name}
		growth := growthOf(src, ck)
		m := j.remember(ck, now, c.Paused, c.TimedOut, memory)
		st := channelStatus(c, growth)
		out.noConsumer = out.noConsumer || c.Clients == 0 && c.Depth > 0 && !c.Paused
		out.backlog = out.backlog || c.Depth > backlogDepth
		out.paused = out.paused || c.Paused
		if st.Level.rank() > worst.Level.rank() {
			worst = status{st.Level, st.Word, "channel " + c.Name + ": " + st.Why}
		}
		w.channel(c, growth, st, m, now)
	}
	if since := memory[k].pausedSince; t.Paused && now.Sub(since) > longPause {
		w.add(problem{Level: caution, key: k, Path: []string{"topics", t.Name},
			Text: fmt.Sprintf("Topic %s has been paused for %s.", t.Name, span(now.Sub(since))),
			Do:   "Its messages wait and reach no channel. Unpause it if that is not meant to last."})
	}
	out.backlog = out.backlog || t.Depth > backlogDepth
	out.status = worst
	return out
}

func (w *verdict) channel(c *clusterinfo.Channel, growth float64, st status, m mark, now time.Time) {
	k, path, name := key{c.Topic, c.Name}, []string{"topics", c.Topic, c.Name}, c.Topic+" / "+c.Name
	switch {
	case c.Paused && now.Sub(m.pausedSince) > longPause:
		w.add(problem{Level: caution, key: k, Path: path, size: c.Depth,
			Text: fmt.Sprintf("Channel %s has been paused for %s.", name, span(now.Sub(m.pausedSince))),
			Do:   "Its consumers get nothing. Unpause it if that is not meant to last."})
	case st.Word == "no consumer":
		w.add(problem{Level: caution, key: k, Path: path, size: c.Depth,
			Text: fmt.Sprintf("Channel %s has %s waiting and no consumer.", name, count(c.Depth, "message")),
			Do:   "Start a consumer, or delete the channel if nobody needs it: it takes a copy of every message."})
	case st.Word == "growing":
		w.add(problem{Level: caution, key: k, Path: path, size: c.Depth,
			Text: fmt.Sprintf("Channel %s grows by %s messages/s; %s waiting.", name, perSecond(growth), integer(c.Depth)),
			Do:   "Its consumers finish less than is published: add some, or raise their max in flight."})
	}
	if m.perMinute >= timeoutsAMin {
		w.add(problem{Level: caution, key: k, Path: path,
			Text: fmt.Sprintf("%s of channel %s timed out in a minute.", count(int64(m.perMinute), "message"), name),
			Do:   "Consumers take longer than their message timeout: touch messages, or raise msg_timeout."})
	}
}

// remember carries what is known of k from the View before into memory.
func (j *judge) remember(k key, now time.Time, paused bool, timedOut int64, memory map[key]mark) mark {
	m, ok := j.memory[k]
	switch {
	case !ok:
		m.at, m.timedOut = now, timedOut
	case now.Sub(m.at) >= markEvery:
		m.perMinute = max(0, float64(timedOut-m.timedOut)/now.Sub(m.at).Minutes())
		m.at, m.timedOut = now, timedOut
	}
	switch {
	case !paused:
		m.pausedSince = time.Time{}
	case m.pausedSince.IsZero():
		m.pausedSince = now
	}
	memory[k] = m
	return m
}

func topicStatus(t *clusterinfo.Topic, growth float64) status {
	switch {
	case t.Paused && t.PausedOn < len(t.Nodes):
		return status{caution, "paused", fmt.Sprintf("on %d of %d nsqds", t.PausedOn, len(t.Nodes))}
	case t.Paused:
		return status{notice, "paused", "messages wait in the topic and reach no channel"}
	case t.Inactive():
		return status{neutral, "inactive", "no nsqd has it; the next publish or consumer brings it to life"}
	case len(t.Channels) == 0 && t.Depth > 0:
		return status{caution, "no channel", "messages wait in the topic until there is a channel"}
	case len(t.Channels) == 0:
		return status{neutral, "no channel", "messages will wait in the topic until there is a channel"}
	case t.StaleNodes == len(t.Nodes):
		return status{bad, "no answer", "none of its nsqds answers; the numbers are the last known"}
	case t.StaleNodes > 0:
		return status{caution, "partly known", fmt.Sprintf("%d of %d nsqds do not answer", t.StaleNodes, len(t.Nodes))}
	case growing(t.Depth, growth):
		return status{caution, "growing", "by " + perSecond(growth) + " messages/s"}
	}
	return status{good, "ok", "messages flow"}
}

func channelStatus(c *clusterinfo.Channel, growth float64) status {
	switch {
	case c.Paused && c.PausedOn < len(c.Nodes):
		return status{caution, "paused", fmt.Sprintf("on %d of %d nsqds", c.PausedOn, len(c.Nodes))}
	case c.Paused:
		return status{notice, "paused", "its consumers get nothing"}
	case len(c.Nodes) == 0:
		return status{neutral, "inactive", "no nsqd has it"}
	case c.StaleNodes == len(c.Nodes):
		return status{bad, "no answer", "none of its nsqds answers; the numbers are the last known"}
	case c.Clients == 0 && c.Depth > 0:
		return status{caution, "no consumer", count(c.Depth, "message") + " waiting"}
	case growing(c.Depth, growth):
		return status{caution, "growing", "by " + perSecond(growth) + " messages/s"}
	case c.StaleNodes > 0:
		return status{caution, "partly known", fmt.Sprintf("%d of %d nsqds do not answer", c.StaleNodes, len(c.Nodes))}
	case c.Depth > backlogDepth:
		return status{notice, "backlog", count(c.Depth, "message") + " waiting"}
	case c.Clients == 0:
		return status{neutral, "idle", "no consumer, nothing waiting"}
	}
	return status{good, "ok", "messages flow"}
}

// sumUp makes the first line of each page from the worst problem.
func (w *verdict) sumUp(v *clusterinfo.View) {
	switch {
	case v.At.IsZero():
		w.Level, w.Text, w.Do = neutral, "Starting.", "No daemon has answered yet; this takes a second or two."
		return
	case len(w.Problems) == 0 || w.Problems[0].Level == notice:
		w.Level, w.Text, w.Do = good, "All is well.", healthy(v)
		if n := len(w.Problems); n > 0 {
			w.LinkText = count(n, "hint")
		}
		return
	}
	first := w.Problems[0]
	w.Level, w.Text, w.Do, w.Path, w.LinkText = first.Level, first.Text, first.Do, first.Path, "Look"
	if more := len(w.Problems) - 1; more > 0 {
		w.LinkText = fmt.Sprintf("Look, and at %d more", more)
		w.Path = nil
	}
}

// Spoken is what is read out when it changes. It has no numbers: those change all the time.
func (w *verdict) Spoken() string {
	switch w.Level {
	case bad:
		return "Trouble: " + strings.Join(w.Problems[0].Path, " ")
	case caution:
		return "Needs you: " + strings.Join(w.Problems[0].Path, " ")
	}
	return w.Text
}

// healthy is a sentence about what there is.
func healthy(v *clusterinfo.View) string {
	nodes := 0
	for _, n := range v.Nodes {
		if n.GoneSince.IsZero() {
			nodes++
		}
	}
	text := count(nodes, "nsqd") + " up"
	if c, _ := v.Cluster(); c != nil && c.Role != "alone" {
		return fmt.Sprintf("%s; %s leads %s, %s.", text, c.Leader, count(c.Voters, "voter"), tolerance(c.FailureTolerance))
	}
	if len(v.Lookupds) > 0 {
		return fmt.Sprintf("%s, %s up.", text, count(len(v.Lookupds), "nsqlookupd"))
	}
	return text + "."
}

// A verdictJSON is a verdict in the API.
type verdictJSON struct {
	Level    level         `json:"level"` // ok, off (nothing is known yet), warn or bad
	Text     string        `json:"text"`
	Do       string        `json:"do"`
	Problems []problemJSON `json:"problems"` // worst first
}

type problemJSON struct {
	Level   level  `json:"level"` // info, warn or bad
	Text    string `json:"text"`
	Do      string `json:"do"`
	Topic   string `json:"topic,omitempty"`
	Channel string `json:"channel,omitempty"`
	Node    string `json:"node,omitempty"` // an nsqd
}

func (w *verdict) json() *verdictJSON {
	out := &verdictJSON{w.Level, w.Text, w.Do, make([]problemJSON, len(w.Problems))}
	for i, p := range w.Problems {
		out.Problems[i] = problemJSON{p.Level, p.Text, p.Do, p.key.topic, p.key.channel, p.node}
	}
	return out
}

// kinds of topics that /topics can be filtered by.
var kinds = []struct {
	Key, Title string
	is         func(*judged) bool
}{
	{"", "All", func(*judged) bool { return true }},
	{"attention", "Needs you", func(t *judged) bool { return t.Level.rank() >= caution.rank() }},
	{"backlog", "Backlog", func(t *judged) bool { return t.backlog }},
	{"noconsumer", "No consumer", func(t *judged) bool { return t.noConsumer }},
	{"paused", "Paused", func(t *judged) bool { return t.paused }},
	{"inactive", "Inactive", func(t *judged) bool { return t.Inactive() }},
	{"ephemeral", "Ephemeral", func(t *judged) bool { return wire.Ephemeral(t.Name) }},
}

// ofTopic returns what is said about topic, and of it only about channel if that is not "".
func (w *verdict) ofTopic(topic, channel string) []problem {
	return filter(w.Problems, func(p problem) bool {
		return p.key.topic == topic && topic != "" && (channel == "" || p.key.channel == channel)
	})
}

func (w *verdict) ofNode(address string) []problem {
	return filter(w.Problems, func(p problem) bool { return p.node == address })
}

func filter[T any](all []T, keep func(T) bool) (out []T) {
	for _, v := range all {
		if keep(v) {
			out = append(out, v)
		}
	}
	return out
}

// sentence makes sure of the full stop of a text from elsewhere.
func sentence(text string) string {
	if text == "" || strings.HasSuffix(text, ".") {
		return text
	}
	return text + "."
}
