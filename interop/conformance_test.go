package interop

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A story is told, step by step, to a fresh stock nsqlookupd and to a fresh one of
// ours that has only stock's flags. What they say has to be the same, but for what
// transcript.go normalises and for what deviations_test.go lists.
type story struct {
	name  string
	flags []string
	steps []step
}

func TestConformance(t *testing.T) {
	var stories []story
	for _, group := range [][]story{identifyStories(), registerStories(), protocolStories(), queryStories(), adminStories(), routeStories(), timeStories()} {
		stories = append(stories, group...)
	}
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			want := s.tellTo(t, startSubject(t, "stock", s.flags...))
			got := s.tellTo(t, startSubject(t, *against, s.flags...))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("stock (-) and ours (+) differ:\n%s", diff)
			}
			if testing.Verbose() {
				t.Logf("transcript:\n%s", strings.Join(got, "\n"))
			}
		})
	}
}

const magic = "  V1"

// peer is the body of an IDENTIFY. Its fields differ, so that a mix-up shows.
func peer(host string) string {
	return `{"broadcast_address":"` + host + `.example","hostname":"` + host + `-os","tcp_port":4150,"http_port":4151,"version":"9.8.7"}`
}

func identifyStories() []story {
	stories := []story{
		{name: "identify", steps: []step{
			say("a", magic+identify(peer("one"))),
			fetch("/nodes"),
			say("a", "PING\n"),
		}},
		{name: "identify twice", steps: []step{
			say("a", magic+identify(peer("one"))),
			say("a", identify(peer("one"))),
		}},
		{name: "identify takes no arguments", steps: []step{
			say("a", magic+"IDENTIFY now"+identify(peer("one"))[len("IDENTIFY"):]),
		}},
		{name: "identify with fields of its own", steps: []step{
			say("a", magic+identify(`{"broadcast_address":"b","hostname":"h","tcp_port":1,"http_port":2,"version":"v","remote_address":"10.0.0.1:1","id":"x","unknown":[1,2]}`)),
			fetch("/nodes"),
		}},
		{name: "identify without a hostname", steps: []step{
			say("a", magic+identify(`{"broadcast_address":"b","tcp_port":1,"http_port":2,"version":"v"}`)),
			fetch("/nodes"),
		}},
		{name: "identify in capitals", steps: []step{
			say("a", magic+identify(`{"BROADCAST_ADDRESS":"b","TCP_PORT":1,"HTTP_PORT":2,"VERSION":"v"}`)),
			fetch("/nodes"),
		}},
		{name: "identify cut in its length", steps: []step{hangUp("a", magic+"IDENTIFY\n\x00\x00")}},
		{name: "identify cut before its length", steps: []step{hangUp("a", magic+"IDENTIFY\n")}},
		{name: "identify cut in its body", steps: []step{hangUp("a", magic+"IDENTIFY\n\x00\x00\x00\x10{\"tcp")}},
	}
	for name, body := range map[string]string{
		"no broadcast address":    `{"hostname":"h","tcp_port":1,"http_port":2,"version":"v"}`,
		"empty broadcast address": `{"broadcast_address":"","tcp_port":1,"http_port":2,"version":"v"}`,
		"no tcp port":             `{"broadcast_address":"b","http_port":2,"version":"v"}`,
		"no http port":            `{"broadcast_address":"b","tcp_port":1,"version":"v"}`,
		"http port zero":          `{"broadcast_address":"b","tcp_port":1,"http_port":0,"version":"v"}`,
		"no version":              `{"broadcast_address":"b","tcp_port":1,"http_port":2}`,
		"port in quotes":          `{"broadcast_address":"b","tcp_port":"1","http_port":2,"version":"v"}`,
		"empty object":            `{}`,
		"null":                    `null`,
		"array":                   `[]`,
		"no JSON":                 `hello`,
		"empty":                   ``,
		"two objects":             peer("one") + peer("two"),
	} {
		stories = append(stories, story{name: "identify with " + name, steps: []step{
			say("a", magic+identify(body)),
			fetch("/nodes"),
		}})
	}
	return stories
}

