// Package internal_test holds the rules about which package may import which.
package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "nsqraft"

// A rule is what the packages in one folder, and below it, may import of this
// module. An entry allows a folder and all below it. Every package may import
// what is below the folder of its own rule.
type rule struct {
	folder string
	may    []string
	tests  []string // what its tests may import besides
}

// rules are in order of precedence: of a folder and one below it, the lower one
// comes first.
var rules = []rule{
	{folder: "fsm", may: []string{"internal/defect"}}, // which imports nothing, and is empty in what is shipped
	{folder: "nsqd/diskqueue"},
	{folder: "lookupd", may: []string{"fsm", "internal"}, tests: []string{"internal/nsqtest"}},
	{folder: "nsqd", may: []string{"internal"}, tests: []string{"internal/nsqtest"}},
	{folder: "nsqadmin", may: []string{"internal"}, tests: []string{"internal/nsqtest"}},
	{folder: "cmd", may: []string{"lookupd", "nsqd", "nsqadmin", "internal"}, tests: []string{"internal/nsqtest"}},
	{folder: "internal/nsqtest", may: []string{"lookupd", "nsqd", "nsqadmin", "internal"}},
	{folder: "internal", tests: []string{"internal/nsqtest"}},
}

// testsOnly is imported by nothing that is shipped.
const testsOnly = "internal/nsqtest"

// raftUsers may import hashicorp/raft and its stores.
var raftUsers = []string{"lookupd", "fsm"}

// outsideWorld may not be imported by the state machine: a replica that asks it
// differs from the others.
var outsideWorld = []string{"crypto/rand", "math/rand", "net", "os", "syscall", "github.com/hashicorp/go-hclog"}

// refusal returns why the package in folder from may not import path, "" if it
// may. test is true for an import by a test file.
func refusal(from, path string, test bool) string {
	i := slices.IndexFunc(rules, func(r rule) bool { return within(from, r.folder) })
	if i < 0 {
		return "no rule for folder " + from
	}
	r := rules[i]
	if local, ok := strings.CutPrefix(path, module+"/"); ok {
		allowed := func(folder string) bool { return within(local, folder) }
		switch {
		case test && slices.ContainsFunc(r.tests, allowed):
			return ""
		case within(local, testsOnly) && !within(from, testsOnly):
			return "is for tests only"
		case within(from, "cmd") && within(local, "cmd"):
			if command(from) != command(local) {
				return "belongs to another command"
			}
			return ""
		case within(local, r.folder) || slices.ContainsFunc(r.may, allowed):
			// nsqd may import what is below it, but nothing may jump over it.
			if local == "nsqd/diskqueue" && !within(from, "nsqd") {
				return "is reached through nsqd"
			}
			return ""
		}
		return "is against the direction of imports"
	}
	if within(path, "github.com/hashicorp/raft") || within(path, "github.com/hashicorp/raft-boltdb") {
		if !slices.ContainsFunc(raftUsers, func(folder string) bool { return within(from, folder) }) {
			return "is for lookupd and fsm only"
		}
	}
	if within(from, "fsm") && !test && slices.ContainsFunc(outsideWorld, func(p string) bool { return within(path, p) }) {
		return "is outside of a deterministic state machine"
	}
	return ""
}

// command returns the command that a folder below cmd belongs to.
func command(folder string) string { return strings.Split(folder, "/")[1] }

// within says whether folder is dir or below it.
func within(folder, dir string) bool {
	return folder == dir || strings.HasPrefix(folder, dir+"/")
}

func TestImportRules(t *testing.T) {
	root := ".."
	files := 0
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != root && (base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
				return fs.SkipDir
			}
			if _, err := os.Stat(filepath.Join(name, "go.mod")); name != root && err == nil {
				return fs.SkipDir // a module of its own, such as interop
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		files++
		folder, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if why := refusal(filepath.ToSlash(folder), path, strings.HasSuffix(name, "_test.go")); why != "" {
				t.Errorf("%s imports %s, which %s", strings.TrimPrefix(name, root+"/"), path, why)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 2 {
		t.Errorf("found %d Go files: this looks at the wrong place", files)
	}
}

// The rules themselves, on imports that need not exist.
func TestRefusal(t *testing.T) {
	tests := []struct {
		from, path string
		test       bool
		allowed    bool
	}{
		{from: "cmd/nsqlookupd", path: "nsqraft/lookupd", allowed: true},
		{from: "cmd/nsqlookupd", path: "nsqraft/internal/config", allowed: true},
		{from: "cmd/nsqlookupd", path: "nsqraft/fsm"},
		{from: "cmd/nsqd", path: "nsqraft/nsqd", allowed: true},
		{from: "cmd/nsqd", path: "nsqraft/nsqd/diskqueue"},
		{from: "cmd/nsqctl", path: "nsqraft/cmd/nsqctl/table", allowed: true},
		{from: "cmd/nsqctl", path: "nsqraft/cmd/nsqdrill/plan"},
		{from: "cmd/nsqctl", path: "nsqraft/internal/nsqtest"},
		{from: "cmd/nsqctl", path: "nsqraft/internal/nsqtest", test: true, allowed: true},
		{from: "cmd/nsqctl", path: "github.com/hashicorp/raft"},
		{from: "lookupd", path: "nsqraft/fsm", allowed: true},
		{from: "lookupd", path: "nsqraft/internal/wire", allowed: true},
		{from: "lookupd", path: "nsqraft/lookupd/store", allowed: true},
		{from: "lookupd/store", path: "github.com/hashicorp/raft-boltdb/v2", allowed: true},
		{from: "lookupd", path: "nsqraft/nsqd"},
		{from: "lookupd", path: "nsqraft/nsqd", test: true},
		{from: "lookupd", path: "nsqraft/cmd/nsqlookupd"},
		{from: "nsqd", path: "nsqraft/lookupd"},
		{from: "nsqd", path: "nsqraft/nsqd/diskqueue", allowed: true},
		{from: "nsqd", path: "github.com/hashicorp/raft"},
		{from: "nsqd", path: "github.com/hashicorp/go-hclog", allowed: true},
		{from: "nsqd/diskqueue", path: "nsqraft/internal/wire"},
		{from: "nsqd/diskqueue", path: "nsqraft/nsqd"},
		{from: "nsqd/diskqueue", path: "os", allowed: true},
		{from: "nsqadmin", path: "nsqraft/internal/clusterinfo", allowed: true},
		{from: "nsqadmin", path: "nsqraft/nsqd"},
		{from: "fsm", path: "github.com/hashicorp/raft", allowed: true},
		{from: "fsm", path: "nsqraft/internal/wire"},
		{from: "fsm", path: "os"},
		{from: "fsm", path: "math/rand/v2"},
		{from: "fsm", path: "os", test: true, allowed: true},
		{from: "internal/wire", path: "nsqraft/lookupd"},
		{from: "internal/httpapi", path: "nsqraft/internal/wire", allowed: true},
		{from: "internal/httpapi", path: "nsqraft/internal/nsqtest"},
		{from: "internal/nsqtest", path: "nsqraft/lookupd", allowed: true},
		{from: "internal/nsqtest", path: "nsqraft/internal/wire", allowed: true},
		{from: "util", path: "fmt"},
	}
	for _, tt := range tests {
		why := refusal(tt.from, tt.path, tt.test)
		if (why == "") != tt.allowed {
			t.Errorf("%s imports %s (by a test: %v): refusal %q, want allowed %v", tt.from, tt.path, tt.test, why, tt.allowed)
		}
	}
}
