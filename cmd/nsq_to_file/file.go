package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const (
	// maxBuffer is how much of a file, compressed if it is, waits in memory between two
	// syncs.
	maxBuffer = 256 << 10

	// Stock's, less the umask.
	fileMode = 0o666
	dirMode  = 0o770
)

var (
	// errTaken is returned for a file that another process has.
	errTaken = &fs.PathError{Op: "open", Err: fs.ErrExist}

	errRemoved = errors.New("the file was removed while it was written")
)

// A file is one that is being written. What is appended is in memory until sync.
//
// A compressed file is a gzip member for each sync, which readers take for one stream:
// what was synced can be read however the rest ends.
type file struct {
	*os.File
	exclusive bool
	size      int64 // before compression; of a file that was there before, all of it

	buf    bytes.Buffer
	gz     *gzip.Writer // writes to buf; nil: not compressed
	member bool         // one is begun in gz

	// The length that sync has seen, 0 before the first; of no meaning unless exclusive.
	synced int64
}

// createFile makes a file that was not there, and that this process alone has until it is closed.
// An error is fs.ErrExist if there is one.
func createFile(path string) (*file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	// Another process may have moved it away as left over, between these lines.
	if _, taken := lock(f); taken || !samePath(path, f) {
		f.Close()
		return nil, errTaken
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(err, os.Remove(path), f.Close())
	}
	return &file{File: f, exclusive: true}, nil
}

// appendTo opens a file that may be there, to write behind what is in it. Others may do
// the same: whole lines are written at a time.
func appendTo(path string) (*file, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, fileMode)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	out := &file{File: f}
	if err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		out.size = info.Size()
		err = out.endLine()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return out, nil
}

// endLine ends the last line if it was cut by a kill or a full disk. Without, the next
// message would be glued to it.
func (f *file) endLine() error {
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, f.size-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		f.buf.WriteByte('\n')
		f.size++
	}
	return nil
}

// compress makes all that is appended compressed, at a level of 1 to 9.
func (f *file) compress(level int) {
	f.gz, _ = gzip.NewWriterLevel(&f.buf, level) // only a level can be wrong
}

// append appends body as a line.
func (f *file) append(body []byte) error {
	f.size += int64(len(body)) + 1
	// Writing to memory, none of these fails.
	if f.gz == nil {
		f.buf.Write(body)
		f.buf.WriteByte('\n')
	} else {
		f.member = true
		f.gz.Write(body)
		f.gz.Write([]byte{'\n'})
	}
	if f.buf.Len() >= maxBuffer {
		return f.flush()
	}
	return nil
}

func (f *file) flush() error {
	_, err := f.Write(f.buf.Bytes())
	f.buf.Reset()
	return err
}

// sync makes durable what was appended. After an error the file can only be abandoned:
// what an fsync that failed has dropped, the next one does not miss.
func (f *file) sync() error {
	if f.member {
		f.gz.Close() // into memory
		f.gz.Reset(&f.buf)
		f.member = false
	}
	if err := f.flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case links(info) == 0:
		return errRemoved
	}
	f.synced = info.Size()
	return nil
}

// finish syncs and closes the file, which is at path.
func (f *file) finish() error {
	f.member = f.member || f.gz != nil && f.size == 0 // no bytes at all are no gzip file
	if err := f.sync(); err != nil {
		return err
	}
	return f.Close()
}

// abandon closes the file without what was appended since the last sync, if it can be
// taken back. A file of its own with nothing else in it is removed; kept says that it
// was not.
func (f *file) abandon() (kept bool) {
	defer f.Close()
	if !f.exclusive {
		return true
	}
	if f.synced == 0 {
		if samePath(f.Name(), f.File) {
			os.Remove(f.Name()) // an error leaves an empty file, or one cut short: no harm
		}
		return false
	}
	f.Truncate(f.synced) // an error leaves what is not acknowledged
	return true
}

// samePath says whether path is that of the open file f.
func samePath(path string, f *os.File) bool {
	at, err := os.Stat(path)
	if err != nil {
		return false
	}
	info, err := f.Stat()
	return err == nil && os.SameFile(at, info)
}

// makeDir makes dir, and those above it, durably. That it is there is no error.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// syncDir makes the names in dir durable, where the file system knows of that.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
