// Package selftest proves that nsqdrill's checkers can fail. It has tests only: they
// build the daemons with the defects of package defect, let nsqdrill drill them one by
// one, and require the verdict that each defect deserves; and that ordinary builds hold
// under the same drills, and have no trace of any defect.
//
// The drills take minutes, and are made by make drill-selftest only.
package selftest
