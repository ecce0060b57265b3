package report

import (
	"fmt"
	"html/template"
)

// A key is a sign of the timeline and what it stands for.
type key struct {
	Sign template.HTML
	Name string
}

// keyWidth is that of a sign.
const keyWidth = 16

// legend explains the signs; led says whether there is a lane of leaders.
func legend(led bool) []key {
	var all []key
	add := func(name string, draw func(*drawing)) {
		var d drawing
		draw(&d)
		all = append(all, key{template.HTML(fmt.Sprintf(`<svg class="key" viewBox="0 0 %d %d" aria-hidden="true">%s</svg>`, keyWidth, stripHeight, d.b.String())), name})
	}
	box := func(class string, y, height float64) func(*drawing) {
		return func(d *drawing) { d.rect(class, 0, y, keyWidth, height, "") }
	}
	if led {
		add("leads", box("reign", 0, stripHeight))
		add("stands for election", box("candidate", stripHeight/2, stripHeight/2))
		add("nobody leads", box("void", 0, stripHeight))
	}
	for _, s := range []struct {
		state state
		name  string
	}{
		{fine, "ok"}, {waiting, "no answer yet"}, {aged, "answer older than 1 s"}, {lacking, "a live nsqd is not in the answer"},
		{failing, "failed"}, {offline, "node down"},
	} {
		add(s.name, func(d *drawing) {
			d.path(classes[s.state], strips([]state{s.state}, 0, 0, keyWidth, stripHeight)[s.state])
		})
	}
	for _, c := range [][2]string{{"lookup", "lookups, p99"}, {"write", "writes, p99"}, {"pub", "published"}, {"fin", "received"}} {
		add(c[1], func(d *drawing) { d.path("curve "+c[0], fmt.Sprintf("M0 %dh%d", stripHeight/2, keyWidth)) })
	}
	add("broken", box("band", 0, stripHeight))
	add("until all is well", box("healing", 0, stripHeight))
	return all
}
