package report

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"nsqraft/internal/drill/history"
)

// againTimes is how often a drill is proposed to be made again: what was seen once may
// not be seen every time.
const againTimes = 10

// shellWords finds the words of a command, with their quotes.
var shellWords = regexp.MustCompile(`(?:[^\s']|'[^']*')+`)

// again returns the command that makes one drill of a run a few times, in the same place.
// It is "" if the run does not know its own.
func again(run *history.Run, drill string) string {
	words := shellWords.FindAllString(oneLine(run.Header.Command), -1)
	if len(words) < 2 || drill == "" {
		return ""
	}
	command := append(words[:2:2], oneLine(drill), fmt.Sprintf("--times=%d", againTimes))
	for _, w := range words[2:] {
		name, _, _ := strings.Cut(strings.TrimPrefix(w, "'"), "=")
		if strings.HasPrefix(name, "-") && !slices.Contains([]string{"--profile", "--times", "--duration", "--against"}, name) {
			command = append(command, w)
		}
	}
	return strings.Join(command, " ")
}

// drillOf returns the drill during which, or after which, was what a claim's first
// violation speaks of; "" if it cannot be told.
func drillOf(run *history.Run, c history.Claim) string {
	if of, ok := strings.CutPrefix(c.ID, "drill/"); ok {
		drill, _, _ := strings.Cut(of, "/")
		return drill
	}
	for _, text := range c.Violations {
		if found := faultNumber.FindStringSubmatch(text); found != nil {
			id, _ := strconv.Atoi(found[1]) // digits
			if i := slices.IndexFunc(run.Faults, func(f history.Fault) bool { return f.ID == id }); i >= 0 {
				return run.Faults[i].Drill
			}
		}
		if found := moments.FindStringSubmatch(text); found != nil {
			seconds, _ := strconv.ParseFloat(found[1], 64) // digits
			i, there := slices.BinarySearchFunc(run.Faults, dur(seconds), func(f history.Fault, t time.Duration) int { return cmp.Compare(f.Begin, t) })
			if there {
				i++
			}
			if i > 0 {
				return run.Faults[i-1].Drill
			}
		}
	}
	return ""
}
