package nsqadmin

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata anew")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got+"\n" != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s(go test -update writes it anew)", name, got, want)
	}
}

// steps are points a second apart; NaN is a gap.
func steps(values ...float64) []point {
	points := make([]point, len(values))
	for i, v := range values {
		points[i] = point{now.Add(time.Duration(i-len(values)+1) * time.Second), v}
	}
	return points
}

func TestPlotsHaveGapsAndStayInTheirBox(t *testing.T) {
	p := newPlot("Published", "/s", "pub", steps(0, 5, 10, math.NaN(), 3, 12), now.Add(-5*time.Second), now)
	golden(t, "plot.svg", string(p.SVG))
	if p.Now != "12" || p.Top != "20" || p.Nothing || p.Values != "0,5,10,,3,12" {
		t.Errorf("now %s, top %s, nothing %v, values %s", p.Now, p.Top, p.Nothing, p.Values)
	}
	if want := "Published over the last 5 s: now 12/s, at most 20/s"; p.Describe != want {
		t.Errorf("described as %q, want %q", p.Describe, want)
	}
	for _, points := range [][]point{nil, steps(math.NaN(), math.NaN())} {
		if p := newPlot("x", "", "pub", points, now.Add(-time.Minute), now); !p.Nothing || p.Now != unknown {
			t.Errorf("of %v: nothing %v, now %s", points, p.Nothing, p.Now)
		}
	}
}

func TestSparks(t *testing.T) {
	golden(t, "spark.svg", string(spark("depth", steps(1, 2, 4, 8, 4, 2, 1))))
	many := make([]float64, 300)
	many[151] = 7 // a peak that must not be lost
	thinned := thin(steps(many...), sparkPoints)
	if top, _ := greatest(thinned); len(thinned) != sparkPoints || top != 7 {
		t.Errorf("%d points, greatest %v", len(thinned), top)
	}
	if got := spark("depth", steps(1)); got != "" {
		t.Errorf("of one point: %s", got)
	}
}

func TestLanes(t *testing.T) {
	from := now.Add(-time.Hour)
	got := lanes([]reign{
		{"n1", 5, now.Add(-2 * time.Hour), now.Add(-30 * time.Minute)},
		{"", 5, now.Add(-30 * time.Minute), now.Add(-30*time.Minute + 200*time.Millisecond)},
		{"n2<", 6, now.Add(-30*time.Minute + 200*time.Millisecond), time.Time{}},
	}, []string{"n3", "n1"}, from, now)
	var b strings.Builder
	for _, l := range got {
		b.WriteString(l.Node + " " + l.Share + "\n" + string(l.SVG) + "\n")
	}
	golden(t, "lanes.svg", b.String())
}

func TestShares(t *testing.T) {
	golden(t, "shares.svg", string(shares([]int64{700, 200, 100}, "zone", "region", "global")))
	if got := shares([]int64{0, 0, 0}, "zone", "region", "global"); got != "" {
		t.Errorf("of nothing: %s", got)
	}
}

func TestRoundUp(t *testing.T) {
	for v, want := range map[float64]float64{0: 1, 0.3: 0.5, 1: 1, 1.1: 2, 4999: 5000, 5001: 10000} {
		if got := roundUp(v); got != want {
			t.Errorf("%v: got %v, want %v", v, got, want)
		}
	}
}

func TestChartsAreXML(t *testing.T) {
	for _, svg := range []string{
		string(newPlot("a", "", "pub", steps(1, math.NaN(), 2), now.Add(-time.Minute), now).SVG), string(spark("pub", steps(1, 2, 3))),
		string(lanes([]reign{{"<&>", 1, now.Add(-time.Minute), now}}, nil, now.Add(-time.Hour), now)[0].SVG),
	} {
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in %s", err, svg)
			}
		}
	}
}
