package main

import (
	"bufio"
	"bytes"
	"io"
	"os"

	"github.com/muesli/cancelreader"
	"golang.org/x/term"
)

// A keyboard is how a person, or a script, tells nsqctl dev what to do: by single keys
// on a terminal, else by lines on stdin.
type keyboard struct {
	said <-chan string // a key or a line each; never closed
	out  io.Writer     // where to answer
	keys bool

	reader cancelreader.CancelReader // nil: nothing to cancel
	done   chan struct{}             // closed when nothing is read any more
	quit   chan struct{}             // closed by close
	reset  func()                    // the terminal to what it was
}

const (
	ctrlC = 3
	ctrlD = 4
)

// maxSaid bounds a line of stdin in bytes.
const maxSaid = 1024

// openKeyboard begins to read. quit is called at once when somebody wants to leave,
// whatever else is going on; that a script has nothing more to say is no such wish.
func openKeyboard(stdin io.Reader, stdout io.Writer, quit func()) (*keyboard, error) {
	said := make(chan string)
	k := &keyboard{said: said, out: stdout, done: make(chan struct{}), quit: make(chan struct{}), reset: func() {}}
	if f, ok := stdin.(*os.File); ok && isTerminal(stdin) && isTerminal(stdout) {
		before, err := term.MakeRaw(int(f.Fd()))
		if err != nil {
			return nil, err
		}
		k.keys = true
		k.out = rawWriter{stdout}
		k.reset = func() { term.Restore(int(f.Fd()), before) }
	}
	reader := stdin
	// A file of a disk cannot be waited for, and need not be: reading it never waits.
	if r, err := cancelreader.NewReader(stdin); err == nil {
		k.reader, reader = r, r
	}
	go func() {
		defer close(k.done)
		if k.keys {
			k.readKeys(reader, said, quit)
		} else {
			k.readLines(reader, said)
		}
	}()
	return k, nil
}

// close leaves the terminal as it was. Only a reader that is no file may be read from
// a little longer.
func (k *keyboard) close() {
	close(k.quit)
	if k.reader == nil || k.reader.Cancel() {
		<-k.done
	}
	if k.reader != nil {
		k.reader.Close()
	}
	k.reset()
}

func (k *keyboard) readKeys(r io.Reader, said chan<- string, quit func()) {
	defer quit() // the terminal is gone, or somebody wants to
	var key [1]byte
	for {
		if _, err := r.Read(key[:]); err != nil {
			return
		}
		switch key[0] {
		case ctrlC, ctrlD, 'q', 'Q':
			return
		}
		select {
		case said <- string(key[:]):
		case <-k.quit:
			return
		}
	}
}

func (k *keyboard) readLines(r io.Reader, said chan<- string) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxSaid)
	for lines.Scan() {
		select {
		case said <- lines.Text():
		case <-k.quit:
			return
		}
	}
}

// A rawWriter writes to a terminal in raw mode, which does not return its carriage by
// itself.
type rawWriter struct{ w io.Writer }

func (r rawWriter) Write(text []byte) (int, error) {
	if _, err := r.w.Write(bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(text), nil
}
