package clusterinfo

import (
	"testing"
	"time"
)

func TestClusterIsTheLeadersWord(t *testing.T) {
	now := time.Now()
	said := func(state State, role string, term uint64, age time.Duration) *Lookupd {
		l := &Lookupd{Address: role, State: state, AnsweredAt: now.Add(-age)}
		if role != "stock" {
			l.Cluster = &Cluster{Role: role, Term: term}
		}
		return l
	}
	for name, tt := range map[string]struct {
		lookupds []*Lookupd
		want     int // -1: nobody
	}{
		"none":                    {nil, -1},
		"stock":                   {[]*Lookupd{said(Up, "stock", 0, 0)}, -1},
		"the leader":              {[]*Lookupd{said(Up, "follower", 5, 0), said(Up, "leader", 5, time.Second)}, 1},
		"the newer leader":        {[]*Lookupd{said(Up, "leader", 4, 0), said(Up, "leader", 5, time.Second)}, 1},
		"the leader does not say": {[]*Lookupd{said(Suspect, "leader", 5, 0), said(Up, "follower", 5, time.Second), said(Up, "follower", 5, 0)}, 2},
		"alone":                   {[]*Lookupd{said(Up, "stock", 0, 0), said(Up, "alone", 1, 0)}, 1},
		"all are down":            {[]*Lookupd{said(Down, "leader", 5, 0)}, -1},
	} {
		c, from := (&View{Lookupds: tt.lookupds}).Cluster()
		if tt.want < 0 {
			if c != nil || from != nil {
				t.Errorf("%s: got %+v from %+v, want nobody's", name, c, from)
			}
			continue
		}
		if from != tt.lookupds[tt.want] || c != from.Cluster {
			t.Errorf("%s: got that of %+v", name, from)
		}
	}
}

func TestGreatestPercentiles(t *testing.T) {
	of := func(count int, values ...float64) *LatencyStats {
		l := &LatencyStats{Count: count}
		for i := 0; i < len(values); i += 2 {
			l.Percentiles = append(l.Percentiles, map[string]float64{"quantile": values[i], "value": values[i+1]})
		}
		return l
	}
	// Nodes may keep different percentiles.
	got := greatest(greatest(greatest(nil, of(1, .99, 5, .5, 3)), nil), of(2, .5, 4, .95, 1, .99, 2))
	equal(t, "greatest", got, of(3, .99, 5, .5, 4, .95, 1))
	equal(t, "of nothing", greatest(nil, nil), (*LatencyStats)(nil))
	lies := &LatencyStats{Percentiles: []map[string]float64{nil, {"value": 7}, {"quantile": .5}}}
	equal(t, "of lies", greatest(nil, lies), of(0, .5, 0))
}
