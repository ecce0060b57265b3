package report

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// logsDir has the logs of a run's daemons, by their names, in the folder of the run.
	logsDir = "nodes"
	// logStamp is how a line begins, after the name of the program.
	logStamp = "2006/01/02 15:04:05.000000"
	// A line that names what is looked for counts this long before and after a moment,
	// and one that is of no client's connection this long.
	logOfIt   = 5 * time.Second
	logNearby = time.Second
)

// nodeLogs are what the daemons of a run have logged.
type nodeLogs struct {
	dir     string
	started time.Time // of the run
	known   map[string][]logSecond
}

// A logSecond is where in a log the lines of one second are.
type logSecond struct {
	at       time.Duration // of the run, cut to the second before
	from, to int64
}

func newNodeLogs(dir string, started time.Time) *nodeLogs {
	return &nodeLogs{dir: filepath.Join(dir, logsDir), started: started, known: make(map[string][]logSecond)}
}

func (l *nodeLogs) file(node string) string { return filepath.Join(l.dir, node+".log") }

// stampOf returns the time of a line, of the run.
func (l *nodeLogs) stampOf(line []byte) (time.Duration, bool) {
	_, rest, found := bytes.Cut(line, []byte("] "))
	if !found || len(rest) < len(logStamp) {
		return 0, false
	}
	t, err := time.ParseInLocation(logStamp, string(rest[:len(logStamp)]), l.started.Location())
	return t.Sub(l.started), err == nil
}

// seconds returns where the seconds of a node's log are. Of a node without a log that
// can be read it is nothing.
func (l *nodeLogs) seconds(node string) []logSecond {
	all, ok := l.known[node]
	if ok {
		return all
	}
	f, err := os.Open(l.file(node))
	if err != nil {
		l.known[node] = nil
		return nil
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 64<<10)
	last, offset := "", int64(0)
	for {
		line, err := r.ReadSlice('\n')
		begins := err == nil || errors.Is(err, io.EOF)
		// The stamp is compared before it is read: most lines are of the same second.
		if _, rest, found := bytes.Cut(line, []byte("] ")); begins && found && len(rest) > len(logStamp) && string(rest[:19]) != last {
			if t, ok := l.stampOf(line); ok {
				last = string(rest[:19])
				if n := len(all); n > 0 {
					all[n-1].to = offset
				}
				all = append(all, logSecond{at: t - time.Second, from: offset})
			}
		}
		offset += int64(len(line))
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			break
		}
	}
	if n := len(all); n > 0 {
		all[n-1].to = offset
	}
	l.known[node] = all
	return all
}

// ofClients are in lines about a connection or a registration of one client. There are
// many.
var ofClients = [][]byte{[]byte("lient("), []byte("CLIENT("), []byte("PROTOCOL("), []byte("DB: ")}

// about returns the lines of a node's log that are nearest to one of times: those that
// name one of names, and of those that are of no client those very near.
func (l *nodeLogs) about(node string, times []time.Duration, names []string) []line {
	f, err := os.Open(l.file(node))
	if err != nil {
		return nil
	}
	defer f.Close()
	distance := func(t time.Duration) time.Duration {
		best := time.Duration(1<<63 - 1)
		for _, m := range times {
			best = min(best, (t - m).Abs())
		}
		return best
	}
	type found struct {
		distance time.Duration
		line     line
	}
	var all []found
	for _, s := range l.seconds(node) {
		if distance(s.at) > logOfIt+2*time.Second {
			continue
		}
		content := make([]byte, s.to-s.from)
		if _, err := f.ReadAt(content, s.from); err != nil {
			break // it has become shorter
		}
		for text := range bytes.Lines(content) {
			t, ok := l.stampOf(text)
			d := distance(t)
			names := slices.ContainsFunc(names, func(name string) bool { return bytes.Contains(text, []byte(name)) })
			client := slices.ContainsFunc(ofClients, func(word []byte) bool { return bytes.Contains(text, word) })
			if !ok || d > logOfIt || !names && (client || d > logNearby) {
				continue
			}
			_, rest, _ := strings.Cut(string(text), "] ")
			all = append(all, found{d, line{time: t, At: at(sec(t)), Node: oneLine(node), What: "log", Outcome: oneLine(rest[len(logStamp):]), Class: "log"}})
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return cmp.Compare(a.distance, b.distance) })
	var lines []line
	for _, x := range all[:min(len(all), mostOfAKind)] {
		lines = append(lines, x.line)
	}
	return lines
}
