package nsqadmin

import (
	"fmt"
	"slices"
	"time"

	"nsqraft/internal/clusterinfo"
)

func nodeStatus(n *clusterinfo.Node, now time.Time) status {
	switch {
	case !n.GoneSince.IsZero():
		return status{neutral, "gone", "no nsqlookupd lists it any more, since " + clock(n.GoneSince) + " UTC"}
	case n.Stale() && clusterinfo.Answered(n.Err):
		st := status{bad, "wrong answer", cutText(200, reason(n.Err))}
		if n.State == clusterinfo.Suspect {
			st.Level = caution
		}
		return st
	case n.State == clusterinfo.Down && n.StatsAt.IsZero() && len(n.Lookupds) == 0:
		return status{bad, "unreachable", "never answered"}
	case n.State == clusterinfo.Down && n.StatsAt.IsZero():
		return status{bad, "unreachable", "never answered at its broadcast address"}
	case n.State == clusterinfo.Suspect && n.StatsAt.IsZero():
		return status{caution, "suspect", "has not answered yet"}
	case n.State == clusterinfo.Down:
		return status{bad, "down", "last answer " + span(now.Sub(n.StatsAt)) + " ago"}
	case n.State == clusterinfo.Suspect:
		return status{caution, "suspect", "last answer " + span(now.Sub(n.StatsAt)) + " ago"}
	case n.State == clusterinfo.Draining:
		return status{notice, "draining", "it takes nothing new and empties itself"}
	case n.State == clusterinfo.Unknown:
		return status{neutral, "unknown", "not asked yet"}
	case n.Stats != nil && n.Stats.Health != "" && n.Stats.Health != "OK":
		return status{bad, "unhealthy", n.Stats.Health}
	}
	return status{good, "up", "answers in " + span(n.RoundTrip)}
}

func (j *judge) nodes(v *clusterinfo.View, w *verdict) {
	versions := map[string]int{}
	disks := map[string]diskMark{}
	for _, n := range v.Nodes {
		path := []string{"nodes", n.Address}
		st := nodeStatus(n, v.At)
		if n.Version != "" && n.GoneSince.IsZero() {
			versions[n.Version]++
		}
		switch st.Word {
		case "unreachable", "wrong answer", "down", "suspect":
			w.add(lost(n, st, path))
		case "unhealthy":
			w.add(problem{Level: bad, node: n.Address, Path: path,
				Text: fmt.Sprintf("nsqd %s says that it is ill: %s.", n.Address, st.Why),
				Do:   "It cannot write to its data path, most often. Look at its disk and its log."})
		}
		if missing := len(v.Lookupds) - len(n.Lookupds); missing > 0 && len(n.Lookupds) > 0 && !replicated(v) && n.GoneSince.IsZero() {
			w.add(problem{Level: notice, node: n.Address, Path: path,
				Text: fmt.Sprintf("nsqd %s is registered with %d of %d nsqlookupds.", n.Address, len(n.Lookupds), len(v.Lookupds)),
				Do:   "Consumers that ask the others do not find it. Give it all of them as --lookupd-tcp-address."})
		}
		if left, ok := j.diskLeft(n, v.At, disks); ok && left < diskSoon {
			w.add(problem{Level: caution, node: n.Address, Path: path,
				Text: fmt.Sprintf("The disk of nsqd %s is full in about %s (%s free).", n.Address, span(left.Round(time.Minute)), size(n.DiskFreeBytes)),
				Do:   "Let consumers catch up, or give it more room: with a full disk it refuses messages."})
		}
	}
	j.disks = disks
	if len(versions) > 1 {
		names := make([]string, 0, len(versions))
		for name, n := range versions {
			names = append(names, fmt.Sprintf("%s on %d", name, n))
		}
		slices.Sort(names)
		w.add(problem{Level: notice, Path: []string{"nodes"}, Text: "nsqds of different versions run: " + list(names) + ".",
			Do: "Fine during an upgrade; finish it."})
	}
}

