package nsqd

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The structures that messages are kept in do what plain slices do.

func TestRingIsAQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r ring
		var twin []*Message
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			n := rapid.IntRange(0, 100).Draw(t, "n")
			switch rapid.SampledFrom([]string{"push", "push", "pop", "pop", "clear"}).Draw(t, "step") {
			case "push":
				for range n {
					m := new(Message)
					r.push(m)
					twin = append(twin, m)
				}
			case "pop":
				for range n {
					var want *Message
					if len(twin) > 0 {
						want, twin = twin[0], twin[1:]
					}
					if got := r.pop(); got != want {
						t.Fatalf("popped %p, want %p", got, want)
					}
				}
			case "clear":
				if n > 90 {
					r.clear()
					twin = nil
				}
			}
			if r.len() != len(twin) {
				t.Fatalf("length %d, want %d", r.len(), len(twin))
			}
			if most := max(minRing, 8*len(twin)); len(r.buf) > most {
				t.Fatalf("%d messages take %d places", len(twin), len(r.buf))
			}
			for _, m := range r.buf[min(len(r.buf), r.head+r.count):] { // nothing is kept alive
				if m != nil {
					t.Fatal("a place that is free holds a message")
				}
			}
		}
	})
}

func TestDeferredGivesWhatIsDueInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d deferred
		var twin []int64
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			at := int64(rapid.IntRange(0, 30).Draw(t, "at"))
			if rapid.Bool().Draw(t, "push") {
				d.push(&Message{due: at})
				twin = append(twin, at)
				slices.Sort(twin)
				continue
			}
			for {
				m := d.popDue(at)
				if len(twin) == 0 || twin[0] > at {
					if m != nil {
						t.Fatalf("at %d popped what is due at %d", at, m.due)
					}
					break
				}
				if m == nil || m.due != twin[0] {
					t.Fatalf("at %d popped %v, want due %d", at, m, twin[0])
				}
				twin = twin[1:]
			}
			if len(d) != len(twin) {
				t.Fatalf("%d left, want %d", len(d), len(twin))
			}
		}
	})
}

func TestHeldLetsGoOfTheFinishedPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h held
		finished := make(map[int64]bool) // all tickets that are held
		var order, tickets []int64
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"add", "add", "finish", "finish", "forget"}).Draw(t, "step") {
			case "add":
				ticket := h.add()
				if ticket == 0 || slices.Contains(tickets, ticket) {
					t.Fatalf("ticket %d is not new", ticket)
				}
				tickets, order = append(tickets, ticket), append(order, ticket)
				finished[ticket] = false
			case "finish":
				if len(tickets) == 0 {
					continue
				}
				ticket := rapid.SampledFrom(tickets).Draw(t, "ticket") // perhaps one that is gone
				want := int64(0)
				if _, ok := finished[ticket]; ok {
					finished[ticket] = true
					for len(order) > 0 && finished[order[0]] {
						delete(finished, order[0])
						order = order[1:]
						want++
					}
				}
				if got := h.finish(ticket); got != want {
					t.Fatalf("finish %d releases %d, want %d", ticket, got, want)
				}
			case "forget":
				if rapid.IntRange(0, 5).Draw(t, "rarely") > 0 {
					continue
				}
				if got := h.forget(); got != int64(len(order)) {
					t.Fatalf("forget releases %d, want %d", got, len(order))
				}
				order = nil
				clear(finished)
			}
		}
	})
}

func TestFlightListIsSorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l flightList
		var twin []*Message
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			if len(twin) == 0 || rapid.Bool().Draw(t, "insert") {
				m := &Message{due: int64(rapid.IntRange(0, 10).Draw(t, "due"))}
				l.insert(m)
				twin = append(twin, m)
				slices.SortStableFunc(twin, func(a, b *Message) int { return cmp.Compare(a.due, b.due) })
			} else {
				i := rapid.IntRange(0, len(twin)-1).Draw(t, "remove")
				l.remove(twin[i])
				if twin[i].prev != nil || twin[i].next != nil {
					t.Fatal("a message that is removed still has neighbours")
				}
				twin = slices.Delete(twin, i, i+1)
			}
			var forth, back []*Message
			for m := l.first; m != nil; m = m.next {
				forth = append(forth, m)
			}
			for m := l.last; m != nil; m = m.prev {
				back = append(back, m)
			}
			slices.Reverse(back)
			if !slices.Equal(forth, twin) || !slices.Equal(back, twin) {
				t.Fatalf("has %d forth and %d back, want %d in order", len(forth), len(back), len(twin))
			}
		}
	})
}

// Bodies around the sizes of chunks and buffers come out of an MPUB as they went in,
// and cannot reach into each other.
func TestMPUBBodiesOfAnySize(t *testing.T) {
	sizes := rapid.OneOf(rapid.IntRange(1, 300), rapid.SampledFrom([]int{readBuffer - 4, readBuffer, bodyChunk - 8, bodyChunk - 4, bodyChunk - 1, bodyChunk, bodyChunk + 1, 2*bodyChunk + 3, 4 * bodyChunk, 5*bodyChunk + 1}))
	rapid.Check(t, func(t *rapid.T) {
		var bodies []string
		b := binary.BigEndian.AppendUint32(nil, 0)
		for i, n := range rapid.SliceOfN(sizes, 1, 12).Draw(t, "sizes") {
			body := strings.Repeat(string(rune('a'+i)), n)
			bodies = append(bodies, body)
			b = append(b, sized(body)...)
		}
		binary.BigEndian.PutUint32(b, uint32(len(bodies)))
		r := bufio.NewReaderSize(bytes.NewReader(append(bytes.Clone(b), "NOP\n"...)), readBuffer)
		got, err := readMPUB(r, len(b), 5<<20, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if rest, err := r.ReadString('\n'); rest != "NOP\n" {
			t.Fatalf("behind the body comes %q, %v", rest, err)
		}
		for i := range got {
			_ = append(got[i], "overwritten"...)
		}
		if !slices.Equal(texts(got), bodies) {
			t.Fatalf("%d bodies differ from those that were sent", len(got))
		}
	})
}

func TestMessageRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &Message{
			Timestamp: rapid.Int64().Draw(t, "timestamp"),
			Attempts:  rapid.Uint16().Draw(t, "attempts"),
			Body:      rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "body"),
			ID:        (&ids{node: 7}).id(rapid.Uint64().Draw(t, "id")),
		}
		frame := m.appendFrame(nil)
		if n := binary.BigEndian.Uint32(frame); int(n) != len(frame)-4 || !plausible(frame[4:]) {
			t.Fatalf("a frame of size %d in %d bytes, plausible: %v", n, len(frame), plausible(frame[4:]))
		}
		var got Message
		if err := got.decode(frame[4:]); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got.ID, got.Timestamp, got.Attempts, got.Body) != fmt.Sprint(m.ID, m.Timestamp, m.Attempts, m.Body) {
			t.Fatalf("got %v, want %v", got, m)
		}
	})
}
