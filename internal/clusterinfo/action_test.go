package clusterinfo

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A recorder is a daemon that notes the requests that change something.
type recorder struct {
	mu     sync.Mutex
	got    []string
	answer string // "" 200, else "404 {...}"
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	line := req.Method + " " + req.URL.Path + "?" + req.URL.RawQuery
	if len(body) > 0 {
		line += " " + string(body)
	}
	r.mu.Lock()
	r.got = append(r.got, line)
	answer := r.answer
	r.mu.Unlock()
	daemon{req.URL.Path: answer}.ServeHTTP(w, req)
}

func (r *recorder) requests() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.got, "\n")
}

func failures(results []Result) (failed []string) {
	for _, r := range results {
		if r.Err != nil {
			failed = append(failed, r.Kind+": "+r.Err.Error())
		}
	}
	return failed
}

func TestActionsAskWhatTheyShould(t *testing.T) {
	for name, tt := range map[string]struct {
		act           func(*Client, Targets) []Result
		lookupd, nsqd string
	}{
		"create topic":   {func(c *Client, on Targets) []Result { return c.CreateTopic(t.Context(), on, "t") }, "POST /topic/create?topic=t", "POST /topic/create?topic=t"},
		"create channel": {func(c *Client, on Targets) []Result { return c.CreateChannel(t.Context(), on, "t", "c") }, "POST /channel/create?channel=c&topic=t", "POST /topic/create?topic=t\nPOST /channel/create?channel=c&topic=t"},
		"delete topic":   {func(c *Client, on Targets) []Result { return c.DeleteTopic(t.Context(), on, "t") }, "POST /topic/delete?topic=t", "POST /topic/delete?topic=t"},
		"delete channel": {func(c *Client, on Targets) []Result { return c.DeleteChannel(t.Context(), on, "t", "c#ephemeral") }, "POST /channel/delete?channel=c%23ephemeral&topic=t", "POST /channel/delete?channel=c%23ephemeral&topic=t"},
		"pause topic":    {func(c *Client, on Targets) []Result { return c.Pause(t.Context(), on, "t", "", true) }, "", "POST /topic/pause?topic=t"},
		"unpause":        {func(c *Client, on Targets) []Result { return c.Pause(t.Context(), on, "t", "c", false) }, "", "POST /channel/unpause?channel=c&topic=t"},
		"empty topic":    {func(c *Client, on Targets) []Result { return c.Empty(t.Context(), on, "t", "") }, "", "POST /topic/empty?topic=t"},
		"empty channel":  {func(c *Client, on Targets) []Result { return c.Empty(t.Context(), on, "t", "c") }, "", "POST /channel/empty?channel=c&topic=t"},
	} {
		t.Run(name, func(t *testing.T) {
			lookupd, nsqd := new(recorder), new(recorder)
			results := tt.act(newClient(), Targets{[]string{serve(t, lookupd)}, []string{serve(t, nsqd)}})
			equal(t, "lookupd", lookupd.requests(), tt.lookupd)
			equal(t, "nsqd", nsqd.requests(), tt.nsqd)
			equal(t, "failures", failures(results), []string(nil))
			if last := results[len(results)-1]; last.Kind != "nsqd" || (len(results) == 2) != (tt.lookupd != "") {
				t.Errorf("results: %+v", results)
			}
		})
	}
}

