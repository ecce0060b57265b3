package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
)

var (
	// ErrUsage is in the chain of the error for wrong flags, of which Load has
	// already told the user, with the usage: exit with 2.
	ErrUsage = errors.New("wrong usage")

	// ErrVersion says that --version was given: print it and exit with 0. Nothing
	// but the flags has been read.
	ErrVersion = errors.New("version asked for")
)

// common are the options about options that every program has, beside --version.
type common struct {
	Config string `flag:"config" cfg:"-" usage:"path of a TOML file with options"`
	Strict bool   `flag:"strict-config" cfg:"-" usage:"refuse a file with unknown keys, instead of a warning"`
}

// Load fills the struct that opts points to for the program called app. On entry
// it holds the defaults. args are the arguments without the program's name, env
// is os.LookupEnv or stands in for it, and the usage is written to stderr.
// Arguments after the flags are ignored, as in stock NSQ. --config,
// --strict-config and --version are added to the flags of opts.
//
// Warnings are sentences for the user about keys of the file that no option has;
// with --strict-config they become the error.
//
// The error is flag.ErrHelp if the user asked for the usage, which has been
// written (exit with 0); it is ErrVersion, or has ErrUsage in its chain; any
// other is a sentence about the file or the environment. After an error opts is
// not to be used. Load panics if a field with a flag tag has a type that it
// cannot fill.
func Load(app string, opts any, args []string, env func(string) (string, bool), stderr io.Writer) (warnings []string, err error) {
	var c common
	commonOptions := optionsOf(app, reflect.ValueOf(&c).Elem())
	options := optionsOf(app, reflect.ValueOf(opts).Elem())
	if err := parseFlags(app, slices.Concat(commonOptions, options), args, stderr); err != nil {
		return nil, err
	}
	if err := overlay(commonOptions, env); err != nil {
		return nil, err
	}
	if c.Config != "" {
		if warnings, err = loadFile(c.Config, options); err != nil {
			return nil, err
		}
		if c.Strict && len(warnings) > 0 {
			return nil, errors.New(strings.Join(warnings, "; "))
		}
	}
	if err := overlay(options, env); err != nil {
		return nil, err
	}
	return warnings, nil
}

// parseFlags notes in each option what the flags say of it.
func parseFlags(app string, options []*option, args []string, stderr io.Writer) error {
	fs := flag.NewFlagSet(app, flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() { printUsage(fs) }
	// Not an option: images often have NSQD_VERSION in their environment.
	version := fs.Bool("version", false, "print the version and exit")
	for _, o := range options {
		fs.Var(o, o.flag, o.usage)
	}
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return flag.ErrHelp
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUsage, err)
	case *version:
		return ErrVersion
	}
	return nil
}

// overlay sets the options that the environment or a flag has a value for.
func overlay(options []*option, env func(string) (string, bool)) error {
	for _, o := range options {
		if o.flagged.IsValid() {
			o.field.Set(o.flagged)
			continue
		}
		if text, ok := env(o.env); ok && text != "" {
			if err := setText(o.field, text); err != nil {
				return fmt.Errorf("environment variable %s: %w", o.env, err)
			}
		}
	}
	return nil
}

func printUsage(fs *flag.FlagSet) {
	fmt.Fprintf(fs.Output(), "Usage of %s:\n", fs.Name())
	fs.VisitAll(func(f *flag.Flag) {
		name, usage := flag.UnquoteUsage(f)
		quote := "%s"
		if o, ok := f.Value.(*option); ok {
			if name == "value" {
				name = o.valueName()
			}
			if o.quoted() {
				quote = "%q"
			}
		}
		if name != "" {
			name = " " + name
		}
		fmt.Fprintf(fs.Output(), "  --%s%s\n        %s", f.Name, name, strings.ReplaceAll(usage, "\n", "\n        "))
		switch f.DefValue {
		case "", "0", "0s", "false":
		default:
			fmt.Fprintf(fs.Output(), " (default "+quote+")", f.DefValue)
		}
		fmt.Fprintln(fs.Output())
	})
}
