package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"nsqraft/internal/clusterinfo"
)

// A screen is top on a terminal. Bubble Tea calls Update and View one after the other;
// what takes time is done in the functions that Update returns.
type screen struct {
	p    *program
	ctx  context.Context
	next func(*clusterinfo.View) (*clusterinfo.View, bool) // waits for a newer one; false: it is over

	opts      viewing
	view      *clusterinfo.View
	rates     rates
	rows      []topRow // of the list, as it came
	shown     []topRow // of rows, as they are shown
	asking    bool     // for clients, or it is not time to ask again
	frozen    bool
	filter    string // what names must have in them
	filtering bool   // it is being typed
	top       int    // first of shown on the screen
	width     int
	height    int
}

// Messages of a screen.
type (
	viewed  struct{ view *clusterinfo.View }
	listed  struct{ rows []topRow } // of clients, which the View does not have
	isOver  struct{}
	refresh struct{}
)

// clientsEvery is how often clients are asked for while they are shown.
const clientsEvery = 2 * time.Second

// screen shows top until the user ends it.
func (p *program) screen(ctx context.Context, poller *clusterinfo.Poller, o *viewing) error {
	s := newScreen(ctx, p, o, poller.View())
	s.next = func(old *clusterinfo.View) (*clusterinfo.View, bool) {
		for {
			changed := poller.Changed() // before View, so that none is missed
			if v := poller.View(); v != old {
				return v, true
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return nil, false
			}
		}
	}
	_, err := tea.NewProgram(s, tea.WithContext(ctx), tea.WithInput(p.stdin), tea.WithOutput(p.stdout)).Run()
	if errors.Is(err, tea.ErrInterrupted) || ctx.Err() != nil {
		return nil
	}
	return err
}

func newScreen(ctx context.Context, p *program, o *viewing, v *clusterinfo.View) *screen {
	s := &screen{p: p, ctx: ctx, opts: *o, view: v, width: 80, height: 24}
	s.observe(v)
	return s
}

// Init implements tea.Model.
func (s *screen) Init() tea.Cmd { return tea.Batch(s.await(s.view), s.askClients()) }

// await returns what waits for a newer View than v.
func (s *screen) await(v *clusterinfo.View) tea.Cmd {
	return func() tea.Msg {
		if newer, ok := s.next(v); ok {
			return viewed{newer}
		}
		return isOver{}
	}
}

// askClients returns what asks for clients, if they are what is shown and it is time.
func (s *screen) askClients() tea.Cmd {
	if !s.clients() || s.asking {
		return nil
	}
	s.asking = true
	v := s.view
	return func() tea.Msg { return listed{topClients(s.ctx, s.p, v, nil)} }
}

func (s *screen) list() listing { return listings[s.opts.listing] }
func (s *screen) clients() bool { return s.list().name == "clients" }

// Update implements tea.Model.
func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = msg.Width, msg.Height
		s.scroll(0)
	case viewed:
		if s.frozen {
			s.rates.observe(msg.view) // they need every answer
		} else {
			s.observe(msg.view)
		}
		return s, s.await(msg.view)
	case listed:
		if s.clients() && !s.frozen {
			s.rows = msg.rows
			s.arrange()
		}
		return s, tea.Tick(clientsEvery, func(time.Time) tea.Msg { return refresh{} })
	case refresh:
		s.asking = false
		return s, s.askClients()
	case isOver:
		return s, tea.Quit
	case tea.KeyPressMsg:
		if s.filtering {
			s.typed(msg)
			return s, nil
		}
		return s, s.pressed(msg.String())
	}
	return s, nil
}

// observe shows another View.
func (s *screen) observe(v *clusterinfo.View) {
	s.view = v
	s.rates.observe(v)
	if !s.clients() {
		s.rows = s.list().rows(s.ctx, s.p, v, &s.rates)
	}
	s.arrange()
}

