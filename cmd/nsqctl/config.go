package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"nsqraft/internal/config"
	"nsqraft/lookupd"
	"nsqraft/nsqadmin"
	"nsqraft/nsqd"
)

// An app is a daemon with a configuration file.
type app struct {
	name    string
	options func() options
}

// options are the options of a daemon: a pointer to a struct of package config, filled
// with the defaults.
type options interface{ Validate() error }

// apps are in the order in which a file's name is compared with theirs: one name is
// part of none before it.
var apps = []app{
	{"nsqlookupd", func() options { return lookupd.DefaultOptions() }},
	{"nsqadmin", func() options { return nsqadmin.DefaultOptions() }},
	{"nsqd", func() options { return nsqd.DefaultOptions() }},
}

func appNames() string {
	var names []string
	for _, a := range apps {
		names = append(names, a.name)
	}
	return strings.Join(names, ", ")
}

func newConfigCommand(p *program) *cobra.Command {
	name, secrets := "", false
	check := &cobra.Command{
		Use: "check FILE", Short: "Whether a daemon would start with this configuration file",
		Long: "Checks a configuration file: its keys, their values, and what they and the\nenvironment say together. Unknown keys, which the daemons only warn of, count as\nwrong here. Exit code 1 if something is.",
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.checkConfig(args[0], name) },
	}
	show := &cobra.Command{
		Use: "show FILE", Short: "Each option's value with this configuration file, and where it is from",
		Long: "Shows each option's value with this configuration file, and where it is from.\nWhat looks like a password or a token is shown as ***, unless --show-secrets is\ngiven.",
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.show(cmd.Context(), func(context.Context) (*page, error) { return p.configPage(args[0], name, secrets) })
		},
	}
	for _, cmd := range []*cobra.Command{check, show} {
		cmd.Flags().StringVar(&name, "app", "", "the `daemon` that the file is for: "+appNames()+" (default: told by the file's name or its keys)")
	}
	show.Flags().BoolVar(&secrets, "show-secrets", false, "show passwords and tokens as they are")
	return group("config", "Configuration files of the daemons", check, show)
}

// A settled is what a configuration file comes to.
type settled struct {
	File     string           `json:"file"`
	App      string           `json:"app"`
	Problems []string         `json:"problems"`
	Settings []config.Setting `json:"settings"`
}

// readConfig reads file for the daemon called name, which may be empty.
func (p *program) readConfig(file, name string) (*settled, error) {
	// It is read more than once; and a pipe may have nobody who writes to it.
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		return nil, usageError("", "%s is no regular file", file)
	}
	a, err := appOf(file, name)
	if err != nil {
		return nil, err
	}
	opts := a.options()
	settings, warnings, err := config.Describe(a.name, opts, file, p.env)
	if settings == nil {
		return nil, err
	}
	s := &settled{File: file, App: a.name, Problems: slices.Concat([]string{}, warnings), Settings: settings}
	if err != nil {
		s.Problems = append(s.Problems, strings.Split(err.Error(), "\n")...)
	} else if err := opts.Validate(); err != nil {
		s.Problems = append(s.Problems, err.Error())
	}
	return s, nil
}

// appOf returns the daemon that file is for: the one called name or, if that is empty,
// the one in the file's name, or the one that knows most of its keys.
func appOf(file, name string) (*app, error) {
	for i, a := range apps {
		if name == a.name || name == "" && strings.Contains(filepath.Base(file), a.name) {
			return &apps[i], nil
		}
	}
	if name != "" {
		return nil, usageError("", "--app must be %s, not %q", appNames(), name)
	}
	var best *app
	fewest, tie := 0, false
	for i, a := range apps {
		settings, warnings, err := config.Describe(a.name, a.options(), file, noEnvironment)
		if settings == nil {
			return nil, err // it cannot be read
		}
		switch n := len(warnings); {
		case best == nil || n < fewest:
			best, fewest, tie = &apps[i], n, false
		case n == fewest:
			tie = true
		}
	}
	if tie {
		return nil, usageError("add --app="+strings.ReplaceAll(appNames(), ", ", " or --app="), "%s could be for more than one daemon", file)
	}
	return best, nil
}

func noEnvironment(string) (string, bool) { return "", false }

// hideSecrets masks what looks like a password or a token.
func (s *settled) hideSecrets() {
	for i := range s.Settings {
		s.Settings[i].Value = maskOption(s.Settings[i].Flag, s.Settings[i].Value)
	}
	for i := range s.Problems {
		s.Problems[i] = mask(s.Problems[i])
	}
}

func (p *program) checkConfig(file, name string) error {
	s, err := p.readConfig(file, name)
	if err != nil {
		return err
	}
	s.hideSecrets()
	set := 0
	for _, setting := range s.Settings {
		if setting.Source != config.FromDefault {
			set++
		}
	}
	pg := &page{value: s, rows: s.Settings, text: func(t *text) {
		for _, problem := range s.Problems {
			t.line(bad, "%s", problem)
		}
		if len(s.Problems) == 0 {
			t.line(good, "%s is fine for %s: %s, %s", file, s.App, plural(set, "option")+" set", plural(len(s.Settings)-set, "default"))
		}
	}}
	if err := p.write(pg); err != nil {
		return err
	}
	if n := len(s.Problems); n > 0 {
		return &failure{exitFailed, fmt.Errorf("%s has %s for %s", file, plural(n, "problem"), s.App), "nsqctl config show lists what keys there are"}
	}
	return nil
}

var settingColumns = []column[config.Setting]{
	{name: "KEY", cell: func(s config.Setting) cell { return cell{text: dash(s.Key)} }},
	{name: "VALUE", cell: func(s config.Setting) cell {
		if s.Value == "" {
			return cell{`""`, faint}
		}
		return cell{text: s.Value}
	}},
	{name: "SOURCE", cell: func(s config.Setting) cell {
		if s.Source == config.FromDefault {
			return cell{string(s.Source), faint}
		}
		return cell{string(s.Source), head}
	}},
	{name: "FLAG", wide: true, cell: func(s config.Setting) cell { return cell{text: "--" + s.Flag} }},
	{name: "VARIABLE", wide: true, cell: func(s config.Setting) cell { return cell{text: s.Env} }},
	{name: "MEANING", wide: true, cell: func(s config.Setting) cell { return cell{text: s.Usage} }},
}

func (p *program) configPage(file, name string, secrets bool) (*page, error) {
	s, err := p.readConfig(file, name)
	if err != nil {
		return nil, err
	}
	if !secrets {
		s.hideSecrets()
	}
	pg := &page{value: s, rows: s.Settings, text: func(t *text) { writeTable(t, settingColumns, s.Settings) }}
	if len(s.Problems) > 0 {
		pg.err = &failure{exitFailed, errors.New(strings.Join(s.Problems, "; ")), ""}
	}
	return pg, nil
}
