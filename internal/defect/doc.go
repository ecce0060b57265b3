// Package defect is where bugs are put into the daemons on purpose, to prove that
// nsqdrill sees them: a checker that cannot fail proves nothing.
//
// All is the list of them. Each has a hook in the code that it spoils, a line such as
//
//	if defect.Seeded && defect.On(defect.DropMessages) {
//
// Seeded is the constant false, so that nothing of it is compiled, unless the build has
// the tag seeded_defects. Such a build is as good as any other until the environment
// variable SEEDED_DEFECT names one of the defects, and says so on stderr when it does.
// The tests of internal/drill/selftest make those builds, break them as nsqdrill breaks
// others, and see to it that an ordinary build has no trace of any of this.
//
//	list.go      the defects, a sentence each
//	normal.go    ordinary builds: there are none
//	seeded.go    builds with the tag seeded_defects
package defect
