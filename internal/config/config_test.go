package config

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// colour is an option that reads itself.
type colour struct{ name string }

func (c *colour) UnmarshalText(text []byte) error {
	switch name := string(text); name {
	case "red", "blue", "1.5", "red,blue":
		c.name = name
		return nil
	}
	return errors.New("no such colour")
}

func (c colour) String() string { return c.name }

type cluster struct {
	Join []string `flag:"join" usage:"member to join"`
}

type options struct {
	cluster
	TCPAddress string        `flag:"tcp-address" usage:"<addr>:<port> to listen on"`
	NodeID     int64         `flag:"node-id" cfg:"id" usage:"unique part of message ids"`
	Port       uint16        `flag:"port" usage:"a port"`
	Rate       float64       `flag:"rate" usage:"a rate"`
	Lifetime   time.Duration `flag:"tombstone-lifetime" usage:"how long a tombstone hides a producer"`
	Verbose    bool          `flag:"verbose" usage:"say more\nthan usual"`
	Colour     colour        "flag:\"colour\" usage:\"a `tint`\""
	DryRun     bool          `flag:"dry-run" cfg:"-" usage:"change nothing"`

	Untagged string
	private  int
}

func defaults() options {
	return options{
		TCPAddress: "0.0.0.0:4160",
		Lifetime:   45 * time.Second,
		Colour:     colour{"red"},
		Untagged:   "kept",
		private:    7,
	}
}

type run struct {
	args []string
	env  map[string]string
	file string // content; none if empty
}

func (r run) load(t *testing.T, stderr io.Writer) (got options, warnings []string, path string, err error) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "x.cfg")
	args := r.args
	if r.file != "" {
		if err := os.WriteFile(path, []byte(r.file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"--config=" + path}, args...)
	}
	env := func(name string) (string, bool) {
		v, ok := r.env[name]
		return v, ok
	}
	got = defaults()
	warnings, err = Load("nsqlookupd", &got, args, env, stderr)
	return got, warnings, path, err
}

