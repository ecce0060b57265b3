//go:build !unix

package env

// pauseMissing says why processes cannot be paused.
const pauseMissing = "this system cannot stop a process and let it go on"