func registerStories() []story {
	hello := say("a", magic+identify(peer("one")))
	longest := strings.Repeat("x", 64)
	stories := []story{
		{name: "register a topic", steps: []step{
			hello,
			say("a", "REGISTER orders\n"),
			fetch("/lookup?topic=orders"), fetch("/topics"), fetch("/channels?topic=orders"), fetch("/nodes"), fetch("/debug"),
		}},
		{name: "register a channel, which brings its topic", steps: []step{
			hello,
			say("a", "REGISTER orders archive\n"),
			fetch("/lookup?topic=orders"), fetch("/topics"), fetch("/channels?topic=orders"), fetch("/nodes"), fetch("/debug"),
		}},
		{name: "register twice", steps: []step{
			hello,
			say("a", "REGISTER orders archive\n"), say("a", "REGISTER orders archive\n"), say("a", "REGISTER orders\n"),
			fetch("/lookup?topic=orders"), fetch("/nodes"),
		}},
		{name: "unregister a channel", steps: []step{
			hello,
			say("a", "REGISTER orders archive\n"), say("a", "REGISTER orders metrics\n"), say("a", "UNREGISTER orders archive\n"),
			fetch("/lookup?topic=orders"), fetch("/debug"),
		}},
		{name: "unregister a topic with its channels", steps: []step{
			hello,
			say("a", "REGISTER orders archive\n"), say("a", "REGISTER other archive\n"), say("a", "UNREGISTER orders\n"),
			fetch("/lookup?topic=orders"), fetch("/lookup?topic=other"), fetch("/topics"), fetch("/debug"), fetch("/nodes"),
		}},
		{name: "unregister what was never registered", steps: []step{
			hello,
			say("a", "UNREGISTER orders archive\n"), say("a", "UNREGISTER orders\n"),
			fetch("/topics"), fetch("/channels?topic=orders"),
		}},
		{name: "ephemeral names go with their last registration", steps: []step{
			hello, say("b", magic+identify(peer("two"))),
			say("a", "REGISTER orders#ephemeral tail#ephemeral\n"), say("b", "REGISTER orders#ephemeral tail#ephemeral\n"),
			say("a", "UNREGISTER orders#ephemeral tail#ephemeral\n"),
			fetch("/channels?topic=orders%23ephemeral"),
			say("b", "UNREGISTER orders#ephemeral tail#ephemeral\n"),
			fetch("/channels?topic=orders%23ephemeral"), fetch("/topics"),
			say("a", "UNREGISTER orders#ephemeral\n"), fetch("/topics"),
			say("b", "UNREGISTER orders#ephemeral\n"), fetch("/topics"),
		}},
		{name: "two nsqds, one topic", steps: []step{
			hello, say("b", magic+identify(peer("two"))),
			say("a", "REGISTER orders archive\n"), say("b", "REGISTER orders metrics\n"),
			fetch("/lookup?topic=orders"), fetch("/nodes"), fetch("/debug"),
			say("a", "UNREGISTER orders\n"),
			fetch("/lookup?topic=orders"), fetch("/nodes"),
		}},
		{name: "names stay when their producer hangs up", steps: []step{
			hello,
			say("a", "REGISTER orders archive\n"),
			hangUp("a", ""),
			fetch("/lookup?topic=orders"), fetch("/topics"), fetch("/channels?topic=orders"), fetch("/debug"),
		}},
		{name: "a fatal error ends every registration", steps: []step{
			hello,
			say("a", "REGISTER orders archive\n"),
			say("a", "REGISTER bad!\n"),
			fetch("/lookup?topic=orders"),
		}},
		{name: "register before identify", steps: []step{say("a", magic+"REGISTER orders\n")}},
		{name: "unregister before identify", steps: []step{say("a", magic+"UNREGISTER orders\n")}},
		{name: "register before identify and with no name", steps: []step{say("a", magic+"REGISTER\n")}},
	}
	for name, args := range map[string]string{
		"no names":                 "",
		"a space":                  " ",
		"two spaces":               "  orders",
		"a name of 64":             " " + longest,
		"a name of 65":             " " + longest + "x",
		"an ephemeral name of 64":  " " + longest[:54] + "#ephemeral",
		"an ephemeral name of 65":  " " + longest[:55] + "#ephemeral",
		"a suffix alone":           " #ephemeral",
		"another suffix":           " orders#durable",
		"every letter there is":    " .aZ09_-",
		"a bad topic":              " orders!",
		"a bad channel":            " orders archive!",
		"a channel of 65":          " orders " + longest + "x",
		"a star":                   " *",
		"a star for a channel":     " orders *",
		"a tab":                    " orders\tarchive",
		"a third name":             " orders archive third",
		"an empty channel":         " orders  archive",
		"letters beyond ASCII":     " bestellungen-für",
		"a quote":                  " or'ders",
		"spaces at the end":        " orders archive   ",
		"a carriage return":        " orders archive\r",
		"a carriage return inside": " orders\rarchive",
		"a zero byte":              " orders\x00",
	} {
		for _, command := range []string{"REGISTER", "UNREGISTER"} {
			stories = append(stories, story{name: strings.ToLower(command) + " with " + name, steps: []step{
				hello, say("a", command+args+"\n"), fetch("/debug"), fetch("/topics"),
			}})
		}
	}
	return stories
}

