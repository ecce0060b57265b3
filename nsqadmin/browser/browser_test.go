package browser

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"github.com/nsqio/go-nsq"
)

// slug makes a file's name of a path.
func slug(path string) string {
	plain, err := url.PathUnescape(strings.Trim(path, "/"))
	if err != nil || plain == "" {
		return "overview"
	}
	return strings.NewReplacer("/", "-", ":", "-", "#", "", "?", "-", "=", "-").Replace(plain)
}

func TestEveryPageLightAndDarkWideAndNarrow(t *testing.T) {
	s, tb := look(t)
	tb.open("/topics")
	tb.see("orders")
	paths := append(pagePaths(s), "/topics/orders?tab=messages", "/topics/orders?tab=consumers", "/topics/orders?tab=settings",
		"/topics?confirm=delete&q=orders", "/topics/orders?confirm=empty", "/topics/orders/billing?confirm=delete", "/cluster?confirm=transfer")
	for _, scheme := range []string{"light", "dark"} {
		tb.scheme(scheme)
		for _, width := range []int64{1280, 360} {
			tb.width(width)
			for _, path := range paths {
				tb.open(path)
				tb.until("there is a heading", "document.querySelector('h1').innerText !== ''")
				what := fmt.Sprintf("%s, %d px", scheme, width)
				tb.audit(what)
				tb.shot(fmt.Sprintf("page-%s-%s-%d", slug(path), scheme, width))
				if dark := eval[bool](tb, "(c => c.match(/[\\d.]+/g).slice(0, 3).every(v => v < 80))(getComputedStyle(document.body).backgroundColor)"); dark != (scheme == "dark") {
					t.Errorf("%s, %s: the ground is dark: %v", path, what, dark)
				}
			}
		}
	}
}

func TestSearchFiltersWhileOneTypes(t *testing.T) {
	_, tb := look(t)
	tb.open("/topics")
	tb.see("clicks")
	tb.stay()
	listed := func(want string) {
		t.Helper()
		tb.until("there are listed "+want, "[...document.querySelectorAll('tbody tr')].map(r => r.dataset.key).join(' ') === "+quote(want))
	}
	tb.press("/", "o", "r", "d")
	listed("orders")
	tb.until("the address has the filter", "location.search.includes('q=ord')")
	tb.press(kb.Backspace, kb.Backspace, kb.Backspace)
	listed("clicks empty.topic lonely orders temp#ephemeral")
	tb.fill("#q", "/^(lone|cli)/")
	listed("clicks lonely")
	tb.fill("#q", "/(/")
	tb.see("This is no expression")
	tb.stayed()
}

func TestPauseAndUnpauseAChannel(t *testing.T) {
	s, tb := look(t)
	tb.open("/topics/orders/billing")
	tb.button("Pause")
	tb.see("Paused channel orders / billing on 2 nsqds.")
	s.holds("orders", "billing", func(c channelStats) bool { return c.Paused })
	tb.shot("channel-paused")
	tb.press("p") // as the help says
	tb.see("Unpaused channel orders / billing on 2 nsqds.")
	s.holds("orders", "billing", func(c channelStats) bool { return !c.Paused })
}

func TestEmptyShowsWhatItDropsAndCancelIsFirst(t *testing.T) {
	s, tb := look(t)
	tb.open("/topics/orders/archive")
	tb.see("240")
	tb.button("Empty")
	tb.see("Drops 240 messages on 2 nsqds")
	tb.until("Cancel has the focus", "document.activeElement.innerText.trim() === 'Cancel'")
	tb.audit("asking")
	tb.shot("confirm-empty")
	tb.press(kb.Enter)
	tb.gone("Drops 240")
	s.holds("orders", "archive", func(c channelStats) bool { return c.Depth == 120 })
	tb.button("Empty")
	tb.see("Drops 240 messages on 2 nsqds")
	tb.press(kb.Escape)
	tb.gone("Drops 240")
	tb.button("Empty")
	tb.see("Drops 240 messages on 2 nsqds")
	tb.button("Empty")
	tb.see("Emptied channel orders / archive on 2 nsqds.")
	s.holds("orders", "archive", func(c channelStats) bool { return c.Depth == 0 })
	tb.open("/activity")
	tb.see("emptied channel archive of topic orders")
	tb.shot("activity")
}

