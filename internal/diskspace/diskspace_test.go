package diskspace

import (
	"errors"
	"path/filepath"
	"testing"
)

func TestFree(t *testing.T) {
	dir := t.TempDir()
	free, err := Free(dir)
	if errors.Is(err, ErrUnknown) {
		t.Skipf("this system does not tell the room on a disk: %v", err)
	}
	if err != nil || free <= 0 {
		t.Errorf("got %d, %v, want some", free, err)
	}
	if _, err := Free(filepath.Join(dir, "missing")); err == nil {
		t.Error("a folder that is not there has free space")
	}
}