func protocolStories() []story {
	stories := []story{
		{name: "nothing", steps: []step{hangUp("a", "")}},
		{name: "half the magic", steps: []step{hangUp("a", "  V")}},
		{name: "the magic alone", steps: []step{hangUp("a", magic)}},
		{name: "nsqd's magic", steps: []step{say("a", "  V2")}},
		{name: "HTTP on the wrong port", steps: []step{say("a", "GET / HTTP/1.0\r\n\r\n")}},
		{name: "ping before identify", steps: []step{say("a", magic+"PING\n"), say("a", "PING\n")}},
		{name: "a line cut short", steps: []step{hangUp("a", magic+"PING")}},
		{name: "five commands in one write", steps: []step{
			sayMany("a", 6, magic+identify(peer("one"))+"PING\nREGISTER orders\nREGISTER orders archive\nUNREGISTER orders archive\nPING\n"),
			fetch("/lookup?topic=orders"),
		}},
		{name: "commands after a fatal one", steps: []step{say("a", magic+"NOP\nPING\n")}},
		{name: "one byte at a time", steps: []step{dribble("a", magic+identify(peer("one"))), dribble("a", "REGISTER orders archive\n"), fetch("/lookup?topic=orders")}},
	}
	for name, line := range map[string]string{
		"an unknown command":       "NOP",
		"one in small letters":     "ping",
		"an empty line":            "",
		"a line of spaces":         "   ",
		"spaces before a command":  "  PING",
		"a ping with arguments":    "PING a b",
		"a carriage return at end": "PING\r",
		"a zero byte":              "PI\x00NG",
		"a long word":              strings.Repeat("x", 1000),
	} {
		stories = append(stories, story{name: name, steps: []step{say("a", magic+line+"\n")}})
	}
	return stories
}

// registered is the state most HTTP stories start from: two nsqds, three topics,
// one of them without a producer.
func registered(steps ...step) []step {
	return append([]step{
		say("a", magic+identify(peer("one"))),
		say("b", magic+identify(peer("two"))),
		say("a", "REGISTER orders archive\n"),
		say("a", "REGISTER orders metrics\n"),
		say("b", "REGISTER orders archive\n"),
		say("b", "REGISTER other\n"),
		post("/topic/create?topic=quiet"),
	}, steps...)
}

func queryStories() []story {
	var all []step
	for _, target := range []string{
		"/ping", "/info", "/topics", "/nodes", "/debug",
		"/lookup", "/lookup?", "/lookup?topic", "/lookup?topic=", "/lookup?topic=orders", "/lookup?topic=other", "/lookup?topic=quiet",
		"/lookup?topic=unknown", "/lookup?topic=bad!", "/lookup?topic=orders&topic=other", "/lookup?topic=other&topic=orders",
		"/lookup?channel=archive", "/lookup?topic=orders&channel=archive", "/lookup?topic=%zz", "/lookup?topic=orders&x=%zz",
		"/lookup?topic=orders;x=1", "/lookup?Topic=orders", "/lookup?topic=%6frders", "/lookup?topic=orders%20",
		"/channels", "/channels?topic=", "/channels?topic=orders", "/channels?topic=other", "/channels?topic=unknown", "/channels?topic=%zz",
		"/topics?topic=orders", "/nodes?topic=orders",
	} {
		all = append(all, fetch(target))
	}
	return []story{
		{name: "queries of an empty registry", steps: all[:5]},
		{name: "queries", steps: registered(all...)},
	}
}

