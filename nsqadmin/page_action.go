package nsqadmin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/httpapi"
)

// A confirmation is asked for before something is done that cannot be undone. It is a
// page of its own; the script shows it as a dialog.
type confirmation struct {
	Title   string
	Effects []string // what will happen, with numbers
	Beware  []string // what else to think of
	Type    string   // must be typed; "": nothing
	Button  string
	Danger  bool
	To      string // path of the form
	Fields  []field
	Back    string // where Cancel leads
	Err     string
}

type field struct{ Name, Value string }

// A report lists what an action did where, if it did not succeed everywhere.
type report struct {
	Title   string
	Text    string
	Rows    []reportRow
	Retry   []field // the form that does it again where it failed; nil: none
	To      string
	Back    string
	Failed  int // Unknown among them
	Unknown int
	Succeed int
}

type reportRow struct {
	Subject string // the topic, in a bulk action
	Address string
	Kind    string
	OK      bool
	Unknown bool // it may still happen
	Err     string
	Took    time.Duration
}

var (
	errInvalidAction = httpapi.NewError(http.StatusBadRequest, "INVALID_ACTION")
	errForbidden     = httpapi.NewError(http.StatusForbidden, "FORBIDDEN")
)

// A formAction is what a button does to a topic, a channel or an nsqd.
type formAction struct {
	verb, done string // "Empty", "Emptied"
	needs      role
	confirm    bool
	typed      bool // the name must be typed
}

var formActions = map[string]formAction{
	"pause":     {verb: "Pause", done: "Paused", needs: operator},
	"unpause":   {verb: "Unpause", done: "Unpaused", needs: operator},
	"empty":     {verb: "Empty", done: "Emptied", needs: admin, confirm: true},
	"delete":    {verb: "Delete", done: "Deleted", needs: admin, confirm: true, typed: true},
	"tombstone": {verb: "Tombstone", done: "Tombstoned", needs: admin, confirm: true},
}

// button is what stands on it.
func (d formAction) button(what string) string { return d.verb + " " + what }

// titleOf names a topic or channel in a sentence.
func titleOf(topic, channel string) string {
	if channel == "" {
		return "topic " + topic
	}
	return "channel " + topic + " / " + channel
}

// actionName is stock's name of a form's action.
func actionName(name, channel string) string {
	if name == "tombstone" {
		return "tombstone_topic_producer"
	}
	if channel == "" {
		return name + "_topic"
	}
	return name + "_channel"
}

// confirmPage asks before name is done to a topic or channel of nodes (nil: all).
func (p *pages) confirmPage(r *http.Request, v *clusterinfo.View, name, topic, channel string, nodes []string, wrong string) (*page, error) {
	d, ok := formActions[name]
	if !ok || !d.confirm || name == "tombstone" && (channel != "" || len(nodes) != 1) {
		return nil, errInvalidAction
	}
	if _, role := p.src.who(r); role < d.needs {
		return nil, errForbidden
	}
	c := &confirmation{
		Title: d.verb + " " + titleOf(topic, channel) + "?", Button: d.verb, Danger: true, Err: wrong,
		To: p.base + link(trim("topics", topic, channel)...), Back: p.base + link(trim("topics", topic, channel)...),
		Fields: []field{{"action", name}, {"confirmed", "1"}},
	}
	if d.typed {
		c.Type = topic
		if channel != "" {
			c.Type = channel
		}
	}
	if r.FormValue("back") == "lookup" {
		c.Back = p.base + "/lookup"
		c.Fields = append(c.Fields, field{"back", "lookup"})
	}
	for _, n := range nodes {
		c.Fields = append(c.Fields, field{"node", n})
	}
	t := v.Topic(topic)
	switch name {
	case "empty":
		c.emptying(t, channel, nodes)
	case "delete":
		c.deleting(t, channel, nodes)
	case "tombstone":
		c.Title = fmt.Sprintf("Tombstone topic %s on nsqd %s?", topic, nodes[0])
		c.Effects, c.Beware = tombstoning(t, nodes[0])
	}
	return &page{Template: "confirm", Title: c.Title, Nav: "topics", Frozen: true, Status: refused(wrong), Data: c}, nil
}

func refused(wrong string) int {
	if wrong != "" {
		return http.StatusUnprocessableEntity
	}
	return 0
}

func trim(elements ...string) []string {
	return slices.DeleteFunc(elements, func(s string) bool { return s == "" })
}

// A holding is how many messages one nsqd has of something.
type holding struct {
	node  *clusterinfo.Node
	depth int64
}

