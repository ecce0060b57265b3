package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
)

// schema is the version of the file's form. Fields are only added within one.
const schema = 1

// maxLine bounds a line of a file that is read.
const maxLine = 16 << 20

// A line is one of a file: the schema comes first, the header last.
type line struct {
	Schema int     `json:"schema,omitempty"`
	Op     *Op     `json:"op,omitempty"`
	Sample *Sample `json:"sample,omitempty"`
	Fault  *Fault  `json:"fault,omitempty"`
	Header *Header `json:"header,omitempty"`
}

// A writer writes lines, compressed, for one goroutine.
type writer struct {
	file io.WriteCloser
	zip  *gzip.Writer
	buf  *bufio.Writer
	json *json.Encoder
}

func newWriter(f io.WriteCloser) *writer {
	zip, _ := gzip.NewWriterLevel(f, gzip.BestSpeed) // its only error is an unknown level
	buf := bufio.NewWriterSize(zip, 64<<10)
	return &writer{file: f, zip: zip, buf: buf, json: json.NewEncoder(buf)}
}

func (w *writer) put(l line) error { return w.json.Encode(l) }

func (w *writer) close() error {
	return errors.Join(w.buf.Flush(), w.zip.Close(), w.file.Close())
}

// ReadDir reads the history in the folder of an earlier run.
func ReadDir(dir string) (*Run, error) { return Read(filepath.Join(dir, fileName)) }

// Read reads the file of an earlier run, for it to be checked again. One that ends
// before its time, because the drill was killed, is an error.
func Read(file string) (*Run, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	defer f.Close()
	run, err := read(f)
	if err != nil {
		return nil, fmt.Errorf("history %s: %w", file, err)
	}
	return run, nil
}

func read(r io.Reader) (*Run, error) {
	zip, err := gzip.NewReader(bufio.NewReader(r))
	if err != nil {
		return nil, err
	}
	var (
		run      Run
		complete bool
		names    = make(lists)
		words    = make(map[string]string)
		lines    = bufio.NewScanner(zip)
	)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for n := 1; lines.Scan(); n++ {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		switch {
		case n == 1 && l.Schema == 0:
			return nil, errors.New("not a history")
		case n == 1 && l.Schema != schema:
			return nil, fmt.Errorf("schema %d is of another version: this one reads %d", l.Schema, schema)
		case len(run.Ops) > maxOps || len(run.Samples) > maxSamples:
			return nil, fmt.Errorf("more than %d ops or %d samples", maxOps, maxSamples)
		case l.Op != nil:
			names.share(l.Op)
			l.Op.share(words)
			run.Ops = append(run.Ops, *l.Op)
		case l.Sample != nil:
			run.Samples = append(run.Samples, *l.Sample)
		case l.Fault != nil:
			run.Faults = latest(run.Faults, *l.Fault)
		case l.Header != nil:
			run.Header, complete = *l.Header, true
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if !complete {
		return nil, errors.New("it has no header at its end: the run did not get there")
	}
	run.Sort()
	return &run, nil
}

// share makes the op's words the same memory as equal ones before it.
func (op *Op) share(words map[string]string) {
	one := func(s *string) {
		same, ok := words[*s]
		if !ok {
			same = *s
			words[same] = same
		}
		*s = same
	}
	one((*string)(&op.Kind))
	one((*string)(&op.Outcome))
	one(&op.Node)
	one(&op.Topic)
	one(&op.Channel)
	one(&op.Producer)
}
