package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"nsqraft/internal/version"
)

func newManCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the man pages of nsqctl and its commands into a folder",
		Args: exactly("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("make the folder: %w", err)
			}
			cmd.Root().DisableAutoGenTag = true // with the day in it
			header := &doc.GenManHeader{Section: "1", Source: "nsqctl " + version.Version, Manual: "NSQ"}
			if err := doc.GenManTree(cmd.Root(), header, args[0]); err != nil {
				return fmt.Errorf("write the man pages: %w", err)
			}
			p.note("try: man -l %s/nsqctl.1", args[0])
			return nil
		},
	}
}
