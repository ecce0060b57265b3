package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nsqraft/internal/clusterinfo"
)

// viewing is what top is asked to show.
type viewing struct {
	listing int // of listings
	sort    int // column of it
	reverse bool
	match   pattern
	most    int           // rows; 0: all
	pages   int           // without a terminal; 0: until it is interrupted
	every   time.Duration // time between two questions
}

func newTopCommand(p *program) *cobra.Command {
	var o viewing
	list, sort := listings[0].name, ""
	cmd := &cobra.Command{
		Use: "top", Short: "What is going on, live: topics, channels, nsqds, clients",
		Long: "Shows topics, channels, nsqds or clients with their rates, again and again. Keys:\ntab or 1 to 4 another list, s and S another order, r the other way round, / filter,\nspace stop and go on, arrows scroll, q end.\n\nWithout a terminal, or with another -o than table, it writes a page every --watch.",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.set(list, sort); err != nil {
				return err
			}
			if o.most < 0 || o.pages < 0 {
				return usageError("", "numbers must not be negative")
			}
			if o.every = p.watch; o.every == 0 {
				o.every = time.Second
			}
			ctx := cmd.Context()
			addresses, _, err := p.find(ctx)
			if err != nil {
				return err
			}
			poller, stop, err := p.poll(ctx, addresses, o.every)
			if err != nil {
				return err
			}
			defer stop()
			if p.output == "table" && o.pages == 0 && isTerminal(p.stdout) && isTerminal(p.stdin) {
				return p.screen(ctx, poller, &o)
			}
			return p.topPages(ctx, poller, &o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&list, "by", list, "`list` to show: "+listingNames())
	flags.StringVar(&sort, "sort", "", "`column` to sort by, such as depth or fin/s (default: the first number)")
	flags.BoolVarP(&o.reverse, "reverse", "r", false, "sort the other way round")
	flags.Var(&o.match, "match", "only rows of which a name wholly matches this regular `expression`")
	flags.IntVar(&o.most, "limit", 20, "rows of a page without a terminal; 0: all")
	flags.IntVar(&o.pages, "count", 0, "end after so many pages")
	return cmd
}

func listingNames() string {
	var names []string
	for _, l := range listings {
		names = append(names, l.name)
	}
	return strings.Join(names, ", ")
}

// set chooses the list and the column by name; an empty column is the default.
func (o *viewing) set(list, sort string) error {
	if o.listing = slices.IndexFunc(listings, func(l listing) bool { return l.name == list }); o.listing < 0 {
		return usageError("", "--by must be %s, not %q", listingNames(), list)
	}
	columns := listings[o.listing].columns
	if sort == "" {
		o.sort = defaultSort(columns)
		return nil
	}
	var names []string
	for _, c := range columns {
		names = append(names, strings.ToLower(strings.ReplaceAll(c.name, " ", "-")))
	}
	if o.sort = slices.Index(names, strings.ToLower(strings.ReplaceAll(sort, " ", "-"))); o.sort < 0 {
		return usageError("", "--sort must be one of %s, not %q", strings.Join(names, ", "), sort)
	}
	return nil
}

// defaultSort is the first number.
func defaultSort(columns []column[topRow]) int {
	return max(0, slices.IndexFunc(columns, func(c column[topRow]) bool { return c.right }))
}

func (o *viewing) keep(r *topRow) bool {
	return !o.match.given() || slices.ContainsFunc(strings.Split(r.names(), "\n"), func(name string) bool { return name != "" && o.match.ok(name) })
}

// topPages writes a page after each time that all was asked.
func (p *program) topPages(ctx context.Context, poller *clusterinfo.Poller, o *viewing) error {
	var r rates
	r.observe(poller.View())
	list := listings[o.listing]
	for page := 1; ; page++ {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(o.every):
		}
		asking, cancel := context.WithTimeout(ctx, p.timeout)
		poller.Refresh(asking) // of what does not answer in time the View has older numbers
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		v := poller.View()
		r.observe(v)
		rows := arrange(list.rows(ctx, p, v, &r), list.columns[o.sort], o.reverse, o.keep)
		if o.most > 0 {
			rows = rows[:min(o.most, len(rows))]
		}
		if err := p.write(topPage(v, list, rows)); err != nil {
			return err
		}
		if page == o.pages {
			return nil
		}
	}
}

func topPage(v *clusterinfo.View, list listing, rows []topRow) *page {
	return &page{value: rows, text: func(t *text) {
		t.line(head, "%s %s", v.At.Format("15:04:05"), summary(v))
		writeTable(t, list.columns, rows)
		t.blank()
	}}
}

// summary is the cluster in a line.
func summary(v *clusterinfo.View) string {
	sum := newTotals(v)
	s := fmt.Sprintf("%s, %s, depth %s, %s in flight, %s", plural(sum.Nodes, "nsqd"), plural(sum.Topics, "topic"), count(sum.Depth), count(sum.InFlight), plural(int(sum.Clients), "consumer"))
	if sum.Stale > 0 {
		s += fmt.Sprintf("; %d do not answer", sum.Stale)
	}
	if c, _ := v.Cluster(); c != nil && c.Role != "alone" {
		s += fmt.Sprintf("; leader %s, term %d, %s", dash(c.Leader), c.Term, tolerance(c.FailureTolerance))
	}
	return s
}