func adminStories() []story {
	state := []step{fetch("/topics"), fetch("/channels?topic=orders"), fetch("/lookup?topic=orders"), fetch("/nodes")}
	longest := strings.Repeat("x", 64)
	var stories []story
	for name, targets := range map[string][]string{
		"create a topic": {"/topic/create", "/topic/create?topic=", "/topic/create?topic=new", "/topic/create?topic=new", "/topic/create?topic=bad!",
			"/topic/create?topic=*", "/topic/create?topic=tail%23ephemeral", "/topic/create?topic=" + longest, "/topic/create?topic=" + longest + "x",
			"/topic/create?topic=%zz", "/topic/create?topic=one&topic=two"},
		"create a channel": {"/channel/create", "/channel/create?topic=orders", "/channel/create?channel=new", "/channel/create?topic=orders&channel=new",
			"/channel/create?topic=orders&channel=new", "/channel/create?topic=fresh&channel=new", "/channel/create?topic=bad!&channel=new",
			"/channel/create?topic=orders&channel=bad!", "/channel/create?topic=orders&channel=", "/channel/create?topic=&channel=new",
			"/channel/create?topic=*&channel=new", "/channel/create?topic=orders&channel=*", "/channel/create?topic=%zz&channel=new",
			"/channel/create?topic=orders&channel=tail%23ephemeral"},
		"delete a topic": {"/topic/delete", "/topic/delete?topic=unknown", "/topic/delete?topic=orders", "/topic/delete?topic=orders", "/topic/delete?topic=quiet", "/topic/delete?topic=%zz"},
		"delete a channel": {"/channel/delete", "/channel/delete?topic=orders", "/channel/delete?topic=orders&channel=unknown", "/channel/delete?topic=unknown&channel=archive",
			"/channel/delete?topic=bad!&channel=archive", "/channel/delete?topic=orders&channel=bad!", "/channel/delete?topic=orders&channel=archive",
			"/channel/delete?topic=%zz&channel=archive"},
		"tombstone": {"/topic/tombstone", "/topic/tombstone?topic=orders", "/topic/tombstone?node=one.example:4151", "/topic/tombstone?topic=orders&node=",
			"/topic/tombstone?topic=unknown&node=one.example:4151", "/topic/tombstone?topic=orders&node=nobody:1", "/topic/tombstone?topic=orders&node=one.example",
			"/topic/tombstone?topic=orders&node=one.example:4150", "/topic/tombstone?topic=orders&node=one.example:4151", "/topic/tombstone?topic=%zz&node=x"},
	} {
		var steps []step
		for _, target := range targets {
			steps = append(append(steps, post(target)), state...)
		}
		stories = append(stories, story{name: name, steps: registered(append(steps, fetch("/debug"))...)})
	}
	return append(stories,
		story{name: "arguments in the body are not read", steps: registered(
			call("POST", "/topic/create", "topic=new"), call("POST", "/topic/create?topic=new", "topic=other"), fetch("/topics"))},
		story{name: "a topic deleted under its producer returns when it registers", steps: registered(
			post("/topic/delete?topic=orders"), fetch("/lookup?topic=orders"), fetch("/nodes"),
			say("a", "REGISTER orders archive\n"), fetch("/lookup?topic=orders"), fetch("/nodes"))},
		story{name: "a channel deleted under its producer returns when it registers", steps: registered(
			post("/channel/delete?topic=orders&channel=archive"), fetch("/channels?topic=orders"),
			say("a", "REGISTER orders archive\n"), fetch("/channels?topic=orders"))},
		story{name: "a tombstone outlives a second register", steps: registered(
			post("/topic/tombstone?topic=orders&node=one.example:4151"), fetch("/lookup?topic=orders"),
			say("a", "REGISTER orders archive\n"), say("a", "REGISTER orders\n"), fetch("/lookup?topic=orders"))},
		story{name: "unregister and register clear a tombstone", steps: registered(
			post("/topic/tombstone?topic=orders&node=one.example:4151"), fetch("/nodes"),
			say("a", "UNREGISTER orders\n"), say("a", "REGISTER orders\n"), fetch("/lookup?topic=orders"), fetch("/nodes"))},
		story{name: "unregister of a channel leaves a tombstone", steps: registered(
			post("/topic/tombstone?topic=orders&node=one.example:4151"),
			say("a", "UNREGISTER orders archive\n"), fetch("/lookup?topic=orders"), fetch("/nodes"))},
		story{name: "a tombstone is for one topic", steps: registered(
			post("/topic/tombstone?topic=orders&node=two.example:4151"), fetch("/lookup?topic=orders"), fetch("/lookup?topic=other"), fetch("/nodes"))},
	)
}

