package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/net/html"

	"nsqraft/internal/drill/history"
)

// hostileReport has hostile names and texts wherever there may be one.
func hostileReport() *Report {
	run := small()
	run.Header = history.Header{ID: hostile, Length: run.Header.Length, Profile: hostile, Command: hostile, Against: hostile, Env: hostile,
		Nodes: run.Header.Nodes, NSQDs: []string{hostile}, Versions: map[string]string{hostile: hostile}, Machine: map[string]string{hostile: hostile}, Skipped: map[string]string{hostile: hostile}}
	run.Faults[0].Kind, run.Faults[0].Note, run.Faults[0].Detail, run.Faults[0].Target = hostile, hostile, hostile, "n1,"+hostile
	r := &Report{Run: run, Broken: hostile, Previous: &JSON{Schema: schema}}
	for _, s := range []history.Status{history.Holds, history.Violated, history.Missed, history.Inconclusive, history.NotTested, hostile} {
		c := history.Claim{ID: hostile + string(s), Title: hostile, Bound: hostile, Observed: hostile, Status: s, Evidence: hostile, Picture: "javascript:alert(1)"}
		if s == history.Violated || s == history.Missed {
			c.Violations = []string{"lost: " + hostile + " of <script>alert(1)</script>\"'`|*_ at 0.700s", hostile}
		}
		r.Claims = append(r.Claims, c)
		r.Previous.Claims = append(r.Previous.Claims, history.Claim{ID: c.ID})
	}
	r.Baseline = &Report{Run: small(), Claims: r.Claims}
	return r
}

// written returns the files of a report.
func written(t *testing.T, r *Report) map[string]string {
	t.Helper()
	dir := t.TempDir()
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, name := range []string{"report.html", "report.json", "report.md", "junit.xml"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(content)
	}
	return files
}

func TestHostileNames(t *testing.T) {
	r := hostileReport()
	files := written(t, r)
	var printed bytes.Buffer
	r.Print(&printed)
	files["the terminal"] = printed.String()
	for name, content := range files {
		if name == "report.json" {
			continue // for programs: names are as they are
		}
		for _, c := range content {
			if c != '\n' && (unicode.IsControl(c) || c == '\u202e') {
				t.Errorf("%s has the character %U", name, c)
				break
			}
		}
	}
	for line := range strings.Lines(files["report.md"]) {
		if strings.Contains(line, "<") && !strings.HasPrefix(line, "    ") { // which is code
			t.Errorf("report.md has an element: %s", line)
		}
	}
	harmless(t, files["report.html"])
}

// harmless fails if a page has elements or addresses that it should not.
func harmless(t *testing.T, page string) {
	t.Helper()
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			if !errors.Is(z.Err(), io.EOF) {
				t.Fatal(z.Err())
			}
			return
		}
		token := z.Token()
		if kind != html.StartTagToken && kind != html.SelfClosingTagToken {
			continue
		}
		switch token.Data {
		case "script", "img", "link", "iframe", "object", "embed", "base", "form":
			t.Errorf("there is a <%s>", token.Data)
		}
		for _, a := range token.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "src" || a.Key == "style" {
				t.Errorf("<%s> has %s=%q", token.Data, a.Key, a.Val)
			}
			if a.Key == "href" && (strings.Contains(a.Val, ":") || strings.HasPrefix(a.Val, "/")) {
				t.Errorf("<%s> leads to %q", token.Data, a.Val)
			}
		}
	}
}

