package history

import (
	"strings"
	"testing"
)

// busy has an nsqd answer every 10 ms.
func (s *script) busy(from, to int) *script {
	for at := from; at < to; at += 10 {
		s.op(at, at+1, Op{Kind: Publish, Node: "nsqd1", Topic: "m"})
	}
	return s
}

// What takes longer because the machine stands still is not counted, if nsqds say so too.
func TestWhatTheMachineStoodStillIsNotCounted(t *testing.T) {
	late := func() *script { return registered().session(Ping, 1, 2_900, 4_100, Done) } // 1.2 s
	lost := func() *script { return registered().busy(1_000, 9_000).waits(1, 2_900, 3_700) }
	broken := func(s *script) *script { return s.fault("kill", "n3", "follower-kill", 2_000, 4_000) }
	leads := func(s *script) *script {
		return s.sample(1, Sample{Node: "n1", Role: "leader", Term: 2}).sample(3_600, Sample{Node: "n1", Role: "leader", Term: 3}).
			fault("kill", "n3", "follower-kill", 2_900, 4_000)
	}
	for _, tt := range []struct {
		name string
		run  *script
		id   string
		want Status
		says string
	}{
		{"a late command", late().busy(1_000, 3_000).busy(3_500, 6_000), "deadline/commands", Holds, "the machine stood still, 1 time of up to 0.510s"},
		{"a late command while others are answered", late().busy(1_000, 6_000), "deadline/commands", Missed, ""},
		{"a late command when no nsqd was asked", late(), "deadline/commands", Missed, ""},
		{"a late command when no nsqd was asked before", late().busy(3_500, 6_000), "deadline/commands", Missed, ""},
		{"a late command when an nsqd was asked now and then", late().busy(2_900, 3_000).busy(3_500, 3_600), "deadline/commands", Missed, ""},
		{"a command that is late for all that", registered().session(Ping, 1, 2_900, 4_700, Done).busy(1_000, 3_000).busy(3_500, 6_000), "deadline/commands", Missed, ""},
		{"a lost session", registered().busy(1_000, 3_000).busy(3_500, 6_000).waits(1, 2_900, 3_700), "deadline/sessions", Holds, ""},
		{"a session lost long after", registered().busy(1_000, 3_000).busy(3_500, 9_000).waits(1, 7_000, 7_800), "deadline/sessions", Missed, ""},
		{"an idle session that is lost", registered().busy(1_000, 3_000).busy(3_500, 6_000).session(Lost, 1, 2_900, 3_700, Unknown), "deadline/sessions", Missed, ""},
		{"a lost session while others are answered", lost(), "deadline/sessions", Missed, ""},
		{"a session lost after writes had stopped", broken(lost()).session(Register, 2, 2_900, 3_690, Done), "deadline/sessions", Holds, ""},
		{"a session lost after writes had stopped, though nothing was broken", lost().session(Register, 2, 2_900, 3_690, Done), "deadline/sessions", Missed, ""},
		{"a session lost after writes had stopped for a moment", broken(lost()).session(Register, 2, 2_900, 3_400, Done), "deadline/sessions", Missed, ""},
		{"a leader that lost its lease", leads(registered().busy(1_000, 3_000).busy(3_500, 6_000)), "drill/follower-kill/leaders", Holds, ""},
		{"a leader that lost its lease before that", leads(registered().busy(1_000, 3_700).busy(4_200, 6_000)), "drill/follower-kill/leaders", Missed, ""},
		{"a leader that lost its lease while others are answered", leads(registered().busy(1_000, 6_000)), "drill/follower-kill/leaders", Missed, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := claims(tt.run.done())[tt.id]
			if c.Status != tt.want || !strings.Contains(c.Evidence, tt.says) {
				t.Errorf("%s: %s, %s, want %s, %q", c.ID, c.Status, c.Evidence, tt.want, tt.says)
			}
		})
	}
}
