package interop

import (
	"fmt"
	"strings"
	"testing"
)

// TestNSQDConformance tells stories to a fresh stock nsqd and to a fresh one of ours,
// as TestConformance does for nsqlookupd. What stock cannot be asked, or answers
// otherwise by decision, is in TestNSQDDeviations.
func TestNSQDConformance(t *testing.T) {
	for _, group := range []struct {
		name    string
		stories []story
	}{
		{"identify", nsqdIdentifyStories()},
		{"commands", nsqdCommandStories()},
		{"publish", nsqdPublishStories()},
		{"consume", nsqdConsumeStories()},
		{"time", nsqdTimeStories()},
		{"http", nsqdHTTPStories()},
		{"stats", nsqdStatsStories()},
		{"metadata", nsqdMetadataStories()},
	} {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			for _, s := range group.stories {
				t.Run(s.name, func(t *testing.T) {
					t.Parallel() // most of it waits
					compareNSQDs(t, s)
				})
			}
		})
	}
}

// compareNSQDs tells one story to both.
func compareNSQDs(t *testing.T, s story) {
	t.Helper()
	want := s.tellToNSQD(t, startNSQDSubject(t, "stock", s.flags...))
	got := s.tellToNSQD(t, startNSQDSubject(t, nsqdUnderTest(), s.flags...))
	for i := range min(len(want), len(got)) { // a step, a line: as many of ours as of stock's
		if want[i] != got[i] {
			t.Errorf("stock and ours differ:\nstock: %s\nours:  %s", want[i], got[i])
		}
	}
	if len(want) != len(got) {
		t.Errorf("stock ends with %q, ours with %q", want[len(s.steps):], got[len(s.steps):])
	}
	if testing.Verbose() {
		t.Logf("transcript:\n%s", strings.Join(got, "\n"))
	}
}

// refusals returns steps each of which sends one text, after before, on a connection
// of its own that it then closes.
func refusals(before string, texts ...string) []step {
	var steps []step
	for i, text := range texts {
		steps = append(steps, last(fmt.Sprintf("%c%d", 'a'+i/10, i%10), before+text))
	}
	return steps
}

// allStats shows all counters.
const allStats = "/stats?format=json&include_mem=false"

