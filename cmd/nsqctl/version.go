package main

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"nsqraft/internal/daemon"
	"nsqraft/internal/version"
)

// A build says what nsqctl was built from.
type build struct {
	Version   string `json:"version"`
	GoVersion string `json:"go_version"`
	Commit    string `json:"commit"` // empty: not built in a repository
	Date      string `json:"date"`   // of the commit
	Modified  bool   `json:"modified"`
}

func newVersionCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version; with -o json also the commit",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.show(cmd.Context(), func(context.Context) (*page, error) {
				b := thisBuild()
				return &page{value: b, rows: []build{b}, text: func(t *text) { t.line(plain, "%s", daemon.Version("nsqctl", b.Version)) }}, nil
			})
		},
	}
}

func thisBuild() build {
	b := build{Version: version.Version, GoVersion: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Date = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}
