package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nsqraft/internal/command"
)

// addConsent adds the flags of commands that take something away.
func addConsent(cmd *cobra.Command, yes, dry *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(dry, "dry-run", false, "say what would be done, and do nothing")
}

// confirm returns nil if yes was given, or somebody at the terminal says so before ctx
// ends.
func (p *program) confirm(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	if !p.interactive() {
		return &failure{exitUsage, errors.New("there is no terminal to ask at"), "add --yes to do it, or --dry-run to see what it would do"}
	}
	fmt.Fprintf(p.stderr, "%s Type yes to go on: ", visible(question))
	if !saysYes(ctx, p.stdin) {
		if ctx.Err() != nil {
			fmt.Fprintln(p.stderr) // the line of the question has not been ended
		}
		return &failure{exitFailed, errors.New("nothing was changed"), ""}
	}
	return nil
}

// saysYes says whether the next line is a yes. An end of input or of ctx is none.
func saysYes(ctx context.Context, stdin io.Reader) bool {
	in := command.NewInput(ctx, stdin)
	defer in.Close()
	line, _ := bufio.NewReader(in).ReadString('\n')
	return ctx.Err() == nil && strings.TrimSpace(line) == "yes"
}

// completeTimeout bounds what a shell waits for words to offer.
const completeTimeout = time.Second

// complete returns what words finds, for the shell.
func (p *program) complete(cmd *cobra.Command, words func(context.Context) []string) ([]string, cobra.ShellCompDirective) {
	if p.settle(cmd) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	p.timeout = min(p.timeout, completeTimeout)
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	return words(ctx), cobra.ShellCompDirectiveNoFileComp
}
