package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"nsqraft/internal/drill/history"
)

// jsonName is the name of the report for programs.
const jsonName = "report.json"

// schema is the version of report.json. Fields are only added within one.
const schema = 1

// JSON is report.json. Times are seconds since the beginning of the run, and durations
// are seconds, with fractions.
type JSON struct {
	Schema   int             `json:"schema"` // 1
	Verdict  Verdict         `json:"verdict"`
	Run      Conditions      `json:"run"`
	Claims   []history.Claim `json:"claims"`
	Drills   []Drill         `json:"drills"`   // by name
	Episodes []Episode       `json:"episodes"` // by their beginnings
	Faults   []Fault         `json:"faults"`   // by their beginnings
	Leaders  []Reign         `json:"leaders"`  // by their beginnings
	Calls    []Calls         `json:"calls"`    // by node and class
	Missing  Missing         `json:"missing"`
	Baseline *JSON           `json:"baseline,omitempty"` // the same drills against stock
	Changes  []Change        `json:"changes,omitempty"`  // since the last run in the same folder
}

// A Verdict is what the run came to.
type Verdict struct {
	ExitCode int    `json:"exit_code"` // 0, 1, 2, 3
	Outcome  string `json:"outcome"`   // holds, violated, missed, inconclusive
	Sentence string `json:"sentence"`
	Broken   string `json:"broken,omitempty"` // why the run itself ended badly
}

// Conditions are those under which the run was made.
type Conditions struct {
	ID        string            `json:"id"`
	Started   time.Time         `json:"started"`
	Length    float64           `json:"length"`
	Quiet     float64           `json:"quiet"` // when the last reads began
	Seed      uint64            `json:"seed"`
	Profile   string            `json:"profile"`
	Command   string            `json:"command"` // makes the same plan again
	Against   string            `json:"against"` // ours, stock
	Env       string            `json:"env"`
	Nodes     []string          `json:"nodes"`
	NSQDs     []string          `json:"nsqds"`
	Versions  map[string]string `json:"versions"`
	Machine   map[string]string `json:"machine"`
	Skipped   map[string]string `json:"skipped"` // drills that were not made, and why
	TimeScale float64           `json:"time_scale"`
	Grace     float64           `json:"session_grace"`
	Inactive  float64           `json:"inactive_timeout"`
	Tombstone float64           `json:"tombstone_lifetime"`
	Dropped   int64             `json:"dropped"` // ops that were more than is recorded
}

// A Drill is what all its episodes cost together.
type Drill struct {
	Name           string  `json:"name"`
	Times          int     `json:"times"`
	WriteGap       Spread  `json:"write_gap"`
	NoLeader       Spread  `json:"no_leader"`      // of episodes in which there was none for a while
	NewLeader      Spread  `json:"new_leader"`     // of episodes in which another came to lead
	Recovery       Spread  `json:"recovery"`       // of episodes in which writes had stopped
	Healing        Spread  `json:"healing"`        // from the end until all was well
	LeaderChanges  int     `json:"leader_changes"` // most in one episode
	Writes         int     `json:"writes"`
	WritesFailed   int     `json:"writes_failed"`
	Lookups        int     `json:"lookups"`
	LookupsFailed  int     `json:"lookups_failed"`
	LookupGap      float64 `json:"lookup_gap"`      // longest
	LookupsLacking int     `json:"lookups_lacking"` // an nsqd that was alive
	LookupsEmpty   int     `json:"lookups_empty"`   // of those: they named none at all
	LackingFor     float64 `json:"lacking_for"`     // longest
	StaleLookups   int     `json:"stale_lookups"`
	SessionsLost   int     `json:"sessions_lost"`
}