// The page says what there is to say, and loads nothing.
func TestPage(t *testing.T) {
	run := madeUp()
	r := &Report{Run: run, Claims: claimsOf(run), Baseline: stock(), Broken: "the cluster did not recover",
		Previous: &JSON{Schema: schema, Claims: []history.Claim{{ID: "messages/delivered", Status: history.Violated}}}}
	page := written(t, r)["report.html"]
	harmless(t, page)
	for _, want := range []string{
		"Safety violated", ruling(r), facts(r, r.document()), "The run itself ended badly", "Stock NSQ, same drills and seed",
		"porcupine-topic-orders.html", "The calls around it, and what was logged: topic orders, producer 10.0.0.2:4150", "E_NO_LEADER", "candidate in term",
		"What could not be decided", "Timeline of stock NSQ", "effect not seen", "leader-kill", "reads/honest-age",
		"needs CAP_NET_ADMIN", "nsqdrill run --profile=standard --seed=7", "Since the last run", "1.2 ms", "n2 led term 2 for",
	} {
		if !strings.Contains(page, html.EscapeString(want)) && !strings.Contains(page, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	for _, not := range []string{"http://", "https://", "url(", "@import", "ZgotmplZ"} {
		if strings.Contains(page, not) {
			t.Errorf("it has %q", not)
		}
	}
}

// A run in which nothing happened has a report too.
func TestEmptyRun(t *testing.T) {
	r := &Report{Run: &history.Run{}}
	files := written(t, r)
	if !strings.Contains(files["report.html"], "no claim was tested") {
		t.Error("report.html does not say that nothing was tested")
	}
	r.Print(io.Discard)
}

// Ten minutes with many drills stay below 2 MB.
func TestSize(t *testing.T) {
	run := repeated(madeUp(), 8)
	r := &Report{Run: run, Claims: claimsOf(run), Baseline: stock()}
	page, err := r.html()
	if err != nil {
		t.Fatal(err)
	}
	if len(page) > 2_000_000 {
		t.Errorf("report.html of %v with %d ops and %d faults has %d bytes", run.Header.Length, len(run.Ops), len(run.Faults), len(page))
	}
	t.Logf("%d bytes for %v, %d ops, %d faults", len(page), run.Header.Length, len(run.Ops), len(run.Faults))
}

// repeated makes a run n times as long, with drills of other names each time.
func repeated(run *history.Run, n int) *history.Run {
	long := &history.Run{Header: run.Header}
	long.Header.Length *= time.Duration(n)
	for i := range n {
		later := time.Duration(i) * run.Header.Length
		for _, op := range run.Ops {
			op.Call, op.Return = op.Call+later, op.Return+later
			long.Ops = append(long.Ops, op)
		}
		for _, s := range run.Samples {
			s.At += later
			long.Samples = append(long.Samples, s)
		}
		for _, f := range run.Faults {
			f.ID, f.Drill = len(long.Faults)+1, fmt.Sprintf("%s-%d", f.Drill, i)
			f.Begin, f.Began, f.End, f.Healed = f.Begin+later, f.Began+later, f.End+later, f.Healed+later
			long.Faults = append(long.Faults, f)
		}
	}
	return long
}

// TestSchema holds the fields of report.json to those of testdata/schema-1.txt: some may
// be added, none taken away or given another type.
func TestSchema(t *testing.T) {
	fields := make(map[string]string)
	describe(fields, "", reflect.TypeFor[JSON]())
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		fmt.Fprintf(&b, "%s %s\n", name, fields[name])
	}
	name := fmt.Sprintf("schema-%d.txt", schema)
	before, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(before)) {
		if !strings.Contains("\n"+b.String(), "\n"+line) {
			t.Fatalf("of schema %d is gone, or of another type: %s", schema, line)
		}
	}
	golden(t, name, b.String())

	var got map[string]any
	if err := json.Unmarshal([]byte(written(t, hostileReport())["report.json"]), &got); err != nil {
		t.Fatal(err)
	}
	if got["schema"] != float64(schema) {
		t.Errorf("schema %v", got["schema"])
	}
	for _, list := range []string{"claims", "drills", "episodes", "faults", "leaders", "calls"} {
		if all, ok := got[list].([]any); !ok || len(all) == 0 {
			t.Errorf("%s: %v", list, got[list])
		}
	}
}

func describe(fields map[string]string, prefix string, typ reflect.Type) {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		if typ.Kind() == reflect.Slice {
			prefix += "[]"
		}
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]() {
		fields[prefix] = typ.String()
		return
	}
	if prefix != "" && typ == reflect.TypeFor[JSON]() {
		fields[prefix] = "this"
		return
	}
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		describe(fields, strings.TrimPrefix(prefix+"."+name, "."), typ.Field(i).Type)
	}
}

