package history

import (
	"strings"
	"time"
)

// A Kind is what a client did.
type Kind string

const (
	Connect       Kind = "connect"    // an nsqd's connection: dial, magic, IDENTIFY
	Ping          Kind = "ping"       //
	Register      Kind = "register"   //
	Unregister    Kind = "unregister" //
	Disconnect    Kind = "disconnect" // the client closed the session; Unknown, unless the client saw that it took effect
	Vanish        Kind = "vanish"     // the client fell silent without closing: the node has to find out; Unknown
	Lost          Kind = "lost"       // the session ended without the client wanting it; Error says how
	CreateTopic   Kind = "create_topic"
	CreateChannel Kind = "create_channel" // of an nsqd too: what is published to it from then on must reach the channel
	DeleteTopic   Kind = "delete_topic"
	DeleteChannel Kind = "delete_channel"
	Tombstone     Kind = "tombstone" // of Producer in Topic
	Lookup        Kind = "lookup"
	Publish       Kind = "publish"
	Receive       Kind = "receive" // Error, if any, says how the body differs from what was published
	Finish        Kind = "finish"
)

// An Outcome is what the caller can know of a call.
type Outcome string

const (
	Done    Outcome = "ok"      // acknowledged; of a lookup: answered
	Refused Outcome = "refused" // certainly not, now or later
	Unknown Outcome = "unknown" // it may have happened, or may still
)

// An Op is one call of one client. Times are since the beginning of the run, by a
// clock that does not jump.
type Op struct {
	Kind    Kind          `json:"k"`
	Client  int           `json:"c"`           // a client makes one call at a time
	Node    string        `json:"n"`           // which was asked, as "n1" or "nsqd1"
	Call    time.Duration `json:"t"`           //
	Dialed  time.Duration `json:"d,omitempty"` // of Connect: when there was a connection; 0: there never was, or it is not known
	Return  time.Duration `json:"r"`           // when the answer, or its failure, was there
	Outcome Outcome       `json:"o"`           //
	Error   string        `json:"e,omitempty"` // why it is not Done
	Status  int           `json:"s,omitempty"` // of HTTP; a mutation that was answered with 404 is Done

	Topic    string `json:"topic,omitempty"`
	Channel  string `json:"ch,omitempty"`
	Session  int64  `json:"ses,omitempty"` // number of the nsqd's connection, from 1, never used again
	Producer string `json:"p,omitempty"`   // broadcast address:tcp port

	Consistent bool    `json:"lin,omitempty"` // of a Lookup: asked with ?consistent=true
	Answer     *Answer `json:"a,omitempty"`   // of a Lookup that was answered, 404 included
	Message    string  `json:"msg,omitempty"` // of Publish, Receive, Finish: producer-counter
}

// An Answer is what a lookup said.
type Answer struct {
	Known       bool     `json:"known,omitempty"` // not 404
	Channels    []string `json:"ch,omitempty"`    // sorted
	Producers   []string `json:"p,omitempty"`     // broadcast address:tcp port, sorted
	Index       uint64   `json:"i,omitempty"`     // X-Nsq-Index; 0: stock
	StaleMS     int64    `json:"stale"`           // X-Nsq-Stale-Ms; -1: unknown, or stock
	ContactMS   int64    `json:"contact"`         // X-Nsq-Last-Contact; -1: never, or stock
	KnownLeader bool     `json:"led,omitempty"`   // X-Nsq-Known-Leader
}

// A Sample is what a node said of itself in /cluster, or that it did not answer.
type Sample struct {
	At        time.Duration `json:"t"`
	Node      string        `json:"n"`
	Answered  bool          `json:"up"`
	Role      string        `json:"role,omitempty"`
	Leader    string        `json:"leader,omitempty"`
	Term      uint64        `json:"term,omitempty"`
	Applied   uint64        `json:"applied,omitempty"`
	Committed uint64        `json:"commit,omitempty"`
	Hash      string        `json:"hash,omitempty"`
	Ready     bool          `json:"ready,omitempty"`
}

// NotWell is how the Note of a Fault begins after which all was waited for to be well
// again, and was not.
const NotWell = "not well "

// A Fault is what was broken, and when.
type Fault struct {
	ID       int           `json:"id"`
	Drill    string        `json:"drill"`  // the drill it is part of
	Kind     string        `json:"kind"`   // as env.Kind
	Target   string        `json:"target"` // node names, by comma
	Detail   string        `json:"detail,omitempty"`
	Begin    time.Duration `json:"t0"`       // just before it was begun
	Began    time.Duration `json:"t0done"`   // when it was in effect
	End      time.Duration `json:"t1"`       // just before it was ended; 0: never
	Healed   time.Duration `json:"t1done"`   // when everything was well again; 0: never
	Verified bool          `json:"verified"` // its effect was seen
	Note     string        `json:"note,omitempty"`
	// Of a leader that was hit: its name before, and its follower's after.
	OldLeader string `json:"old_leader,omitempty"`
	NewLeader string `json:"new_leader,omitempty"`
	// Of what breaks a disk: its targets that ended over it, which they may, by comma.
	Ended string `json:"ended,omitempty"`
	// Of what takes an nsqd's memory: what that had in it just before.
	Held []Held `json:"held,omitempty"`
}

