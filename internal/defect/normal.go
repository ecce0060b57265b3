//go:build !seeded_defects

package defect

// Seeded says whether this build has defects to be chosen from.
const Seeded = false

// On is never called: the constant is asked first.
func On(Defect) bool { return false }

// OneIn is never called: the constant is asked first.
func OneIn(uint64, Defect) bool { return false }
