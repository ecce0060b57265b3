package logline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

func newLogger(t *testing.T, opts Options) (hclog.Logger, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	opts.Output = &out
	log, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return log, &out
}

type pair struct{ a, b int }

func (p *pair) String() string { return fmt.Sprint(p.a, "/", p.b) }

func TestStockLines(t *testing.T) {
	tests := []struct {
		log  func(hclog.Logger)
		want string
	}{
		{func(l hclog.Logger) { l.Debug("a") }, "DEBUG: a"},
		{func(l hclog.Logger) { l.Info("TCP: listening on 127.0.0.1:4160") }, "INFO: TCP: listening on 127.0.0.1:4160"},
		{func(l hclog.Logger) { l.Warn("a") }, "WARNING: a"},
		{func(l hclog.Logger) { l.Error("a") }, "ERROR: a"},
		{func(l hclog.Logger) { l.Log(Fatal, "a", "err", errors.New("b")) }, "FATAL: a err=b"},
		{func(l hclog.Logger) { l.Named("raft").Info("entering follower state") }, "INFO: raft: entering follower state"},
		{func(l hclog.Logger) { l.Named("raft").Named("net").Info("a") }, "INFO: raft.net: a"},
		{func(l hclog.Logger) { l.Named("raft").ResetNamed("net").Info("a") }, "INFO: net: a"},
		{func(l hclog.Logger) { l.With("node", "n1").Named("x").With("term", 2).Info("a", "index", 3) }, "INFO: x: a node=n1 term=2 index=3"},
		{func(l hclog.Logger) { l.Info("a", "topic", "t#ephemeral", "n", 1.5, "took", 20*time.Millisecond) }, "INFO: a topic=t#ephemeral n=1.5 took=20ms"},
		{func(l hclog.Logger) { l.Info("a", "k", "b c", "q", `"`, "e", "", "eq", "a=b", "u", "é") }, `INFO: a k="b c" q="\"" e="" eq="a=b" u=é`},
		{func(l hclog.Logger) { l.Info("a", "err", errors.New("x\ny"), "nil", nil, "p", &pair{1, 2}) }, `INFO: a err="x\ny" nil=<nil> p=1/2`},
		{func(l hclog.Logger) { l.Info("a", "nil", (*pair)(nil)) }, `INFO: a nil=<nil>`},
		{func(l hclog.Logger) { l.Info("a", "f", hclog.Fmt("%03d", 7), "h", hclog.Hex(255)) }, `INFO: a f=007 h=0xff`},
		{func(l hclog.Logger) { l.Info("a", "k", 1, "odd") }, `INFO: a k=1 EXTRA_VALUE_AT_END=odd`},
		{func(l hclog.Logger) { l.Info("a\n2000/01/01 ERROR: forged\r\x1b[31m\xff") }, `INFO: a\n2000/01/01 ERROR: forged\r\x1b[31m\xff`},
		{func(l hclog.Logger) { l.Info("a", "k\nk", 1) }, `INFO: a k\nk=1`},
		{func(l hclog.Logger) {
			l.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Warn}).Print("http: odd")
		}, `WARNING: http: odd`},
		{func(l hclog.Logger) {
			l.Named("x").StandardLogger(&hclog.StandardLoggerOptions{InferLevels: true}).Print("[ERROR] odd")
		}, `ERROR: x: odd`},
		{func(l hclog.Logger) { fmt.Fprintf(l.StandardWriter(nil), "plain\n") }, `INFO: plain`},
	}
	synctest.Test(t, func(t *testing.T) { // the clock stands still
		for _, tt := range tests {
			log, out := newLogger(t, Options{Prefix: "[nsqlookupd] ", Level: Level(hclog.Debug)})
			tt.log(log)
			want := "[nsqlookupd] " + time.Now().Format("2006/01/02 15:04:05.000000") + " " + tt.want + "\n"
			if out.String() != want {
				t.Errorf("\n got %q\nwant %q", out.String(), want)
			}
		}
	})
}

