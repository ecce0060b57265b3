package localcluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// find returns the path of a program: in dir if that is given, and nowhere else; else
// beside the running executable, or in PATH.
func find(program, dir string) (string, error) {
	if dir != "" {
		path, err := exec.LookPath(filepath.Join(dir, program))
		if err != nil {
			return "", fmt.Errorf("there is no program %s in %s", program, dir)
		}
		return filepath.Abs(path)
	}
	beside := "nsqctl's own folder"
	if self, err := os.Executable(); err == nil {
		if self, err = filepath.EvalSymlinks(self); err == nil {
			beside = filepath.Dir(self)
			if path, err := exec.LookPath(filepath.Join(beside, program)); err == nil {
				return path, nil
			}
		}
	}
	path, err := exec.LookPath(program)
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return "", fmt.Errorf("there is no program %s, neither in %s nor in PATH", program, beside)
	}
	return filepath.Abs(path)
}
