package main

import (
	"context"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"nsqraft/internal/command"
	"nsqraft/internal/consume"
	"nsqraft/internal/logline"
	"nsqraft/internal/version"
)

const app = "nsq_to_file"

func main() { command.Main(run) }

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)

	clients := &clientLog{}
	o := options{source: consume.NewOptions(app, log.New(clients, "", 0))}
	flags := command.NewFlags(app, stderr)
	flags.OnlyFlags = true
	o.register(flags)
	if code, done := flags.Parse(args, stdout); done {
		return code
	}
	lines := logline.NewQueue(stderr)
	defer lines.Close()
	var level logline.Level
	err := level.UnmarshalText([]byte(o.logLevel))
	log, _ := logline.New(logline.Options{Prefix: o.logPrefix, Level: level, Output: lines}) // only a format can be wrong
	clients.Logger = log
	if err == nil {
		err = o.validate()
	}
	if err == nil {
		err = o.prepare()
	}
	if err != nil {
		log.Log(logline.Fatal, err.Error())
		return 1
	}
	log.Info(app + " v" + version.Version)
	if err := newArchive(&o, log).run(ctx, hup); err != nil {
		log.Log(logline.Fatal, err.Error())
		return 1
	}
	return 0
}
