package nsqd

import (
	"net/http"
	"net/http/pprof"
	"runtime"
	"runtime/debug"
	"strconv"

	"nsqraft/internal/httpapi"
)

// debugRoutes adds profiles and what acts on the Go runtime.
func debugRoutes(rt *httpapi.Router) {
	// As in stock the index has a slash at its end here, unlike nsqlookupd's.
	rt.Handle("GET", "/debug/pprof/", http.HandlerFunc(pprof.Index))
	rt.Handle("GET", "/debug/pprof/cmdline", http.HandlerFunc(pprof.Cmdline))
	rt.Handle("GET", "/debug/pprof/symbol", http.HandlerFunc(pprof.Symbol))
	rt.Handle("POST", "/debug/pprof/symbol", http.HandlerFunc(pprof.Symbol))
	rt.Handle("GET", "/debug/pprof/profile", http.HandlerFunc(pprof.Profile))
	rt.Handle("GET", "/debug/pprof/trace", http.HandlerFunc(pprof.Trace))
	for _, profile := range []string{"heap", "allocs", "goroutine", "block", "mutex", "threadcreate"} {
		rt.Handle("GET", "/debug/pprof/"+profile, pprof.Handler(profile))
	}
	rt.PlainText("PUT", "/debug/setblockrate", setBlockRate)
	rt.PlainText("POST", "/debug/freememory", freeMemory)
}

// setBlockRate and freeMemory do the same in stock, and then answer 500.
func setBlockRate(r *http.Request) (any, error) {
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, err
	}
	rate, err := strconv.Atoi(params.Get("rate"))
	if err != nil {
		return nil, httpapi.NewError(http.StatusBadRequest, "invalid block rate : "+err.Error())
	}
	runtime.SetBlockProfileRate(rate)
	return nil, nil
}

func freeMemory(*http.Request) (any, error) {
	debug.FreeOSMemory()
	return nil, nil
}
