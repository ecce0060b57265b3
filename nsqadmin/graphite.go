package nsqadmin

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"nsqraft/internal/httpapi"
)

// maxGraphite bounds what graphite may answer to a question about a rate.
const maxGraphite = 1 << 20

// graphiteRoutes adds what stock has for graphs of graphite's.
func (s *Server) graphiteRoutes(rt *httpapi.Router) {
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: s.opts.ConnectTimeout}).DialContext,
		ResponseHeaderTimeout: s.opts.RequestTimeout,
		IdleConnTimeout:       time.Minute,
	}
	client := &http.Client{Transport: transport, Timeout: s.opts.RequestTimeout}
	rt.V1("GET", s.base+"/api/graphite", func(r *http.Request) (any, error) { return s.graphiteRate(r, client) })
	if !s.opts.ProxyGraphite {
		return
	}
	target, err := url.Parse(s.opts.GraphiteURL)
	if err != nil {
		return // not after Validate
	}
	rt.Handle("GET", s.base+"/render", s.renderProxy(target, transport))
}

// renderProxy passes /render on to graphite, with graphite's credentials instead of
// the user's.
func (s *Server) renderProxy(target *url.URL, transport http.RoundTripper) http.Handler {
	return &httputil.ReverseProxy{
		Transport: transport,
		ErrorLog:  nil,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL = target.JoinPath("render")
			p.Out.URL.User = nil
			p.Out.URL.RawQuery = p.In.URL.RawQuery
			p.Out.Host = target.Host
			for _, name := range []string{"Authorization", "Cookie", s.opts.ACLHTTPHeader} {
				p.Out.Header.Del(name)
			}
			if target.User != nil {
				password, _ := target.User.Password()
				p.Out.SetBasicAuth(target.User.Username(), password)
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			// Whatever it answers is shown as a picture, and nothing else, of ours.
			resp.Header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
			resp.Header.Del("Set-Cookie")
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			s.log.Warn("graphite does not answer", "err", err)
			refuse(w, httpapi.NewError(http.StatusBadGateway, "UPSTREAM_ERROR: "+err.Error()))
		},
	}
}

// graphiteRate answers with a rate in messages/s as graphite has it, "N/A" if it has
// none.
func (s *Server) graphiteRate(r *http.Request, client *http.Client) (any, error) {
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, err
	}
	if params.Get("metric") != "rate" {
		return nil, httpapi.NewError(http.StatusBadRequest, "INVALID_ARG_METRIC")
	}
	if !params.Has("target") {
		return nil, httpapi.NewError(http.StatusBadRequest, "INVALID_ARG_TARGET")
	}
	value, err := s.graphiteValue(r, client, params.Get("target"))
	if err != nil {
		return nil, fmt.Errorf("ask graphite: %w", err) // 500, as in stock
	}
	rate := "N/A"
	if value != nil && *value >= 0 {
		rate = fmt.Sprintf("%.2f", *value/s.opts.StatsdInterval.Seconds())
	}
	return struct {
		Rate string `json:"rate"`
	}{rate}, nil
}

// graphiteValue returns the value of target in the last whole interval, nil if
// graphite has none.
func (s *Server) graphiteValue(r *http.Request, client *http.Client, target string) (*float64, error) {
	u, err := url.Parse(s.opts.GraphiteURL)
	if err != nil {
		return nil, err
	}
	interval := int(s.opts.StatsdInterval.Seconds())
	u = u.JoinPath("render")
	u.RawQuery = url.Values{
		"from":   {fmt.Sprintf("-%dsec", 2*interval)},
		"until":  {fmt.Sprintf("-%dsec", interval)},
		"format": {"json"},
		"target": {target},
	}.Encode()
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", resp.Status)
	}
	var series []struct {
		Points [][]*float64 `json:"datapoints"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxGraphite)).Decode(&series); err != nil {
		return nil, err
	}
	if len(series) == 0 || len(series[0].Points) == 0 || len(series[0].Points[0]) == 0 {
		return nil, nil
	}
	return series[0].Points[0][0], nil
}
