package defect

// A Defect is the name of one. The names are constants, for hooks to be compiled away.
type Defect string

const (
	// nsqlookupd: the registry and its log.
	LoseRegistrations Defect = "lose-registrations"
	SkipEntries       Defect = "skip-entries"
	KeepClosed        Defect = "keep-closed"
	NoGrace           Defect = "no-grace"
	NoSync            Defect = "no-sync"
	SameInstance      Defect = "same-instance"

	// nsqlookupd: what it answers.
	AckFirst       Defect = "ack-first"
	ReadUnverified Defect = "read-unverified"
	ReadOwnCopy    Defect = "read-own-copy"
	ServeUnready   Defect = "serve-unready"
	AlwaysFresh    Defect = "always-fresh"
	IndexGoesBack  Defect = "index-goes-back"
	ShowTombstoned Defect = "show-tombstoned"

	// nsqd.
	DeliverNothing  Defect = "deliver-nothing"
	DropMessages    Defect = "drop-messages"
	CorruptMessages Defect = "corrupt-messages"
)

// All has a sentence on each.
var All = []struct {
	Name    Defect
	Explain string
}{
	{LoseRegistrations, "the REGISTERs of one in 20 committed entries change nothing, on every node alike"},
	{SkipEntries, "each node passes over one in 200 committed entries, not the same as the others do"},
	{KeepClosed, "the close of one in 10 sessions changes nothing, ever"},
	{NoGrace, "the sessions of a node that is gone end at once, not after the session grace"},
	{NoSync, "the log and the commit mark are written and never synced"},
	{SameInstance, "a node that has lost its disk comes back as who it was, and votes"},
	{AckFirst, "IDENTIFY, REGISTER and UNREGISTER are answered before they are committed"},
	{ReadUnverified, "a leader answers consistent reads without asking whether it still leads, or knows all of its predecessor"},
	{ReadOwnCopy, "every node answers consistent reads from its own copy"},
	{ServeUnready, "a node answers from the first moment, before it has read its log again"},
	{AlwaysFresh, "X-Nsq-Stale-Ms is always 0"},
	{IndexGoesBack, "one in 100 answers is as of an earlier index than the one before"},
	{ShowTombstoned, "tombstones hide nobody"},
	{DeliverNothing, "nsqd acknowledges what is published and delivers none of it"},
	{DropMessages, "nsqd acknowledges one in 100 publishes and throws it away"},
	{CorruptMessages, "nsqd changes a byte of one in 100 messages"},
}