func routeStories() []story {
	var steps []step
	for _, target := range []string{"/", "/unknown", "/lookup/topic", "/topic", "/topic/", "/topic/unknown", "/ping/x",
		"/create_topic?topic=x", "/delete_topic?topic=x", "/create_channel?topic=x&channel=y", "/delete_channel?topic=x&channel=y", "/tombstone_topic_producer?topic=x&node=y"} {
		steps = append(steps, fetch(target), post(target))
	}
	for _, target := range []string{"/ping", "/info", "/lookup?topic=x", "/topics", "/channels?topic=x", "/nodes", "/debug"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
			steps = append(steps, call(method, target, ""))
		}
	}
	for _, target := range []string{"/topic/create?topic=x", "/topic/delete?topic=x", "/channel/create?topic=x&channel=y", "/channel/delete?topic=x&channel=y", "/topic/tombstone?topic=x&node=y"} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			steps = append(steps, call(method, target, ""))
		}
	}
	var slashes []step
	for _, target := range []string{"/ping/", "/info/", "/lookup/?topic=x", "/topics/", "/channels/?topic=x", "/nodes/", "/debug/"} {
		slashes = append(slashes, fetch(target))
	}
	slashes = append(slashes, post("/topic/create/?topic=x"), fetch("/topics"))
	return []story{
		{name: "unknown paths and wrong methods", steps: append(steps, fetch("/topics"))},
		{name: "a slash at the end", steps: slashes},
		{name: "pprof", steps: []step{
			status("GET /debug/pprof", "GET /debug/pprof/cmdline", "GET /debug/pprof/symbol", "POST /debug/pprof/symbol", "GET /debug/pprof/heap",
				"GET /debug/pprof/goroutine", "GET /debug/pprof/block", "GET /debug/pprof/threadcreate", "GET /debug/pprof/unknown"),
		}},
	}
}

func timeStories() []story {
	return []story{
		{name: "a producer that does not ping is hidden, until it does", flags: []string{"--inactive-producer-timeout=1s"}, steps: []step{
			say("a", magic+identify(peer("one"))),
			say("a", "REGISTER orders\n"),
			fetch("/lookup?topic=orders"),
			until("/lookup?topic=orders", `{"channels":[],"producers":[]}`),
			fetch("/nodes"), fetch("/debug"), fetch("/topics"),
			say("a", "PING\n"),
			// Ours answers a PING at once, quorum or not, and commits what it changes then.
			until("/lookup?topic=orders", `{"channels":[],"producers":[{"broadcast_address":"one.example","hostname":"one-os","http_port":4151,"remote_address":"ADDR","tcp_port":4150,"version":"9.8.7"}]}`),
			fetch("/nodes"),
		}},
		{name: "a tombstone ends with its lifetime", flags: []string{"--tombstone-lifetime=1s"}, steps: []step{
			say("a", magic+identify(peer("one"))),
			say("a", "REGISTER orders\n"),
			fetch("/lookup?topic=orders"),
			post("/topic/tombstone?topic=orders&node=one.example:4151"),
			fetch("/lookup?topic=orders"), fetch("/nodes"),
			until("/nodes", `{"producers":[{"broadcast_address":"one.example","hostname":"one-os","http_port":4151,"remote_address":"ADDR","tcp_port":4150,"topics":{"orders":false},"version":"9.8.7"}]}`),
			fetch("/lookup?topic=orders"),
		}},
	}
}
