package diskqueue

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// A file is an open segment, or the meta file while it is written.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Sync() error
	Truncate(size int64) error
}

// A disk is the folder of a queue; names are relative to it. Tests put their
// faults here.
type disk interface {
	Open(name string, flag int) (file, error)
	Size(name string) (int64, error)
	Remove(name string) error // of what is not there: nil
	Rename(from, to string) error
	Link(from, to string) error
	Same(a, b string) bool // whether both names are of one file
	Read(name string, most int) ([]byte, error)
	List() ([]string, error)
	Sync() error // what was created, renamed and removed
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

type osDisk string

func (d osDisk) path(name string) string { return filepath.Join(string(d), name) }

func (d osDisk) Open(name string, flag int) (file, error) {
	f, err := os.OpenFile(d.path(name), flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d osDisk) Size(name string) (int64, error) {
	info, err := os.Stat(d.path(name))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (d osDisk) Remove(name string) error {
	if err := os.Remove(d.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d osDisk) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }
func (d osDisk) Link(from, to string) error   { return os.Link(d.path(from), d.path(to)) }

func (d osDisk) Same(a, b string) bool {
	one, err := os.Stat(d.path(a))
	if err != nil {
		return false
	}
	other, err := os.Stat(d.path(b))
	return err == nil && os.SameFile(one, other)
}

func (d osDisk) Read(name string, most int) ([]byte, error) {
	f, err := os.Open(d.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(most)))
}

func (d osDisk) List() ([]string, error) {
	f, err := os.Open(string(d))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (d osDisk) Sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
