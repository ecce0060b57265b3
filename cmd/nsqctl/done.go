package main

import (
	"errors"
	"fmt"
	"net"

	"nsqraft/internal/clusterinfo"
)

// A done is what one action did.
type done struct {
	Action  string    `json:"action"`
	Topic   string    `json:"topic,omitempty"`
	Channel string    `json:"channel,omitempty"`
	Failed  int       `json:"failed"`  // of Results
	Unknown int       `json:"unknown"` // of Results, none of Failed: it may still happen there
	Results []outcome `json:"results"`
	err     error     // of the first that was not done
}

// An outcome is what it did on one daemon.
type outcome struct {
	Address string `json:"address"`
	Kind    string `json:"kind"`
	Outcome string `json:"outcome"` // done, failed, or unknown: it may still happen
	Error   string `json:"error,omitempty"`
	TookMS  int64  `json:"took_ms"`
}

func newDone(action, topic, channel string, results []clusterinfo.Result) done {
	d := done{Action: action, Topic: topic, Channel: channel, Results: []outcome{}}
	for _, r := range results {
		o := outcome{Address: r.Address, Kind: r.Kind, Outcome: "done", TookMS: r.Took.Milliseconds()}
		if r.Err != nil {
			o.Error = r.Err.Error()
			if r.Unknown() {
				o.Outcome = "unknown"
				d.Unknown++
			} else {
				o.Outcome = "failed"
				d.Failed++
			}
			if d.err == nil {
				d.err = r.Err
			}
		}
		d.Results = append(d.Results, o)
	}
	return d
}

var doneColumns = []column[done]{
	{name: "ACTION", cell: func(d done) cell { return cell{text: d.Action} }},
	{name: "TOPIC", cell: func(d done) cell { return cell{text: dash(d.Topic)} }},
	{name: "CHANNEL", cell: func(d done) cell { return cell{text: dash(d.Channel)} }},
	{name: "RESULT", cell: func(d done) cell {
		switch {
		case len(d.Results) == 0:
			return cell{"nothing to do", faint}
		case d.Failed+d.Unknown == 0:
			return cell{"done on " + plural(len(d.Results), "daemon"), good}
		case d.Failed == 0:
			return cell{fmt.Sprintf("UNKNOWN on %d of %s", d.Unknown, plural(len(d.Results), "daemon")), warning}
		case d.Unknown > 0:
			return cell{fmt.Sprintf("FAILED on %d, UNKNOWN on %d of %s", d.Failed, d.Unknown, plural(len(d.Results), "daemon")), bad}
		}
		return cell{fmt.Sprintf("FAILED on %d of %s", d.Failed, plural(len(d.Results), "daemon")), bad}
	}},
}

// showDone shows what actions did, and fails as they did: in part, or in all.
func (p *program) showDone(all []done) error {
	return p.showDoneIn(all, func(t *text) { writeTable(t, doneColumns, all) })
}

// showDoneIn is showDone with another table.
func (p *program) showDoneIn(all []done, table func(t *text)) error {
	asked, failed, unknown := 0, 0, 0
	var first error
	for _, d := range all {
		asked += len(d.Results)
		failed += d.Failed
		unknown += d.Unknown
		if first == nil {
			first = d.err
		}
		for _, o := range d.Results {
			if o.Error != "" {
				p.note("%s: %s %s: %s", d.Action, o.Kind, o.Address, o.Error)
			}
		}
	}
	err := p.write(&page{value: all, text: table})
	switch {
	case err != nil:
		return err
	case failed+unknown == 0:
		return nil
	case unknown > 0:
		code := exitPartial
		if failed+unknown == asked {
			code = exitFailed
		}
		return &failure{code, fmt.Errorf("the outcome of %d of %d requests is unknown: it may still happen", unknown, asked), "look what is there before you try again"}
	case failed < asked:
		return &failure{exitPartial, fmt.Errorf("%d of %d requests failed", failed, asked), "the same command again does the rest: what is done already stays done"}
	case notReached(first):
		return &failure{exitUnreachable, errors.New("no daemon could be reached"), "nsqctl doctor may say why"}
	}
	return &failure{exitFailed, errors.New("nothing succeeded"), ""}
}

// notReached says whether err is of a daemon with which there was no connection, so
// that nothing can have happened there.
func notReached(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
