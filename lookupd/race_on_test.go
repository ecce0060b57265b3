//go:build race

package lookupd

// raceDetector makes everything some ten times slower.
const raceDetector = true
