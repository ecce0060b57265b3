package history

import "time"

// A Bound is what a drill may cost those who use the surviving nodes. Of a duration
// zero means that nothing is promised.
type Bound struct {
	WriteGap      time.Duration
	Recovery      time.Duration
	LeaderChanges int           // -1: nothing is promised
	Registered    time.Duration // of a storm, until all that come are
}

// BoundOf returns that of a drill; ok is false if nothing is promised of it.
func BoundOf(drill string) (b Bound, ok bool) {
	b, ok = bounds[drill]
	return b, ok
}

// anyNumber is of leader changes of which nothing is promised.
const anyNumber = -1

// bounds are for --raft-timing=lan and two processors or more.
var bounds = map[string]Bound{
	"leader-kill":        {WriteGap: time.Second, LeaderChanges: 1},
	"leader-stop":        {WriteGap: 150 * time.Millisecond, LeaderChanges: 1},
	"follower-kill":      {WriteGap: 100 * time.Millisecond, LeaderChanges: 0},
	"leader-pause":       {WriteGap: 1200 * time.Millisecond, LeaderChanges: 1},
	"follower-pause":     {WriteGap: 250 * time.Millisecond, LeaderChanges: 0},
	"pause-all":          {Recovery: 500 * time.Millisecond, LeaderChanges: anyNumber},
	"leader-isolated":    {WriteGap: 1200 * time.Millisecond, LeaderChanges: 1},
	"leader-deaf":        {WriteGap: time.Second, LeaderChanges: 1},
	"leader-mute":        {WriteGap: time.Second, LeaderChanges: 1},
	"follower-deaf":      {WriteGap: 250 * time.Millisecond, LeaderChanges: 0},
	"bridge":             {WriteGap: 250 * time.Millisecond, LeaderChanges: 0},
	"majority-split":     {WriteGap: 1200 * time.Millisecond, LeaderChanges: 1},
	"no-quorum":          {Recovery: time.Second, LeaderChanges: anyNumber},
	"flapping-follower":  {WriteGap: 250 * time.Millisecond, LeaderChanges: 0},
	"flapping-leader":    {WriteGap: 1200 * time.Millisecond, LeaderChanges: 2},
	"swizzle-clog":       {Recovery: 1200 * time.Millisecond, LeaderChanges: anyNumber},
	"slow-link":          {WriteGap: time.Second, LeaderChanges: 0},
	"lossy-link":         {WriteGap: 3 * time.Second, LeaderChanges: 2},
	"reordering-link":    {WriteGap: time.Second, LeaderChanges: 0},
	"rolling-restart":    {WriteGap: 150 * time.Millisecond, LeaderChanges: 1},
	"kill-all":           {Recovery: 2 * time.Second, LeaderChanges: anyNumber},
	"cold-start":         {Recovery: 1500 * time.Millisecond, LeaderChanges: anyNumber},
	"wiped-node":         {WriteGap: 250 * time.Millisecond, LeaderChanges: 0},
	"wiped-majority":     {WriteGap: 6 * time.Second, LeaderChanges: anyNumber}, // until the third is back, after 3 s, and 2 s
	"torn-log":           {WriteGap: 250 * time.Millisecond, LeaderChanges: 0},
	"flipped-bit":        {WriteGap: 250 * time.Millisecond, LeaderChanges: 0},
	"disk-full":          {WriteGap: 2500 * time.Millisecond, LeaderChanges: anyNumber},
	"slow-fsync":         {WriteGap: time.Second, LeaderChanges: 1},
	"disk-hang":          {WriteGap: 2500 * time.Millisecond, LeaderChanges: 1},
	"disk-hang-follower": {WriteGap: 250 * time.Millisecond, LeaderChanges: 0},
	"power-cut":          {Recovery: 2 * time.Second, LeaderChanges: anyNumber},
	"clock-jump":         {WriteGap: 250 * time.Millisecond, LeaderChanges: 0},
	"clock-back":         {WriteGap: 250 * time.Millisecond, LeaderChanges: 0},
	"soup":               {WriteGap: 8 * time.Second, LeaderChanges: anyNumber}, // both at once for 3 s, and 5 s
	"hung-lookupd":       {WriteGap: 250 * time.Millisecond, LeaderChanges: 0},
	"nsqd-crash":         {WriteGap: 250 * time.Millisecond, LeaderChanges: 0},
	"nsqd-stop":          {WriteGap: 250 * time.Millisecond, LeaderChanges: 0},
	"reconnect-storm":    {WriteGap: time.Second, LeaderChanges: 0, Registered: 10 * time.Second},
}
