package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"nsqraft/internal/version"
)

// Flags are the flags of one utility, --version among them.
type Flags struct {
	*flag.FlagSet
	OnlyFlags bool // what follows the flags is an error, with exit code 1
	version   bool
}

// NewFlags returns the Flags of the utility called name, which complain on stderr.
func NewFlags(name string, stderr io.Writer) *Flags {
	f := &Flags{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError)}
	f.SetOutput(stderr)
	f.BoolVar(&f.version, "version", false, "print the version and exit")
	return f
}

// Parse reads args. If done is true the utility ends with code: it was asked for its
// flags or its version, which have been printed, or args are wrong, which has been
// said. What follows the flags is not looked at, as in stock, but mentioned; unless
// OnlyFlags is set.
func (f *Flags) Parse(args []string, stdout io.Writer) (code int, done bool) {
	switch err := f.FlagSet.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0, true
	case err != nil:
		return 2, true
	case f.version:
		fmt.Fprintln(stdout, f.Name()+" v"+version.Version)
		return 0, true
	}
	if f.NArg() > 0 && f.OnlyFlags {
		fmt.Fprintf(f.Output(), "unknown arguments: %q\n", f.Args())
		return 1, true
	}
	if f.NArg() > 0 {
		fmt.Fprintf(f.Output(), "%s: these arguments are no flags and are ignored: %q\n", f.Name(), f.Args())
	}
	return 0, false
}

// Strings is the value of a flag that may be given several times.
type Strings []string

// Set implements flag.Value.
func (s *Strings) Set(v string) error {
	*s = append(*s, v)
	return nil
}

func (s *Strings) String() string { return strings.Join(*s, ",") }