func TestReadPrevious(t *testing.T) {
	dir := t.TempDir()
	if ReadPrevious(dir) != nil {
		t.Error("there is a previous run in an empty folder")
	}
	for _, content := range []string{"", "{", "[]", `{"schema": 2}`, `{"schema": 1, "claims": 7}`} {
		if err := os.WriteFile(filepath.Join(dir, jsonName), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if ReadPrevious(dir) != nil {
			t.Errorf("%q is a previous run", content)
		}
	}
	run := madeUp()
	first := &Report{Run: run, Claims: claimsOf(run)}
	if err := first.Write(dir); err != nil {
		t.Fatal(err)
	}
	second := &Report{Run: run, Claims: claimsOf(run)[:3], Previous: ReadPrevious(dir)}
	second.Claims[2].Status = history.Violated
	if got := second.document().Changes; len(got) != 1 || got[0].Subject != "registry/no-lost-registration" || !got[0].Worse {
		t.Errorf("changes: %+v", got)
	}
}

func TestWriteFails(t *testing.T) {
	err := (&Report{Run: &history.Run{}}).Write(filepath.Join(t.TempDir(), "none"))
	if err == nil || !strings.Contains(err.Error(), "report.html") || !strings.Contains(err.Error(), "junit.xml") {
		t.Errorf("got %v, want an error that names each file", err)
	}
}

func TestJUnit(t *testing.T) {
	r := hostileReport()
	r.Claims = append(r.Claims, history.Claim{ID: "drill/leader-kill/writes", Title: "Writes go on.", Status: history.Holds, Took: 0.5})
	var got suites
	if err := xml.Unmarshal([]byte(written(t, r)["junit.xml"]), &got); err != nil {
		t.Fatal(err)
	}
	s := got.Suite
	if s.Tests != 8 || len(s.Cases) != 8 || s.Failures != 2 || s.Errors != 2 || s.Skipped != 1 || got.Failures != s.Failures {
		t.Errorf("%d tests in %d cases, %d failures, %d errors, %d skipped; want 8, 8, 2, 2, 1", s.Tests, len(s.Cases), s.Failures, s.Errors, s.Skipped)
	}
	if c := s.Cases[1]; c.Failure == nil || c.Failure.Type != "violated" || !strings.Contains(c.Failure.Text, "lost: ") {
		t.Errorf("a violated claim: %+v", c)
	}
	if c := s.Cases[6]; c.Class != "nsqdrill.drill" || c.Name != "leader-kill/writes" || c.Time != "0.500" || c.Failure != nil {
		t.Errorf("a claim that holds: %+v", c)
	}
}

func TestPrint(t *testing.T) {
	run := madeUp()
	var b bytes.Buffer
	(&Report{Run: run, Claims: claimsOf(run), Baseline: stock(), Broken: "it ended"}).Print(&b)
	for _, want := range []string{
		"violated      linear/topic", "holds         drill/leader-kill/writes", "  power-cut: needs CAP_SYS_ADMIN\n",
		"The run itself ended badly: it ended\n", "Stock NSQ, under the same drills and seed: 7 drills broke the cluster",
		"\nSafety is violated: ", "The same again: nsqdrill run --profile=standard --seed=7\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, b.String())
		}
	}
}

// The calls around a violation are those of what it names, next to when.
func TestExcerpt(t *testing.T) {
	op := func(kind history.Kind, topic, producer string, at time.Duration) history.Op {
		return history.Op{Kind: kind, Client: 1, Node: "n1", Topic: topic, Producer: producer, Call: at, Return: at + ms, Outcome: history.Done}
	}
	run := &history.Run{Header: history.Header{Nodes: []string{"n1"}}, Ops: []history.Op{
		op(history.Connect, "", "10.0.0.1:4150", 0),
		op(history.Connect, "", "10.0.0.2:4150", 0),
		op(history.Register, "a", "10.0.0.1:4150", ms),
		op(history.Register, "a", "10.0.0.2:4150", ms),
		op(history.Register, "b", "10.0.0.1:4150", ms),
		op(history.CreateChannel, "a", "", 2*ms),
		op(history.Publish, "a", "", 2*ms),
	}}
	run.Ops[6].Message = "m-1"
	for at := time.Second; at < 5*time.Second; at += 100 * ms {
		run.Ops = append(run.Ops, op(history.Lookup, "a", "", at))
	}
	f := newFinder(run, newNodeLogs(t.TempDir(), run.Header.Started))
	got := f.about("lost: 10.0.0.1:4150 of a, registered at 0.001s by n1, is not there at 4.000s in the end", false)
	if got == nil {
		t.Fatal("none")
	}
	var calls []string
	for _, l := range got.Lines {
		calls = append(calls, l.What)
	}
	for what, n := range map[string]int{"connect of 10.0.0.1:4150": 1, "register a of 10.0.0.1:4150": 1, "create channel a": 1, "lookup a": mostOfAKind} {
		if c := len(slices.DeleteFunc(slices.Clone(calls), func(s string) bool { return s != what })); c != n {
			t.Errorf("%q is there %d times, want %d: %q", what, c, n, calls)
		}
	}
	if len(calls) != 3+mostOfAKind {
		t.Errorf("%d calls: %q", len(calls), calls)
	}
	if !slices.ContainsFunc(got.Lines, func(l line) bool { return l.At == "4.000 s" }) {
		t.Error("the lookup at 4 s is not there")
	}
	if got := f.about("lost: m-1 of a, acknowledged by n1 at 0.003s, never reached channel c", false); len(got.Lines) != 1 || got.Lines[0].What != "publish a message m-1" {
		t.Errorf("of a message: %+v", got)
	}
	if got := f.about("fault 3 at 12.000s: no write for 1.200s", false); got != nil {
		t.Errorf("of nothing that is named: %+v", got)
	}
}

