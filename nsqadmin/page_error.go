package nsqadmin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/httpapi"
)

// A fault is what the page of an error shows.
type fault struct {
	Text   string // what failed, in plain words
	Do     string
	Raw    string // the error as the API has it
	Likes  string // "topics"
	Meant  []suggestion
	Create string // the topic that could be made; "": none
}

type suggestion struct {
	Name string
	Path []string
}

// plain says in words what the codes of the API mean.
var plain = map[string][2]string{
	"FORBIDDEN":             {"You may not do that.", "Your role does not include it. Ask an admin, or see --admin-user and --auth-file."},
	"MESSAGE_VIEW_DISABLED": {"Messages are not shown here.", "nsqadmin runs with --disable-message-view."},
	"BODY_TOO_BIG":          {"That is too much at once.", "A form may have 1 MiB. Publish larger messages to nsqd itself."},
	"INVALID_REQUEST":       {"The request cannot be read.", "Go back and try again."},
	"INVALID_TOPIC":         {"That is no name for a topic.", "1 to 64 letters, digits, dots, dashes and underscores; #ephemeral at the end is allowed."},
	"INVALID_CHANNEL":       {"That is no name for a channel.", "1 to 64 letters, digits, dots, dashes and underscores; #ephemeral at the end is allowed."},
	"TOPIC_NOT_FOUND":       {"There is no such topic.", "It may have been deleted."},
	"CHANNEL_NOT_FOUND":     {"There is no such channel.", "It may have been deleted."},
	"NODE_NOT_FOUND":        {"There is no such nsqd.", "It may have gone."},
	"INVALID_ACTION":        {"There is no such action.", "Go back and use one of the buttons."},
	"METHOD_NOT_ALLOWED":    {"That cannot be done here.", "Go back and use one of the links."},
}

// failure is the page of err.
func (p *pages) failure(r *http.Request, err error) *page {
	e, ok := errors.AsType[*httpapi.Error](err)
	if !ok {
		e = httpapi.NewError(http.StatusInternalServerError, "INTERNAL_ERROR")
	}
	f := &fault{Text: "That failed.", Do: "Try again; if it goes on, look at the log of nsqadmin.", Raw: e.Text}
	if words, ok := plain[e.Text]; ok {
		f.Text, f.Do = words[0], words[1]
	} else if e.Status == http.StatusBadRequest {
		f.Text, f.Do = "That is not understood.", "Go back and correct it."
	} else if e.Status == http.StatusBadGateway {
		f.Text, f.Do = "No daemon did it.", "Look at their state, then try again."
	}
	return &page{Template: "error", Title: f.Text, Status: e.Status, Frozen: true, Data: f}
}

// missing is the page for a thing that is not there; names are those that are.
func (p *pages) missing(what, name string, names []string, path func(name string) []string) *page {
	f := &fault{
		Text:  fmt.Sprintf("There is no %s called %s.", what, cutText(100, name)),
		Do:    "It may have been deleted, or the address has a mistake.",
		Likes: what + "s",
		Raw:   strings.ToUpper(what) + "_NOT_FOUND",
	}
	if what == "nsqd" {
		f.Raw = "NODE_NOT_FOUND"
	}
	for _, like := range alike(name, names) {
		f.Meant = append(f.Meant, suggestion{like, path(like)})
	}
	return &page{Template: "error", Title: "No such " + what, Status: http.StatusNotFound, Data: f}
}

const (
	viewWait  = time.Second     // what a page of one thing waits for the first answers
	lookAgain = 2 * time.Second // when a page of what is not known yet is asked for again
)

// view returns the newest View, for a page of one thing, which shall not be said to be
// missing because nobody has been asked for it yet.
func (p *pages) view(r *http.Request) *clusterinfo.View {
	ctx, cancel := context.WithTimeout(r.Context(), viewWait)
	defer cancel()
	return p.src.firstView(ctx)
}

// silent says whether no daemon of v has ever answered: what there is nobody knows.
func silent(v *clusterinfo.View) bool {
	return !slices.ContainsFunc(v.Lookupds, func(l *clusterinfo.Lookupd) bool { return !l.AnsweredAt.IsZero() }) &&
		!slices.ContainsFunc(v.Nodes, func(n *clusterinfo.Node) bool { return !n.StatsAt.IsZero() })
}

// notYet is the page for a thing of which it is not known whether it is there; it looks
// again by itself.
func (p *pages) notYet(what, name, nav, why string) *page {
	f := &fault{
		Text:  fmt.Sprintf("It is not known yet whether there is a %s called %s.", what, cutText(100, name)),
		Do:    why + " This page looks again by itself.",
		Likes: what + "s",
		Raw:   "NOT_KNOWN_YET",
	}
	if what == "nsqd" {
		f.Text = strings.Replace(f.Text, "a nsqd", "an nsqd", 1)
	}
	return &page{Template: "error", Title: "Not known yet", Nav: nav, Status: http.StatusServiceUnavailable, Again: lookAgain, Data: f}
}

const nobodyAnswered = "No daemon has answered since nsqadmin was started."

// unknown answers for every path that is no page.
func (p *pages) unknown(w http.ResponseWriter, r *http.Request) (*page, error) {
	all := []string{"topics", "nodes", "cluster", "lookup", "counter", "activity", "config"}
	first, _, _ := strings.Cut(strings.Trim(strings.TrimPrefix(r.URL.Path, p.base), "/"), "/")
	pg := p.missing("page", r.URL.Path, nil, nil)
	f := pg.Data.(*fault)
	f.Raw, f.Do = "NOT_FOUND", "The menu above leads to every page."
	for _, like := range alike(first, all) {
		f.Meant = append(f.Meant, suggestion{like, []string{like}})
	}
	return pg, nil
}

// alike returns the at most five of names that somebody who wrote name may have meant,
// the most likely first.
func alike(name string, names []string) []string {
	const most = 5
	type match struct {
		name string
		far  int
	}
	var found []match
	want := strings.ToLower(name)
	if len(want) > 200 {
		return nil
	}
	limit := max(2, len(want)/3)
	for _, n := range names {
		have := strings.ToLower(n)
		switch {
		case len(want) > 2 && (strings.Contains(have, want) || strings.Contains(want, have) && len(have) > 2):
			found = append(found, match{n, 1})
		case abs(int64(len(have)-len(want))) <= int64(limit):
			if d := distance(want, have, limit); d <= limit {
				found = append(found, match{n, d})
			}
		}
	}
	slices.SortStableFunc(found, func(a, b match) int { return cmp.Compare(a.far, b.far) })
	out := make([]string, 0, most)
	for _, m := range found[:min(len(found), most)] {
		out = append(out, m.name)
	}
	return out
}

// distance returns how many bytes must be inserted, removed or replaced to make a
// into b, or something above limit if that is more than limit.
func distance(a, b string, limit int) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal, least := row[0], i+1
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
			least = min(least, cost)
		}
		if least > limit {
			return limit + 1
		}
	}
	return row[len(b)]
}