func TestLoad(t *testing.T) {
	tests := []struct {
		name string
		run  run
		want func(*options) // changes the defaults
	}{
		{"nothing", run{}, func(o *options) {}},
		{"flags", run{args: []string{
			"--tcp-address=:1", "-node-id", "2", "--port=3", "--rate=0.5", "-tombstone-lifetime=1m", "--verbose", "--colour=blue",
			"--dry-run", "--join=a,b", "--join=c"}},
			func(o *options) {
				*o = options{cluster{[]string{"a,b", "c"}}, ":1", 2, 3, 0.5, time.Minute, true, colour{"blue"}, true, "kept", 7}
			}},
		{"environment", run{env: map[string]string{
			"NSQLOOKUPD_TCP_ADDRESS": ":1", "NSQLOOKUPD_NODE_ID": "2", "NSQLOOKUPD_PORT": "3", "NSQLOOKUPD_RATE": "0.5",
			"NSQLOOKUPD_TOMBSTONE_LIFETIME": "1m", "NSQLOOKUPD_VERBOSE": "true", "NSQLOOKUPD_COLOUR": "blue",
			"NSQLOOKUPD_DRY_RUN": "1", "NSQLOOKUPD_JOIN": "a, b", "TCP_ADDRESS": "x", "NSQD_TCP_ADDRESS": "x"}},
			func(o *options) {
				*o = options{cluster{[]string{"a", "b"}}, ":1", 2, 3, 0.5, time.Minute, true, colour{"blue"}, true, "kept", 7}
			}},
		{"file", run{file: `
			# a comment
			tcp_address = ":1"
			id = 2
			port = 3
			rate = 0.5
			tombstone_lifetime = "1m"
			verbose = true
			colour = "blue"
			join = ["a", "b"]`},
			func(o *options) {
				*o = options{cluster{[]string{"a", "b"}}, ":1", 2, 3, 0.5, time.Minute, true, colour{"blue"}, false, "kept", 7}
			}},
		{"strings in the file", run{file: `
			id = "2"
			rate = "0.5"
			verbose = "true"
			join = "a,b"`},
			func(o *options) { o.NodeID, o.Rate, o.Verbose, o.Join = 2, 0.5, true, []string{"a", "b"} }},
		{"an integer for a number", run{file: `rate = 2`}, func(o *options) { o.Rate = 2 }},
		{"a number for a text option", run{file: `colour = 1.5`}, func(o *options) { o.Colour.name = "1.5" }},
		{"a list for a text option", run{file: `colour = ["red", "blue"]`}, func(o *options) { o.Colour.name = "red,blue" }},
		{"an empty list", run{file: `join = []`}, func(o *options) { o.Join = []string{} }},
		{"flag over environment over file", run{
			args: []string{"--tcp-address=flag"},
			env:  map[string]string{"NSQLOOKUPD_TCP_ADDRESS": "env", "NSQLOOKUPD_NODE_ID": "2"},
			file: "tcp_address = 'file'\nid = 3\nport = 4"},
			func(o *options) { o.TCPAddress, o.NodeID, o.Port = "flag", 2, 4 }},
		{"lists replace each other", run{
			args: []string{"--join=flag"},
			env:  map[string]string{"NSQLOOKUPD_JOIN": "env"},
			file: "join = ['file']"},
			func(o *options) { o.Join = []string{"flag"} }},
		{"a flag that sets zero", run{args: []string{"--tcp-address=", "--verbose=false"}, file: "tcp_address = 'file'\nverbose = true"},
			func(o *options) { o.TCPAddress = "" }},
		{"an empty variable is none", run{env: map[string]string{"NSQLOOKUPD_TCP_ADDRESS": "", "NSQLOOKUPD_NODE_ID": ""}},
			func(o *options) {}},
		{"VERSION in the environment is none of ours", run{env: map[string]string{"NSQLOOKUPD_VERSION": "1.3.0"}}, func(o *options) {}},
		{"positional arguments are ignored", run{args: []string{"--port=3", "x", "--port=4"}}, func(o *options) { o.Port = 3 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			got, warnings, _, err := tt.run.load(t, &stderr)
			if err != nil || len(warnings) > 0 || stderr.Len() > 0 {
				t.Fatalf("error %v, warnings %q, stderr %q", err, warnings, stderr.String())
			}
			want := defaults()
			tt.want(&want)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("\n got %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestConfigFromEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.cfg")
	if err := os.WriteFile(path, []byte("port = 5\nprot = 6\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run{env: map[string]string{"NSQLOOKUPD_CONFIG": path}}
	got, warnings, _, err := r.load(t, io.Discard)
	if err != nil || got.Port != 5 || len(warnings) != 1 {
		t.Errorf("got port %d, warnings %q, error %v", got.Port, warnings, err)
	}
	r.env["NSQLOOKUPD_STRICT_CONFIG"] = "true"
	if _, _, _, err := r.load(t, io.Discard); err == nil {
		t.Error("strict by environment: no error")
	}
}

// PATH stands for the path of the file.
func TestLoadErrors(t *testing.T) {
	tests := []struct {
		name string
		run  run
		want string
	}{
		{"integer", run{file: `tcp_address = 5`}, `key tcp_address in PATH: want a string, have 5`},
		{"string for integer", run{file: `id = "x"`}, `key id in PATH: "x" is not an integer`},
		{"number for integer", run{file: `id = 1.5`}, `key id in PATH: want an integer, have 1.5`},
		{"out of range", run{file: `port = 65536`}, `key port in PATH: 65536 is out of range`},
		{"negative", run{file: `port = -1`}, `key port in PATH: "-1" is not a positive integer`},
		{"integer for bool", run{file: `verbose = 0`}, `key verbose in PATH: want true or false, have 0`},
		{"integer for duration", run{file: `tombstone_lifetime = 5`}, `key tombstone_lifetime in PATH: want a duration such as "60s", have 5`},
		{"bad duration", run{file: `tombstone_lifetime = "5"`}, `key tombstone_lifetime in PATH: "5" is not a duration such as 60s`},
		{"bool for list", run{file: `join = true`}, `key join in PATH: want a list of strings, have true`},
		{"list of integers", run{file: `join = ["a", 5]`}, `key join in PATH: 5 in the list is not a string`},
		{"list for string", run{file: `tcp_address = ["a"]`}, `key tcp_address in PATH: want a string, have a list`},
		{"table", run{file: "[tcp_address]\na = 1"}, `key tcp_address in PATH: want a string, have a table`},
		{"date", run{file: `tcp_address = 2020-01-01`}, `key tcp_address in PATH: want a string, have a date or time`},
		{"text", run{file: `colour = "green"`}, `key colour in PATH: no such colour`},
		{"syntax", run{file: `tcp_address = `}, `failed to load config file PATH - toml: line 1`},
		{"missing file", run{args: []string{"--config=/nonexistent/x.cfg"}}, `failed to load config file /nonexistent/x.cfg - open /nonexistent/x.cfg: no such file or directory`},
		{"variable", run{env: map[string]string{"NSQLOOKUPD_VERBOSE": "maybe"}}, `environment variable NSQLOOKUPD_VERBOSE: "maybe" is not true or false`},
		{"number in variable", run{env: map[string]string{"NSQLOOKUPD_RATE": "x"}}, `environment variable NSQLOOKUPD_RATE: "x" is not a number`},
		{"strict", run{args: []string{"--strict-config"}, file: "tcp_adress = 'x'\nzzz = 1"},
			`unknown key "tcp_adress" in PATH; did you mean tcp_address?; unknown key "zzz" in PATH`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, path, err := tt.run.load(t, io.Discard)
			if err == nil {
				t.Fatal("no error")
			}
			if got := strings.ReplaceAll(err.Error(), path, "PATH"); !strings.HasPrefix(got, tt.want) || errors.Is(err, ErrUsage) {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestUnknownKeys(t *testing.T) {
	tests := []struct{ key, want string }{
		{"tcp_adress", "; did you mean tcp_address?"},
		{"tcp-address", "; did you mean tcp_address?"},
		{"TCP_address", "; did you mean tcp_address?"},
		{"node_id", "; did you mean id?"},
		{"tombstone_lifetimes", "; did you mean tombstone_lifetime?"},
		{"dry_run", ""}, // flag only
		{"config", ""},
		{"completely_different", ""},
		{"zz", ""},
	}
	for _, tt := range tests {
		got, warnings, path, err := run{file: tt.key + " = 1\nport = 9"}.load(t, io.Discard)
		want := `unknown key "` + tt.key + `" in ` + path + tt.want
		if err != nil || len(warnings) != 1 || warnings[0] != want {
			t.Errorf("%s: got %q, %v; want %q", tt.key, warnings, err, want)
		}
		if got.Port != 9 {
			t.Errorf("%s: the known key was not read", tt.key)
		}
	}
}

const usage = `Usage of nsqlookupd:
  --colour tint
        a tint (default red)
  --config string
        path of a TOML file with options
  --dry-run
        change nothing
  --join string (may be given several times)
        member to join
  --node-id int
        unique part of message ids
  --port int
        a port
  --rate float
        a rate
  --strict-config
        refuse a file with unknown keys, instead of a warning
  --tcp-address string
        <addr>:<port> to listen on (default "0.0.0.0:4160")
  --tombstone-lifetime duration
        how long a tombstone hides a producer (default 45s)
  --verbose
        say more
        than usual
  --version
        print the version and exit
`

func TestUsage(t *testing.T) {
	tests := []struct {
		name   string
		args   []string
		err    error
		stderr string
	}{
		{"help", []string{"-h"}, flag.ErrHelp, usage},
		{"unknown flag", []string{"--prot=1"}, ErrUsage, "flag provided but not defined: -prot\n" + usage},
		{"bad value", []string{"--port=x"}, ErrUsage, "invalid value \"x\" for flag -port: \"x\" is not a positive integer\n" + usage},
		{"bad bool", []string{"--verbose=x"}, ErrUsage, "invalid boolean value \"x\" for -verbose: \"x\" is not true or false\n" + usage},
		{"no value", []string{"--port"}, ErrUsage, "flag needs an argument: -port\n" + usage},
		{"version", []string{"--version", "--config=/nonexistent"}, ErrVersion, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			_, _, _, err := run{args: tt.args, file: "this is not read"}.load(t, &stderr)
			if !errors.Is(err, tt.err) {
				t.Errorf("got error %v, want %v", err, tt.err)
			}
			if stderr.String() != tt.stderr {
				t.Errorf("got stderr\n%s\nwant\n%s", stderr.String(), tt.stderr)
			}
		})
	}
}

func TestUnsupportedTypePanics(t *testing.T) {
	defer func() {
		if v := recover(); v == nil || !strings.Contains(v.(string), "option hosts") {
			t.Errorf("panic %v", v)
		}
	}()
	var opts struct {
		Hosts map[string]string `flag:"hosts"`
	}
	Load("x", &opts, nil, os.LookupEnv, io.Discard)
}

// demand is a bool with a third value: a flag that may stand without one.
type demand string

func (d *demand) UnmarshalText(text []byte) error {
	switch *d = demand(text); *d {
	case "true", "false", "partly":
		return nil
	}
	return errors.New("not true, false or partly")
}

func (d demand) IsBoolFlag() bool { return true }

// shares are a list that reads itself.
type shares []string

func (s *shares) UnmarshalText(text []byte) error {
	*s = strings.Split(string(text), ",")
	return nil
}

func TestTextTypesThatAreBoolsOrLists(t *testing.T) {
	type options struct {
		Demand demand `flag:"demand" usage:"how much"`
		Shares shares `flag:"share" usage:"a share"`
		After  string `flag:"after" usage:"what comes after"`
	}
	tests := []struct {
		name string
		args []string
		file string
		want options
		err  string
	}{
		{"no value", []string{"--demand", "--after=x"}, "", options{"true", shares{"9"}, "x"}, ""},
		{"a value", []string{"--demand=partly"}, "", options{"partly", shares{"9"}, ""}, ""},
		{"false", []string{"--demand=false"}, "", options{"false", shares{"9"}, ""}, ""},
		{"wrong value", []string{"--demand=x"}, "", options{}, "partly"},
		{"bool in a file", nil, `demand = true`, options{"true", shares{"9"}, ""}, ""},
		{"text in a file", nil, `demand = "partly"`, options{"partly", shares{"9"}, ""}, ""},
		{"wrong text in a file", nil, `demand = "x"`, options{}, "partly"},
		{"one list", []string{"--share=1,2"}, "", options{"", shares{"1", "2"}, ""}, ""},
		{"lists", []string{"--share=1,2", "--share=3"}, "", options{"", shares{"1", "2", "3"}, ""}, ""},
		{"array in a file", nil, `share = [1, "2"]`, options{"", shares{"1", "2"}, ""}, ""},
		{"flags over file", []string{"--share=3"}, `share = [1, "2"]`, options{"", shares{"3"}, ""}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := tt.args
			if tt.file != "" {
				path := filepath.Join(t.TempDir(), "x.cfg")
				if err := os.WriteFile(path, []byte(tt.file), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append([]string{"--config=" + path}, args...)
			}
			got := options{Shares: shares{"9"}}
			_, err := Load("x", &got, args, func(string) (string, bool) { return "", false }, io.Discard)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q in it", err, tt.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}