func nsqdIdentifyStories() []story {
	var fields []string
	for _, value := range []string{
		`"heartbeat_interval":-1`, `"heartbeat_interval":-2`, `"heartbeat_interval":1`, `"heartbeat_interval":999`, `"heartbeat_interval":1000`,
		`"heartbeat_interval":60000`, `"heartbeat_interval":60001`, `"heartbeat_interval":9223372036854775807`, `"heartbeat_interval":"1000"`, `"heartbeat_interval":1.5`,
		`"output_buffer_size":-1`, `"output_buffer_size":-2`, `"output_buffer_size":1`, `"output_buffer_size":63`, `"output_buffer_size":64`, `"output_buffer_size":65536`, `"output_buffer_size":65537`,
		`"output_buffer_timeout":-1`, `"output_buffer_timeout":-2`, `"output_buffer_timeout":1`, `"output_buffer_timeout":24`, `"output_buffer_timeout":25`, `"output_buffer_timeout":30000`, `"output_buffer_timeout":30001`,
		`"output_buffer_size":-1,"output_buffer_timeout":100`,
		`"sample_rate":-1`, `"sample_rate":0`, `"sample_rate":1`, `"sample_rate":99`, `"sample_rate":100`, `"sample_rate":4294967296`,
		`"msg_timeout":-1`, `"msg_timeout":0`, `"msg_timeout":1`, `"msg_timeout":999`, `"msg_timeout":1000`, `"msg_timeout":900000`, `"msg_timeout":900001`,
		`"tls_v1":true`, `"tls_v1":"yes"`, `"snappy":true,"deflate":true`, `"deflate_level":3`, `"deflate_level":99`, `"deflate_level":-1`,
		`"client_id":7`, `"hostname":null`, `"user_agent":""`, `"unknown":{"a":[1]}`,
		`"topology_zone":"z","topology_region":"r"`,
	} {
		fields = append(fields, measured("IDENTIFY", `{"feature_negotiation":true,`+value+`}`), measured("IDENTIFY", `{`+value+`}`))
	}
	return []story{
		{name: "fields and their limits", steps: refusals(magicV2, fields...)},
		{name: "bodies", steps: refusals(magicV2,
			measured("IDENTIFY", `{}`), measured("IDENTIFY", `null`), measured("IDENTIFY", `[]`), measured("IDENTIFY", `hello`), measured("IDENTIFY", `"x"`), measured("IDENTIFY", ` `),
			measured("IDENTIFY", `{}{}`), measured("IDENTIFY", `{"feature_negotiation":"true"}`), measured("IDENTIFY", `{"FEATURE_NEGOTIATION":true}`),
			withSize("IDENTIFY", 0, ""), withSize("IDENTIFY", -1, ""), withSize("IDENTIFY", -1<<31, ""), withSize("IDENTIFY", 1<<31-1, ""),
			withSize("IDENTIFY", 5242881, ""), withSize("IDENTIFY", 5242880, "{}"), withSize("IDENTIFY", 10, "{}"), withSize("IDENTIFY", 1, "{}"),
			"IDENTIFY\n", "IDENTIFY\n\x00\x00", "IDENTIFY now"+measured("", `{}`), "IDENTIFY\r"+measured("", `{}`), "identify\n",
			"IDENTIFY "+measured("", `{}`),
		)},
		{name: "twice", steps: []step{
			send("a", 2, hello(`{}`)+measured("IDENTIFY", `{}`)),
			send("b", 1, hello(`{}`)), send("b", 1, "SUB t c\n"), send("b", 1, measured("IDENTIFY", `{}`)),
		}},
		{name: "features refused by flags", flags: []string{"--snappy=false", "--deflate=false", "--max-rdy-count=7", "--msg-timeout=7s", "--max-msg-timeout=8s",
			"--output-buffer-timeout=30ms", "--min-output-buffer-timeout=10ms", "--max-output-buffer-timeout=1s", "--max-output-buffer-size=100", "--max-heartbeat-interval=2s"}, steps: refusals(magicV2,
			measured("IDENTIFY", `{"feature_negotiation":true}`),
			measured("IDENTIFY", `{"feature_negotiation":true,"snappy":true,"deflate":true,"deflate_level":4}`),
			measured("IDENTIFY", `{"feature_negotiation":true,"msg_timeout":8000,"heartbeat_interval":2000,"output_buffer_size":100,"output_buffer_timeout":1000}`),
			measured("IDENTIFY", `{"msg_timeout":8001}`), measured("IDENTIFY", `{"heartbeat_interval":2001}`), measured("IDENTIFY", `{"output_buffer_size":101}`),
			measured("IDENTIFY", `{"output_buffer_timeout":1001}`), measured("IDENTIFY", `{"output_buffer_timeout":10}`), measured("IDENTIFY", `{"output_buffer_timeout":9}`),
		)},
		{name: "who a consumer says it is", steps: []step{
			send("a", 1, hello(`{"client_id":"me","hostname":"my-os","user_agent":"mine/1","heartbeat_interval":30000,"msg_timeout":5000,"sample_rate":50,"topology_zone":"z"}`)),
			send("a", 1, "SUB t c\n"), send("a", 1, "RDY 3\n"+barrier),
			send("b", 1, magicV2+"SUB t c\n"),
			send("c", 1, hello(`{}`)), send("c", 1, "SUB t d#ephemeral\n"),
			fetch(allStats), fetch("/stats?include_mem=false"),
		}},
	}
}

