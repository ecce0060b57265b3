//go:build unix && !solaris && !aix

package nsqd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDataPathBelongsToOne(t *testing.T) {
	dir := t.TempDir()
	lock, err := lockDataPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := "failed to lock data-path: cannot flock directory " + dir + " - "
	if _, err := lockDataPath(dir); err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), " (possibly in use by another instance of nsqd)") {
		t.Errorf("taken twice: got %v, want %s…", err, want)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	lock, err = lockDataPath(dir)
	if err != nil {
		t.Fatalf("after the first has closed it: %v", err)
	}
	lock.Close()
}

func TestDataPathMustBeADirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, file + "2"} {
		if lock, err := lockDataPath(dir); err == nil || !strings.HasPrefix(err.Error(), "failed to lock data-path: ") {
			t.Errorf("%s: got %v, %v, want an error", dir, lock, err)
		}
	}
}
