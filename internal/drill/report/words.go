package report

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
)

// nothing stands for a number that there is not.
const nothing = "–"

// count writes 10206 as "10,206".
func count(n int) string { return humanize.Comma(int64(n)) }

// plural writes "1 fault", "2 faults".
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// short writes seconds as people say them: 0.64 s, 12 ms, 2m5s, 3h20m.
func short(seconds float64) string {
	d := dur(seconds)
	switch {
	case d < 0:
		return "−" + short(-seconds)
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + " µs"
	case d < 100*time.Millisecond:
		return strconv.FormatFloat(seconds*1000, 'f', 0, 64) + " ms"
	case d < 10*time.Second:
		return strconv.FormatFloat(seconds, 'f', 2, 64) + " s"
	case d < time.Minute:
		return strconv.FormatFloat(seconds, 'f', 1, 64) + " s"
	}
	s := int(d.Round(time.Second).Seconds())
	switch hours, minutes, rest := s/3600, s/60%60, s%60; {
	case hours > 0:
		return fmt.Sprintf("%dh%dm", hours, minutes)
	case rest == 0:
		return fmt.Sprintf("%dm", minutes)
	default:
		return fmt.Sprintf("%dm%ds", minutes, rest)
	}
}

// known writes seconds, and nothing for 0.
func known(seconds float64) string {
	if seconds == 0 {
		return nothing
	}
	return short(seconds)
}

// at writes a time of a run: 12.345 s.
func at(seconds float64) string { return strconv.FormatFloat(seconds, 'f', 3, 64) + " s" }

// longestText is what is shown of one text of a history.
const longestText = 600

// plain makes a text of a history fit to be read: what cannot be seen, or moves what
// comes after it, is shown as its number; line ends stay. It is at most longestText long.
func plain(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.ToValidUTF8(s, "\ufffd") {
		if n++; n > longestText {
			b.WriteString("…")
			break
		}
		if r == '\n' || unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRuneToASCII(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}

// oneLine is plain without line ends.
func oneLine(s string) string { return plain(strings.Join(strings.Fields(s), " ")) }

var (
	// seconds are how package history writes durations, and many how it writes a number
	// that has to be divided to be read.
	seconds = regexp.MustCompile(`\b\d+\.\d{3}s\b`)
	many    = regexp.MustCompile(`(^|\s)(\d{5,})\b`)
	// single is the spread of one duration, which has no quantiles.
	single = regexp.MustCompile(`p50 \S+ p99 \S+ max (\S+) of 1\b`)
)

// measured writes the durations in what package history says of a claim as people say
// them: "≤ 0.250s" is "≤ 0.25 s".
func measured(s string) string {
	s = single.ReplaceAllString(oneLine(s), "$1")
	return counted(seconds.ReplaceAllStringFunc(s, func(d string) string {
		v, err := strconv.ParseFloat(strings.TrimSuffix(d, "s"), 64)
		if err != nil {
			return d
		}
		return short(v)
	}))
}

// counted divides the numbers in what package history says of a claim: 10206 is "10,206".
func counted(s string) string {
	return many.ReplaceAllStringFunc(oneLine(s), func(n string) string {
		digits := strings.TrimLeft(n, " ")
		v, err := strconv.Atoi(digits)
		if err != nil {
			return n
		}
		return strings.TrimSuffix(n, digits) + count(v)
	})
}