func nsqdCommandStories() []story {
	id := " 0123456789abcdef"
	long := strings.Repeat("x", 64)
	var inInit, subscribed, names []string
	for _, line := range []string{
		"", " ", "NOP", "NOP a", "nop", "PING", "SUBx", "\x00", "  NOP", "NOP\r",
		"FIN", "FIN" + id, "REQ", "REQ" + id, "REQ" + id + " 0", "TOUCH", "TOUCH" + id, "RDY", "RDY 1", "RDY x", "CLS", "CLS a", "CLS\r",
		"SUB", "SUB t", "SUB t ", "PUB", "PUB ", "MPUB", "MPUB ", "DPUB", "DPUB t", "DPUB t ", "AUTH", "AUTH x", "GET / HTTP/1.1",
	} {
		inInit = append(inInit, line+"\n")
	}
	for _, line := range []string{
		"", "NOP", "RDY", "RDY ", "RDY 0", "RDY 1", "RDY 2500", "RDY 2501", "RDY -1", "RDY x", "RDY 1x", "RDY 1 2",
		"FIN", "FIN ", "FIN x", "FIN" + id, "FIN" + id + "0", "FIN" + id + " more", "FIN xxxxxxxxxxxxxxxx",
		"REQ", "REQ" + id, "REQ x 0", "REQ" + id + " ", "REQ" + id + " x", "REQ" + id + " -1", "REQ" + id + " 0", "REQ" + id + " 3600001", "REQ" + id + " 0 more",
		"TOUCH", "TOUCH x", "TOUCH" + id, "TOUCH" + id + " more",
		"CLS", "CLS\nCLS", "CLS\nRDY 1", "CLS\nRDY x", "CLS\nFIN" + id, "CLS\nREQ" + id + " 0", "CLS\nTOUCH" + id, "CLS\nSUB t c", "CLS\nNOP",
		"SUB t c", "AUTH",
	} {
		subscribed = append(subscribed, "SUB t c\n"+line+"\n")
	}
	for _, name := range []string{
		"t", long, long + "x", long[:54] + "#ephemeral", long[:55] + "#ephemeral", "#ephemeral", "t#durable", ".aZ09_-", "t!", "*", "t\tc", "für", `a"b`, "t\x00", "a'b", "a%20b", "a/b",
	} {
		names = append(names, "SUB "+name+" c\n", "SUB t "+name+"\n", pub(name, "x"), mpub(name, "x"), dpub(name, "60000", "x"))
	}
	return []story{
		{name: "other magic", steps: []step{
			last("a", ""), last("b", "  V"), last("c", "  V1"), last("d", "  V3"), last("e", "GET / HTTP/1.0\r\n\r\n"), last("f", magicV2), last("g", "  V1PING\n"),
			last("h", magicV2+magicV2+"\n"), last("i", "\x16\x03\x01\x02\x00\x01"),
		}},
		{name: "before anything", steps: refusals(magicV2, inInit...)},
		{name: "after identify", steps: refusals(hello(`{}`), inInit...)},
		{name: "after sub", steps: refusals(magicV2, subscribed...)},
		{name: "names", steps: append(refusals(magicV2, names...), when(allStats, `"topic_name":"t"`))},
		{name: "cut short", steps: refusals(magicV2, "NOP", "SUB t c", "PUB", "PUB t", "PUB t\n", "RDY 1", "END")},
		{name: "lines too long", steps: refusals(magicV2,
			"NOP "+strings.Repeat("x", 16000)+"\nEND\n",
			"NOP "+strings.Repeat("x", 16379)+"\nEND\n",
			"NOP "+strings.Repeat("x", 100000)+"\nEND\n",
		)},
		{name: "many commands in one write", steps: []step{
			send("a", 6, hello(`{}`)+"SUB t c\n"+pub("t", "one")+mpub("t", "two", "three")+dpub("u", "0", "now")+"NOP\n\r\n"),
			send("b", 6, magicV2+"NOP\n"+pub("t", "one")+"NOP\r\n"+mpub("t", "two")+"PUB t\r\n\x00\x00\x00\x01x"+pub("t", "four")+"SUB t c\nCLS\n"),
		}},
		{name: "sub after pub, pub after sub", steps: []step{
			// What it publishes itself while it is ready may reach it before the answer does.
			send("a", 1, magicV2+pub("t", "one")), send("a", 1, "SUB t c\n"), send("a", 1, "RDY 1\n"), send("a", 1, pub("t", "two")),
			send("a", 1, "FIN <one>\n"), send("a", 1, "CLS\n"), send("a", 1, "FIN <two>\n"+pub("t", "three")),
			when(allStats, `"deferred_count":0,"depth":1`),
		}},
		{name: "sub without heartbeats", steps: []step{
			send("a", 1, hello(`{"heartbeat_interval":-1}`)), send("a", 1, pub("t", "x")), send("a", 1, "SUB t c\n"),
		}},
		{name: "too many consumers", flags: []string{"--max-channel-consumers=1"}, steps: []step{
			send("a", 1, magicV2+"SUB t c\n"), send("b", 1, magicV2+"SUB t d\n"), send("c", 1, magicV2+"SUB t c\n"),
			bye("a"), send("d", 1, magicV2+"SUB t c\n"),
		}},
		{name: "auth where there is none", steps: refusals(magicV2,
			measured("AUTH", "secret"), measured("AUTH x", "secret"), withSize("AUTH", 0, ""), withSize("AUTH", -1, ""), withSize("AUTH", 5242881, ""), withSize("AUTH", 1<<31-1, ""),
			withSize("AUTH", 9, "secret"), "AUTH\n", "AUTH\n\x00", "SUB t c\n"+measured("AUTH", "secret"),
		)},
	}
}

