package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/consume"
	"nsqraft/internal/daemon"
	"nsqraft/internal/suggest"
	"nsqraft/internal/version"
)

// Exit codes; main.go says what they mean.
const (
	exitOK = iota
	exitFailed
	exitUsage
	exitUnreachable
	exitPartial
)

// A failure is an error that knows how the program ends and what to do about it.
type failure struct {
	code int
	err  error  // nil: all was said already
	hint string // what to try; may be empty
}

func (f *failure) Error() string { return fmt.Sprint(f.err) }
func (f *failure) Unwrap() error { return f.err }

// usageError is a failure for arguments that make no sense.
func usageError(hint, format string, args ...any) error {
	return &failure{exitUsage, fmt.Errorf(format, args...), hint}
}

// A program is one run of nsqctl: its streams, and the flags that every command has.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) (string, bool)

	command  string   // as typed, such as nsqctl topic ls
	lookupds []string // as given, by flag or environment
	output   string   // table, wide, json, yaml or csv
	noColor  bool
	timeout  time.Duration // of what a command asks of the daemons
	watch    time.Duration // time between two pages; 0: one page only

	// Made by settle.
	client *clusterinfo.Client
	http   *http.Client
}

// run is the whole program; it returns the exit code. It ends early, in order, when
// ctx does. env is os.LookupEnv or stands in for it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) (string, bool)) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, env: env}
	root := newRootCommand(p)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return p.finish(cmd, err)
}

// newRootCommand returns nsqctl with all its commands.
func newRootCommand(p *program) *cobra.Command {
	root := &cobra.Command{
		Use:           "nsqctl",
		Short:         "Show and operate an NSQ cluster",
		Long:          "nsqctl shows and operates an NSQ cluster. One nsqlookupd is enough to find it:\nthose that replicate it, and the nsqds, are learnt from it.",
		Version:       version.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return p.settle(cmd)
		},
	}
	root.SetVersionTemplate(daemon.Version("nsqctl", version.Version) + "\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &failure{exitUsage, err, fmt.Sprintf("see %s --help", cmd.CommandPath())}
	})
	flags := root.PersistentFlags()
	flags.StringArrayVar(&p.lookupds, "lookupd-http-address", nil, "`<addr>:<port>` of an nsqlookupd, may be given several times (default 127.0.0.1:4161, or $NSQ_LOOKUPD_HTTP_ADDRESSES, with commas)")
	flags.StringVarP(&p.output, "output", "o", "table", "`format`: table, wide, json, yaml or csv")
	flags.BoolVar(&p.noColor, "no-color", false, "no colours; there are none either if stdout is no terminal or NO_COLOR is set")
	flags.DurationVar(&p.timeout, "timeout", 5*time.Second, "how long to wait for the daemons")
	flags.DurationVar(&p.watch, "watch", 0, "show again and again, with this `time` in between (2s if none is given)")
	flags.Lookup("watch").NoOptDefVal = "2s"
	root.AddCommand(commands(p)...)
	return root
}

// commands returns what nsqctl can do.
func commands(p *program) []*cobra.Command {
	return []*cobra.Command{
		newDevCommand(p),
		newStatusCommand(p),
		newTopCommand(p),
		newClusterCommand(p),
		newTopicCommand(p),
		newChannelCommand(p),
		newNodeCommand(p),
		newPubCommand(p),
		newTailCommand(p),
		newPeekCommand(p),
		newDoctorCommand(p),
		newDebugCommand(p),
		newConfigCommand(p),
		newManCommand(p),
		newVersionCommand(p),
	}
}

// group returns a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use: use, Short: short, Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	g.AddCommand(commands...)
	return g
}

// noSuchCommand refuses arguments of a group: they would be commands.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := fmt.Sprintf("see %s --help", cmd.CommandPath())
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if near := suggest.Nearest(args[0], names); near != "" {
		hint = "did you mean " + near + "?"
	}
	return usageError(hint, "unknown command %q for %q", args[0], cmd.CommandPath())
}

// exactly is the Args of a command that takes the named arguments and no others.
func exactly(names ...string) cobra.PositionalArgs { return between(len(names), names...) }

// between is the Args of a command that takes the named arguments, of which those
// after the first least may be left out.
func between(least int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usageError("usage: "+cmd.UseLine(), "%s is missing", strings.Join(names[len(args):least], " and "))
		case len(args) > len(names):
			return usageError("usage: "+cmd.UseLine(), "%q is one argument too many", args[len(names)])
		}
		return nil
	}
}

var outputs = []string{"table", "wide", "json", "yaml", "csv"}

// settle checks the global flags and fills in what they leave to the environment.
func (p *program) settle(cmd *cobra.Command) error {
	p.command = cmd.CommandPath()
	if !slices.Contains(outputs, p.output) {
		return usageError("", "--output must be %s, not %q", strings.Join(outputs, ", "), p.output)
	}
	if p.timeout <= 0 {
		return usageError("", "--timeout must be more than 0, not %v", p.timeout)
	}
	if p.watch < 0 || cmd.Flags().Changed("watch") && p.watch < 100*time.Millisecond {
		return usageError("", "--watch must be at least 100ms, not %v", p.watch)
	}
	if len(p.lookupds) == 0 {
		list, _ := p.env("NSQ_LOOKUPD_HTTP_ADDRESSES")
		p.lookupds = strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	}
	if len(p.lookupds) == 0 {
		p.lookupds = []string{"127.0.0.1:4161"}
	}
	if err := validAddresses("nsqlookupd", p.lookupds); err != nil {
		return err
	}
	p.client, p.http = p.newClient(), newHTTP()
	return nil
}

// validAddresses refuses what cannot be the HTTP address of a daemon.
func validAddresses(daemon string, addresses []string) error {
	for _, a := range addresses {
		if err := consume.ValidHTTP(a); err != nil {
			return usageError("an address is <host>:<port> or a URL, such as 10.0.0.1:4161", "%s %w", daemon, err)
		}
	}
	return nil
}

// finish tells the user what went wrong, if anything, and returns the exit code.
func (p *program) finish(cmd *cobra.Command, err error) int {
	if err == nil || errors.Is(err, syscall.EPIPE) {
		return exitOK // who reads stdout has seen enough
	}
	p.command = cmd.CommandPath()
	return p.tell(err)
}

// tell writes an error and its hint to stderr and returns its exit code.
func (p *program) tell(err error) int {
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{code: exitFailed, err: err}
	}
	if f.err != nil {
		fmt.Fprintf(p.stderr, "%s: %s\n", p.command, visible(err.Error()))
	}
	if f.hint != "" {
		fmt.Fprintf(p.stderr, "hint: %s\n", visible(f.hint))
	}
	return f.code
}

// note writes a message for people.
func (p *program) note(format string, args ...any) {
	fmt.Fprintln(p.stderr, visible(fmt.Sprintf(format, args...)))
}

// coloured says whether stdout is for eyes that like colours.
func (p *program) coloured() bool {
	none, _ := p.env("NO_COLOR")
	return !p.noColor && none == "" && isTerminal(p.stdout)
}

// interactive says whether somebody is there to answer a question.
func (p *program) interactive() bool { return isTerminal(p.stdin) && isTerminal(p.stderr) }

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