// A6: stock nsqadmin gives up deleting when nobody knows a thing, and leaves it
// wherever it comes later.
func TestDeleteGoesOnWhereNothingIsThere(t *testing.T) {
	for _, text := range []string{"TOPIC_NOT_FOUND", "CHANNEL_NOT_FOUND"} {
		gone := `404 {"message":"` + text + `"}`
		lookupds := []string{serve(t, &recorder{answer: gone}), serve(t, &recorder{answer: gone}), dead(t)}
		there := new(recorder)
		nsqds := []string{serve(t, &recorder{answer: gone}), dead(t), serve(t, there)}
		c := newClient()
		for what, results := range map[string][]Result{
			"topic":   c.DeleteTopic(t.Context(), Targets{lookupds, nsqds}, "t"),
			"channel": c.DeleteChannel(t.Context(), Targets{lookupds, nsqds}, "t", "c"),
		} {
			if len(results) != 6 {
				t.Fatalf("%s: %d results, want one of each daemon", what, len(results))
			}
			for i, r := range results {
				equal(t, what+" address", r.Address, append(append([]string{}, lookupds...), nsqds...)[i])
				if failed, want := r.Err != nil, i == 2 || i == 4; failed != want {
					t.Errorf("%s: result %d: %v", what, i, r.Err)
				}
			}
		}
		equal(t, "where it was", len(strings.Split(there.requests(), "\n")), 2)
	}
}

func TestDeletesReachLookupdsFirst(t *testing.T) {
	var mu sync.Mutex
	var order []string
	note := func(kind string, pause time.Duration) string {
		return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(pause) // the slow one shall be first nevertheless
			mu.Lock()
			defer mu.Unlock()
			order = append(order, kind)
		}))
	}
	targets := Targets{[]string{note("l", 50*time.Millisecond)}, []string{note("n", 0)}}
	newClient().DeleteTopic(t.Context(), targets, "t")
	equal(t, "order", order, []string{"l", "n"})
}

func TestOneThatHangsKeepsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		net.hang("hung:1", true)
		net.set("well:1", "/channel/empty", "")
		c := NewClient(Options{})
		c.http = &http.Client{Transport: net}
		results := c.Empty(t.Context(), Targets{NSQDs: []string{"hung:1", "well:1"}}, "t", "c")
		if !errors.Is(results[0].Err, context.DeadlineExceeded) || results[1].Err != nil {
			t.Errorf("got %+v", results)
		}
		equal(t, "time it took", results[0].Took, 5*time.Second)
		equal(t, "time the other took", results[1].Took, time.Duration(0))
	})
}

func TestWhatWasNotAnsweredMayStillHappen(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	cut := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for name, tt := range map[string]struct {
		address string
		unknown bool
	}{
		"hangs":              {hanging(t), true},
		"hangs up":           {serve(t, cut), true},
		"unknown outcome":    {serve(t, &recorder{answer: `504 {"message":"UNKNOWN_OUTCOME"}`}), true},
		"refuses":            {serve(t, &recorder{answer: `400 {"message":"INVALID_REQUEST"}`}), false},
		"without a leader":   {serve(t, &recorder{answer: `503 {"message":"NO_LEADER"}`}), false},
		"refuses to connect": {strings.TrimPrefix(closed.URL, "http://"), false},
		"is no address":      {":", false},
	} {
		c := NewClient(Options{RequestTimeout: 200 * time.Millisecond})
		for _, r := range []Result{
			c.Empty(t.Context(), Targets{NSQDs: []string{tt.address}}, "t", "c")[0],
			c.DeleteTopic(t.Context(), Targets{Lookupds: []string{tt.address}}, "t")[0],
			{Err: c.Publish(t.Context(), tt.address, "t", []byte("x"), 0)},
			{Err: c.Drain(t.Context(), tt.address)},
		} {
			if r.Err == nil || r.Unknown() != tt.unknown {
				t.Errorf("one that %s: got %v, unknown %v, want %v", name, r.Err, r.Unknown(), tt.unknown)
			}
		}
	}
	c := NewClient(Options{RequestTimeout: 50 * time.Millisecond})
	if _, err := c.Topics(t.Context(), []string{hanging(t)}); errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("a question that was not answered: %v", err)
	}
}