func nsqdPublishStories() []story {
	big := strings.Repeat("b", 101)
	limits := []string{"--max-msg-size=100", "--max-body-size=500", "--max-req-timeout=2s", "--max-rdy-count=5"}
	stories := []story{
		{name: "sizes", flags: limits, steps: append(refusals(magicV2,
			pub("t", "x"), pub("t", big[:100]), pub("t", big), withSize("PUB t", 0, ""), withSize("PUB t", -1, ""), withSize("PUB t", -1<<31, ""), withSize("PUB t", 1<<31-1, ""),
			"PUB t\n", "PUB t\n\x00\x00", withSize("PUB t", 2, "x"), pub("t more", "x"), pub("t ", "x"), pub(" t", "x"),
			dpub("t", "0", "x"), dpub("t", "2000", "x"), dpub("t", "2001", "x"), dpub("t", "-1", "x"), dpub("t", "", "x"), dpub("t", "x", "x"), dpub("t", "1.5", "x"), dpub("t", "0", big),
			withSize("DPUB t 0", 0, ""), withSize("DPUB t 0", -1, ""), withSize("DPUB t 0", 1<<31-1, ""), withSize("DPUB t 0", 2, "x"), "DPUB t 0\n\x00", dpub("t", "0 more", "x"),
			mpub("t", "x"), mpub("t", "x", "y"), mpub("t"), mpub("t", ""), mpub("t", "x", ""), mpub("t", big), mpub("t", big[:100], big[:100], big[:100], big[:100]), mpub("t", "x", big),
			withSize("MPUB t", 0, ""), withSize("MPUB t", -1, ""), withSize("MPUB t", -1<<31, ""), withSize("MPUB t", 1<<31-1, ""), withSize("MPUB t", 501, ""),
			"MPUB t\n", "MPUB t\n\x00", withSize("MPUB t", 9, ""), withSize("MPUB t", 9, "\x00\x00"),
			withSize("MPUB t", 9, batch(0)), withSize("MPUB t", 9, batch(-1)), withSize("MPUB t", 9, batch(1<<31-1)), withSize("MPUB t", 9, batch(100)), withSize("MPUB t", 9, batch(99)),
			withSize("MPUB t", 9, batch(1)+"\x00"), withSize("MPUB t", 9, batch(1)+"\x00\x00\x00\x00"), withSize("MPUB t", 9, batch(1)+"\xff\xff\xff\xff"),
			withSize("MPUB t", 9, batch(1)+"\x00\x00\x00\x65"), withSize("MPUB t", 10, batch(1)+"\x00\x00\x00\x02x"),
			mpub("u more", "x"), mpub("only-made", ""),
		), when(allStats, `"topic_name":"u"`), metadata)},
		{name: "what is published is delivered", flags: limits, steps: []step{
			send("p", 3, magicV2+pub("t", "one")+mpub("t", "two", "three")+dpub("t", "0", "four")),
			send("s", 1, magicV2+"SUB t c\n"), send("s", 4, "RDY 5\n"), send("s", 1, "FIN <one>\nFIN <two>\n"+barrier),
			when(allStats, `"in_flight_count":2`), fetch("/stats?include_mem=false"),
			send("p", 1, pub("t", "\x00\xff\n\r")), send("s", 1, ""), send("s", 1, "FIN <one>\n"),
			metadata,
		}},
		{name: "fan out to channels", steps: []step{
			post("/topic/create?topic=t"), post("/channel/create?topic=t&channel=a"), post("/channel/create?topic=t&channel=b"),
			send("p", 1, magicV2+mpub("t", "one", "two")),
			send("a", 1, magicV2+"SUB t a\n"), send("a", 2, "RDY 9\n"),
			send("b", 1, magicV2+"SUB t b\n"), send("b", 2, "RDY 9\n"),
			send("c", 1, magicV2+"SUB t c\n"), send("c", 1, "RDY 9\n"+barrier), send("p", 1, pub("t", "three")), send("c", 1, ""), send("a", 1, ""), send("b", 1, ""),
			when(allStats, `"message_count":3`),
		}},
		{name: "producers in the statistics", steps: []step{
			send("p", 1, hello(`{"client_id":"me","hostname":"my-os","user_agent":"mine/1"}`)),
			send("p", 3, pub("t", "one")+mpub("t", "two", "three")+dpub("t", "0", "x")),
			send("q", 1, magicV2+pub("t", "four")),
			fetch(allStats), fetch("/stats?include_mem=false&topic=t"), fetch(allStats + "&include_clients=false"),
		}},
		{name: "nothing in memory", flags: []string{"--mem-queue-size=0"}, steps: []step{
			send("p", 2, magicV2+pub("t", "one")+mpub("t", "two", "three")),
			fetch(allStats),
			send("s", 1, magicV2+"SUB t c\n"), send("s", 3, "RDY 9\n"),
			send("s", 1, "FIN <one>\nREQ <two> 0\n"), send("s", 1, "FIN <two>\n"+barrier),
			when(allStats, `"in_flight_count":1`),
		}},
	}
	return stories
}

