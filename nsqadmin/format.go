package nsqadmin

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// unknown stands for a number that nobody can say.
const unknown = "–"

// integer writes 10206 as "10,206".
func integer[T int | int32 | int64 | uint32 | uint64](n T) string {
	if uint64(n) > math.MaxInt64 && n > 0 {
		return humanize.BigComma(new(big.Int).SetUint64(uint64(n)))
	}
	return humanize.Comma(int64(n))
}

// short writes a number in at most five characters: 9,999, 12.3k, 4.56M. What is
// not a number is unknown.
func short(v float64) string {
	a := math.Abs(v)
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return unknown
	case a < 9999.5:
		return humanize.Comma(int64(math.Round(v)))
	}
	for _, unit := range []string{"k", "M", "G", "T", "P", "E"} {
		v, a = v/1000, a/1000
		switch {
		case a < 9.995:
			return strconv.FormatFloat(v, 'f', 2, 64) + unit
		case a < 99.95:
			return strconv.FormatFloat(v, 'f', 1, 64) + unit
		case a < 999.5:
			return strconv.FormatFloat(v, 'f', 0, 64) + unit
		}
	}
	return strconv.FormatFloat(v*1e18, 'e', 1, 64)
}

// perSecond writes a rate: 0.25, 7.5, 120, 12.3k. The unit is in the heading.
func perSecond(v float64) string {
	a := math.Abs(v)
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return unknown
	case a < 0.005:
		return "0"
	case a < 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case a < 10:
		return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
	}
	return short(v)
}

// signed is perSecond with a sign: a change. The minus is as wide as the plus.
func signed(v float64) string {
	text := perSecond(math.Abs(v))
	switch {
	case text == "0" || text == unknown:
		return text
	case v < 0:
		return "−" + text
	}
	return "+" + text
}

// size writes bytes: 1.9 MiB. Negative: unknown.
func size[T int | int64 | uint64](n T) string {
	if n < 0 {
		return unknown
	}
	return humanize.IBytes(uint64(n))
}

// span writes a duration with its two greatest units: 41 s, 2m5s, 3h20m, 3d2h. Below
// a minute: 1.5 s, 250 ms, 80 µs.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "−" + span(-d)
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + " µs"
	case d < time.Second:
		return strconv.FormatInt(d.Round(time.Millisecond).Milliseconds(), 10) + " ms"
	case d < 10*time.Second:
		return strings.TrimSuffix(strconv.FormatFloat(d.Seconds(), 'f', 1, 64), ".0") + " s"
	case d < time.Minute-time.Second/2:
		return strconv.FormatFloat(d.Seconds(), 'f', 0, 64) + " s"
	}
	s := int64(d.Round(time.Second).Seconds())
	days, hours, minutes, seconds := s/86400, s/3600%24, s/60%60, s%60
	switch {
	case days > 0:
		return units(days, "d", hours, "h")
	case hours > 0:
		return units(hours, "h", minutes, "m")
	}
	return units(minutes, "m", seconds, "s")
}

func units(a int64, unitA string, b int64, unitB string) string {
	if b == 0 {
		return fmt.Sprintf("%d%s", a, unitA)
	}
	return fmt.Sprintf("%d%s%d%s", a, unitA, b, unitB)
}

// latency writes nanoseconds as people time messages: 420 µs, 33.5 ms, 1m0.3s.
func latency(ns float64) string {
	d := time.Duration(ns)
	switch {
	case math.IsNaN(ns) || ns < 0:
		return unknown
	case d == 0:
		return "0 ms"
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + " µs"
	case d < 100*time.Millisecond:
		return strings.TrimSuffix(strconv.FormatFloat(float64(d)/1e6, 'f', 1, 64), ".0") + " ms"
	case d < time.Second:
		return strconv.FormatFloat(float64(d)/1e6, 'f', 0, 64) + " ms"
	case d < time.Minute:
		return strings.TrimSuffix(strconv.FormatFloat(d.Seconds(), 'f', 2, 64), ".00") + " s"
	}
	return d.Round(100 * time.Millisecond).String() // 1m0.3s
}

// quantile writes 0.999 as "p99.9".
func quantile(q float64) string {
	return "p" + strconv.FormatFloat(math.Round(q*1e6)/1e4, 'f', -1, 64)
}

// count writes a number with its noun: "1 nsqd", "2 nsqds".
func count[T int | int64](n T, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return integer(n) + " " + noun + "s"
}

// verb is that of n things: "answers" for one, "answer" for more.
func verb(n int, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}

// clock writes the time of day in UTC; the script of the page makes it local.
func clock(t time.Time) string { return t.UTC().Format("15:04:05") }

// list joins names for a sentence, at most three of them: "a, b, c and 4 more".
func list(names []string) string {
	const most = 3
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

// shell quotes text for a POSIX shell.
func shell(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
