package fsm

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"nsqraft/fsm/fsmpb"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata")

// TestTranscripts replays the stories in testdata/*.txt. A story is blocks of
// commands, ---- and what they print, separated by empty lines:
//
//	apply NODE/EPOCH SEQUENCE [time=DURATION] [term=TERM]   a batch of the mutations on the lines after it
//	barrier [term=TERM]                                     an empty batch without a writer
//	leader [term=TERM]                                      a batch without a writer
//	show [WORD...]                                          the registry, or its lines that begin with one of the words
//	restart                                                 goes on with a registry restored from a snapshot
//
// The twin hears everything too, and must agree.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("transcripts: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &story{t: t, registry: New(), twin: &twin{changed: make(map[string]uint64)}, term: 1}
			var told []string
			for _, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
				commands, want, _ := strings.Cut(block, "\n----")
				if got := s.run(commands); got != "" {
					commands += "\n----\n" + strings.TrimSuffix(got, "\n")
					if got, want := strings.TrimSpace(got), strings.TrimSpace(want); got != want && !*update {
						t.Errorf("%s\ngot\n%s\nwant\n%s", commands, got, want)
					}
				}
				told = append(told, commands)
			}
			if *update {
				if err := os.WriteFile(file, []byte(strings.Join(told, "\n\n")+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

type story struct {
	t        *testing.T
	registry *Registry
	twin     *twin
	index    uint64
	term     uint64
}

// run executes one block and returns what it prints. A block of nothing but
// comments prints nothing.
func (s *story) run(block string) string {
	s.t.Helper()
	var lines [][]string
	for line := range strings.Lines(block) {
		if fields := strings.Fields(line); len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
			lines = append(lines, fields)
		}
	}
	if len(lines) == 0 {
		return ""
	}
	command, args := lines[0][0], lines[0][1:]
	switch command {
	case "apply":
		b := &fsmpb.Batch{Sequence: s.number(args[1])}
		b.Writer, b.Epoch = s.life(args[0])
		return s.apply(b, args[2:], lines[1:])
	case "barrier", "leader":
		return s.apply(&fsmpb.Batch{}, args, lines[1:])
	case "show":
		return s.show(args)
	case "restart":
		restored := New()
		if err := restored.Restore(bytes.NewReader(snapshotOf(s.t, s.registry.View()))); err != nil {
			s.t.Fatal(err)
		}
		if restored.View().Hash() != s.registry.View().Hash() {
			s.t.Fatalf("%s\nthe hash has changed", block)
		}
		s.registry = restored
		return "the same hash\n"
	}
	s.t.Fatalf("no such command: %s", command)
	return ""
}

func (s *story) apply(b *fsmpb.Batch, options []string, mutations [][]string) string {
	s.t.Helper()
	for _, o := range options {
		switch name, value, _ := strings.Cut(o, "="); name {
		case "time":
			b.Time = s.duration(value)
		case "term":
			s.term = s.number(value)
		default:
			s.t.Fatalf("no such option: %s", o)
		}
	}
	for _, fields := range mutations {
		b.Mutations = append(b.Mutations, s.mutation(fields))
	}
	s.index++
	out := s.registry.Apply(s.index, s.term, b)
	if want := s.twin.apply(s.index, s.term, b); !reflect.DeepEqual(out, want) {
		s.t.Errorf("entry %d: %+v, the twin says %+v", s.index, out, want)
	}
	if pic, want := pictureOf(s.registry.View()), s.twin.picture(); !reflect.DeepEqual(pic, want) {
		s.t.Errorf("entry %d:\n%vthe twin:\n%v", s.index, pic, want)
	}
	printed := fmt.Sprintf("entry %d: %v", s.index, out.Status)
	if out.Status == StatusApplied && out.Index != s.index {
		printed += fmt.Sprintf(" at %d", out.Index)
	}
	if len(out.Results) > 0 {
		printed += ":"
		for _, r := range out.Results {
			printed += " " + r.String()
		}
	}
	if b.Writer != "" {
		printed += fmt.Sprintf("; %s is at epoch %d, sequence %d", b.Writer, out.Epoch, out.Sequence)
	}
	return printed + "\n"
}

func (s *story) mutation(fields []string) *fsmpb.Mutation {
	s.t.Helper()
	arg := func(i int) string {
		if i < len(fields) {
			return fields[i]
		}
		return ""
	}
	switch fields[0] {
	case "open":
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_OpenSession{OpenSession: &fsmpb.OpenSession{
			Session: s.number(arg(1)), Producer: s.producer(arg(2), arg(3))}}}
	case "register":
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_Register{Register: &fsmpb.Register{
			Session: s.number(arg(1)), Topic: arg(2), Channel: arg(3)}}}
	case "unregister":
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_Unregister{Unregister: &fsmpb.Unregister{
			Session: s.number(arg(1)), Topic: arg(2), Channel: arg(3)}}}
	case "end":
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_EndSession{EndSession: &fsmpb.EndSession{Session: s.number(arg(1))}}}
	case "replayed":
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_FinishReplay{FinishReplay: &fsmpb.FinishReplay{Session: s.number(arg(1))}}}
	case "active", "inactive":
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_SetActive{SetActive: &fsmpb.SetActive{
			Session: s.number(arg(1)), Active: fields[0] == "active"}}}
	case "create":
		if arg(2) == "" {
			return &fsmpb.Mutation{Kind: &fsmpb.Mutation_CreateTopic{CreateTopic: &fsmpb.CreateTopic{Topic: arg(1)}}}
		}
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_CreateChannel{CreateChannel: &fsmpb.CreateChannel{
			Topic: arg(1), Channel: arg(2)}}}
	case "delete":
		if arg(2) == "" {
			return &fsmpb.Mutation{Kind: &fsmpb.Mutation_DeleteTopic{DeleteTopic: &fsmpb.DeleteTopic{Topic: arg(1)}}}
		}
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_DeleteChannel{DeleteChannel: &fsmpb.DeleteChannel{
			Topic: arg(1), Channel: arg(2)}}}
	case "tombstone":
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_Tombstone{Tombstone: &fsmpb.Tombstone{Topic: arg(1), Node: arg(2)}}}
	case "clear":
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_ClearTombstone{ClearTombstone: &fsmpb.ClearTombstone{
			Topic: arg(1), Producer: ProducerID(s.producer(arg(2), "")), Time: s.duration(arg(3))}}}
	case "orphan":
		m := &fsmpb.OrphanNode{Term: s.number(arg(2))}
		m.Node, m.Epoch = s.life(arg(1))
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_OrphanNode{OrphanNode: m}}
	case "reclaim":
		m := &fsmpb.ReclaimNode{Term: s.number(arg(2))}
		m.Node, m.Epoch = s.life(arg(1))
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_ReclaimNode{ReclaimNode: m}}
	case "endnode":
		m := &fsmpb.EndNode{Term: s.number(arg(2))}
		m.Node, m.Epoch = s.life(arg(1))
		if arg(3) != "" {
			m.Limit = uint32(s.number(arg(3)))
		}
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_EndNode{EndNode: m}}
	}
	s.t.Fatalf("no such mutation: %v", fields)
	return nil
}

