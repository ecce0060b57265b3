// Package report writes what a drill came to: a verdict that can be quoted, and all
// that it rests on.
//
// report.html is one file that loads nothing: styles and pictures are in it, it has no
// script, and its Content-Security-Policy keeps it so. It is at most 2 MB for a run of
// ten minutes: calls are drawn by columns of 100 ms or wider, curves have a few hundred
// points, and what is left out is in report.json or in the history. report.md is the
// short form, and junit.xml has a case for each claim.
//
// Names in a history are whatever somebody called a topic. What people read has no
// control characters and no invisible ones, and is escaped for where it stands.
//
//	report.go           Report, its verdict, Write
//	sentence.go         the verdict in words that can be quoted
//	json.go             report.json: what is in it
//	document.go         report.json: made of a run
//	figures.go          what each episode cost, and each drill over its repeats
//	leaders.go          who led when, of the samples
//	calls.go            calls by node and class; which were made of a node that was down
//	missing.go          lookups that lacked an nsqd that was alive
//	columns.go          calls by columns of time, for pictures
//	drawing.go          SVG
//	timeline.go         the picture of a run, or of a part of it
//	excerpt.go          the calls that a violation speaks of
//	page.go             report.html as its template takes it
//	page_tables.go      claims, drills, episodes and calls as tables
//	page_violations.go  what does not hold, with what was seen of it
//	legend.go           what forms and shades mean
//	again.go            the command that makes a drill again
//	baseline.go         stock beside ours
//	logs.go             what nodes logged around a violation
//	files.go            the files of a run
//	words.go            numbers and names as people read them
//	markdown.go         report.md
//	junit.go            junit.xml
//	print.go            the verdict for a terminal
//
// It starts no goroutine.
package report