func TestDeleteWantsTheName(t *testing.T) {
	s, tb := look(t)
	tb.open("/topics/lonely")
	tb.button("Delete")
	tb.see("Type lonely to go on")
	tb.fill("dialog input[name=typed]", "lonel")
	tb.until("the button is disabled", "document.querySelector('dialog button.danger').disabled")
	tb.fill("dialog input[name=typed]", "lonely")
	tb.shot("confirm-delete")
	tb.button("Delete")
	tb.see("Deleted topic lonely")
	tb.gone("14")
	for _, p := range s.NSQDs() {
		answer, err := s.Ask(t.Context(), p, "GET", "/stats?format=json&topic=lonely")
		if err != nil || strings.Contains(string(answer.Body), "lonely") {
			t.Errorf("%s still has it: %s, %v", p.Name, answer.Body, err)
		}
	}
	tb.expect("404")
	tb.open("/topics/lonely")
	tb.see("There is no topic called lonely.")
	tb.shot("not-found")
}

func TestBulkActionOnWhatIsTicked(t *testing.T) {
	_, tb := look(t)
	tb.open("/topics")
	tb.see("orders")
	tb.click("tr[data-key=orders] input[type=checkbox]")
	tb.click("tr[data-key=clicks] input[type=checkbox]")
	tb.see("With the 2 ticked")
	tb.button("Pause")
	tb.see("Pause 2 topics?")
	tb.button("Pause 2 topics")
	tb.see("Paused 2 topics.")
	tb.until("both are paused", "['orders', 'clicks'].every(t => document.querySelector(`tr[data-key=${t}] .state`).innerText.toLowerCase().includes('paused'))")
	tb.shot("topics-paused")
}

func TestTombstoneOneNode(t *testing.T) {
	s, tb := look(t)
	node := s.NSQDs()[1]
	tb.open("/topics/orders")
	tb.see(node.HTTP)
	row := fmt.Sprintf("tr[data-key=%q]", node.HTTP)
	tb.click(row + " .do summary")
	tb.button("Tombstone")
	tb.see("Tombstone topic orders on nsqd " + node.HTTP + "?")
	tb.shot("confirm-tombstone")
	tb.button("Tombstone")
	tb.see("Tombstoned topic orders on " + node.HTTP)
	for _, l := range s.Lookupds() {
		listed, err := s.Producers(t.Context(), l, "/lookup?topic=orders&consistent=true")
		if err != nil || len(listed) != 1 || listed[node.TCP] {
			t.Errorf("%s lists %v for orders, %v; want the other nsqd alone", l.Name, listed, err)
		}
	}
}

func TestPublishAndPeek(t *testing.T) {
	s, tb := look(t)
	tb.open("/topics/orders?tab=messages")
	tb.fill("textarea[name=body]", `{"hello":"<script>alert(1)</script>"}`)
	tb.fill("input[name=times]", "4")
	tb.button("Publish")
	tb.see("Published")
	tb.open("/topics/orders/archive")
	tb.see("244")
	s.traffic("orders", steady(20))
	tb.open("/topics/orders?tab=messages")
	tb.button("Peek for 3 s")
	tb.see("seen in 3 s")
	tb.see(`"order": 4711`)
	tb.audit("messages")
	tb.shot("peek")
	if depth := eval[int](tb, "document.querySelectorAll('article.message').length"); depth < 1 || depth > 10 {
		t.Errorf("%d messages shown, want 1 to 10", depth)
	}
	tb.gone("nsqadmin-peek") // no channel of ours stays
}

