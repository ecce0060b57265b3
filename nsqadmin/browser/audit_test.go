package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// auditScript returns what a person with other eyes than ours would stumble over, a
// line for each: text of too little contrast (WCAG 2.2 AA), and what makes the page
// wider than the window.
const auditScript = `(() => {
	const faults = [];
	const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return {r: m[0], g: m[1], b: m[2], a: m.length > 3 ? m[3] : 1}; };
	const over = (top, below) => ({r: top.r*top.a + below.r*(1-top.a), g: top.g*top.a + below.g*(1-top.a), b: top.b*top.a + below.b*(1-top.a), a: 1});
	const light = c => { const f = v => { v /= 255; return v <= .03928 ? v/12.92 : ((v+.055)/1.055)**2.4; }; return .2126*f(c.r) + .7152*f(c.g) + .0722*f(c.b); };
	const srgb = c => { // also of color-mix() and oklch()
		if (/^rgba?\(/.test(c)) return parse(c);
		const x = document.createElement('canvas').getContext('2d');
		x.fillStyle = c; x.fillRect(0, 0, 1, 1);
		const d = x.getImageData(0, 0, 1, 1).data;
		return {r: d[0], g: d[1], b: d[2], a: d[3]/255};
	};
	const ground = e => {
		const layers = [];
		for (; e; e = e.parentElement) {
			const c = srgb(getComputedStyle(e).backgroundColor);
			if (c.a > 0) layers.push(c);
			if (c.a === 1) break;
		}
		const page = matchMedia('(prefers-color-scheme: dark)').matches && getComputedStyle(document.documentElement).colorScheme.includes('dark') ? {r: 18, g: 18, b: 18, a: 1} : {r: 255, g: 255, b: 255, a: 1};
		return layers.reverse().reduce((below, top) => over(top, below), page);
	};
	const name = e => e.tagName.toLowerCase() + (e.id ? '#' + e.id : '') + (e.className && e.className.baseVal === undefined ? '.' + e.className.trim().split(/\s+/).join('.') : '');
	const seen = new Set();
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walk.nextNode()) {
		const text = walk.currentNode.data.trim(), e = walk.currentNode.parentElement;
		if (!text || !e.checkVisibility({opacityProperty: true, visibilityProperty: true}) || e.closest('script,style,[disabled],[aria-hidden=true],title,desc')) continue;
		const box = e.getBoundingClientRect();
		if (box.width < 2 || box.height < 2) continue;
		const style = getComputedStyle(e), below = ground(e);
		const ink = over(srgb(e.closest('svg') ? style.fill : style.color), below);
		let [a, b] = [light(ink), light(below)];
		const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		const size = parseFloat(style.fontSize), large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
		if (ratio < (large ? 3 : 4.5) - .01) {
			const key = name(e);
			if (!seen.has(key)) faults.push('contrast ' + ratio.toFixed(2) + ' of ' + key + ': ' + text.slice(0, 40));
			seen.add(key);
		}
	}
	const wide = document.documentElement.clientWidth;
	if (document.documentElement.scrollWidth > wide) {
		let worst = null;
		for (const e of document.body.querySelectorAll('*')) {
			let scrolls = false, from = getComputedStyle(e).position === 'absolute' ? e.offsetParent : e.parentElement;
			for (let p = from; p && p !== document.body; p = p.parentElement) scrolls ||= getComputedStyle(p).overflowX !== 'visible';
			const right = e.getBoundingClientRect().right;
			if (!scrolls && right > wide + .5 && (!worst || right > worst.right)) worst = {right, name: name(e)};
		}
		faults.push('the page is ' + document.documentElement.scrollWidth + ' wide in a window of ' + wide + (worst ? ', by ' + worst.name : ''));
	}
	return faults;
})()`

// audit reports what auditScript finds.
func (tb *tab) audit(what string) {
	tb.t.Helper()
	for _, fault := range eval[[]string](tb, auditScript) {
		tb.t.Errorf("%s, %s: %s", tb.path(), what, fault)
	}
}

func TestAuditSeesWhatPeopleStumbleOver(t *testing.T) {
	for body, want := range map[string]string{
		`<p>well`:                      "",
		`<p class="pale">hard to read`: "contrast",
		`<div class="ink"><p class="dark">hard to read</div>`:                 "contrast",
		`<div class="ink"><p class="pale">well</div>`:                         "",
		`<div class="wide">x</div>`:                                           "wide in a window",
		`<div class="box"><div class="wide">x</div></div>`:                    "",
		`<div class="box"><div class="wide"><i class="far">x</i></div></div>`: "by i.far",
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `<!doctype html><html lang="en"><link rel="icon" href="data:,"><style>.pale { color: #aaa } .dark { color: #333 } .ink { background: #111 } .wide { width: 3000px } .box { overflow-x: auto } .far { position: absolute; left: 2000px }</style>`, body)
		}))
		tb := newTab(t, srv.URL)
		tb.open("/")
		if got := strings.Join(eval[[]string](tb, auditScript), "; "); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
		srv.Close()
	}
}
