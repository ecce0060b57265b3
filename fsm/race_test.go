package fsm

import (
	"fmt"
	"sync"
	"testing"

	"nsqraft/fsm/fsmpb"
)

// TestConcurrentReaders reads everything while batches are applied. The race
// detector watches; the readers check that each view is consistent in itself:
// the writer registers every topic with a channel of the same name, or neither.
func TestConcurrentReaders(t *testing.T) {
	r := New()
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			var last uint64
			for {
				select {
				case <-done:
					return
				default:
				}
				v := r.View()
				if v.Index() < last {
					t.Errorf("index %d after %d", v.Index(), last)
					return
				}
				last = v.Index()
				c := v.Counts()
				pic := pictureOf(v)
				if c.Registrations != 2*c.Topics || c.Channels != c.Topics || len(v.TopicNames()) != c.Topics {
					t.Errorf("half a batch is visible:\n%v", pic)
					return
				}
				for _, name := range v.TopicNames() {
					memo := any(name)
					v.Topic(name).Memo().CompareAndSwap(nil, &memo)
					if got := *v.Topic(name).Memo().Load(); got != name {
						t.Errorf("topic %s holds the memo of %v", name, got)
						return
					}
				}
				snapshotOf(t, v)
			}
		})
	}

	apply := func(sequence uint64, mutations ...*fsmpb.Mutation) {
		r.Apply(sequence, 1, &fsmpb.Batch{Writer: "a", Epoch: 1, Sequence: sequence, Mutations: mutations})
	}
	apply(1, &fsmpb.Mutation{Kind: &fsmpb.Mutation_OpenSession{OpenSession: &fsmpb.OpenSession{
		Session: 1, Producer: &fsmpb.Producer{BroadcastAddress: "nsqd1"}}}})
	for i := uint64(2); i < 1000; i++ {
		name := fmt.Sprintf("topic-%d", i%40)
		m := &fsmpb.Mutation{Kind: &fsmpb.Mutation_Register{Register: &fsmpb.Register{
			Session: 1, Topic: name, Channel: name}}}
		switch i % 7 {
		case 0:
			m = &fsmpb.Mutation{Kind: &fsmpb.Mutation_DeleteTopic{DeleteTopic: &fsmpb.DeleteTopic{Topic: name}}}
		case 1:
			apply(i, m, &fsmpb.Mutation{Kind: &fsmpb.Mutation_SetActive{SetActive: &fsmpb.SetActive{Session: 1, Active: i%2 == 0}}})
			continue
		}
		apply(i, m)
	}
	close(done)
	readers.Wait()
}