// show prints the lines of the registry that begin with one of the words. What
// is indented belongs to the line before.
func (s *story) show(words []string) string {
	v := s.registry.View()
	lines := pictureOf(v).lines()
	changed := fmt.Sprintf("changed: topics at %d, nodes at %d", v.TopicsChanged(), v.NodesChanged())
	for _, name := range v.TopicNames() {
		changed += fmt.Sprintf(", %s at %d", name, v.Topic(name).Changed())
	}
	lines = append(lines, changed)

	var printed strings.Builder
	wanted := false
	for _, line := range lines {
		if !strings.HasPrefix(line, " ") {
			wanted = len(words) == 0
			for _, w := range words {
				wanted = wanted || strings.HasPrefix(line, w)
			}
		}
		if wanted {
			fmt.Fprintln(&printed, line)
		}
	}
	if printed.Len() == 0 {
		return "none\n"
	}
	return printed.String()
}

// producer reads HOST[:TCP:HTTP].
func (s *story) producer(address, version string) *fsmpb.Producer {
	s.t.Helper()
	p := &fsmpb.Producer{BroadcastAddress: address, TcpPort: 4150, HttpPort: 4151, Version: "v1"}
	if parts := strings.Split(address, ":"); len(parts) == 3 {
		p.BroadcastAddress = parts[0]
		p.TcpPort, p.HttpPort = uint32(s.number(parts[1])), uint32(s.number(parts[2]))
	}
	if version != "" {
		p.Version = version
	}
	return p
}

// life reads NODE/EPOCH.
func (s *story) life(arg string) (string, uint64) {
	s.t.Helper()
	node, epoch, _ := strings.Cut(arg, "/")
	return node, s.number(epoch)
}

func (s *story) number(arg string) uint64 {
	s.t.Helper()
	n, err := strconv.ParseUint(arg, 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *story) duration(arg string) int64 {
	s.t.Helper()
	d, err := time.ParseDuration(arg)
	if err != nil {
		s.t.Fatal(err)
	}
	return int64(d)
}
