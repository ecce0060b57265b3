//go:build unix

package env

// pauseMissing says why processes cannot be paused.
const pauseMissing = ""