func TestKeyboard(t *testing.T) {
	s, tb := look(t)
	tb.open("/")
	for _, way := range [][2]string{{"t", "/topics"}, {"n", "/nodes"}, {"c", "/cluster"}, {"a", "/activity"}, {"o", "/"}} {
		tb.press("g", way[0])
		tb.until("g "+way[0]+" leads to "+way[1], "location.pathname === "+quote(way[1])+" && document.readyState === 'complete'")
	}
	tb.press("?")
	tb.see("next and previous row")
	tb.shot("keys")
	tb.press(kb.Escape)
	tb.gone("next and previous row")

	tb.open("/topics")
	tb.see("orders")
	tb.press("j", "j")
	second := eval[string](tb, "document.activeElement.innerText.trim()")
	if outline := eval[string](tb, "(s => s.outlineStyle + s.boxShadow)(getComputedStyle(document.activeElement))"); outline == "nonenone" {
		t.Error("the focus cannot be seen")
	}
	tb.shot("keyboard-row")
	tb.press(kb.Enter)
	tb.until("Enter opens the second row", "document.querySelector('h1').innerText.trim() === "+quote(second))

	tb.open("/topics/orders/archive")
	tb.see("240")
	tb.see("Live")
	tb.press(" ")
	tb.see("Frozen")
	s.publish("orders", 500)
	time.Sleep(3 * time.Second)
	if !strings.Contains(tb.text(), "240") {
		t.Error("a frozen page moves")
	}
	tb.press(" ")
	tb.see("1,240")

	// The first Tab leads past the menu.
	tb.open("/nodes")
	tb.press(kb.Tab)
	tb.until("the first stop is the way to the content", "document.activeElement.classList.contains('skip')")
}

func TestThemeSwitchIsKept(t *testing.T) {
	_, tb := look(t)
	ground := func() string { return eval[string](tb, "getComputedStyle(document.body).backgroundColor") }
	tb.scheme("light")
	tb.open("/")
	light := ground()
	tb.click("#theme button")
	tb.until("it is dark", "getComputedStyle(document.body).backgroundColor !== "+quote(light))
	dark := ground()
	tb.open("/nodes")
	if got := ground(); got != dark {
		t.Errorf("the next page is %s, want %s as chosen", got, dark)
	}
	tb.audit("dark by choice on a light system")
	tb.scheme("dark")
	tb.click("#theme button")
	tb.until("it is light", "getComputedStyle(document.body).backgroundColor === "+quote(light))
	tb.audit("light by choice on a dark system")
}

func TestNamesThatAreHTMLAreHarmless(t *testing.T) {
	s, tb := look(t)
	tb.expect("404")
	for _, path := range []string{
		"/topics/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E", "/topics/orders/%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E",
		"/topics?q=%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/nodes/%3Cb%3E", "/%3Csvg%20onload%3Dalert(1)%3E",
	} {
		tb.open(path)
		tb.until("there is a heading", "document.querySelector('h1') !== null")
		if n := eval[int](tb, "document.querySelectorAll('main img, main b > script, main script').length"); n != 0 {
			t.Errorf("%s: %d elements of somebody else's", path, n)
		}
	}
	// A consumer may call itself anything.
	cfg := nsq.NewConfig()
	cfg.ClientID, cfg.UserAgent = "<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		t.Fatal(err)
	}
	consumer.SetLoggerLevel(nsq.LogLevelMax)
	consumer.AddHandler(nsq.HandlerFunc(func(*nsq.Message) error { return nil }))
	if err := consumer.ConnectToNSQD(s.NSQDs()[0].TCP); err != nil {
		t.Fatal(err)
	}
	defer func() { consumer.Stop(); <-consumer.StopChan }()
	tb.open("/topics/orders/billing")
	tb.see(cfg.UserAgent)
	tb.shot("names-of-html")
}
