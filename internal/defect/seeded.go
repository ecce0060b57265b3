//go:build seeded_defects

package defect

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
)

// Seeded says whether this build has defects to be chosen from.
const Seeded = true

// variable names the environment variable that chooses one.
const variable = "SEEDED_DEFECT"

var chosen = choose()

// choose ends the process if it is to have a defect that there is not: it would pass
// for one that nobody has seen.
func choose() Defect {
	name := Defect(os.Getenv(variable))
	if name == "" {
		return ""
	}
	for _, d := range All {
		if d.Name == name {
			fmt.Fprintf(os.Stderr, "this process has a defect on purpose, %s: %s\n", d.Name, d.Explain)
			return name
		}
	}
	fmt.Fprintf(os.Stderr, "%s=%s: there is no such defect\n", variable, name)
	os.Exit(2)
	return ""
}

// On says whether this process has d.
func On(d Defect) bool { return chosen == d }

// calls is how often OneIn was asked, from a number by chance on: processes that are
// asked the same do not answer alike.
var calls = func() *atomic.Uint64 {
	c := new(atomic.Uint64)
	c.Store(rand.Uint64N(1000))
	return c
}()

// OneIn is On for one in n calls.
func OneIn(n uint64, d Defect) bool { return On(d) && calls.Add(1)%n == 0 }