// Held is what an nsqd said it had in memory for a channel: of the channel and of its
// topic, queued, in flight and deferred.
type Held struct {
	At       time.Duration `json:"t"` // when it was asked
	Node     string        `json:"n"`
	Topic    string        `json:"topic"`
	Channel  string        `json:"ch"`
	Messages int           `json:"count"`
}

// Targets returns the names in Target.
func (f *Fault) Targets() []string { return strings.Split(f.Target, ",") }

// Down says whether node cannot be expected to answer at t because of f: it was
// killed, stopped, paused, wiped or made unreachable to clients, from the beginning
// of the fault until it was healed.
func (f *Fault) Down(node string, t time.Duration) bool {
	return f.takesDown(node) && f.lasts(t)
}

// takesDown says whether f hits node so that it does not run, or is out of reach.
func (f *Fault) takesDown(node string) bool {
	return f.hits(node) && (takesDown[f.Kind] || among(f.Ended, node))
}

// kills says whether node's process ended by f.
func (f *Fault) kills(node string) bool {
	return f.hits(node) && (diesWith[f.Kind] || among(f.Ended, node))
}

// hits says whether node is a target of f.
func (f *Fault) hits(node string) bool {
	return among(f.Target, node)
}

// among says whether name is one of names, which commas are between.
func among(names, name string) bool {
	for one := range strings.SplitSeq(names, ",") {
		if one == name {
			return true
		}
	}
	return false
}

// lasts says whether f has begun at t and is not healed yet.
func (f *Fault) lasts(t time.Duration) bool {
	return f.Begin <= t && (f.Healed == 0 || t <= f.Healed)
}

// takesDown are the kinds of env that stop a node or hide it from its clients.
var takesDown = map[string]bool{
	"kill": true, "stop": true, "pause": true, "unreach": true, "torn_log": true,
	"flip_bit": true, "wipe": true, "power_cut": true, "unplug": true,
}

// A Run is everything that was recorded.
type Run struct {
	Header  Header
	Ops     []Op     // by Call
	Samples []Sample // by At
	Faults  []Fault  // by Begin
}

// A Header says under what a Run was made.
type Header struct {
	Schema    int               `json:"schema"` // 1
	ID        string            `json:"id"`
	Started   time.Time         `json:"started"` // when the times of all else begin; set by a Recorder
	Length    time.Duration     `json:"length"`
	Seed      uint64            `json:"seed"`
	Profile   string            `json:"profile"` // "": drills by name
	Command   string            `json:"command"` // that makes the same plan again
	Against   string            `json:"against"` // ours or stock
	Env       string            `json:"env"`
	Nodes     []string          `json:"nodes"`
	NSQDs     []string          `json:"nsqds"`
	Versions  map[string]string `json:"versions"`
	Machine   map[string]string `json:"machine"` // kernel, cores, fsync cost, load
	TimeScale float64           `json:"time_scale"`
	Skipped   map[string]string `json:"skipped"`          // drills that were not made, and why
	Failed    []string          `json:"failed,omitempty"` // drills that were not made to their end, as "leader-kill: why", in order
	Quiet     time.Duration     `json:"quiet"`            // from here on nothing was broken, and the last reads were made; 0: the run did not get there
	Grace     time.Duration     `json:"grace"`            // --session-grace
	Inactive  time.Duration     `json:"inactive"`
	Tombstone time.Duration     `json:"tombstone"`
	Dropped   int64             `json:"dropped,omitempty"` // ops beyond what a Recorder keeps; set by it

	// Of an environment that tells which processes end without being asked to: Watched, and
	// those that have.
	Watched bool   `json:"watched,omitempty"`
	Exits   []Exit `json:"exits,omitempty"`

	// Of a run that ended before its plan did, or badly: why. The last reads may be missing.
	Ended       string `json:"ended,omitempty"`
	Interrupted bool   `json:"interrupted,omitempty"` // whoever ran it wanted no more
}

// An Exit is the end of a process that was not asked to.
type Exit struct {
	At     time.Duration `json:"t"`
	Node   string        `json:"n"`             // or nsqd
	How    string        `json:"how"`           // as "exit status 1"
	LogEnd string        `json:"log,omitempty"` // the last lines it wrote
}
