package logline

import (
	"fmt"
	"io"
	"log"
	"os"
	"slices"

	"github.com/hashicorp/go-hclog"
)

// Options say how messages are written.
type Options struct {
	Prefix string    // --log-prefix, put before each stock line; "" for none
	Level  Level     // --log-level; 0 is info
	Format string    // --log-format: "stock" or "json"; "" is stock
	Output io.Writer // nil is os.Stderr; each line is one Write, one at a time
}

// New returns a logger that writes messages of opts.Level and above.
//
// Stock lines are "<prefix>2006/01/02 15:04:05.000000 LEVEL: name: message
// key=value ...", with local time and the stock levels DEBUG, INFO, WARNING,
// ERROR and FATAL. A value is quoted where it would be unclear without, and
// control characters are escaped everywhere, so that a message cannot forge a
// line. JSON objects are those of hclog; a Fatal message is an error in which
// "fatal" is true.
//
// SetLevel on the logger or on any logger derived from it changes all of them.
// With a level that is off, a call costs a comparison. An unknown Format is the
// only error.
func New(opts Options) (hclog.Logger, error) {
	out := opts.Output
	if out == nil {
		out = os.Stderr
	}
	var sink hclog.SinkAdapter
	switch opts.Format {
	case "", "stock":
		sink = &stockSink{prefix: opts.Prefix, out: out}
	case "json":
		sink = jsonSink{hclog.NewSinkAdapter(&hclog.LoggerOptions{Output: out, JSONFormat: true, Level: hclog.Trace})}
	default:
		return nil, fmt.Errorf("invalid log format %q (stock, json)", opts.Format)
	}
	base := hclog.New(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Level(opts.Level)})
	return &logger{base, sink}, nil
}

// A logger passes messages to its sink. The Logger in it keeps name, implied
// pairs and level, and writes nothing.
type logger struct {
	hclog.Logger
	sink hclog.SinkAdapter
}

func (l *logger) Log(level hclog.Level, msg string, args ...any) {
	if level < l.GetLevel() {
		return
	}
	l.sink.Accept(l.Name(), level, msg, slices.Concat(l.ImpliedArgs(), args)...)
}

func (l *logger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *logger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *logger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *logger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *logger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *logger) With(args ...any) hclog.Logger {
	return &logger{l.Logger.With(args...), l.sink}
}

func (l *logger) Named(name string) hclog.Logger {
	return &logger{l.Logger.Named(name), l.sink}
}

func (l *logger) ResetNamed(name string) hclog.Logger {
	return &logger{l.Logger.ResetNamed(name), l.sink}
}

func (l *logger) StandardLogger(opts *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(opts), "", 0)
}

// StandardWriter borrows the level detection of hclog's own writer, which must
// write to a logger of hclog's making: to one that is off and passes on all it
// is given.
func (l *logger) StandardWriter(opts *hclog.StandardLoggerOptions) io.Writer {
	if opts == nil {
		opts = &hclog.StandardLoggerOptions{}
	}
	pass := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Off})
	pass.RegisterSink(passTo{l})
	return pass.StandardWriter(opts)
}

// passTo is a sink that logs again.
type passTo struct{ *logger }

func (p passTo) Accept(_ string, level hclog.Level, msg string, args ...any) {
	p.Log(level, msg, args...)
}

// jsonSink is hclog's JSON sink, which knows no Fatal.
type jsonSink struct{ hclog.SinkAdapter }

func (s jsonSink) Accept(name string, level hclog.Level, msg string, args ...any) {
	if level == Fatal {
		level, args = hclog.Error, append(args, "fatal", true)
	}
	s.SinkAdapter.Accept(name, level, msg, args...)
}