func nsqdConsumeStories() []story {
	return []story{
		{name: "RDY counts down and up", steps: []step{
			send("p", 1, magicV2+mpub("t", "1", "2", "3", "4", "5")),
			send("s", 1, magicV2+"SUB t c\n"), quiet("s", 200e6),
			send("s", 1, "RDY 1\n"), quiet("s", 200e6), send("s", 1, "FIN <1>\n"), send("s", 1, "RDY 2\n"), quiet("s", 200e6),
			send("s", 1, "RDY 0\n"+barrier), send("s", 1, "FIN <2>\nFIN <3>\n"+barrier), quiet("s", 200e6),
			send("s", 2, "RDY 9\n"),
		}},
		{name: "requeued at once", steps: []step{
			send("p", 1, magicV2+pub("t", "one")),
			send("s", 1, magicV2+"SUB t c\n"), send("s", 1, "RDY 1\n"), send("s", 1, "REQ <one> 0\n"), send("s", 1, "REQ <one> 0\n"), send("s", 1, "REQ <one> 0\n"),
			send("s", 1, "FIN <one>\n"+barrier), send("s", 3, "FIN <one>\nREQ <one> 0\nTOUCH <one>\n"),
			fetch(allStats), fetch("/stats?include_mem=false"),
		}},
		{name: "requeued for later", steps: []step{
			send("p", 1, magicV2+pub("t", "one")),
			send("s", 1, magicV2+"SUB t c\n"), send("s", 1, "RDY 1\n"), send("s", 1, "REQ <one> 60000\n"+barrier), quiet("s", 200e6),
			send("s", 3, "FIN <one>\nREQ <one> 0\nTOUCH <one>\n"),
			fetch(allStats),
			post("/channel/empty?topic=t&channel=c"), fetch(allStats),
		}},
		{name: "another's message", steps: []step{
			send("p", 1, magicV2+pub("t", "one")),
			send("a", 1, magicV2+"SUB t c\n"), send("a", 1, "RDY 1\n"),
			send("b", 1, magicV2+"SUB t c\n"), send("b", 3, "FIN <one>\nREQ <one> 0\nTOUCH <one>\n"),
			send("c", 1, magicV2+"SUB t d\n"), send("c", 3, "FIN <one>\nREQ <one> 0\nTOUCH <one>\n"),
			send("a", 1, "TOUCH <one>\n"+barrier), send("a", 1, "FIN <one>\n"+barrier),
			fetch(allStats),
		}},
		{name: "closing", steps: []step{
			send("p", 1, magicV2+mpub("t", "1", "2", "3")),
			send("s", 1, magicV2+"SUB t c\n"), send("s", 2, "RDY 2\n"), send("s", 1, "CLS\n"), send("s", 1, "FIN <1>\nTOUCH <2>\nRDY 5\n"+barrier), quiet("s", 200e6),
			fetch(allStats),
			send("s", 1, "REQ <2> 0\n"+barrier), when(allStats, `"requeue_count":1`),
			bye("s"), send("z", 1, magicV2+"SUB t c\n"), send("z", 2, "RDY 9\n"),
		}},
		{name: "gone with messages in flight", steps: []step{
			send("p", 1, magicV2+pub("t", "one")),
			send("s", 1, magicV2+"SUB t c\n"), send("s", 1, "RDY 1\n"), bye("s"),
			fetch(allStats),
			send("z", 1, magicV2+"SUB t c\n"), send("z", 1, "RDY 9\n"+barrier), quiet("z", 200e6),
		}},
		{name: "a paused channel", steps: []step{
			send("s", 1, magicV2+"SUB t c\n"), send("s", 1, "RDY 9\n"+barrier),
			post("/channel/pause?topic=t&channel=c"), fetch(allStats), metadata,
			send("p", 1, magicV2+pub("t", "one")), quiet("s", 200e6),
			when(allStats, `"depth":1,"e2e_processing_latency":{"count":0,"percentiles":null},"in_flight_count":0`), fetch("/stats?include_mem=false"),
			post("/channel/pause?topic=t&channel=c"),
			post("/channel/unpause?topic=t&channel=c"), send("s", 1, ""), metadata, send("s", 1, "FIN <one>\n"+barrier), fetch(allStats),
			post("/channel/unpause?topic=t&channel=c"),
		}},
		{name: "a paused topic", steps: []step{
			send("s", 1, magicV2+"SUB t c\n"), send("s", 1, "RDY 9\n"+barrier),
			post("/topic/pause?topic=t"), fetch(allStats), metadata,
			send("p", 1, magicV2+pub("t", "one")), quiet("s", 200e6), fetch(allStats), fetch("/stats?include_mem=false"),
			post("/topic/unpause?topic=t"), send("s", 1, ""), send("s", 1, "FIN <one>\n"+barrier), metadata, fetch(allStats),
		}},
		{name: "an emptied channel", steps: []step{
			send("s", 1, magicV2+"SUB t c\n"), send("s", 1, "RDY 1\n"+barrier),
			send("p", 1, magicV2+mpub("t", "1", "2", "3")), send("s", 1, ""),
			when(allStats, `"deferred_count":0,"depth":2`),
			post("/channel/empty?topic=t&channel=c"), fetch(allStats),
			send("s", 1, "FIN <1>\n"), send("p", 1, pub("t", "4")), send("s", 1, ""),
		}},
		{name: "an emptied topic", steps: []step{
			send("p", 1, magicV2+mpub("t", "1", "2", "3")), fetch(allStats),
			post("/topic/empty?topic=t"), fetch(allStats),
			send("s", 1, magicV2+"SUB t c\n"), send("s", 1, "RDY 1\n"+barrier), quiet("s", 200e6),
		}},
		{name: "a channel deleted under its consumers", steps: []step{
			send("p", 1, magicV2+mpub("t", "1", "2", "3")),
			send("a", 1, magicV2+"SUB t c\n"), when(allStats, `"deferred_count":0,"depth":3`),
			send("b", 1, magicV2+"SUB t c\n"), send("d", 1, magicV2+"SUB t d\n"), send("a", 1, "RDY 1\n"),
			post("/channel/delete?topic=t&channel=c"), send("a", 1, ""), send("b", 1, ""), fetch(allStats), // stock may leave the channel in nsqd.dat
			send("d", 1, pub("t", "4")),
		}},
		{name: "a topic deleted under its consumers", steps: []step{
			send("a", 1, magicV2+"SUB t c\n"), send("d", 1, magicV2+"SUB t d\n"), send("p", 1, magicV2+pub("t", "1")),
			post("/topic/delete?topic=t"), send("a", 1, ""), send("d", 1, ""), when(allStats, `"topics":[]`), // stock may leave the topic in nsqd.dat
			send("p", 1, pub("t", "2")), fetch(allStats),
		}},
		{name: "an ephemeral channel", steps: []step{
			send("a", 1, magicV2+"SUB t c#ephemeral\n"), send("b", 1, magicV2+"SUB t c#ephemeral\n"), send("b", 1, "RDY 1\n"+barrier),
			send("p", 1, magicV2+pub("t", "1")), send("b", 1, ""), fetch(allStats), metadata,
			bye("a"), fetch(allStats), bye("b"), when(allStats, `"channels":[]`), metadata,
		}},
		{name: "an ephemeral topic", steps: []step{
			send("a", 1, magicV2+"SUB t#ephemeral c#ephemeral\n"), send("a", 1, "RDY 1\n"+barrier),
			send("p", 1, magicV2+pub("t#ephemeral", "1")), send("a", 1, ""), fetch(allStats), metadata,
			bye("a"), when(allStats, `"topics":[]`), metadata,
			bye("p"), send("q", 1, magicV2+pub("u#ephemeral", "1")), fetch(allStats),
		}},
		{name: "an ephemeral topic goes with its last channel", steps: []step{
			post("/topic/create?topic=t%23ephemeral"), post("/channel/create?topic=t%23ephemeral&channel=c"), post("/channel/create?topic=t%23ephemeral&channel=d"),
			fetch(allStats), metadata,
			post("/channel/delete?topic=t%23ephemeral&channel=c"), fetch(allStats),
			post("/channel/delete?topic=t%23ephemeral&channel=d"), when(allStats, `"topics":[]`),
		}},
		{name: "ephemeral queues drop what is too much", flags: []string{"--mem-queue-size=2"}, steps: []step{
			send("p", 1, magicV2+mpub("t#ephemeral", "1", "2", "3", "4", "5")), fetch(allStats), bye("p"),
			send("q", 1, magicV2+mpub("t", "1", "2", "3", "4", "5")), fetch(allStats),
		}},
		{name: "sampled", steps: []step{
			send("a", 1, hello(`{"sample_rate":99,"feature_negotiation":true}`)), send("a", 1, "SUB t c\n"), send("a", 1, barrier), fetch(allStats),
		}},
	}
}

