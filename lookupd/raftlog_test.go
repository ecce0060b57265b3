package lookupd

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestCalmLoggerWritesRepetitionsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := newCalmLogger(hclog.New(&hclog.LoggerOptions{Output: &out, DisableTime: true, Level: hclog.Info})).Named("raft")
		for range 100 {
			log.Error("failed to heartbeat to", "peer", "n3", "backoff time", time.Since(time.Time{}))
			log.Error("failed to heartbeat to", "peer", "n2")
			time.Sleep(100 * time.Millisecond)
		}
		if got := strings.Count(out.String(), "\n"); got != 2 {
			t.Fatalf("%d lines, want one for each peer:\n%s", got, out.String())
		}
		time.Sleep(calmFor)
		out.Reset()
		log.Error("failed to heartbeat to", "peer", "n3")
		if got := out.String(); !strings.Contains(got, "repeated=99") {
			t.Errorf("after a while: %q, want the number of repetitions", got)
		}
		out.Reset()
		log.Info("entering leader state")
		if got := out.String(); !strings.Contains(got, "entering leader state") {
			t.Errorf("a new line was held back: %q", got)
		}
	})
}