// holdings returns what nodes (nil: all) have of a topic itself or of a channel.
func holdings(t *clusterinfo.Topic, channel string, nodes []string) (out []holding) {
	keep := func(n *clusterinfo.Node) bool { return len(nodes) == 0 || slices.Contains(nodes, n.Address) }
	if channel == "" {
		for _, n := range t.Nodes {
			if keep(n.Node) {
				out = append(out, holding{n.Node, n.Stats.Depth})
			}
		}
		return out
	}
	if c := t.Channel(channel); c != nil {
		for _, n := range c.Nodes {
			if keep(n.Node) {
				out = append(out, holding{n.Node, n.Stats.Depth + n.Stats.InFlightCount + n.Stats.DeferredCount})
			}
		}
	}
	return out
}

// everything is what nodes (nil: all) have of a topic, its channels included.
func everything(t *clusterinfo.Topic, nodes []string) []holding {
	hs := holdings(t, "", nodes)
	for _, c := range t.Channels {
		for _, more := range holdings(t, c.Name, nodes) {
			if i := slices.IndexFunc(hs, func(h holding) bool { return h.node == more.node }); i >= 0 {
				hs[i].depth += more.depth
			}
		}
	}
	return hs
}

func total(hs []holding) (n int64) {
	for _, h := range hs {
		n += h.depth
	}
	return n
}

// drops says how many messages go where.
func drops(hs []holding, rest string) string {
	if len(hs) == 0 {
		return "No nsqd has it: no message is dropped."
	}
	parts := make([]string, len(hs))
	for i, h := range hs {
		parts[i] = h.node.Address + " (" + integer(h.depth) + ")"
	}
	return fmt.Sprintf("Drops %s on %s: %s.%s", count(total(hs), "message"), count(len(hs), "nsqd"), list(parts), rest)
}

func (c *confirmation) emptying(t *clusterinfo.Topic, channel string, nodes []string) {
	hs := holdings(t, channel, nodes)
	if channel == "" {
		c.Effects = append(c.Effects, drops(hs, ""), "Only what no channel has received yet; channels keep their messages.")
	} else {
		c.Effects = append(c.Effects, drops(hs, " In flight and deferred ones are counted."))
	}
	c.Effects = append(c.Effects, "What is published from now on is not affected.")
	c.silent(hs)
}

func (c *confirmation) deleting(t *clusterinfo.Topic, channel string, nodes []string) {
	if channel != "" {
		c.Effects = append(c.Effects, drops(holdings(t, channel, nodes), ""))
		if ch := t.Channel(channel); ch != nil && ch.Clients > 0 {
			c.Effects = append(c.Effects, fmt.Sprintf("Disconnects %s; when they come back they make the channel anew, empty.", count(ch.Clients, "consumer")))
		}
		if len(t.Channels) == 1 {
			c.Beware = append(c.Beware, fmt.Sprintf("It is the last channel of %s: from then on messages wait in the topic, and the next channel gets all of them.", t.Name))
		}
		c.silent(holdings(t, channel, nodes))
		return
	}
	hs := everything(t, nodes)
	c.Effects = append(c.Effects, fmt.Sprintf("Drops %s on %s, those of %s included.", count(total(hs), "message"), count(len(hs), "nsqd"), count(len(t.Channels), "channel")))
	if t.Clients > 0 {
		c.Effects = append(c.Effects, fmt.Sprintf("Disconnects %s; when they come back they make the topic anew, empty.", count(t.Clients, "consumer")))
	}
	c.Beware = append(c.Beware, "A producer that publishes to it makes it anew.")
	c.silent(hs)
}

// silent warns of nsqds that are not going to hear of it.
func (c *confirmation) silent(hs []holding) {
	for _, h := range hs {
		if h.node.Stale() && h.node.State != clusterinfo.Unknown {
			c.Beware = append(c.Beware, fmt.Sprintf("%s does not answer: its %s stay until you do it again.", h.node.Address, count(h.depth, "message")))
		}
	}
}

func tombstoning(t *clusterinfo.Topic, node string) (effects, beware []string) {
	effects = []string{
		fmt.Sprintf("Consumers of %s stop finding it on %s, for the --tombstone-lifetime of the nsqlookupds (45 s).", t.Name, node),
		"The topic is deleted on that nsqd with its channels and their messages; other nsqds keep theirs.",
	}
	effects = append(effects, "Drops "+count(total(everything(t, []string{node})), "message")+", those in flight and deferred included.")
	return effects, []string{"First stop producers from publishing to it there: a publish makes the topic anew on that nsqd, and after the lifetime it is found again."}
}

