package browser

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// void elements have no end tag; those of omissible may lack it.
var (
	void      = []atom.Atom{atom.Area, atom.Base, atom.Br, atom.Col, atom.Embed, atom.Hr, atom.Img, atom.Input, atom.Link, atom.Meta, atom.Source, atom.Track, atom.Wbr}
	omissible = []atom.Atom{atom.P, atom.Li, atom.Dt, atom.Dd, atom.Option, atom.Td, atom.Th, atom.Tr, atom.Thead, atom.Tbody, atom.Html, atom.Head, atom.Body, atom.Colgroup}
	// blocks end a paragraph.
	blocks = []atom.Atom{atom.Div, atom.P, atom.Ul, atom.Ol, atom.Dl, atom.Table, atom.Form, atom.H1, atom.H2, atom.H3, atom.Section, atom.Main, atom.Nav, atom.Header, atom.Footer, atom.Pre, atom.Details, atom.Fieldset, atom.Article, atom.Aside, atom.Hr}
)

// illFormed returns what is wrong with the text of a page, a line for each fault. A
// browser repairs all of this, each in its own way.
func illFormed(text string) (faults []string) {
	type open struct {
		name string
		atom atom.Atom
	}
	var stack []open
	ids := make(map[string]bool)
	var refers []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	z := html.NewTokenizer(strings.NewReader(text))
	if z.Next() != html.DoctypeToken {
		fault("it does not begin with a doctype")
	}
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			if z.Err() != io.EOF {
				fault("%v", z.Err())
			}
			break
		}
		tok := z.Token()
		switch kind {
		case html.StartTagToken, html.SelfClosingTagToken:
			seen := make(map[string]bool)
			for _, a := range tok.Attr {
				if seen[a.Key] {
					fault("<%s> has two attributes %s", tok.Data, a.Key)
				}
				seen[a.Key] = true
				switch {
				case a.Key == "id" && ids[a.Val]:
					fault("two elements have the id %s", a.Val)
				case a.Key == "id":
					ids[a.Val] = true
				case a.Key == "for" || a.Key == "list" || strings.HasPrefix(a.Key, "aria-") && slices.Contains([]string{"aria-labelledby", "aria-describedby", "aria-controls"}, a.Key):
					refers = append(refers, strings.Fields(a.Val)...)
				case a.Key == "style" || strings.HasPrefix(a.Key, "on"):
					fault("<%s> has %s, which the content security policy forbids", tok.Data, a.Key)
				}
			}
			if n := len(stack); n > 0 && stack[n-1].atom == atom.P && slices.Contains(blocks, tok.DataAtom) {
				stack = stack[:n-1]
			}
			if kind == html.StartTagToken && !slices.Contains(void, tok.DataAtom) {
				stack = append(stack, open{tok.Data, tok.DataAtom})
			}
		case html.EndTagToken:
			for len(stack) > 0 && stack[len(stack)-1].name != tok.Data && slices.Contains(omissible, stack[len(stack)-1].atom) {
				stack = stack[:len(stack)-1]
			}
			if len(stack) == 0 || stack[len(stack)-1].name != tok.Data {
				in := "nothing"
				if len(stack) > 0 {
					in = "<" + stack[len(stack)-1].name + ">"
				}
				fault("</%s> in %s", tok.Data, in)
				continue
			}
			stack = stack[:len(stack)-1]
		}
	}
	for _, o := range stack {
		if !slices.Contains(omissible, o.atom) {
			fault("<%s> is not ended", o.name)
		}
	}
	for _, id := range refers {
		if !ids[id] {
			fault("something refers to the id %s, which nothing has", id)
		}
	}
	return faults
}

func TestIllFormedPagesAreSeen(t *testing.T) {
	const begin = "<!doctype html><html lang=en><head><title>x</title></head><body>"
	for text, want := range map[string]string{
		begin + `<p>a<p>b<ul><li>1<li>2</ul><table><tr><td>1<td>2</table><svg><path d="M0 0"/></svg><img alt="">`: "",
		begin + `<div><b>bold</div>`:               "</div> in <b>",
		begin + `<div>`:                            "<div> is not ended",
		begin + `</section>`:                       "</section> in nothing",
		begin + `<p id="a"></p><p id="a"></p>`:     "two elements have the id a",
		begin + `<label for="a">x</label>`:         "refers to the id a",
		begin + `<p style="color:red">`:            "content security policy",
		begin + `<button onclick="x()">y</button>`: "content security policy",
		`<html><body>`:                             "doctype",
	} {
		got := strings.Join(illFormed(text), "; ")
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func TestDrawingsHaveTitlesOfTheirOwn(t *testing.T) {
	doc, err := html.Parse(strings.NewReader(`<!doctype html><title>page</title><body><svg><rect><title>from 10:00 to 11:00</title></rect></svg><svg><head><title>no head of a page</title></head></svg>`))
	if err != nil {
		t.Fatal(err)
	}
	if titles := titlesOf(doc); len(titles) != 1 || words(titles[0]) != "page" {
		t.Errorf("got %d titles, want that of the page alone", len(titles))
	}
}
