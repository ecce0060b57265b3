package nsqd

import (
	"fmt"
	"io"
	"os"
)

// lockDataPath takes dir, or the working directory if it is empty, for this process
// alone until the result is closed, or the process ends. A folder that another nsqd
// has is an error at once; so is one that does not exist.
func lockDataPath(dir string) (io.Closer, error) {
	if dir == "" {
		dir = "."
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("failed to lock data-path: %w", err)
	}
	if info, err := f.Stat(); err != nil || !info.IsDir() {
		f.Close()
		return nil, fmt.Errorf("failed to lock data-path: %s is not a directory", dir)
	}
	if err := flock(f); err != nil {
		f.Close()
		// Stock's sentence.
		return nil, fmt.Errorf("failed to lock data-path: cannot flock directory %s - %w (possibly in use by another instance of nsqd)", dir, err)
	}
	return f, nil
}
