//go:build !race

package lookupd

const raceDetector = false
