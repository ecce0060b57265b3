package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const (
	// patience bounds what a test waits for in a page. It is long for a busy machine:
	// nothing is judged by it.
	patience = 30 * time.Second
	glance   = 50 * time.Millisecond
)

// A tab is one window of the browser with a store of its own. Whatever the browser
// complains about fails the test at its end: errors and warnings on the console,
// exceptions, requests that fail, and what the content security policy forbids.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu         sync.Mutex
	complaints []string
	expected   []string
	requests   []string // method and URL
}

// newTab opens a tab whose paths are relative to base.
func newTab(t *testing.T, base string) *tab {
	t.Helper()
	needBrowser(t)
	ctx, cancel := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext())
	tb := &tab{t: t, ctx: ctx, base: base}
	var listeners sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		listeners.Wait()
		tb.judge()
	})
	tb.do(chromedp.EmulateViewport(1280, 900))
	listen(&listeners, ctx, runtime.ConsoleAPICalled, func(e runtime.EventConsoleAPICalled) {
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			var words []string
			for _, arg := range e.Args {
				words = append(words, string(arg.Value)+arg.Description)
			}
			tb.complain("console: " + strings.Join(words, " "))
		}
	})
	listen(&listeners, ctx, runtime.ExceptionThrown, func(e runtime.EventExceptionThrown) {
		text := e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			text += " " + x.Description
		}
		tb.complain("exception: " + text)
	})
	listen(&listeners, ctx, log.EntryAdded, func(e log.EventEntryAdded) {
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			tb.complain(fmt.Sprintf("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL))
		}
	})
	listen(&listeners, ctx, network.RequestWillBeSent, func(e network.EventRequestWillBeSent) {
		tb.mu.Lock()
		defer tb.mu.Unlock()
		tb.requests = append(tb.requests, e.Request.Method+" "+e.Request.URL)
	})
	return tb
}

// look returns a filled stack and a tab to look at it with.
func look(t *testing.T) (*stack, *tab) {
	t.Helper()
	needBrowser(t)
	s := newStack(t)
	s.fill()
	return s, newTab(t, s.base)
}

// listen calls hear for each event of ctx's tab until that is closed.
func listen[E any](wg *sync.WaitGroup, ctx context.Context, event cdp.Event[E], hear func(E)) {
	events := chromedp.Events(ctx, event)
	wg.Go(func() {
		for e, err := range events {
			if err != nil {
				return
			}
			hear(e)
		}
	})
}

func (tb *tab) complain(text string) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.complaints = append(tb.complaints, text)
}

// expect says that a complaint with text in it is no fault.
func (tb *tab) expect(text string) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.expected = append(tb.expected, text)
}

// judge fails the test for what the browser complained about.
func (tb *tab) judge() {
	tb.mu.Lock()
	defer tb.mu.Unlock()
complaints:
	for _, c := range tb.complaints {
		for _, e := range tb.expected {
			if strings.Contains(c, e) {
				continue complaints
			}
		}
		tb.t.Errorf("the browser complains: %s", c)
	}
}

// asked returns how many requests had text in method and URL.
func (tb *tab) asked(text string) (n int) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	for _, r := range tb.requests {
		if strings.Contains(r, text) {
			n++
		}
	}
	return n
}

// do runs actions, within patience.
func (tb *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	if chromedp.FromContext(tb.ctx).Target == nil {
		// The first bounds the tab's life by its context.
		if err := chromedp.Do(tb.ctx); err != nil {
			tb.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		tb.shot("failed-" + strings.ReplaceAll(tb.t.Name(), "/", "-"))
		tb.t.Fatalf("at %s: %v", tb.path(), err)
	}
}

// open goes to a path and returns how long it took until the page was loaded.
func (tb *tab) open(path string) time.Duration {
	tb.t.Helper()
	begun := time.Now()
	tb.do(chromedp.Navigate(tb.base + path))
	return time.Since(begun)
}

// path returns where the tab is.
func (tb *tab) path() string {
	where, _ := chromedp.Run(tb.ctx, chromedp.Location())
	return strings.TrimPrefix(where, tb.base)
}

// eval returns the value of a JavaScript expression in the page.
func eval[T any](tb *tab, expression string) T {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		tb.t.Fatalf("at %s: %s: %v", tb.path(), expression, err)
	}
	return value
}