// lost says of an nsqd whose numbers are not known what is wrong, and what to do.
func lost(n *clusterinfo.Node, st status, path []string) problem {
	p := problem{Level: st.Level, node: n.Address, Path: path}
	listed := len(n.Lookupds) > 0
	switch {
	case st.Word == "wrong answer":
		p.Text = fmt.Sprintf("nsqd %s answers, but not as an nsqd does: %s", n.Address, sentence(st.Why))
		p.Do = "Look at its log, and whether it is an nsqd that listens at this address."
	case st.Word == "unreachable" && listed:
		p.Text = fmt.Sprintf("nsqd %s is registered but was never reached.", n.Address)
		p.Do = "If consumers cannot reach it either, its --broadcast-address is wrong: it must be a name that others can resolve."
	case st.Word == "unreachable":
		p.Text = fmt.Sprintf("nsqd %s was never reached.", n.Address)
		p.Do = "Look whether it runs, and whether that is its HTTP address."
	case n.Stats == nil:
		p.Text = fmt.Sprintf("nsqd %s does not answer (%s).", n.Address, st.Why)
		p.Do = "How many messages are on it is not known; they cannot be delivered until it is back. Look at its process and its log."
	default:
		p.Text = fmt.Sprintf("nsqd %s does not answer (%s).", n.Address, st.Why)
		p.Do = fmt.Sprintf("%s on it, by its last answer, cannot be delivered until it is back. Look at its process and its log.", count(n.Depth, "message"))
	}
	return p
}

// diskLeft estimates from how fast the disk of n has filled when it will be full.
func (j *judge) diskLeft(n *clusterinfo.Node, now time.Time, disks map[string]diskMark) (left time.Duration, ok bool) {
	if n.DiskFreeBytes <= 0 {
		return 0, false
	}
	m, known := j.disks[n.Address]
	switch {
	case !known:
		m = diskMark{at: now, free: n.DiskFreeBytes}
	case now.Sub(m.at) >= diskMarkEvery:
		m = diskMark{at: now, free: n.DiskFreeBytes, perSecond: float64(m.free-n.DiskFreeBytes) / now.Sub(m.at).Seconds()}
	}
	disks[n.Address] = m
	if m.perSecond <= 0 {
		return 0, false
	}
	seconds := float64(n.DiskFreeBytes) / m.perSecond
	return time.Duration(min(seconds, 1e9) * float64(time.Second)), true
}

func replicated(v *clusterinfo.View) bool {
	return slices.ContainsFunc(v.Lookupds, func(l *clusterinfo.Lookupd) bool { return l.Cluster != nil && l.Cluster.Role != "alone" })
}

func lookupdStatus(l *clusterinfo.Lookupd, now time.Time) status {
	switch {
	case l.State == clusterinfo.Up && l.Cluster != nil && l.Cluster.Role != "alone" && l.Cluster.Leader == "":
		return status{caution, "waiting", "it knows no leader; it answers lookups from its copy"}
	case l.State == clusterinfo.Up && l.Cluster != nil && !l.Cluster.Ready:
		return status{caution, "catching up", "it answers 503 until it has what was committed"}
	case l.State == clusterinfo.Up:
		return status{good, "up", "answers in " + span(l.RoundTrip)}
	case l.State == clusterinfo.Unknown:
		return status{neutral, "unknown", "not asked yet"}
	case l.AnsweredAt.IsZero():
		return status{bad, "down", "never answered"}
	case l.State == clusterinfo.Suspect:
		return status{caution, "suspect", "last answer " + span(now.Sub(l.AnsweredAt)) + " ago"}
	}
	return status{bad, "down", "last answer " + span(now.Sub(l.AnsweredAt)) + " ago"}
}

func (j *judge) lookupds(src source, v *clusterinfo.View, w *verdict) {
	var silent []string
	for _, l := range v.Lookupds {
		if l.State == clusterinfo.Down || l.State == clusterinfo.Suspect {
			silent = append(silent, l.Address)
		}
	}
	c, _ := v.Cluster()
	switch {
	case len(silent) > 0 && len(silent) == len(v.Lookupds):
		w.add(problem{Level: bad, Path: []string{"lookup"}, Text: "No nsqlookupd answers.",
			Do: "Consumers keep the nsqds they know and new ones find none. The nsqds shown are those known before; they are asked on. Start an nsqlookupd."})
	case len(silent) > 0 && c == nil:
		w.add(problem{Level: caution, Path: []string{"lookup"},
			Text: fmt.Sprintf("%d of %d nsqlookupds do not answer: %s.", len(silent), len(v.Lookupds), list(silent)),
			Do:   "The others answer for all nsqds that are registered with them too. Start it again."})
	}
	if c != nil && c.Role != "alone" {
		j.cluster(src, v, c, w)
	}
}