func TestWhatIsNotThereCannotBePaused(t *testing.T) {
	nsqd := serve(t, &recorder{answer: `404 {"message":"TOPIC_NOT_FOUND"}`})
	results := newClient().Pause(t.Context(), Targets{NSQDs: []string{nsqd}}, "t", "", true)
	if e, ok := errors.AsType[*StatusError](results[0].Err); !ok || e.Text != "TOPIC_NOT_FOUND" {
		t.Errorf("got %v, want the refusal", results[0].Err)
	}
	// A path that is not there is no topic that is not there.
	results = newClient().DeleteTopic(t.Context(), Targets{NSQDs: []string{serve(t, http.NotFoundHandler())}}, "t")
	if results[0].Err == nil {
		t.Error("something that is no nsqd has deleted a topic")
	}
}

func TestInvalidNamesAreSentToNobody(t *testing.T) {
	r := new(recorder)
	address := serve(t, r)
	on := Targets{[]string{address}, []string{address}}
	c := newClient()
	for _, name := range []string{"*", "", "a b", "<script>", "a/b", strings.Repeat("x", 65)} {
		for what, results := range map[string][]Result{
			"create topic":           c.CreateTopic(t.Context(), on, name),
			"delete topic":           c.DeleteTopic(t.Context(), on, name),
			"create channel":         c.CreateChannel(t.Context(), on, "t", name),
			"create channel of":      c.CreateChannel(t.Context(), on, name, "c"),
			"delete channel":         c.DeleteChannel(t.Context(), on, "t", name),
			"tombstone":              c.Tombstone(t.Context(), []string{address}, "n:1", name),
			"pause topic":            c.Pause(t.Context(), on, name, "", true),
			"empty channel of topic": c.Empty(t.Context(), on, name, "c"),
		} {
			for _, result := range results {
				if result.Err == nil {
					t.Errorf("%s %q: no error", what, name)
				}
			}
		}
		if c.Publish(t.Context(), address, name, []byte("x"), 0) == nil {
			t.Errorf("publish to %q: no error", name)
		}
	}
	equal(t, "requests", r.requests(), "")
}

func TestTombstone(t *testing.T) {
	lookupd, nsqd := new(recorder), new(recorder)
	node := serve(t, nsqd)
	results := newClient().Tombstone(t.Context(), []string{serve(t, lookupd)}, "http://"+node+"/", "t")
	equal(t, "failures", failures(results), []string(nil))
	equal(t, "lookupd", lookupd.requests(), "POST /topic/tombstone?node="+strings.Replace(node, ":", "%3A", 1)+"&topic=t")
	equal(t, "nsqd", nsqd.requests(), "POST /topic/delete?topic=t")
}

func TestPublishDrainAndMembers(t *testing.T) {
	r := new(recorder)
	address := serve(t, r)
	c := newClient()
	for _, err := range []error{
		c.Publish(t.Context(), address, "t", []byte("hello"), 0),
		c.Publish(t.Context(), address, "t", []byte("later"), 1500*time.Millisecond),
		c.Drain(t.Context(), address),
		c.TransferLeadership(t.Context(), address, ""),
		c.TransferLeadership(t.Context(), address, "n2"),
		c.RemoveMember(t.Context(), address, "n3"),
		c.AddMember(t.Context(), address, "h:4162"),
		c.SnapshotMember(t.Context(), address),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	equal(t, "requests", r.requests(), strings.Join([]string{
		"POST /pub?topic=t hello",
		"POST /pub?defer=1500&topic=t later",
		"PUT /config/drain? true",
		"POST /cluster/transfer?",
		"POST /cluster/transfer?to=n2",
		"POST /cluster/remove?node=n3",
		"POST /cluster/add?address=h%3A4162",
		"POST /cluster/snapshot?",
	}, "\n"))
	stock := serve(t, daemon{"/config/drain": `400 {"message":"INVALID_OPTION"}`})
	if e, ok := errors.AsType[*StatusError](c.Drain(t.Context(), stock)); !ok || e.Status != 400 {
		t.Error("stock can be drained")
	}
	if err := c.RemoveMember(t.Context(), stock, "n1"); !errors.Is(err, ErrNotClustered) {
		t.Errorf("stock has members: %v", err)
	}
}