func nsqdTimeStories() []story {
	// Stock looks for channels with messages that are due every 5 s, which is how long
	// the first one takes.
	const late = 15e9
	return []story{
		{name: "a topic keeps what comes before its first channel", steps: []step{
			send("p", 3, magicV2+pub("t", "one")+pub("t", "two")+dpub("t", "10", "three")),
			fetch(allStats),
			send("s", 1, magicV2+"SUB t c\n"), sendWithin(late, "s", 3, "RDY 9\n"),
			send("s", 1, "FIN <one>\nFIN <two>\nFIN <three>\n"+barrier),
			when(allStats, `"in_flight_count":0`),
		}},
		{name: "heartbeats", steps: []step{
			send("a", 1, hello(`{"heartbeat_interval":1000}`)), send("a", 1, "SUB t c\n"), send("a", 1, ""), send("a", 1, "NOP\n"), send("a", 1, "NOP\n"), bye("a"),
			send("b", 1, hello(`{"heartbeat_interval":1000}`)), untilClosed("b", 2500e6),
		}},
		{name: "no heartbeats", steps: []step{
			send("a", 1, hello(`{"heartbeat_interval":-1}`)), quiet("a", 2500e6), send("a", 1, pub("t", "x")),
		}},
		{name: "a message that is not finished in time", steps: []step{
			send("p", 1, magicV2+pub("t", "one")),
			send("s", 1, hello(`{"msg_timeout":1000}`)), send("s", 1, "SUB t c\n"), send("s", 1, "RDY 1\n"), sendWithin(late, "s", 1, ""),
			send("s", 1, "FIN <one>\n"+barrier), fetch(allStats),
		}},
		{name: "a message touched", flags: []string{"--msg-timeout=1s"}, steps: []step{
			send("p", 1, magicV2+pub("t", "one")),
			send("s", 1, magicV2+"SUB t c\n"), send("s", 1, "RDY 1\n"), quiet("s", 700e6), send("s", 1, "TOUCH <one>\n"+barrier),
			sendWithin(late, "s", 1, ""), send("s", 1, "FIN <one>\n"+barrier), fetch(allStats),
		}},
		{name: "an in-flight message of one that has gone", flags: []string{"--msg-timeout=1s"}, steps: []step{
			send("p", 1, magicV2+pub("t", "one")),
			send("a", 1, magicV2+"SUB t c\n"), send("a", 1, "RDY 1\n"), bye("a"),
			send("b", 1, magicV2+"SUB t c\n"), sendWithin(late, "b", 1, "RDY 1\n"), send("b", 1, "FIN <one>\n"+barrier), fetch(allStats),
		}},
		{name: "deferred", steps: []step{
			send("s", 1, magicV2+"SUB t c\n"), send("s", 1, "RDY 9\n"+barrier),
			send("p", 1, magicV2+dpub("t", "1500", "one")), call("POST", "/pub?topic=t&defer=1500", "two"),
			when(allStats, `"deferred_count":2`), quiet("s", 1000e6),
			sendWithin(late, "s", 2, ""), send("s", 1, "REQ <one> 1000\n"+barrier), quiet("s", 500e6), sendWithin(late, "s", 1, ""),
			send("s", 1, "FIN <one>\nFIN <two>\n"+barrier), fetch(allStats),
		}},
	}
}
