// Package config fills a struct of options from flags, environment, a TOML file
// and defaults, in this order of precedence:
//
//	--tcp-address=:4160             a flag
//	NSQLOOKUPD_TCP_ADDRESS=:4160    a variable: upper-case program and flag
//	tcp_address = ":4160"           a key of the file that --config names
//	Options{TCPAddress: ":4160"}    what the struct holds when Load is called
//
// The struct is the only list of options; its tags say the rest:
//
//	TCPAddress string `flag:"tcp-address" usage:"<addr>:<port> to listen on"`
//	NodeID     int64  `flag:"node-id" cfg:"id" usage:"unique part of message ids"`
//	DryRun     bool   `flag:"dry-run" cfg:"-" usage:"change nothing"`
//
// cfg is the key in the file if it is not the flag's name with _ for -; with "-"
// there is none. A field without a flag tag is no option; those of an embedded
// struct belong to the struct around it. A word of the usage text in `back
// quotes` names the value, as in the flag package.
//
// Fields are strings, bools, integers, float64, time.Duration, []string, or
// anything whose pointer implements encoding.TextUnmarshaler. If that also has
// the method IsBoolFlag of the flag package, it takes a flag without a value, and
// a bool of the file, for the texts true and false. A list, which may be a type of
// its own that unmarshals text, is a flag given several times, a variable or a
// string of the file with commas, or an array of the file. It replaces the list of
// the source below, it adds nothing to it.
//
// A variable that is set but empty counts as not set: compose files and
// manifests pass those on.
//
//	config.go    Load and the flags it adds
//	option.go    one option: its names, its value
//	file.go      the TOML file
//	describe.go  what a file comes to, for those who ask without being the program
//
// The package starts no goroutine and keeps no state.
package config
