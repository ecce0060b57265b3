package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"nsqraft/internal/clusterinfo"
)

func TestUnknownOutcomesAreNoFailures(t *testing.T) {
	well := clusterinfo.Result{Address: "a:4151", Kind: "nsqd"}
	failed := clusterinfo.Result{Address: "b:4151", Kind: "nsqd", Err: errors.New("answers 400 INVALID")}
	unknown := clusterinfo.Result{Address: "c:4151", Kind: "nsqd", Err: fmt.Errorf("%w: no answer within 5s", clusterinfo.ErrUnknownOutcome)}
	for _, tt := range []struct {
		results []clusterinfo.Result
		code    int
		cell    string
		says    string
	}{
		{[]clusterinfo.Result{well}, exitOK, "done on 1 daemon", ""},
		{[]clusterinfo.Result{failed}, exitFailed, "FAILED on 1 of 1 daemon", "nothing succeeded"},
		{[]clusterinfo.Result{unknown}, exitFailed, "UNKNOWN on 1 of 1 daemon", "the outcome of 1 of 1 requests is unknown: it may still happen"},
		{[]clusterinfo.Result{well, unknown}, exitPartial, "UNKNOWN on 1 of 2 daemons", "the outcome of 1 of 2 requests is unknown"},
		{[]clusterinfo.Result{well, failed, unknown}, exitPartial, "FAILED on 1, UNKNOWN on 1 of 3 daemons", "the outcome of 1 of 3 requests is unknown"},
	} {
		var out strings.Builder
		p := &program{output: "json", stdout: &out, stderr: io.Discard}
		d := newDone("empty_channel", "t", "c", tt.results)
		err := p.showDone([]done{d})
		code, says := exitOK, ""
		if f, ok := errors.AsType[*failure](err); ok {
			code, says = f.code, f.Error()
		}
		if code != tt.code || !strings.Contains(says, tt.says) || (says == "") != (tt.says == "") {
			t.Errorf("%v: ends with %d %q, want %d %q", tt.results, code, says, tt.code, tt.says)
		}
		if got := doneColumns[3].cell(d).text; got != tt.cell {
			t.Errorf("%v: shows %q, want %q", tt.results, got, tt.cell)
		}
		if d.Unknown > 0 && !strings.Contains(out.String(), `"outcome": "unknown"`) {
			t.Errorf("%v: prints %s", tt.results, out.String())
		}
	}
}
