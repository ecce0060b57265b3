package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"nsqraft/internal/command"
	"nsqraft/internal/consume"
	"nsqraft/internal/wire"
)

// options are the flags.
type options struct {
	source       *consume.Options
	topics       command.Strings
	topicPattern string
	topicRefresh time.Duration
	channel      string

	logLevel  string
	logPrefix string

	outputDir      string
	workDir        string // after prepareFolders never empty
	filenameFormat string
	datetimeFormat string
	hostIdentifier string
	gzip           bool
	gzipLevel      int
	skipEmptyFiles bool
	rotateSize     int64         // bytes; 0: files of any size
	rotateInterval time.Duration // 0: files of any age
	syncInterval   time.Duration

	pattern *regexp.Regexp // made of topicPattern by validate; nil: all topics
}

func (o *options) register(f *command.Flags) {
	// A message is never dropped because it was sent so many times: a full disk, or
	// a process that is killed again and again, says nothing about the message.
	o.source.Config.MaxAttempts = 0
	o.source.Register(f.FlagSet)
	f.Var(&o.topics, "topic", "topic to record (may be given several times)")
	f.StringVar(&o.topicPattern, "topic-pattern", "", "regular expression of the topics to record, which an nsqlookupd has to know; with --topic: of those that are recorded")
	f.DurationVar(&o.topicRefresh, "topic-refresh", time.Minute, "how often an nsqlookupd that does not tell by itself is asked for its topics")
	f.StringVar(&o.channel, "channel", app, "channel to consume")
	f.DurationVar(&o.source.ConnectTimeout, "http-client-connect-timeout", 2*time.Second, "longest time to connect to an nsqlookupd")
	f.DurationVar(&o.source.RequestTimeout, "http-client-request-timeout", 5*time.Second, "longest time of a question to an nsqlookupd, its answer included")
	f.StringVar(&o.logLevel, "log-level", "info", "least severe `level` of what is logged: debug, info, warn, error or fatal")
	f.StringVar(&o.logPrefix, "log-prefix", "["+app+"] ", "text before each line of the log")

	f.StringVar(&o.outputDir, "output-dir", "/tmp", "`folder` of the files, made if it is missing")
	f.StringVar(&o.workDir, "work-dir", "", "`folder` in which files are written before they are moved to --output-dir, of the same file system")
	f.StringVar(&o.filenameFormat, "filename-format", "<TOPIC>.<HOST><REV>.<DATETIME>.log", "name of a file in --output-dir: <TOPIC>, <HOST>, <PID>, <DATETIME> and <REV> are replaced; <REV> counts the files that would have one name, and is left out if there is one")
	f.StringVar(&o.datetimeFormat, "datetime-format", "%Y-%m-%d_%H", "<DATETIME> in --filename-format, as for strftime; another one begins another file")
	f.StringVar(&o.hostIdentifier, "host-identifier", "", "<HOST> in --filename-format, in which <SHORT_HOST> and <HOSTNAME> are replaced (default <SHORT_HOST>)")
	f.BoolVar(&o.gzip, "gzip", false, "compress the files")
	f.IntVar(&o.gzipLevel, "gzip-level", 6, "how much to compress: 1 (fastest) to 9 (smallest)")
	f.BoolVar(&o.skipEmptyFiles, "skip-empty-files", false, "make no files without messages")
	f.Int64Var(&o.rotateSize, "rotate-size", 0, "begin another file after so many `bytes`, before compression; 0: never")
	f.DurationVar(&o.rotateInterval, "rotate-interval", 0, "begin another file after this time; 0: never")
	f.DurationVar(&o.syncInterval, "sync-interval", 30*time.Second, "longest time until a message is on disk and finished")
}

// validate says in one sentence what is wrong with the flags, and makes the pattern.
func (o *options) validate() error {
	switch {
	case o.channel == "":
		return errors.New("--channel is required")
	case !wire.ValidChannel(o.channel):
		return fmt.Errorf("--channel: %q is no name of a channel", o.channel)
	case o.source.ConnectTimeout <= 0:
		return errors.New("--http-client-connect-timeout should be positive")
	case o.source.RequestTimeout <= 0:
		return errors.New("--http-client-request-timeout should be positive")
	case o.gzipLevel < 1 || o.gzipLevel > 9:
		return fmt.Errorf("invalid --gzip-level value (%d), should be 1-9", o.gzipLevel)
	case o.syncInterval <= 0:
		return errors.New("--sync-interval should be positive")
	case o.topicRefresh <= 0:
		return errors.New("--topic-refresh should be positive")
	case o.source.Config.MaxInFlight < 1:
		return errors.New("--max-in-flight should be positive")
	}
	if err := o.source.Validate(); err != nil {
		return err
	}
	return o.validateTopics()
}

