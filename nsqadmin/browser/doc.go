// Package browser has no code, only tests: nsqadmin in a real browser, and without
// one, beside a cluster of real processes. make browser runs them; where there is no
// Chromium they are skipped. NSQRAFT_BROWSER names another browser, or none.
//
//	main_test.go      the browser and the programs, made once
//	stack_test.go     the cluster that a test looks at
//	tab_test.go       one tab of the browser, and what it complains about
//	browser_test.go   the pages in the browser
//	live_test.go      what changes while one looks: a leader killed, an nsqd stopped
//	reader_test.go    a browser without JavaScript, and what it thinks of a page
//	plain_test.go     the pages without JavaScript
//	wellformed_test.go, audit_test.go  what no page may have: wrong HTML, pale text, overflow
//	pictures_test.go  make pictures
//
// Each test keeps pictures of what it saw in artefacts/browser.
package browser
