package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"nsqraft/internal/drill/history"
	"nsqraft/internal/wire"
)

func TestSettle(t *testing.T) {
	refused := fmt.Errorf("post: %w", &net.OpError{Op: "dial", Err: errors.New("connection refused")})
	tests := []struct {
		status int
		err    error
		want   history.Outcome
	}{
		{200, nil, history.Done},
		{404, nil, history.Done},
		{503, nil, history.Refused},
		{400, nil, history.Refused},
		{504, nil, history.Unknown},
		{500, nil, history.Unknown},
		{302, nil, history.Unknown},
		{0, refused, history.Refused},
		{0, &net.OpError{Op: "read", Err: errors.New("connection reset")}, history.Unknown},
		{0, context.DeadlineExceeded, history.Unknown},
		{200, errors.New("the body was cut off"), history.Unknown},
	}
	for _, tt := range tests {
		var r *response
		if tt.status > 0 {
			r = &response{status: tt.status, body: []byte("why\n")}
		}
		var op history.Op
		settle(&op, r, tt.err)
		if op.Outcome != tt.want || op.Status != tt.status || (op.Error == "") != (op.Outcome == history.Done) {
			t.Errorf("status %d, error %v: %+v, want %s", tt.status, tt.err, op, tt.want)
		}
	}
}

func TestReadAnswer(t *testing.T) {
	header := func(index, stale, contact, leader string) http.Header {
		return http.Header{"X-Nsq-Index": {index}, "X-Nsq-Stale-Ms": {stale}, "X-Nsq-Last-Contact": {contact}, "X-Nsq-Known-Leader": {leader}}
	}
	const two = `{"channels":["d","c"],"producers":[{"broadcast_address":"b","tcp_port":2},{"broadcast_address":"a","tcp_port":1}]}`
	tests := []struct {
		name string
		r    response
		want *history.Answer // nil: an error
	}{
		{"stock", response{status: 200, body: []byte(two)},
			&history.Answer{Known: true, Channels: []string{"c", "d"}, Producers: []string{"a:1", "b:2"}, StaleMS: -1, ContactMS: -1}},
		{"ours", response{status: 200, header: header("7", "12", "-1", "true"), body: []byte(`{"channels":[],"producers":[]}`)},
			&history.Answer{Known: true, Channels: []string{}, Index: 7, StaleMS: 12, ContactMS: -1, KnownLeader: true}},
		{"unknown topic", response{status: 404, header: header("7", "-1", "0", "false"), body: []byte(`{"message":"TOPIC_NOT_FOUND"}`)},
			&history.Answer{Index: 7, StaleMS: -1}},
		{"no such path", response{status: 404, body: []byte(`{"message":"NOT_FOUND"}`)}, nil},
		{"somebody else's 404", response{status: 404, body: []byte(`<html>`)}, nil},
		{"no list", response{status: 200, body: []byte(`{"channels":null,"producers":[]}`)}, nil},
		{"cut off", response{status: 200, body: []byte(two[:50])}, nil},
		{"index", response{status: 200, header: header("-7", "1", "1", "true"), body: []byte(two)}, nil},
		{"stale", response{status: 200, header: header("7", "", "1", "true"), body: []byte(two)}, nil},
		{"contact", response{status: 200, header: header("7", "1", "soon", "true"), body: []byte(two)}, nil},
		{"leader", response{status: 200, header: header("7", "1", "1", "n1"), body: []byte(two)}, nil},
	}
	for _, tt := range tests {
		got, err := readAnswer(&tt.r)
		if (err == nil) != (tt.want != nil) || err == nil && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v; want %+v", tt.name, got, err, tt.want)
		}
	}
}

func TestMessages(t *testing.T) {
	bodies := make(map[string]bool)
	for i := range 1000 {
		name := fmt.Sprintf("nsqd1a-%d", i)
		body := messageBody(name)
		if bodies[string(body)] || strings.Contains(string(body), "\n") || len(body) > len(name)+1+maxPadding {
			t.Fatalf("body %q", body)
		}
		bodies[string(body)] = true
		if got, wrong := messageName(body); got != name || wrong != "" {
			t.Fatalf("%q, %q, want %q", got, wrong, name)
		}
		for _, bad := range [][]byte{body[:len(body)-1], append(body[:len(body):len(body)], 'x'), append([]byte("x"), body...)} {
			if _, wrong := messageName(bad); wrong == "" {
				t.Fatalf("nothing wrong with %q, but it is not %q", bad, body)
			}
		}
	}
	if _, wrong := messageName(nil); wrong == "" {
		t.Error("nothing is wrong with no body")
	}
}

// All names are valid, and nobody comes back to a topic of an earlier generation but to
// look at it.
func TestNames(t *testing.T) {
	var now time.Duration
	n := newNames(func() time.Duration { return now }, "zzzzz")
	rng := rand.New(rand.NewPCG(1, 1))
	first := make(map[string]time.Duration)
	for ; now < time.Minute; now += 10 * time.Millisecond {
		topic := n.unique(rng)
		if begun, ok := first[topic]; ok && now-begun >= uniqueGeneration {
			t.Fatalf("%s is used %v after it was first", topic, now-begun)
		} else if !ok {
			first[topic] = now
		}
		if looked := n.lookup(rng); !wire.ValidTopic(looked) || !wire.ValidTopic(topic) {
			t.Fatalf("topics %q, %q", looked, topic)
		}
	}
	if got, want := len(n.all()), int(time.Minute/uniqueGeneration)*uniqueTopics; got != want {
		t.Errorf("%d topics were used, want %d", got, want)
	}
	n.stay(0)
	stays := 0
	for range 1000 {
		if n.lookup(rng) == n.stay(0) {
			stays++
		}
	}
	if stays < 50 {
		t.Errorf("of 1000 lookups %d are of a topic that stays", stays)
	}
}

func TestProgress(t *testing.T) {
	w := newWorkload(new(cluster), newNotebook(), Options{})
	w.rec.(*notebook).begun = time.Now().Add(-20*time.Second - 500*time.Millisecond)
	add := func(at time.Duration, kind history.Kind, out history.Outcome) {
		w.record(history.Op{Kind: kind, Outcome: out, Call: at - 30*time.Millisecond, Return: at})
	}
	add(1*time.Second, history.Lookup, history.Done) // long ago
	for i := range 50 {
		at := 15*time.Second + time.Duration(i)*100*time.Millisecond
		add(at, history.Lookup, history.Done)
		add(at, history.Lookup, history.Refused)
		add(at, history.Register, history.Done)
		add(at, history.Register, history.Unknown)
		add(at, history.Receive, history.Done)
		add(at, history.Receive, history.Done)
	}
	got := w.Progress()
	want := Progress{LookupsPerSecond: 10, RegistersPerSecond: 10, MessagesPerSecond: 20, LookupsFailed: 50, RegisterP99: 30 * time.Millisecond}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