func (s *screen) arrange() {
	s.shown = arrange(s.rows, s.list().columns[s.opts.sort], s.opts.reverse, func(r *topRow) bool {
		return s.opts.keep(r) && strings.Contains(strings.ToLower(r.names()), strings.ToLower(s.filter))
	})
	s.scroll(0)
}

// pressed does what a key is for.
func (s *screen) pressed(key string) tea.Cmd {
	columns := len(s.list().columns)
	switch key {
	case "q", "ctrl+c", "esc":
		return tea.Quit
	case "tab":
		return s.show((s.opts.listing + 1) % len(listings))
	case "1", "2", "3", "4":
		return s.show(int(key[0] - '1'))
	case "s", "right":
		s.opts.sort = (s.opts.sort + 1) % columns
	case "S", "left":
		s.opts.sort = (s.opts.sort + columns - 1) % columns
	case "r":
		s.opts.reverse = !s.opts.reverse
	case "/":
		s.filtering = true
	case "space":
		s.frozen = !s.frozen
	case "down", "j":
		s.scroll(1)
	case "up", "k":
		s.scroll(-1)
	case "pgdown":
		s.scroll(s.room())
	case "pgup":
		s.scroll(-s.room())
	case "home", "g":
		s.scroll(-len(s.shown))
	case "end", "G":
		s.scroll(len(s.shown))
	}
	s.arrange()
	return nil
}

// show changes to another list.
func (s *screen) show(listing int) tea.Cmd {
	if listing == s.opts.listing {
		return nil
	}
	s.opts.listing, s.rows, s.top = listing, nil, 0
	s.opts.sort = defaultSort(s.list().columns)
	s.observe(s.view)
	return s.askClients()
}

// typed takes in a key of the filter.
func (s *screen) typed(key tea.KeyPressMsg) {
	switch key.String() {
	case "enter":
		s.filtering = false
	case "esc", "ctrl+c":
		s.filtering, s.filter = false, ""
	case "backspace":
		if runes := []rune(s.filter); len(runes) > 0 {
			s.filter = string(runes[:len(runes)-1])
		}
	default:
		s.filter += key.Text
	}
	s.arrange()
}

// room is how many rows fit: without the title, the table's head and the foot.
func (s *screen) room() int { return max(1, s.height-4) }

func (s *screen) scroll(by int) {
	s.top = max(0, min(s.top+by, len(s.shown)-s.room()))
}

// View implements tea.Model.
func (s *screen) View() tea.View {
	var b bytes.Buffer
	t := &text{w: &b, coloured: s.p.coloured()}
	list := s.list()
	state := ""
	if s.frozen {
		state = " (stopped)"
	}
	t.line(head, "nsqctl top %s%s  %s", s.view.At.Format("15:04:05"), state, summary(s.view))
	t.line(plain, "%s", s.tabs())
	columns := append([]column[topRow]{}, list.columns...)
	arrow := "v"
	if s.opts.reverse {
		arrow = "^"
	}
	columns[s.opts.sort].name += arrow
	writeTable(t, columns, s.shown[s.top:min(len(s.shown), s.top+s.room())])
	foot := "q end  tab list  s sort  r reverse  / filter  space stop"
	switch {
	case s.filtering:
		foot = "filter: " + s.filter + "_   (enter to keep, esc for all)"
	case s.filter != "":
		foot = "filter: " + s.filter + "   " + foot
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	for len(lines) < s.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines, t.paint(faint, visible(foot)))
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, s.width, "")
	}
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	return v
}

// tabs names the lists, and how much of the one that is shown is on the screen.
func (s *screen) tabs() string {
	var names []string
	for i, l := range listings {
		name := fmt.Sprintf("%d %s", i+1, l.name)
		if i == s.opts.listing {
			name = fmt.Sprintf("[%s: %s]", name, count(int64(len(s.shown))))
		}
		names = append(names, name)
	}
	return strings.Join(names, "  ")
}
