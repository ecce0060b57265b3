package lookupd

import (
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// calmFor is how long a line of Raft's is not written again. A peer that is
	// down makes a dozen a second, all alike but for the time.
	calmFor = 30 * time.Second
	// maxCalm bounds the lines that are remembered; beyond it all are forgotten.
	maxCalm = 256
)

// calmLogger passes each line of Raft's on at once, and its repetitions at
// debug level for calmFor; the next one after that says how many there were.
type calmLogger struct {
	hclog.Logger
	seen *seenLines
}

func newCalmLogger(log hclog.Logger) hclog.Logger {
	return &calmLogger{log, &seenLines{lines: make(map[string]*seenLine)}}
}

func (l *calmLogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *calmLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *calmLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *calmLogger) Log(level hclog.Level, msg string, args ...any) {
	repeated, pass := l.seen.note(lineKey(msg, args), time.Now())
	switch {
	case !pass:
		l.Logger.Log(hclog.Debug, msg, args...)
	case repeated > 0:
		l.Logger.Log(level, msg, append(args[:len(args):len(args)], "repeated", repeated)...)
	default:
		l.Logger.Log(level, msg, args...)
	}
}

func (l *calmLogger) With(args ...any) hclog.Logger {
	return &calmLogger{l.Logger.With(args...), l.seen}
}
func (l *calmLogger) Named(name string) hclog.Logger {
	return &calmLogger{l.Logger.Named(name), l.seen}
}

// lineKey is what makes two lines the same: the message, and whom it is about.
func lineKey(msg string, args []any) string {
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "peer", "server-id", "target":
			return fmt.Sprint(msg, " ", args[i+1])
		}
	}
	return msg
}

type seenLines struct {
	mu    sync.Mutex
	lines map[string]*seenLine
}

type seenLine struct {
	written  time.Time
	repeated int // since
}

// note reports whether a line may be written now, and how often it was not
// since it last was.
func (s *seenLines) note(key string, now time.Time) (repeated int, pass bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line, ok := s.lines[key]
	if ok && now.Sub(line.written) < calmFor {
		line.repeated++
		return 0, false
	}
	if !ok {
		if len(s.lines) >= maxCalm {
			clear(s.lines)
		}
		line = new(seenLine)
		s.lines[key] = line
	}
	repeated = line.repeated
	line.written, line.repeated = now, 0
	return repeated, true
}