func TestStockLineTime(t *testing.T) {
	log, out := newLogger(t, Options{})
	log.Info("a")
	if !regexp.MustCompile(`^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} INFO: a\n$`).MatchString(out.String()) {
		t.Errorf("got %q", out.String())
	}
}

func TestLevels(t *testing.T) {
	tests := []struct {
		level string
		want  string // of each message its first letter
	}{
		{"debug", "diwef"},
		{"info", "iwef"},
		{"WARN", "wef"},
		{"Error", "ef"},
		{"fatal", "f"},
	}
	for _, format := range []string{"stock", "json"} {
		for _, tt := range tests {
			var level Level
			if err := level.UnmarshalText([]byte(tt.level)); err != nil {
				t.Fatal(err)
			}
			if level.String() != strings.ToLower(tt.level) {
				t.Errorf("text of %s is %s", tt.level, level)
			}
			log, out := newLogger(t, Options{Level: level, Format: format})
			logAll := func() string {
				out.Reset()
				log.Trace("msg-t")
				log.Debug("msg-d")
				log.Info("msg-i")
				log.Warn("msg-w")
				log.Error("msg-e")
				log.Log(Fatal, "msg-f")
				got := ""
				for _, m := range regexp.MustCompile(`msg-(.)`).FindAllStringSubmatch(out.String(), -1) {
					got += m[1]
				}
				return got
			}
			if got := logAll(); got != tt.want {
				t.Errorf("%s %s: got %s, want %s", format, tt.level, got, tt.want)
			}
			// A change made anywhere is seen everywhere.
			log.Named("a").With("k", 1).SetLevel(hclog.Error)
			if got := logAll(); got != "ef" {
				t.Errorf("%s after SetLevel: got %s, want ef", format, got)
			}
			if log.Named("b").IsWarn() || !log.IsError() {
				t.Errorf("%s after SetLevel: warn is %v, error %v", format, log.Named("b").IsWarn(), log.IsError())
			}
		}
	}
	for _, bad := range []string{"", "zz", "warning", "trace", "2"} {
		var level Level
		if err := level.UnmarshalText([]byte(bad)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("invalid log level %q", bad)) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

func TestJSON(t *testing.T) {
	log, out := newLogger(t, Options{Prefix: "[x] ", Format: "json"})
	log.Named("raft").With("node", "n1").Warn("a\nb", "index", 7)
	log.Log(Fatal, "end", "err", errors.New("boom"))
	var got []map[string]any
	for dec := json.NewDecoder(out); dec.More(); {
		var line map[string]any
		if err := dec.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if _, err := time.Parse(time.RFC3339, line["@timestamp"].(string)); err != nil {
			t.Error(err)
		}
		delete(line, "@timestamp")
		got = append(got, line)
	}
	want := "[map[@level:warn @message:a\nb @module:raft index:7 node:n1] map[@level:error @message:end err:boom fatal:true]]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestUnknownFormat(t *testing.T) {
	if _, err := New(Options{Format: "xml"}); err == nil || !strings.Contains(err.Error(), `"xml"`) {
		t.Errorf("error %v", err)
	}
}

// lineWriter is, like a file, unfit for concurrent lines unless each is one Write.
type lineWriter struct{ lines []string }

func (w *lineWriter) Write(p []byte) (int, error) {
	w.lines = append(w.lines, string(p))
	return len(p), nil
}

func TestConcurrentLines(t *testing.T) {
	var out lineWriter
	log, err := New(Options{Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				log.With("k", 1).Info("a")
			}
		})
	}
	wg.Wait()
	if len(out.lines) != 400 {
		t.Errorf("%d writes, want 400", len(out.lines))
	}
	for _, line := range out.lines {
		if !strings.HasSuffix(line, " INFO: a k=1\n") {
			t.Errorf("got %q", line)
		}
	}
}

// The one allocation is the caller's, of the variadic slice.
func TestLevelOffCostsNothing(t *testing.T) {
	log, _ := newLogger(t, Options{})
	if n := testing.AllocsPerRun(100, func() { log.Debug("a", "k", "v") }); n > 1 {
		t.Errorf("%v allocations for a message that is not written", n)
	}
}
