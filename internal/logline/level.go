package logline

import (
	"fmt"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// Fatal is the level of the message that says why the process ends:
//
//	log.Log(logline.Fatal, "failed to listen", "err", err)
//
// hclog has no name of its own for it. Such a message is always written, and
// does not end the process.
const Fatal = hclog.Off

// A Level is the least severe level that is written, as a value of --log-level.
// Its text is one of debug, info, warn, error and fatal, read in any case.
type Level hclog.Level

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Level) UnmarshalText(text []byte) error {
	switch strings.ToLower(string(text)) {
	case "debug":
		*l = Level(hclog.Debug)
	case "info":
		*l = Level(hclog.Info)
	case "warn":
		*l = Level(hclog.Warn)
	case "error":
		*l = Level(hclog.Error)
	case "fatal":
		*l = Level(Fatal)
	default:
		return fmt.Errorf("invalid log level %q (debug, info, warn, error, fatal)", text)
	}
	return nil
}

// String returns the text of l.
func (l Level) String() string {
	switch hclog.Level(l) {
	case hclog.Trace, hclog.Debug:
		return "debug"
	case hclog.NoLevel, hclog.Info:
		return "info"
	case hclog.Warn:
		return "warn"
	case hclog.Error:
		return "error"
	default:
		return "fatal"
	}
}
