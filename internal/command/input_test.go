package command

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A read that waits ends with the context, and what was written is read before.
func TestInputEndsWithItsContext(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ctx, end := context.WithCancel(t.Context())
	in := NewInput(ctx, r)
	defer in.Close()
	lines := bufio.NewReader(in)
	io.WriteString(w, "one\n")
	if line, err := lines.ReadString('\n'); line != "one\n" || err != nil {
		t.Fatalf("read %q, %v", line, err)
	}
	ended := make(chan error)
	go func() {
		_, err := lines.ReadString('\n') // nobody writes more
		ended <- err
	}()
	end()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the read ends with %v, want that of the context", err)
	}
	io.WriteString(w, "two\n")
	if n, err := in.Read(make([]byte, 9)); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("after the end %d bytes are read, %v", n, err)
	}
}

// What cannot be waited for is read as it is.
func TestInputOfOtherKinds(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, r := range []io.Reader{f, strings.NewReader("text")} {
		in := NewInput(t.Context(), r)
		if text, err := io.ReadAll(in); string(text) != "text" || err != nil {
			t.Errorf("%T: read %q, %v", r, text, err)
		}
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := Open(t.Context(), name+"x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
