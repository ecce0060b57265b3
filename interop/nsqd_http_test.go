package interop

import "strings"

func nsqdHTTPStories() []story {
	long := strings.Repeat("x", 64)
	limits := []string{"--max-msg-size=100", "--max-body-size=500", "--max-req-timeout=2s"}
	big := strings.Repeat("b", 101)
	var routes, names []step
	for _, target := range []string{"/ping", "/info", "/stats", "/pub", "/mpub", "/topic/create", "/topic/delete", "/topic/empty", "/topic/pause", "/topic/unpause",
		"/channel/create", "/channel/delete", "/channel/empty", "/channel/pause", "/channel/unpause", "/config/log_level", "/config", "/config/", "/debug/pprof", "/debug/pprof/cmdline", "/debug/pprof/symbol",
		"/debug/setblockrate", "/debug/freememory", "/", "", "/put", "/create_topic", "/topic", "/topic/", "/ping/", "/stats/", "/pub/", "//ping", "/PING", "/info/x"} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
			switch {
			case target == "/stats" && method == "GET", strings.HasPrefix(target, "/debug/") && method != "DELETE" && method != "OPTIONS":
				continue // shown elsewhere, or different from run to run
			}
			routes = append(routes, call(method, target, ""))
		}
	}
	for _, what := range []string{"/topic/create?", "/topic/delete?", "/topic/empty?", "/topic/pause?", "/topic/unpause?",
		"/channel/create?", "/channel/delete?", "/channel/empty?", "/channel/pause?", "/channel/unpause?"} {
		for _, query := range []string{"", "topic", "topic=", "topic=t", "topic=new", "topic=t!", "topic=*", "topic=" + long + "x", "topic=%zz", "topic=t&topic=t!", "topic=t;channel=c", "Topic=t",
			"topic=t&channel=", "topic=t&channel=c", "topic=t&channel=new", "topic=t&channel=c!", "topic=t&channel=" + long + "x", "topic=none&channel=c", "topic=t!&channel=c!", "channel=c"} {
			names = append(names, post(what+query))
		}
	}
	prepared := []step{post("/topic/create?topic=t"), post("/channel/create?topic=t&channel=c")}
	return []story{
		{name: "routes", steps: routes},
		{name: "topics and channels", steps: append(append(prepared, names...), when(allStats, `"topics"`))},
		{name: "ping and info", steps: []step{fetch("/ping"), fetch("/info"), fetch("/ping?x=%zz"), fetch("/info?x=%zz")}},
		{name: "pub", flags: limits, steps: []step{
			call("POST", "/pub?topic=t", "x"), call("POST", "/pub?topic=t", ""), call("POST", "/pub?topic=t", big[:100]), call("POST", "/pub?topic=t", big), call("POST", "/pub", "x"), call("POST", "/pub?topic=", "x"),
			call("POST", "/pub?topic=t!", "x"), call("POST", "/pub?topic=t&defer=0", "x"), call("POST", "/pub?topic=t&defer=2000", "x"), call("POST", "/pub?topic=t&defer=2001", "x"), call("POST", "/pub?topic=t&defer=-1", "x"),
			call("POST", "/pub?topic=t&defer=", "x"), call("POST", "/pub?topic=t&defer=x", "x"), call("POST", "/pub?topic=%zz", "x"), call("POST", "/pub?topic=t&defer=1.5", "x"),
			raw("POST /pub?topic=t HTTP/1.0\r\n\r\n"), raw("POST /pub?topic=t HTTP/1.0\r\nContent-Length: 1\r\n\r\nx"), raw("POST /pub?topic=t HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 101\r\n\r\n"),
			raw("POST /pub?topic=t HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: -1\r\n\r\n"),
			raw("POST /pub?topic=t HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
			raw("POST /pub?topic=t HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + big + "\r\n0\r\n\r\n"),
			fetch(allStats), metadata,
			send("s", 1, magicV2+"SUB t c\n"), send("s", 5, "RDY 9\n"),
		}},
		{name: "mpub of lines", flags: limits, steps: []step{
			call("POST", "/mpub?topic=t", "one\ntwo"), call("POST", "/mpub?topic=t", "three\n"), call("POST", "/mpub?topic=t", ""), call("POST", "/mpub?topic=t", "\n\n\n"), call("POST", "/mpub?topic=t", "\nfour\n\nfive\r\n"),
			call("POST", "/mpub?topic=t", big), call("POST", "/mpub?topic=t", "x\n"+big), call("POST", "/mpub?topic=t", strings.Repeat("line\n", 100)), call("POST", "/mpub?topic=t", strings.Repeat("line\n", 101)),
			call("POST", "/mpub", "x"), call("POST", "/mpub?topic=t!", "x"), call("POST", "/mpub?topic=%zz", "x"), call("POST", "/mpub?topic=", "x"), call("POST", "/mpub?topic=made", ""), call("POST", "/mpub?topic=t&binary=false", "six"), call("POST", "/mpub?topic=t&binary=0", "seven"),
			raw("POST /mpub?topic=t HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1f5\r\n" + strings.Repeat("line\n", 100) + "l\r\n0\r\n\r\n"),
			raw("POST /mpub?topic=t HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n" + strings.Repeat("line\n", 100) + "\r\n0\r\n\r\n"),
			fetch(allStats), metadata,
		}},
		{name: "mpub of frames", flags: limits, steps: []step{
			call("POST", "/mpub?topic=t&binary=true", batch(2, "one", "two\nlines")), call("POST", "/mpub?topic=t&binary=1", batch(1, "three")), call("POST", "/mpub?topic=t&binary", batch(1, "four")), call("POST", "/mpub?topic=t&binary=yes", batch(1, "five")),
			call("POST", "/mpub?topic=t&binary=true", ""), call("POST", "/mpub?topic=t&binary=true", "\x00"), call("POST", "/mpub?topic=t&binary=true", batch(0)), call("POST", "/mpub?topic=t&binary=true", batch(-1)), call("POST", "/mpub?topic=t&binary=true", batch(100)), call("POST", "/mpub?topic=t&binary=true", batch(1<<31-1)),
			call("POST", "/mpub?topic=t&binary=true", batch(1)), call("POST", "/mpub?topic=t&binary=true", batch(1, "")), call("POST", "/mpub?topic=t&binary=true", batch(1, big)), call("POST", "/mpub?topic=t&binary=true", batch(1)+"\xff\xff\xff\xff"), call("POST", "/mpub?topic=t&binary=true", batch(1)+"\x00\x00\x00\x02x"),
			call("POST", "/mpub?topic=t&binary=true", batch(5, big[:99], big[:99], big[:99], big[:99], big[:99])), call("POST", "/mpub?topic=t!&binary=true", batch(1, "x")),
			fetch(allStats),
			send("s", 1, magicV2+"SUB t c\n"), send("s", 5, "RDY 9\n"),
		}},
		{name: "configuration", steps: []step{
			fetch("/config/id_"), fetch("/config/nope"), fetch("/config/node_id"), fetch("/config/id"),
			fetch("/config/log_level"), fetch("/config/log_prefix"), fetch("/config/tcp_address"), fetch("/config/http_address"), fetch("/config/https_address"), fetch("/config/broadcast_address"), fetch("/config/nsqlookupd_tcp_addresses"), fetch("/config/lookupd_tcp_address"), fetch("/config/auth_http_addresses"),
			fetch("/config/http_client_connect_timeout"), fetch("/config/http_client_request_timeout"), fetch("/config/data_path"), fetch("/config/mem_queue_size"), fetch("/config/max_bytes_per_file"), fetch("/config/sync_every"), fetch("/config/sync_timeout"),
			fetch("/config/queue_scan_selection_count"), fetch("/config/queue_scan_worker_pool_max"), fetch("/config/msg_timeout"), fetch("/config/max_msg_timeout"), fetch("/config/max_msg_size"), fetch("/config/max_body_size"), fetch("/config/max_req_timeout"), fetch("/config/max_heartbeat_interval"),
			fetch("/config/max_rdy_count"), fetch("/config/max_output_buffer_size"), fetch("/config/max_output_buffer_timeout"), fetch("/config/min_output_buffer_timeout"), fetch("/config/output_buffer_timeout"), fetch("/config/max_channel_consumers"),
			fetch("/config/statsd_address"), fetch("/config/statsd_prefix"), fetch("/config/statsd_interval"), fetch("/config/statsd_mem_stats"), fetch("/config/statsd_udp_packet_size"), fetch("/config/statsd_exclude_ephemeral"),
			fetch("/config/e2e_processing_latency_window_time"), fetch("/config/e2e_processing_latency_percentiles"), fetch("/config/e2e_processing_latency_percentile"), fetch("/config/tls_cert"), fetch("/config/tls_key"), fetch("/config/tls_client_auth_policy"), fetch("/config/tls_root_ca_file"), fetch("/config/tls_required"),
			fetch("/config/deflate"), fetch("/config/max_deflate_level"), fetch("/config/snappy"), fetch("/config/config"), fetch("/config/version"), fetch("/config/"), fetch("/config/a/b"),
			call("PUT", "/config/log_level", "debug"), fetch("/config/log_level"), call("PUT", "/config/log_level", "WARN"), call("PUT", "/config/log_level", "warning"), call("PUT", "/config/log_level", "loud"), call("PUT", "/config/log_level", ""), call("PUT", "/config/log_level", "2"), call("PUT", "/config/log_level", "info\n"), call("PUT", "/config/log_level", "info"),
			call("PUT", "/config/nsqlookupd_tcp_addresses", `[]`), call("PUT", "/config/nsqlookupd_tcp_addresses", `["127.0.0.1:1"]`), fetch("/config/nsqlookupd_tcp_addresses"), call("PUT", "/config/nsqlookupd_tcp_addresses", `127.0.0.1:1`), call("PUT", "/config/nsqlookupd_tcp_addresses", `[1]`), call("PUT", "/config/nsqlookupd_tcp_addresses", ``), call("PUT", "/config/nsqlookupd_tcp_addresses", `{}`), fetch("/config/nsqlookupd_tcp_addresses"),
			call("PUT", "/config/mem_queue_size", "7"), call("PUT", "/config/nope", "7"), call("PUT", "/config/nope", ""), call("PUT", "/config/log_level", strings.Repeat("x", 1<<20+1)), call("POST", "/config/log_level", "info"),
		}},
		{name: "debug", steps: []step{
			call("PUT", "/debug/setblockrate", ""), call("PUT", "/debug/setblockrate?rate=x", ""), call("PUT", "/debug/setblockrate?rate=", ""), call("GET", "/debug/freememory", ""), call("GET", "/debug/setblockrate", ""),
			status("GET /debug/pprof/", "GET /debug/pprof/cmdline", "GET /debug/pprof/symbol", "POST /debug/pprof/symbol", "GET /debug/pprof/heap", "GET /debug/pprof/goroutine", "GET /debug/pprof/block", "GET /debug/pprof/threadcreate", "GET /debug/pprof/nope"),
		}},
		{name: "broken requests", steps: []step{
			raw("\r\n\r\n"), raw("PING / HTTP/1.0\r\n\r\n"), raw("GET /ping\r\n\r\n"), raw("GET /ping HTTP/9.9\r\n\r\n"), raw("GET /ping HTTP/1.1\r\n\r\n"), raw("GET /ping HTTP/1.0\r\n\r\n"), raw("OPTIONS * HTTP/1.0\r\n\r\n"), raw(magicV2 + "NOP\n"),
		}},
	}
}

func nsqdStatsStories() []story {
	some := []step{
		post("/topic/create?topic=a"), post("/topic/create?topic=b"), post("/channel/create?topic=a&channel=x"), post("/channel/create?topic=a&channel=y"), post("/channel/create?topic=b&channel=x"), post("/channel/pause?topic=a&channel=y"), post("/topic/pause?topic=b"),
		send("s", 1, hello(`{"client_id":"me","hostname":"my-os","user_agent":"mine/1"}`)), send("s", 1, "SUB a x\n"), send("s", 1, "RDY 1\n"+barrier), call("POST", "/pub?topic=a", "one"), send("s", 1, ""), call("POST", "/pub?topic=b", "two"),
		when(allStats, `"in_flight_count":1`),
	}
	for _, query := range []string{"", "?format=text", "?format=xml", "?format=json", "?format=JSON", "?topic=a", "?topic=a&channel=x", "?topic=none", "?topic=a&channel=none", "?channel=x", "?include_clients=false", "?include_clients=0", "?include_clients=no", "?include_mem=0", "?include_mem=true", "?include_mem=x", "?topic=%zz"} {
		some = append(some, fetch("/stats"+query))
		if query != "" {
			some = append(some, fetch("/stats"+query+"&format=json"))
		}
	}
	return []story{
		{name: "nothing", steps: []step{fetch("/stats"), fetch("/stats?format=json"), fetch(allStats + "&topic=none")}},
		{name: "filters", steps: some},
		{name: "latencies", flags: []string{"--e2e-processing-latency-percentile=1.0,0.99,0.5"}, steps: []step{
			send("s", 1, magicV2+"SUB t c\n"), send("s", 1, "RDY 9\n"+barrier), send("p", 1, magicV2+pub("t", "one")), send("s", 1, ""), send("s", 1, "FIN <one>\n"+barrier), fetch(allStats),
			fetch("/config/e2e_processing_latency_percentiles"),
		}},
	}
}

func nsqdMetadataStories() []story {
	return []story{
		{name: "what nsqd.dat says", steps: []step{
			metadata,
			post("/topic/create?topic=t"), metadata, post("/channel/create?topic=t&channel=c"), metadata, post("/channel/create?topic=t&channel=tail%23ephemeral"), post("/topic/create?topic=e%23ephemeral"), post("/channel/create?topic=e%23ephemeral&channel=c"),
			post("/topic/pause?topic=t"), metadata, post("/channel/pause?topic=t&channel=c"), metadata, post("/topic/unpause?topic=t"), metadata,
			post("/topic/create?topic=u"), metadata, post("/topic/delete?topic=u"), post("/channel/delete?topic=t&channel=c"),
			restart, metadata, fetch(allStats),
		}},
		{name: "messages come back after SIGTERM", steps: []step{
			send("p", 1, magicV2+mpub("t", "one", "two", "three")), send("p", 1, pub("u", "alone")),
			send("s", 1, magicV2+"SUB t c\n"), send("s", 1, "RDY 1\n"), send("s", 1, "FIN <one>\n"), post("/channel/pause?topic=t&channel=c"), post("/topic/pause?topic=u"),
			restart, metadata, fetch(allStats),
			post("/channel/unpause?topic=t&channel=c"), send("s", 1, magicV2+"SUB t c\n"), send("s", 2, "RDY 9\n"),
			restart, fetch(allStats), send("s", 1, magicV2+"SUB t c\n"), send("s", 2, "RDY 9\n"), send("s", 1, "FIN <three>\nFIN <two>\n"+barrier), restart, fetch(allStats),
		}},
	}
}
