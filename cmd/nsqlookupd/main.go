// Command nsqlookupd tells consumers which nsqds produce a topic.
//
// With stock's flags alone it is one node in memory, as stock nsqlookupd is.
// With --data-path and --initial-cluster or --join it is a member of a cluster
// that agrees on the registry and survives losing a node.
//
// Exit codes: 0 after SIGINT or SIGTERM, 1 when it cannot start or must not go
// on, 2 for flags it does not know.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/config"
	"nsqraft/internal/daemon"
	"nsqraft/internal/logline"
	"nsqraft/lookupd"
)

// options are the server's and the program's own.
type options struct {
	lookupd.Options
	CheckHealth string `flag:"check-health" cfg:"-" usage:"ask this URL (such as http://127.0.0.1:4161/livez) and exit, with 0 if it answers 200: a container's health check"`
}

func main() { daemon.Main(run) }

// run is the whole program; it returns the exit code.
func run(args []string, env func(string) (string, bool), stdout, stderr io.Writer) int {
	opts, warnings, err := load(args, env, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, config.ErrVersion):
		fmt.Fprintln(stdout, version())
		return 0
	case errors.Is(err, config.ErrUsage):
		return 2
	}
	lines := logline.NewQueue(stderr)
	defer lines.Close()
	log, logErr := logline.New(logline.Options{Prefix: opts.LogPrefix, Level: opts.LogLevel, Format: opts.LogFormat, Output: lines})
	if logErr != nil {
		log, _ = logline.New(logline.Options{Prefix: opts.LogPrefix, Output: lines})
		err = errors.Join(err, fmt.Errorf("--log-format: %w", logErr))
	}
	if err != nil {
		log.Log(logline.Fatal, err.Error())
		return 1
	}
	if opts.CheckHealth != "" {
		return daemon.CheckHealth(opts.CheckHealth, stderr)
	}
	for _, w := range warnings {
		log.Warn(w)
	}
	if err := opts.Validate(); err != nil {
		log.Log(logline.Fatal, err.Error())
		return 1
	}
	log.Info(version())
	// Before Open: a signal that comes meanwhile stops what Open has begun.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	server := lookupd.New(&opts.Options, log)
	if err := server.Open(); err != nil {
		log.Log(logline.Fatal, "failed to instantiate nsqlookupd: "+err.Error())
		return 1
	}
	return serve(server, signals, log, func() error { return reload(args, env, stderr, server, log) })
}

func load(args []string, env func(string) (string, bool), stderr io.Writer) (*options, []string, error) {
	opts := &options{Options: *lookupd.DefaultOptions()}
	warnings, err := config.Load("nsqlookupd", opts, args, env, stderr)
	return opts, warnings, err
}

// serve waits for a signal, or for the server to give up.
func serve(server *lookupd.Server, signals <-chan os.Signal, log hclog.Logger, reload func() error) int {
	for {
		select {
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				if err := reload(); err != nil {
					log.Error("reload failed, nothing was changed", "err", err)
				}
				continue
			}
			if err := server.Close(); err != nil {
				log.Error("stopped with an error", "err", err)
				return 1
			}
			return 0
		case err := <-server.Failed():
			// Not a graceful stop: what it would promise the others may not be
			// true any more.
			log.Log(logline.Fatal, "stopped", "err", err)
			return 1
		}
	}
}

// reload takes over what may change in a running server: the log level and
// the certificates.
func reload(args []string, env func(string) (string, bool), stderr io.Writer, server *lookupd.Server, log hclog.Logger) error {
	opts, warnings, err := load(args, env, stderr)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		log.Warn(w)
	}
	if err := server.Reload(); err != nil {
		return err
	}
	log.SetLevel(hclog.Level(opts.LogLevel))
	log.Info("reloaded", "log_level", opts.LogLevel.String())
	return nil
}

func version() string { return daemon.Version("nsqlookupd", lookupd.Version) }
