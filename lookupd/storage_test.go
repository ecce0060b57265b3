package lookupd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

func mustOpenStorage(t *testing.T, dir, node string) *storage {
	t.Helper()
	s, err := openStorage(dir, node, func(err error) { t.Errorf("log failed: %v", err) }, newMetrics().raftFsync, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStorageKeepsIdentityLogAndMark(t *testing.T) {
	dir := t.TempDir()
	s := mustOpenStorage(t, dir, "n1")
	first := s.identity
	first.Cluster = "c1"
	if err := s.saveIdentity(first); err != nil {
		t.Fatal(err)
	}
	if err := s.log.StoreLog(&raft.Log{Index: 1, Term: 1, Data: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if err := s.mark.Store(7); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpenStorage(t, dir, "n1")
	defer s.close()
	if s.identity != first {
		t.Errorf("identity %+v, want %+v", s.identity, first)
	}
	if last, err := s.log.LastIndex(); last != 1 || err != nil {
		t.Errorf("last index %d, %v, want 1", last, err)
	}
	if mark, err := s.mark.Load(); mark != 7 || err != nil {
		t.Errorf("mark %d, %v, want 7", mark, err)
	}
}

// Each is a folder that must not be opened, and the sentence that says why.
func TestStorageRefusesWhatIsNotItsOwn(t *testing.T) {
	tests := []struct {
		name   string
		damage func(t *testing.T, dir string)
		node   string
		want   string
	}{
		{"another node's folder", func(*testing.T, string) {}, "n2", "belongs to node n1"},
		{"identity gone", func(t *testing.T, dir string) { remove(t, dir, identityFile) }, "n1", "holds a raft log but no identity.json"},
		{"identity damaged", func(t *testing.T, dir string) { overwrite(t, dir, identityFile, "{") }, "n1", "damaged"},
		{"log deleted", func(t *testing.T, dir string) { remove(t, dir, logFile) }, "n1", "do not belong together"},
		{"log of another instance", func(t *testing.T, dir string) {
			overwrite(t, dir, identityFile, `{"node_id":"n1","instance":"0123456789abcdef","cluster_id":"c1"}`)
		}, "n1", "do not belong together"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpenStorage(t, dir, "n1")
			id := s.identity
			id.Cluster = "c1"
			if err := s.saveIdentity(id); err != nil {
				t.Fatal(err)
			}
			s.close()
			tt.damage(t, dir)
			s, err := openStorage(dir, tt.node, func(error) {}, newMetrics().raftFsync, hclog.NewNullLogger())
			if err == nil {
				s.close()
				t.Fatalf("opened, want %q", tt.want)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestStorageOfTwoProcessesIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := mustOpenStorage(t, dir, "n1")
	defer s.close()
	if other, err := openStorage(dir, "n1", func(error) {}, newMetrics().raftFsync, hclog.NewNullLogger()); err == nil {
		other.close()
		t.Fatal("a second process opened the same folder")
	} else if !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want the folder named", err)
	}
}

func TestTornCommitMarkCountsAsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), markFile)
	for _, content := range []string{"", "short", strings.Repeat("\x01", 12)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := openMark(path)
		if err != nil {
			t.Fatal(err)
		}
		if index, err := m.Load(); index != 0 || err != nil {
			t.Errorf("mark %q: got %d, %v, want 0", content, index, err)
		}
		m.Close()
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