func (j *judge) cluster(src source, v *clusterinfo.View, c *clusterinfo.Cluster, w *verdict) {
	path := []string{"cluster"}
	var missing, ahead, slow []string
	hashes := map[uint64]string{}
	for _, m := range c.Members {
		if m.Role == "unreachable" {
			missing = append(missing, m.ID)
		}
		if abs(m.ClockSkewMS) > skewMS {
			ahead = append(ahead, m.ID+" by "+span(time.Duration(abs(m.ClockSkewMS))*time.Millisecond))
		}
		if m.FsyncP99MS > slowFsyncMS {
			slow = append(slow, fmt.Sprintf("%s (%.0f ms)", m.ID, m.FsyncP99MS))
		}
		if m.RegistryHash == "" || m.AppliedIndex == 0 || m.Role == "unreachable" {
			continue
		}
		if other, ok := hashes[m.AppliedIndex]; ok && other != m.RegistryHash {
			w.add(problem{Level: bad, Path: path,
				Text: fmt.Sprintf("Registries differ at index %d.", m.AppliedIndex),
				Do:   "That is a bug. Take `nsqctl debug bundle`, then remove the data of the member whose hash is alone and let it join again."})
		}
		hashes[m.AppliedIndex] = m.RegistryHash
	}
	if c.Leader != "" {
		j.lost = time.Time{}
	} else if j.lost.IsZero() {
		j.lost = v.At
		for _, r := range src.reigns(time.Hour) {
			if r.node == "" && r.to.IsZero() {
				j.lost = r.from
			}
		}
	}
	switch {
	case c.Leader == "":
		do := "Lookups still answer" + staleness(v) + "; registrations and changes wait."
		if len(missing) > 0 {
			do += " Start " + list(missing) + " again."
		}
		w.add(problem{Level: bad, Path: path, Text: fmt.Sprintf("No leader since %s UTC.", clock(j.lost)), Do: do})
	case len(missing) > 0:
		w.add(problem{Level: caution, Path: path,
			Text: fmt.Sprintf("%s of %s does not answer: %s.", count(len(missing), "member"), integer(len(c.Members)), list(missing)),
			Do:   "Everything goes on; " + tolerance(c.FailureTolerance) + ". Start it again, or remove it if it is gone for good."})
	case c.FailureTolerance == 0 && c.Voters > 2:
		w.add(problem{Level: caution, Path: path, Text: "The cluster works, but cannot lose another node.",
			Do: "Members are not healthy or have not caught up yet: see which."})
	}
	if len(slow) > 0 {
		w.add(problem{Level: notice, Path: path, Text: "The disk is slow on " + list(slow) + ".",
			Do: "Each registration waits for an fsync of a majority; give nsqlookupd a disk of its own."})
	}
	if len(ahead) > 0 {
		w.add(problem{Level: notice, Path: path, Text: "Clocks differ: " + list(ahead) + ".",
			Do: "Elections do not depend on them, ages and logs do. Let NTP run everywhere."})
	}
}

// staleness says how old the answers of the nsqlookupds are, " (3 s old)".
func staleness(v *clusterinfo.View) string {
	oldest := int64(-1)
	for _, l := range v.Lookupds {
		if l.State == clusterinfo.Up {
			oldest = max(oldest, l.StaleMS)
		}
	}
	if oldest < 500 { // or nobody says
		return ""
	}
	return " (" + span((time.Duration(oldest) * time.Millisecond).Round(time.Second)) + " old)"
}

func tolerance(n int) string {
	switch {
	case n < 0:
		return "the majority is lost"
	case n == 0:
		return "none more may fail"
	}
	return fmt.Sprintf("%d more may fail", n)
}

func abs(n int64) int64 { return max(n, -n) }
