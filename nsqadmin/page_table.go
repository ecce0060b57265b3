package nsqadmin

import (
	"cmp"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A column is one of a table of rows T.
type column[T any] struct {
	Key, Title string
	Help       string
	Line       string           // what the line beside the number spans: "10 min"; "": there is none
	Number     bool             // right-aligned, and sorted downwards at the first click
	compare    func(a, b T) int // nil: not sorted by it
}

// A heading is what the head of a table shows of a column.
type heading struct {
	Title, Help, Line string
	Number            bool
	Link              string // sorts by it; "": not sortable
	Sorted            string // "ascending", "descending" or "": aria-sort
}

// arrange sorts rows by the column that the parameter name of q asks for ("depth",
// downwards "-depth"), else by standard, and returns the headings. Rows that are equal
// stay in the order in which they come.
func arrange[T any](q url.Values, name, standard string, columns []column[T], rows []T) []heading {
	want := q.Get(name)
	known := func(c column[T]) bool { return c.compare != nil && c.Key == strings.TrimPrefix(want, "-") }
	if !slices.ContainsFunc(columns, known) {
		want = standard
	}
	key, down := strings.CutPrefix(want, "-")
	heads := make([]heading, 0, len(columns))
	for _, c := range columns {
		h := heading{Title: c.Title, Help: c.Help, Line: c.Line, Number: c.Number}
		if c.compare != nil {
			next := c.Key
			if c.Number {
				next = "-" + next
			}
			if c.Key == key {
				h.Sorted, next = "ascending", "-"+key
				if down {
					h.Sorted, next = "descending", key
				}
				slices.SortStableFunc(rows, func(a, b T) int {
					if down {
						return c.compare(b, a)
					}
					return c.compare(a, b)
				})
			}
			h.Link = "?" + keep(q, name, next, "page", "").Encode()
		}
		heads = append(heads, h)
	}
	return heads
}

// rowsAPage bounds what a page shows of a list, and with it what a browser fetches
// every second.
const rowsAPage = 100

// A part is one page of a list that a filter box narrows: what the box and the links to
// the other pages need.
type part struct {
	Filter  string
	Invalid string // why Filter is no expression; nothing passes it
	Passing int    // rows that pass the filter, on all pages
	All     int
	Pages   []pageLink // empty: one page has them all
}

// partOf returns of rows those on the page that q asks for, of those with a text that
// passes its filter.
func partOf[T any](q url.Values, rows []T, texts func(T) []string) (part, []T) {
	d := part{Filter: q.Get("q"), All: len(rows)}
	if d.Filter != "" {
		match, err := matcher(cutText(200, d.Filter))
		if err != nil {
			d.Invalid = err.Error()
			return d, nil
		}
		rows = filter(rows, func(row T) bool { return slices.ContainsFunc(texts(row), match) })
	}
	d.Passing = len(rows)
	rows, d.Pages = onPage(rows, rowsAPage, q.Get("page"))
	return d, rows
}

// onPage returns the rows of the wanted page, of size each, with links to all pages if
// there is more than one. A page that does not exist is the nearest that does.
func onPage[T any](rows []T, size int, wanted string) ([]T, []pageLink) {
	last := max(1, (len(rows)+size-1)/size)
	n, _ := strconv.Atoi(wanted)
	n = min(max(n, 1), last)
	first := (n - 1) * size
	var links []pageLink
	if last > 1 {
		links = pageLinks(n, last)
	}
	return rows[first:min(first+size, len(rows))], links
}

// A pageLink leads to one page of a list.
type pageLink struct {
	Number  int // 0: a gap
	Current bool
}

// pageLinks are those to the first, the last and the pages around n.
func pageLinks(n, last int) []pageLink {
	var out []pageLink
	gap := false
	for i := 1; i <= last; i++ {
		if i == 1 || i == last || i >= n-2 && i <= n+2 {
			out = append(out, pageLink{i, i == n})
			gap = false
		} else if !gap {
			out = append(out, pageLink{})
			gap = true
		}
	}
	return out
}

// byFloat orders numbers, with unknown ones as the least.
func byFloat(a, b float64) int {
	switch {
	case math.IsNaN(a) && math.IsNaN(b):
		return 0
	case math.IsNaN(a):
		return -1
	case math.IsNaN(b):
		return 1
	}
	return cmp.Compare(a, b)
}
