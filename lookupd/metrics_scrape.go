package lookupd

import "github.com/prometheus/client_golang/prometheus"

// scraper collects what is a state rather than an event.
type scraper struct {
	reg      registry
	sessions *sessions
	stats    func() raftStats
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("nsqlookupd_"+name, help, labels, nil)
}

var (
	descTopics      = describe("topics", "Topics in the registry.")
	descChannels    = describe("channels", "Channels in the registry.")
	descProducers   = describe("producers", "Producers in the registry.")
	descTombstones  = describe("tombstones", "Tombstones in the registry.")
	descConnections = describe("sessions", "Identified nsqd connections of this node.")

	descHasLeader        = describe("raft_has_leader", "1 if this node knows a leader.")
	descIsLeader         = describe("raft_is_leader", "1 if this node is the leader.")
	descTerm             = describe("raft_term", "Raft's term.")
	descCommitIndex      = describe("raft_commit_index", "Highest log index known to be committed.")
	descAppliedIndex     = describe("raft_applied_index", "Highest log index in the registry.")
	descLastLogIndex     = describe("raft_last_log_index", "Highest log index on disk.")
	descVoters           = describe("raft_voters", "Voting members of the cluster.")
	descFailureTolerance = describe("raft_failure_tolerance", "How many more voters may fail before there is no quorum.")
	descFollowerLag      = describe("raft_follower_lag_entries", "Entries not yet replicated to a follower; on the leader.", "peer")
	descLastContact      = describe("raft_last_contact_seconds", "Since the leader was heard; 0 on the leader, -1: never.")
	descLeaderChanges    = describe("raft_leader_changes_total", "Changes of the leader seen by this process.")
)

// Describe implements prometheus.Collector.
func (s *scraper) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descTopics, descChannels, descProducers, descTombstones, descConnections,
		descHasLeader, descIsLeader, descTerm, descCommitIndex, descAppliedIndex, descLastLogIndex,
		descVoters, descFailureTolerance, descFollowerLag, descLastContact, descLeaderChanges,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *scraper) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	yes := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	counts := s.reg.View().Counts()
	gauge(descTopics, float64(counts.Topics))
	gauge(descChannels, float64(counts.Channels))
	gauge(descProducers, float64(counts.Producers))
	gauge(descTombstones, float64(counts.Tombstones))
	gauge(descConnections, float64(s.sessions.Len()))

	stats := s.stats()
	gauge(descHasLeader, yes(stats.HasLeader))
	gauge(descIsLeader, yes(stats.IsLeader))
	gauge(descTerm, float64(stats.Term))
	gauge(descCommitIndex, float64(stats.CommitIndex))
	gauge(descAppliedIndex, float64(stats.AppliedIndex))
	gauge(descLastLogIndex, float64(stats.LastLogIndex))
	gauge(descVoters, float64(stats.Voters))
	gauge(descFailureTolerance, float64(stats.FailureTolerance))
	for peer, lag := range stats.FollowerLag {
		gauge(descFollowerLag, float64(lag), peer)
	}
	gauge(descLastContact, max(stats.LastContact.Seconds(), -1))
	ch <- prometheus.MustNewConstMetric(descLeaderChanges, prometheus.CounterValue, float64(stats.LeaderChanges))
}
