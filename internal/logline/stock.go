package logline

import (
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"
)

// A stockSink writes messages as stock NSQ does.
type stockSink struct {
	// Read-only.
	prefix string
	out    io.Writer

	// Held while a line is written: out need not be safe for concurrent use, and
	// lines must not mix.
	mu sync.Mutex
}

// Accept implements hclog.SinkAdapter.
func (s *stockSink) Accept(name string, level hclog.Level, msg string, args ...any) {
	line := append(make([]byte, 0, 256), s.prefix...)
	line = time.Now().AppendFormat(line, "2006/01/02 15:04:05.000000 ")
	line = append(line, levelWord(level)...)
	line = append(line, ": "...)
	if name != "" {
		line = append(appendEscaped(line, name), ": "...)
	}
	line = appendEscaped(line, msg)
	if len(args)%2 != 0 {
		last := len(args) - 1
		args = append(args[:last:last], hclog.MissingKey, args[last])
	}
	for i := 0; i < len(args); i += 2 {
		line = append(line, ' ')
		line = appendEscaped(line, fmt.Sprint(args[i]))
		line = append(line, '=')
		line = appendValue(line, args[i+1])
	}
	line = append(line, '\n')
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.Write(line) // there is nowhere to report that the log is lost
}

func levelWord(level hclog.Level) string {
	switch level {
	case hclog.Trace, hclog.Debug:
		return "DEBUG"
	case hclog.Warn:
		return "WARNING"
	case hclog.Error:
		return "ERROR"
	case Fatal:
		return "FATAL"
	default:
		return "INFO"
	}
}

// appendValue appends the text of v, quoted if it is empty or holds anything but
// plain printable characters.
func appendValue(line []byte, v any) []byte {
	text := valueText(v)
	for _, r := range text {
		if r == ' ' || r == '"' || r == '=' || r == utf8.RuneError || !unicode.IsPrint(r) {
			return strconv.AppendQuote(line, text)
		}
	}
	if text == "" {
		return append(line, `""`...)
	}
	return append(line, text...)
}

// valueText returns v as fmt prints it, or as hclog's own types ask for.
func valueText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case hclog.Format:
		return fmt.Sprintf(fmt.Sprint(v[0]), v[1:]...)
	case hclog.Hex:
		return fmt.Sprintf("%#x", int(v))
	case hclog.Octal:
		return fmt.Sprintf("%#o", int(v))
	case hclog.Binary:
		return fmt.Sprintf("%#b", int(v))
	default:
		return fmt.Sprint(v)
	}
}

// appendEscaped appends text with all but printable characters escaped as Go
// does it.
func appendEscaped(line []byte, text string) []byte {
	for i, r := range text {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			_, size := utf8.DecodeRuneInString(text[i:])
			quoted := strconv.Quote(text[i : i+size])
			line = append(line, quoted[1:len(quoted)-1]...)
			continue
		}
		line = utf8.AppendRune(line, r)
	}
	return line
}
