package nsqtest

import (
	"bytes"
	"regexp"
	"sync"
	"testing"
	"time"
)

// Output is what a program that runs in the test writes, which may go on after the
// test. The zero value is empty.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Await waits until the output matches pattern, and returns what its last group, or
// all of it, matches. It fails the test if that takes half a minute.
func (o *Output) Await(t testing.TB, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if m := re.FindStringSubmatch(o.String()); m != nil {
			return m[len(m)-1]
		}
	}
	t.Fatalf("nothing matches %q in:\n%s", pattern, o)
	return ""
}

// ShowIfFailed logs the output at the end of a test that failed.
func (o *Output) ShowIfFailed(t testing.TB) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("output:\n%s", o)
		}
	})
}