// until waits for a JavaScript expression to be true. That the page is being
// replaced meanwhile is no error.
func (tb *tab) until(what, expression string) {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	for {
		yes, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err == nil && yes {
			return
		}
		select {
		case <-ctx.Done():
			tb.shot("failed-" + strings.ReplaceAll(tb.t.Name(), "/", "-"))
			tb.t.Fatalf("at %s, not within %v: %s (%s; %v)\n%s", tb.path(), patience, what, expression, err, tb.text())
		case <-time.After(glance):
		}
	}
}

// see waits until the page shows text; how it is broken into lines does not matter.
func (tb *tab) see(text string) {
	tb.t.Helper()
	tb.until("the page shows "+text, shows+".includes("+quote(text)+")")
}

const shows = `document.body.innerText.replace(/\s+/g, ' ')`

// gone waits until the page does not show text.
func (tb *tab) gone(text string) {
	tb.t.Helper()
	tb.until("the page does not show "+text, "!"+shows+".includes("+quote(text)+")")
}

// text returns what the page shows.
func (tb *tab) text() string {
	text, _ := chromedp.Run(tb.ctx, chromedp.Evaluate[string]("document.body.innerText"))
	return text
}

// click clicks on what a CSS selector finds first.
func (tb *tab) click(selector string) {
	tb.t.Helper()
	tb.do(chromedp.Click(chromedp.CSS(selector)))
}

// button clicks on the button or link with just these words, which a person must be
// able to reach with the mouse. It is one step for the page, which changes all the time.
func (tb *tab) button(words string) {
	tb.t.Helper()
	tb.until("there is a button "+words, fmt.Sprintf(`(() => {
		const dialog = document.querySelector('dialog[open]')
		const e = [...document.querySelectorAll('button, a, summary, input[type=submit]')].find(e =>
			(e.innerText || e.value || '').trim() === %s && e.checkVisibility() && !e.disabled && (!dialog || dialog.contains(e)))
		if (!e) return false
		e.scrollIntoView({block: 'center', behavior: 'instant'})
		const box = e.getBoundingClientRect(), top = document.elementFromPoint(box.x + box.width/2, box.y + box.height/2)
		if (!e.contains(top)) return false
		e.click()
		return true
	})()`, quote(words)))
}

// press presses keys, one after the other. A key that the page takes for itself writes
// nothing, as from a keyboard.
func (tb *tab) press(keys ...string) {
	tb.t.Helper()
	for _, key := range keys {
		tb.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			r, _ := utf8.DecodeRuneInString(key)
			events := kb.Encode(r)
			down, up := events[0], events[len(events)-1]
			if char := events[1]; len(events) == 3 {
				down.Type, down.Text, down.UnmodifiedText = input.DispatchKeyEventTypeKeyDown, char.Text, char.UnmodifiedText
			}
			for _, e := range []*input.DispatchKeyEventParams{down, up} {
				if _, err := cdp.Call(ctx, t, input.DispatchKeyEvent, *e); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}

// fill writes text into the field that a CSS selector finds, instead of what is there.
func (tb *tab) fill(selector, text string) {
	tb.t.Helper()
	tb.until("there is a field "+selector, fmt.Sprintf(`(() => {
		const e = document.querySelector(%s)
		if (!e || !e.checkVisibility() || e.disabled) return false
		e.focus()
		e.select()
		return document.activeElement === e
	})()`, quote(selector)))
	tb.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, input.InsertText, input.InsertTextParams{Text: text})
		return err
	}))
}

// scheme sets what the system prefers: dark, or light.
func (tb *tab) scheme(prefers string) {
	tb.t.Helper()
	_, err := chromedp.Call(tb.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: prefers}},
	})
	if err != nil {
		tb.t.Fatal(err)
	}
}

// width makes the window so wide.
func (tb *tab) width(pixels int64) {
	tb.t.Helper()
	tb.do(chromedp.EmulateViewport(pixels, 900))
}

// shot keeps a picture of the window in artefacts/browser.
func (tb *tab) shot(name string) {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = keep(filepath.Join(root, "artefacts", "browser", name+".png"), picture)
	}
	if err != nil {
		tb.t.Logf("picture %s: %v", name, err)
	}
}

// keep writes a file and the folders that it needs.
func keep(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// quote returns text as a JavaScript string.
func quote(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(quoted)
}
