package nsqd

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// deadlines remember until when the messages in a queue on disk are deferred, for
// which the queue's format has no place: stock delivers them at once after a
// restart, and so it does with ours.
//
// The file holds records of an id and a time (int64, ns since 1970). A message that
// is in no record is not deferred; a record without a message harms nobody and is
// left out when the file is written anew.
type deadlines struct {
	path string

	mu   sync.Mutex
	byID map[MessageID]int64

	// Held while the file is written, and never by those who only ask; mu is taken
	// after it.
	writing sync.Mutex
	file    *os.File // opened for the first durable record
	records int      // in file
}

const deadlineSize = len(MessageID{}) + 8

// slack is how many records without a message the file may hold before it is
// written anew.
const slack = 4096

func openDeadlines(path string) (*deadlines, error) {
	d := &deadlines{path: path, byID: make(map[MessageID]int64)}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, err
	}
	// Half a record at the end is from a crash; its message was not acknowledged.
	for ; len(b) >= deadlineSize; b = b[deadlineSize:] {
		d.byID[MessageID(b)] = int64(binary.BigEndian.Uint64(b[len(MessageID{}):]))
	}
	return d, nil
}

// add remembers those of the messages that are deferred. With durable they are on
// disk when it returns; else close writes them.
func (d *deadlines) add(messages []*Message, durable bool) error {
	var records []byte
	for _, m := range messages {
		if m.notBefore != 0 {
			records = appendDeadline(records, m.ID, m.notBefore)
		}
	}
	if records == nil {
		return nil
	}
	d.mu.Lock()
	for _, m := range messages {
		if m.notBefore != 0 {
			d.byID[m.ID] = m.notBefore
		}
	}
	d.mu.Unlock()
	if !durable {
		return nil
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	return d.append(records)
}

func appendDeadline(b []byte, id MessageID, until int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, id[:]...), uint64(until))
}

// append writes records and syncs them. d.writing is held.
func (d *deadlines) append(records []byte) error {
	if d.file == nil || d.records > 2*d.len()+slack {
		if err := d.rewrite(); err != nil { // with these records
			return err
		}
		f, err := os.OpenFile(d.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		d.file = f
		return syncDir(filepath.Dir(d.path))
	}
	_, err := d.file.Write(records)
	if err == nil {
		err = d.file.Sync()
	}
	if err != nil {
		// Half a record may be there, behind which none could be read: the next are
		// written with all others, anew.
		d.file.Close()
		d.file = nil
		return err
	}
	d.records += len(records) / deadlineSize
	return nil
}

// rewrite replaces the file by one with the records that are needed, or by none.
// d.writing is held.
func (d *deadlines) rewrite() error {
	if d.file != nil {
		d.file.Close() // all in it was synced, or is written again
		d.file = nil
	}
	var records []byte
	d.mu.Lock()
	for id, until := range d.byID {
		records = appendDeadline(records, id, until)
	}
	d.mu.Unlock()
	d.records = len(records) / deadlineSize
	if records != nil {
		return writeFile(d.path, records)
	}
	if err := os.Remove(d.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *deadlines) len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.byID)
}

// get returns until when the message is deferred; 0 if it is not.
func (d *deadlines) get(id MessageID) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.byID[id]
}

// take forgets until when the message is deferred, and returns it; 0 if it is not.
func (d *deadlines) take(id MessageID) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	until := d.byID[id]
	if until != 0 {
		delete(d.byID, id)
	}
	return until
}

// clear forgets all.
func (d *deadlines) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.byID)
}

// close writes what is remembered.
func (d *deadlines) close() error {
	d.writing.Lock()
	defer d.writing.Unlock()
	return d.rewrite()
}