// What a node logged about what a violation names is among the calls, in its place; so is
// what it logged then of no client.
func TestExcerptHasTheLog(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, logsDir), 0o755); err != nil {
		t.Fatal(err)
	}
	started := time.Date(2026, 1, 2, 3, 4, 5, 500_000_000, time.FixedZone("", 3600))
	var text strings.Builder
	log := func(at time.Duration, words string) {
		fmt.Fprintf(&text, "[nsqlookupd] %s %s\n", started.Add(at).Format(logStamp), words)
	}
	log(time.Second, "INFO: raft: long before")
	log(7*time.Second, "INFO: DB: client(127.0.0.1:1) UNREGISTER category:topic key:a")
	text.WriteString("goroutine 1 [running]:\n")
	log(9900*ms, "WARNING: raft: heartbeat timeout reached")
	log(9950*ms, "INFO: DB: client(127.0.0.1:2) REGISTER category:topic key:b")
	log(3610*time.Second, "INFO: raft: the clock has jumped")
	log(10500*ms, "INFO: raft: entering leader state")
	log(13*time.Second, "INFO: raft: long after")
	if err := os.WriteFile(filepath.Join(dir, logsDir, "n1.log"), []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	run := &history.Run{Header: history.Header{Nodes: []string{"n1", "n2"}, Started: started}, Ops: []history.Op{
		{Kind: history.Lookup, Client: 1, Node: "n1", Topic: "key:a", Call: 10 * time.Second, Return: 10 * time.Second, Outcome: history.Done},
	}}
	f := newFinder(run, newNodeLogs(dir, started))
	got := f.about("lost alive: n1 and n2 lack p of key:a at 10.000s", false)
	if got == nil {
		t.Fatal("none")
	}
	var lines []string
	for _, l := range got.Lines {
		lines = append(lines, l.At+" "+l.What+" "+l.Outcome)
	}
	want := []string{
		"7.000 s log INFO: DB: client(127.0.0.1:1) UNREGISTER category:topic key:a",
		"9.900 s log WARNING: raft: heartbeat timeout reached",
		"10.000 s lookup key:a ok",
		"10.500 s log INFO: raft: entering leader state",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

// A violation has a command that makes its drill again where it was made.
func TestAgain(t *testing.T) {
	run := madeUp()
	run.Header.Command = "nsqdrill run --profile=standard --env=netns '--exec-begin=kill=ssh {node} kill' --against=both --seed=7"
	rest := " --times=10 --env=netns '--exec-begin=kill=ssh {node} kill' --seed=7"
	for _, c := range []struct {
		claim history.Claim
		want  string
	}{
		{history.Claim{ID: "drill/leader-kill/writes"}, "nsqdrill run leader-kill" + rest},
		{history.Claim{ID: "available/lookups", Violations: []string{"failed: a lookup, during fault 3 (isolate of n2)"}}, "nsqdrill run leader-isolated" + rest},
		{history.Claim{ID: "registry/no-phantom", Violations: []string{"phantom: n2 shows a at 20.000s"}}, "nsqdrill run follower-pause" + rest},
		{history.Claim{ID: "registry/no-phantom", Violations: []string{"phantom: n2 shows a at 1.000s"}}, ""},
	} {
		if got := again(run, drillOf(run, c.claim)); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.claim.ID, c.claim.Violations, got, c.want)
		}
	}
}

// What package history measures reads as everything else does.
func TestMeasured(t *testing.T) {
	for got, want := range map[string]string{
		measured("≤ 0.250s"):                                                                 "≤ 0.25 s",
		measured("p50 0.478s, p99 0.516s, max 1.516s of 12345"):                              "p50 0.48 s, p99 0.52 s, max 1.52 s of 12,345",
		measured("at most 1; time to a new leader: p50 0.862s, p99 0.862s, max 0.862s of 1"): "at most 1; time to a new leader: 0.86 s",
		measured("longest 0.003s for topic drill-12345-s13"):                                 "longest 3 ms for topic drill-12345-s13",
		counted("158546 producers in 33183 lookups of 12345-a"):                              "158,546 producers in 33,183 lookups of 12,345-a",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A report in another folder than its run names the files of both.
func TestFilesBeside(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"run/nodes/n1.log", "run/history.jsonl.gz", "out [1]/porcupine-topic-a.html"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("12345"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := madeUp()
	out := filepath.Join(dir, "out [1]")
	r := &Report{Run: run, Claims: claimsOf(run), Dir: filepath.Join(dir, "run")}
	if err := r.Write(out); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(out, "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{`href="../run/nodes/n1.log"`, `href="../run/history.jsonl.gz"`, `href="porcupine-topic-a.html"`} {
		if !strings.Contains(string(page), link) {
			t.Errorf("there is no %s", link)
		}
	}
}
