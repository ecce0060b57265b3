// Package nsqadmin is the web UI of a set of nsqlookupds and nsqds, and its JSON API.
//
// One clusterinfo.Poller asks the daemons, however many browsers watch. Pages and
// API answers are made from its newest View and from the history that is kept of it;
// only lists of clients are asked for when a page with them is opened, and bounded.
// Pages are complete without JavaScript; with it, an event over SSE says that there is
// a new View, and the script fetches the page anew and replaces its live parts.
//
//	options.go       Options, one field a flag, and their validation
//	server.go        Server: New, Open, Close, and its goroutines
//	routes.go        what every request passes on its way to the API or to pages
//	certificates.go  TLS, towards browsers and towards daemons
//	auth.go          who somebody is and what their role may do
//	record.go        each View into history, reigns and activity
//	history.go       history: series of depth, messages, finishes, in flight; rates.go: rates from counters
//	reigns.go        who led the nsqlookupds, and when
//	activity.go      who did what, elections, daemons that went and came
//	actions.go       what API and pages do to the cluster: check, act, record, notify
//	notify.go        the webhook of --notification-http-endpoint
//	clients.go       lists of clients, asked for when somebody wants to see them
//	messages.go      publish, and peek at what is published
//	api.go           stock nsqadmin's JSON API; api_views.go, api_nodes.go: what it shows
//	api_more.go      what is new in the API: overview, cluster, activity, history, lists of topics
//	events.go        SSE
//	graphite.go      /render and /api/graphite
//	config.go        /config, as the API has it; setup.go: as pages show it
//	metrics.go       /metrics and the probes
//	pages.go         the pages' handlers; page_*.go: what each shows
//	verdict*.go      the banner and "needs you": is it all right, and if not, what to do
//	chart.go         sparklines, charts and lanes as SVG
//	format.go        numbers, sizes and times for people
//	templates/       html/template files: layout.html, parts.html, and one a page
//	assets/          what browsers load: one stylesheet, one script, one icon
//
// Goroutines: Open starts those of the Poller, of record, of the notifier and of the
// HTTP server, and Close waits for them; a list of clients has one until the nsqd has
// answered, and a peek one for each nsqd, which it waits for.
package nsqadmin