// A Spread is what a number of durations come to. With none of them it is zero.
type Spread struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// An Episode is the faults of one drill that overlap, and what they cost those who use
// the surviving nodes: those that none of its faults hit, or all if all were hit.
type Episode struct {
	Fault          int     `json:"fault"`  // ID of the first
	Faults         []int   `json:"faults"` // all IDs
	Drill          string  `json:"drill"`
	Kind           string  `json:"kind"`   // of the first
	Target         string  `json:"target"` // of all, by comma
	Begin          float64 `json:"begin"`
	End            float64 `json:"end"`    // 0: never
	Healed         float64 `json:"healed"` // 0: never
	Verified       bool    `json:"verified"`
	Note           string  `json:"note,omitempty"`
	OldLeader      string  `json:"old_leader,omitempty"`
	NewLeaderName  string  `json:"new_leader_name,omitempty"`
	Detected       float64 `json:"detected"`   // until a surviving node no longer followed the old leader; 0: never, or no leader was hit
	NoLeader       float64 `json:"no_leader"`  // longest time that no node said that it leads
	NewLeader      float64 `json:"new_leader"` // from the beginning until another led; 0: none did
	LeaderChanges  int     `json:"leader_changes"`
	Writes         int     `json:"writes"`
	WritesFailed   int     `json:"writes_failed"` // refused, or of unknown outcome
	WriteGap       float64 `json:"write_gap"`     // longest time that somebody tried and no write was acknowledged
	Recovery       float64 `json:"recovery"`      // from the end until the first acknowledged write; 0: writes had not stopped
	Lookups        int     `json:"lookups"`
	LookupsFailed  int     `json:"lookups_failed"`
	LookupGap      float64 `json:"lookup_gap"`
	LookupsLacking int     `json:"lookups_lacking"` // at nodes that were up: an nsqd that was alive; until the next episode begins
	LookupsEmpty   int     `json:"lookups_empty"`   // of those: they named none at all
	LackingFor     float64 `json:"lacking_for"`     // longest time in which all lookups of a topic at a node did
	StaleLookups   int     `json:"stale_lookups"`   // that said that they were older than 1 s, or did not know how old
	SessionsLost   int     `json:"sessions_lost"`
}

// A Fault is one thing that was broken.
type Fault struct {
	ID       int     `json:"id"`
	Drill    string  `json:"drill"`
	Kind     string  `json:"kind"`
	Target   string  `json:"target"`
	Detail   string  `json:"detail,omitempty"`
	Begin    float64 `json:"begin"`
	Began    float64 `json:"began"`
	End      float64 `json:"end"`    // 0: never
	Healed   float64 `json:"healed"` // 0: never
	Verified bool    `json:"verified"`
	Note     string  `json:"note,omitempty"`
}

// Missing is how often default lookups, at nodes that were up, lacked an nsqd that was
// alive, had been registered for a second or more, and had not left.
type Missing struct {
	Lookups int     `json:"lookups"`
	Empty   int     `json:"empty"`   // of those: they named none at all
	Longest float64 `json:"longest"` // time in which all lookups of a topic at a node did
}

// A Reign is a time in which a node said that it leads.
type Reign struct {
	Node string  `json:"node"`
	Term uint64  `json:"term"`
	From float64 `json:"from"`
	To   float64 `json:"to"`
}

// Calls are all of one class that one node was asked.
type Calls struct {
	Node      string `json:"node"`
	Class     string `json:"class"` // as lookup, register, publish
	Count     int    `json:"count"`
	OK        int    `json:"ok"`
	Refused   int    `json:"refused"`
	Unknown   int    `json:"unknown"`
	Reachable int    `json:"failed_though_up"` // not ok, though nothing had taken the node down
	Took      Spread `json:"took"`             // of those that were ok
}

// A Change is a claim, or the longest write gap of a drill, that differs from the last
// run's.
type Change struct {
	Subject string `json:"subject"` // ID of the claim, or name of the drill
	Before  string `json:"before"`
	After   string `json:"after"`
	Worse   bool   `json:"worse"`
}

// ReadPrevious returns what an earlier run has written into dir. It is nil if there is
// nothing, or nothing that this version can read: it is for comparison only.
func ReadPrevious(dir string) *JSON {
	content, err := os.ReadFile(filepath.Join(dir, jsonName))
	if err != nil {
		return nil
	}
	var j JSON
	if json.Unmarshal(content, &j) != nil || j.Schema != schema {
		return nil
	}
	return &j
}

func (r *Report) json() ([]byte, error) {
	content, err := json.MarshalIndent(r.document(), "", " ")
	return append(content, '\n'), err
}
