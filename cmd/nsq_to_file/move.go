package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// move moves the file called name, with <REV> in it, of revision rev from --work-dir to
// --output-dir, where it gets the next revision that is free. If that fails it is
// tried again at the next tick.
func (r *recorder) move(name string, rev int) {
	from := filepath.Join(r.opts.workDir, withRev(name, rev))
	to, err := moveFile(from, func() string {
		to := filepath.Join(r.opts.outputDir, withRev(name, rev))
		rev++
		return to
	})
	if err != nil {
		r.unmoved = true
		r.log.Error("cannot move a finished file, it stays until that works", "file", from, "err", err)
		return
	}
	r.log.Info("moved a finished file", "file", from, "to", to)
}

// moveFile moves a file to the first of the paths that next returns at which nothing is,
// and returns it. A crash in between leaves the file at one or both of the paths.
func moveFile(from string, next func() string) (to string, err error) {
	for {
		to = next()
		if err := makeDir(filepath.Dir(to)); err != nil {
			return "", err
		}
		// Unlike a rename, a link replaces nothing.
		err := os.Link(from, to)
		if errors.Is(err, fs.ErrExist) {
			if !linked(from, to) {
				continue
			}
			err = nil // a crash came before the removal
		}
		if err == nil {
			err = syncDir(filepath.Dir(to))
		}
		if err != nil {
			return "", err
		}
		return to, os.Remove(from)
	}
}

// moveLeft moves what earlier processes were writing in --work-dir when they were
// killed. A file that is being written is locked, and stays.
func (r *recorder) moveLeft() {
	r.unmoved = false
	dir := r.opts.workDir
	pattern, depth := r.names.ofAnyTime(), strings.Count(r.names.at(time.Now()), "/")
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // what cannot be read is not ours
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && strings.Count(name, "/") >= depth {
			return fs.SkipDir
		}
		if at := pattern.FindStringSubmatchIndex(name); at != nil && d.Type().IsRegular() {
			r.takeLeft(path, name, at)
		}
		return nil
	})
}

// takeLeft moves the file at path if nobody writes it, or removes it if it is empty. at
// is where the pattern has matched its name.
func (r *recorder) takeLeft(path, name string, at []int) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	if locked, _ := lock(f); !locked {
		return
	}
	if info, err := f.Stat(); err == nil && info.Size() == 0 {
		os.Remove(path) // at the latest after the next start
		return
	}
	r.log.Warn("found a file that was left over", "file", path)
	r.move(template(name, at))
}

// template returns name with <REV> for its revisions, at the places that a match of
// naming.ofAnyTime gives, and the revision.
func template(name string, at []int) (string, int) {
	rev := 0
	for i := len(at) - 2; i >= 2; i -= 2 {
		rev, _ = strconv.Atoi(name[at[i]+1 : at[i+1]]) // too great a number begins at 0
		name = name[:at[i]] + tokenRev + name[at[i+1]:]
	}
	return name, rev
}

// linked says whether from and to are two names of one file, not one name that two paths
// lead to.
func linked(from, to string) bool {
	a, err := os.Lstat(from)
	if err != nil {
		return false
	}
	b, err := os.Lstat(to)
	return err == nil && os.SameFile(a, b) && links(a) > 1
}