// act does what a form of a topic or channel asks for.
func (p *pages) act(r *http.Request, v *clusterinfo.View, topic, channel string) (*page, error) {
	name := r.PostForm.Get("action")
	d, ok := formActions[name]
	nodes := r.PostForm["node"]
	if !ok || name == "tombstone" && (channel != "" || len(nodes) != 1) {
		return nil, errInvalidAction
	}
	if d.confirm && r.PostForm.Get("confirmed") == "" {
		return p.confirmPage(r, v, name, topic, channel, nodes, "")
	}
	own := topic
	if channel != "" {
		own = channel
	}
	if d.typed && r.PostForm.Get("typed") != own {
		return p.confirmPage(r, v, name, topic, channel, nodes, "That is not the name. Nothing was done.")
	}
	a := action{name: actionName(name, channel), topic: topic, channel: channel, nodes: nodes}
	if name == "tombstone" {
		a.node, a.nodes = nodes[0], nil
	}
	results, err := p.src.do(r, a)
	if err != nil {
		return nil, err
	}
	self := p.base + link(trim("topics", topic, channel)...)
	back := self
	if name == "delete" {
		if back = p.base + "/topics"; channel != "" {
			back = p.base + link("topics", topic)
		}
	}
	if r.PostForm.Get("back") == "lookup" {
		back = p.base + "/lookup"
	}
	text := d.done + " " + titleOf(topic, channel)
	if name == "tombstone" {
		text += " on " + a.node
	}
	again := []field{{"action", name}, {"confirmed", "1"}, {"typed", own}}
	return p.finish(text, results, again, self, back), nil
}

// finish redirects to back with text if all went well; else it lists what did not, with
// a form to do it again there.
func (p *pages) finish(text string, results []clusterinfo.Result, again []field, to, back string) *page {
	o := &report{Title: text, To: to, Back: back, Retry: again}
	done := map[string]int{}
	var failed []string
	for _, res := range results {
		row := reportRow{Address: res.Address, Kind: res.Kind, OK: res.Err == nil, Unknown: res.Unknown(), Took: res.Took}
		if row.Unknown {
			o.Unknown++
		}
		if res.Err != nil {
			row.Err = res.Err.Error()
			if res.Kind == "nsqd" {
				failed = append(failed, res.Address)
			}
			o.Failed++
		} else {
			done[res.Kind]++
			o.Succeed++
		}
		o.Rows = append(o.Rows, row)
	}
	if o.Failed == 0 {
		var where []string
		for _, kind := range []string{"nsqd", "nsqlookupd"} {
			if done[kind] > 0 {
				where = append(where, count(done[kind], kind))
			}
		}
		if len(where) > 0 {
			text += " on " + list(where)
		}
		return &page{redirect: back, flash: text + "."}
	}
	for _, address := range failed {
		o.Retry = append(o.Retry, field{"node", address})
	}
	if o.Failed > o.Unknown {
		o.Text = "Where it failed, nothing is known to have changed."
	}
	return o.page(text)
}

func (o *report) page(text string) *page {
	pg := &page{Template: "outcome", Title: text, Frozen: true, Data: o}
	if o.Unknown > 0 {
		o.Text = strings.TrimSpace(o.Text + " Where the outcome is unknown, no answer came: it may still happen. Look before you try again.")
	}
	if o.Unknown == o.Failed {
		if o.Succeed == 0 {
			pg.Status = http.StatusGatewayTimeout
		}
		o.Title = "Outcome unknown: " + strings.ToLower(text[:1]) + text[1:]
	} else if o.Succeed == 0 && o.Unknown == 0 {
		pg.Status = http.StatusBadGateway
		o.Title = "Failed everywhere: " + strings.ToLower(text[:1]) + text[1:]
	} else {
		o.Title = "Failed in part: " + strings.ToLower(text[:1]) + text[1:]
	}
	return pg
}

// create makes a topic, and a channel of it if channel is not "".
func (p *pages) create(r *http.Request, topic, channel, back string) (*page, error) {
	topic, channel = strings.TrimSpace(topic), strings.TrimSpace(channel)
	a := action{name: "create_topic", topic: topic, channel: channel}
	if channel != "" {
		a.name = "create_channel"
	}
	results, err := p.src.do(r, a)
	if err != nil {
		return nil, err
	}
	again := []field{{"action", "create"}, {"topic", topic}, {"channel", channel}}
	to := p.base + link("topics", topic)
	if channel != "" {
		to = p.base + link("topics", topic, channel)
	}
	return p.finish("Created "+titleOf(topic, channel), results, again, back, to), nil
}