// prepare makes the folders, and says in one sentence why files cannot be made there or
// be named as asked for.
func (o *options) prepare() error {
	if err := o.prepareFolders(); err != nil {
		return err
	}
	several := len(o.topics) != 1
	if several && !o.exclusive() && !strings.Contains(o.filenameFormat, tokenTopic) {
		return errors.New("--filename-format must contain <TOPIC> where there may be several topics: all of them would go to one file")
	}
	// A topic tells what is wrong with the format for all.
	_, err := newNaming(o, append(o.topics, "topic")[0])
	return err
}

func (o *options) validateTopics() (err error) {
	switch {
	case len(o.topics) == 0 && o.topicPattern == "":
		return errors.New("--topic or --topic-pattern required")
	case len(o.topics) == 0 && len(o.source.Lookupds) == 0:
		return errors.New("--lookupd-http-address must be specified when no --topic specified")
	}
	for _, topic := range o.topics {
		if !wire.ValidTopic(topic) {
			return fmt.Errorf("--topic: %q is no name of a topic", topic)
		}
	}
	slices.Sort(o.topics)
	o.topics = slices.Compact(o.topics)
	if o.topicPattern == "" {
		return nil
	}
	if o.pattern, err = regexp.Compile(o.topicPattern); err != nil {
		return fmt.Errorf("--topic-pattern: %w", err)
	}
	if len(o.topics) > 0 && !slices.ContainsFunc(o.topics, o.wanted) {
		return errors.New("--topic-pattern matches none of the topics that --topic names")
	}
	return nil
}

// wanted says whether topic is to be recorded.
func (o *options) wanted(topic string) bool {
	return o.pattern == nil || o.pattern.MatchString(topic)
}

// prepareFolders makes --output-dir and --work-dir, if they are missing, and says in one
// sentence what is wrong with them. It is called before any of the other methods.
func (o *options) prepareFolders() error {
	o.outputDir = filepath.Clean(o.outputDir)
	if err := makeDir(o.outputDir); err != nil {
		return fmt.Errorf("--output-dir cannot be made: %w", err)
	}
	if o.workDir == "" {
		o.workDir = o.outputDir
	}
	o.workDir = filepath.Clean(o.workDir)
	if err := makeDir(o.workDir); err != nil {
		return fmt.Errorf("--work-dir cannot be made: %w", err)
	}
	if sameDir(o.workDir, o.outputDir) {
		o.workDir = o.outputDir
	}
	return o.tryFolders()
}

// tryFolders makes a file where files will be made, and moves it where they will go.
func (o *options) tryFolders() error {
	dirs := []string{o.outputDir}
	if o.moves() {
		dirs = append(dirs, o.workDir)
	}
	var name string
	for i, dir := range dirs {
		f, err := os.CreateTemp(dir, ".nsq_to_file-")
		if err != nil {
			return fmt.Errorf("%s cannot be written to: %w", []string{"--output-dir", "--work-dir"}[i], err)
		}
		name = f.Name()
		defer os.Remove(name)
		f.Close()
	}
	if !o.moves() {
		return nil
	}
	to := filepath.Join(o.outputDir, filepath.Base(name))
	if err := os.Link(name, to); err != nil {
		return fmt.Errorf("files cannot be moved from --work-dir to --output-dir, which have to be of one file system: %w", err)
	}
	return os.Remove(to)
}

func sameDir(a, b string) bool {
	ia, err := os.Stat(a)
	if err != nil {
		return false
	}
	ib, err := os.Stat(b)
	return err == nil && os.SameFile(ia, ib)
}

// moves says whether finished files are moved to another folder.
func (o *options) moves() bool { return o.workDir != o.outputDir }

// exclusive says whether each file is a new one that one process writes. Others are
// appended to, also by several processes.
func (o *options) exclusive() bool { return o.gzip || o.rotateInterval > 0 || o.moves() }

// longestWait is the longest that a message waits for a sync: --sync-interval, or so
// much less that nsqd does not send it a second time meanwhile.
func (o *options) longestWait() time.Duration {
	timeout := o.source.Config.MsgTimeout
	if timeout == 0 {
		timeout = defaultMsgTimeout
	}
	return min(o.syncInterval, timeout/2)
}

// host is what stands for <HOST> on the host called name.
func (o *options) host(name string) string {
	short, _, _ := strings.Cut(name, ".")
	if o.hostIdentifier == "" {
		return short
	}
	return strings.NewReplacer("<SHORT_HOST>", short, "<HOSTNAME>", name).Replace(o.hostIdentifier)
}
