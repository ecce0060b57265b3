package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// count writes a number with a comma after each thousand.
func count(n int64) string { return humanize.Comma(n) }

// bytes writes a size, "-" for one that is not known.
func size(n int64) string {
	if n <= 0 {
		return "-"
	}
	return strings.ReplaceAll(humanize.IBytes(uint64(n)), " ", "")
}

// span writes how long something lasts in its two greatest units: 3d2h, 14m, 41s.
func span(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%dms", max(0, d.Milliseconds()))
	}
	units := []struct {
		name string
		unit time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	for i, u := range units {
		if d < u.unit {
			continue
		}
		s := strconv.FormatInt(int64(d/u.unit), 10) + u.name
		if i+1 < len(units) {
			if rest := d % u.unit / units[i+1].unit; rest > 0 {
				s += strconv.FormatInt(int64(rest), 10) + units[i+1].name
			}
		}
		return s
	}
	return "0s"
}

// seconds is span, "-" for none.
func seconds(n int64) string {
	if n <= 0 {
		return "-"
	}
	return span(time.Duration(n) * time.Second)
}

// millis writes a short time, "-" for none.
func millis(ms float64) string {
	switch {
	case ms <= 0:
		return "-"
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 1, 64) + "ms"
	case ms < 1000:
		return strconv.FormatFloat(ms, 'f', 0, 64) + "ms"
	}
	return span(time.Duration(ms * float64(time.Millisecond)))
}

// dash is s, "-" if it is empty.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// plural is "1 topic", "2 topics".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%s %ss", humanize.Comma(int64(n)), noun)
}
