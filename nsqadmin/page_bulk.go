package nsqadmin

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/httpapi"
)

// maxBulk bounds the topics of one bulk action.
const maxBulk = 1000

// selected leaves of rows those that boxes were ticked for, all if none was.
func selected(r *http.Request, rows []*judged) []*judged {
	names := r.Form["name"]
	if len(names) == 0 {
		return rows
	}
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[n] = true
	}
	return filter(rows, func(t *judged) bool { return set[t.Name] })
}

// toType is what somebody types who means it: how many topics, or the name of the only one.
func toType(rows []*judged) string {
	if len(rows) == 1 {
		return rows[0].Name
	}
	return fmt.Sprint(len(rows))
}

// fingerprint tells one set of topics from another: what was previewed is what is done.
func fingerprint(rows []*judged) string {
	h := sha256.New()
	for _, t := range rows {
		fmt.Fprintf(h, "%s\n", t.Name)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// confirmBulk shows what an action would do to the rows that pass the filter, or to
// those of them that are ticked.
func (p *pages) confirmBulk(r *http.Request, name string, rows []*judged) (*page, error) {
	if r.Form == nil {
		r.ParseForm()
	}
	return p.previewBulk(r, name, selected(r, rows), "")
}

func (p *pages) previewBulk(r *http.Request, name string, rows []*judged, wrong string) (*page, error) {
	d, ok := formActions[name]
	if !ok || name == "tombstone" {
		return nil, errInvalidAction
	}
	if _, role := p.src.who(r); role < d.needs {
		return nil, errForbidden
	}
	c := &confirmation{
		Title: d.verb + " " + count(len(rows), "topic") + "?", Button: d.button(count(len(rows), "topic")), Danger: d.needs == admin, Err: wrong,
		To: p.base + "/topics", Back: p.base + "/topics?" + url.Values{"q": {r.FormValue("q")}, "f": {r.FormValue("f")}}.Encode(),
		Fields: []field{{"action", name}, {"confirmed", "1"}, {"q", r.FormValue("q")}, {"f", r.FormValue("f")}, {"expect", fingerprint(rows)}},
	}
	if d.typed {
		c.Type = toType(rows)
	}
	var names []string
	var waiting, inTopics, consumers int64
	for _, t := range rows {
		names = append(names, t.Name)
		waiting, inTopics, consumers = waiting+t.Total(), inTopics+t.Depth, consumers+t.Clients
	}
	for _, n := range r.Form["name"] {
		c.Fields = append(c.Fields, field{"name", n})
	}
	c.Effects = []string{"These: " + list(names) + "."}
	switch name {
	case "delete":
		c.Effects = append(c.Effects, fmt.Sprintf("Drops %s, those of all channels included; disconnects %s.", count(waiting, "message"), count(consumers, "consumer")))
		c.Beware = []string{"Producers that publish to them make them anew."}
	case "empty":
		c.Effects = append(c.Effects, fmt.Sprintf("Drops %s that no channel has received yet; channels keep theirs.", count(inTopics, "message")))
	case "pause":
		c.Effects = append(c.Effects, "Messages wait in the topics and reach no channel until they are unpaused.")
	case "unpause":
		c.Effects = append(c.Effects, "Messages flow into the channels again.")
	}
	switch {
	case len(rows) == 0:
		c.Title, c.Effects, c.Button, c.Type = "No topic is chosen.", []string{"Nothing passes the filter."}, "", ""
	case len(rows) > maxBulk:
		c.Effects = append(c.Effects, fmt.Sprintf("That is more than %s at once: narrow the filter.", integer(maxBulk)))
		c.Button, c.Type = "", ""
	}
	return &page{Template: "confirm", Title: c.Title, Nav: "topics", Frozen: true, Status: refused(wrong), Data: c}, nil
}

// topicsAct creates a topic, or does something to many.
func (p *pages) topicsAct(w http.ResponseWriter, r *http.Request) (*page, error) {
	name := r.PostForm.Get("action")
	if name == "create" {
		return p.create(r, r.PostForm.Get("topic"), r.PostForm.Get("channel"), p.base+"/topics")
	}
	d, ok := formActions[name]
	if !ok || name == "tombstone" {
		return nil, errInvalidAction
	}
	rows, _, _ := chosen(p.judge.look(p.src, p.src.view()), r.PostForm)
	rows = selected(r, rows)
	switch {
	case r.PostForm.Get("confirmed") == "" || len(rows) == 0 || len(rows) > maxBulk:
		return p.previewBulk(r, name, rows, "")
	case r.PostForm.Get("expect") != fingerprint(rows):
		return p.previewBulk(r, name, rows, "Meanwhile others pass the filter. Nothing was done: look again.")
	case d.typed && r.PostForm.Get("typed") != toType(rows):
		return p.previewBulk(r, name, rows, "That is not "+toType(rows)+". Nothing was done.")
	}
	return p.bulk(r, name, d, rows)
}

// bulk does name to each of rows, some at a time.
func (p *pages) bulk(r *http.Request, name string, d formAction, rows []*judged) (*page, error) {
	type done struct {
		results []clusterinfo.Result
		err     error
	}
	all := make([]done, len(rows))
	slots := make(chan struct{}, 16)
	var wg sync.WaitGroup
	for i, t := range rows {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			all[i].results, all[i].err = p.src.do(r, action{name: actionName(name, ""), topic: t.Name})
		})
	}
	wg.Wait()
	back := p.base + "/topics?" + keep(url.Values{}, "q", r.PostForm.Get("q"), "f", r.PostForm.Get("f")).Encode()
	o := &report{To: p.base + "/topics", Back: back, Text: "Topics without an entry were done everywhere."}
	var failed []*judged
	for i, one := range all {
		before := o.Failed
		if one.err != nil {
			if e, ok := errors.AsType[*httpapi.Error](one.err); ok && e.Status == http.StatusForbidden {
				return nil, one.err
			}
			o.Rows = append(o.Rows, reportRow{Subject: rows[i].Name, Err: one.err.Error()})
			o.Failed++
		}
		for _, res := range one.results {
			if res.Err != nil {
				if res.Unknown() {
					o.Unknown++
				}
				o.Rows = append(o.Rows, reportRow{Subject: rows[i].Name, Address: res.Address, Kind: res.Kind, Unknown: res.Unknown(), Err: res.Err.Error(), Took: res.Took})
				o.Failed++
			}
		}
		if o.Failed > before {
			failed = append(failed, rows[i])
		} else {
			o.Succeed++
		}
	}
	text := d.done + " " + count(o.Succeed, "topic")
	if o.Failed == 0 {
		return &page{redirect: back, flash: text + "."}, nil
	}
	o.Retry = []field{{"action", name}, {"confirmed", "1"}, {"expect", fingerprint(failed)}, {"typed", toType(failed)}}
	for _, t := range failed {
		o.Retry = append(o.Retry, field{"name", t.Name})
	}
	return o.page(text), nil
}
