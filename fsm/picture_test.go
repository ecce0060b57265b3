package fsm

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A picture is all that a View answers, index and Changed aside, in a form that
// compares with == and reads well.
type picture struct {
	Lives      []Life
	Sessions   []string
	Producers  []string
	Topics     []string
	Tombstones []string
	Deletions  []string
	Counts     Counts
}

// pictureOf asks v everything.
func pictureOf(v *View) picture {
	pic := picture{Lives: v.Lives(), Counts: v.Counts()}
	for _, l := range pic.Lives {
		for s := range v.Sessions(l.Node, l.Epoch) {
			var held []string
			for _, topic := range v.TopicNames() {
				if !v.Holds(s.ID, topic, "") {
					continue
				}
				held = append(held, topic)
				for _, channel := range v.Topic(topic).Channels() {
					if v.Holds(s.ID, topic, channel) {
						held = append(held, topic+"/"+channel)
					}
				}
			}
			slices.Sort(held)
			pic.Sessions = append(pic.Sessions, sessionLine(*s, held))
		}
	}
	for p := range v.Producers() {
		var topics []string
		for name, at := range p.Topics() {
			topics = append(topics, name+tombstoneMark(at))
		}
		pic.Producers = append(pic.Producers, producerLine(p.ID, p.Info.GetVersion(), p.Active, p.Sessions(), topics))
	}
	for _, name := range v.TopicNames() {
		t := v.Topic(name)
		pic.Topics = append(pic.Topics, topicLine(name, t.Channels(), t.Producers()))
		for channel, producers := range t.Registrations() {
			pic.Topics = append(pic.Topics, registrationLine(name, channel, producers))
		}
	}
	for t := range v.Tombstones() {
		pic.Tombstones = append(pic.Tombstones, tombstoneLine(t))
	}
	v.deletions.byName.Scan(func(_ string, d *deletion) bool {
		pic.Deletions = append(pic.Deletions, deletionLine(d))
		return true
	})
	return pic
}

func sessionLine(s Session, held []string) string {
	line := fmt.Sprintf("session %v %s %s", s.ID, s.Producer, s.Info.GetVersion())
	for _, flag := range []struct {
		set  bool
		name string
	}{{s.Inactive, "inactive"}, {s.Replayed, "replayed"}, {s.Orphaned, "orphaned"}} {
		if flag.set {
			line += " " + flag.name
		}
	}
	topics := 0
	for _, h := range held {
		if !strings.Contains(h, "/") {
			topics++
		}
	}
	if s.Topics != topics {
		line += fmt.Sprintf(" (says %d topics)", s.Topics)
	}
	return line + ": " + strings.Join(held, " ")
}

func activity(active bool) string {
	if active {
		return "active"
	}
	return "inactive"
}

func tombstoneMark(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return fmt.Sprintf("(tombstoned at %v)", time.Duration(at.UnixNano()))
}

func producerLine(id, version string, active bool, sessions []SessionID, topics []string) string {
	return fmt.Sprintf("producer %s %s %s, sessions %v: %s", id, version, activity(active), sessions, strings.Join(topics, " "))
}

func topicLine(name string, channels []string, producers []TopicProducer) string {
	var listed []string
	for _, p := range producers {
		listed = append(listed, fmt.Sprintf("%s %s %s%s", p.ID, p.Info.GetVersion(), activity(p.Active), tombstoneMark(p.TombstonedAt)))
	}
	return fmt.Sprintf("topic %s: channels %v, producers [%s]", name, channels, strings.Join(listed, ", "))
}

func registrationLine(topic, channel string, producers []TopicProducer) string {
	var ids []string
	for _, p := range producers {
		ids = append(ids, p.ID)
	}
	return fmt.Sprintf("  %s/%s by %v", topic, channel, ids)
}

func tombstoneLine(t Tombstone) string {
	return fmt.Sprintf("tombstone %s %s at %v", t.Topic, t.Producer, time.Duration(t.Time.UnixNano()))
}

func deletionLine(d *deletion) string {
	return fmt.Sprintf("deleted %s/%s at %v, told %v", d.topic, d.channel, time.Duration(d.time), d.nodes)
}

func (p picture) lines() []string {
	var lines []string
	for _, l := range p.Lives {
		orphaned := ""
		if l.Orphaned {
			orphaned = fmt.Sprintf(" orphaned at %d", l.OrphanedAt)
		}
		lines = append(lines, fmt.Sprintf("life %s/%d sequence %d, %d sessions%s", l.Node, l.Epoch, l.Sequence, l.Sessions, orphaned))
	}
	c := p.Counts
	counts := fmt.Sprintf("%d topics, %d channels, %d producers, %d sessions, %d registrations, %d tombstones",
		c.Topics, c.Channels, c.Producers, c.Sessions, c.Registrations, c.Tombstones)
	return slices.Concat(lines, p.Sessions, p.Producers, p.Topics, p.Tombstones, p.Deletions, []string{counts})
}

func (p picture) String() string { return strings.Join(p.lines(), "\n") + "\n" }
