package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDescribe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.cfg")
	if err := os.WriteFile(path, []byte("id = 5\nport = 'many'\njoin = ['a', 'b']\ntcp_adress = ':1'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"NSQLOOKUPD_JOIN": "c", "NSQLOOKUPD_RATE": "x", "NSQLOOKUPD_VERBOSE": ""}[name]
		return v, ok
	}
	opts := defaults()
	settings, warnings, err := Describe("nsqlookupd", &opts, path, env)
	got := make(map[string]Setting)
	for _, s := range settings {
		got[s.Flag] = s
	}
	for flag, want := range map[string]Setting{
		"node-id":     {Key: "id", Env: "NSQLOOKUPD_NODE_ID", Value: "5", Source: FromFile},
		"join":        {Key: "join", Env: "NSQLOOKUPD_JOIN", Value: "c", Source: FromEnvironment},
		"tcp-address": {Key: "tcp_address", Env: "NSQLOOKUPD_TCP_ADDRESS", Value: "0.0.0.0:4160", Source: FromDefault},
		"verbose":     {Key: "verbose", Env: "NSQLOOKUPD_VERBOSE", Value: "false", Source: FromDefault},
		"dry-run":     {Key: "", Env: "NSQLOOKUPD_DRY_RUN", Value: "false", Source: FromDefault},
	} {
		s := got[flag]
		if want.Flag, want.Usage = flag, s.Usage; s != want {
			t.Errorf("%s: got %+v, want %+v", flag, s, want)
		}
	}
	if opts.NodeID != 5 || !slices.Equal(opts.Join, []string{"c"}) {
		t.Errorf("options %+v", opts)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], `unknown key "tcp_adress"`) || !strings.Contains(warnings[0], "did you mean tcp_address?") {
		t.Errorf("warnings %q", warnings)
	}
	if err == nil || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), `"many" is not`) || !strings.Contains(err.Error(), "NSQLOOKUPD_RATE") {
		t.Errorf("error %v, want two", err)
	}

	if settings, _, err := Describe("nsqlookupd", &opts, path+"x", env); settings != nil || err == nil {
		t.Errorf("a file that is not there: %v, %v", settings, err)
	}
	if keys := Keys(&opts); !slices.Contains(keys, "id") || slices.Contains(keys, "dry_run") || slices.Contains(keys, "-") {
		t.Errorf("keys %q", keys)
	}
}
