package nsqd

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/httpapi"
	"nsqraft/internal/logline"
)

// maxConfigValue bounds the body of a PUT /config.
const maxConfigValue = 64 << 10

var (
	errInvalidOption = httpapi.NewError(http.StatusBadRequest, "INVALID_OPTION")
	errInvalidValue  = httpapi.NewError(http.StatusBadRequest, "INVALID_VALUE")
	errValueTooBig   = httpapi.NewError(http.StatusRequestEntityTooLarge, "INVALID_VALUE") // or empty
	errForbidden     = httpapi.NewError(http.StatusForbidden, "FORBIDDEN")
)

// getConfig answers GET /config/<key of the configuration file> with the option's
// value in use, in stock's form: see renderOption.
func (a *httpAPI) getConfig(r *http.Request) (any, error) {
	value, ok := a.option(chi.URLParam(r, "opt"))
	if !ok {
		return nil, errInvalidOption
	}
	return value, nil
}

// putConfig answers PUT /config/<key> for what can change while nsqd runs, with the
// new value. What is set is gone with the process.
func (a *httpAPI) putConfig(r *http.Request) (any, error) {
	if !a.mayConfigure(r) {
		return nil, errForbidden
	}
	key := chi.URLParam(r, "opt")
	body, err := readBody(r, maxConfigValue, errValueTooBig)
	if err != nil {
		return nil, err
	}
	if len(body) == 0 && key != "drain" {
		return nil, errValueTooBig
	}
	switch key {
	case "log_level":
		var level logline.Level
		if level.UnmarshalText(body) != nil {
			return nil, errInvalidValue
		}
		a.log.SetLevel(hclog.Level(level))
	case "nsqlookupd_tcp_addresses":
		var addresses []string
		if json.Unmarshal(body, &addresses) != nil || validLookupds(addresses) != nil {
			return nil, errInvalidValue
		}
		a.srv.links.set(addresses)
	case "drain":
		// There is no way back: consumers have been told, and perhaps are gone.
		if s := string(body); s != "" && s != "true" && s != "1" {
			return nil, errInvalidValue
		}
		a.log.Info("drain asked for over HTTP", "remote", r.RemoteAddr)
		a.srv.Drain()
	default:
		return nil, errInvalidOption
	}
	return a.getConfig(r)
}

// mayConfigure says whether r comes from --allow-config-from-cidr. The same host
// counts as 127.0.0.1 however it comes: over a unix socket, or from ::1.
func (a *httpAPI) mayConfigure(r *http.Request) bool {
	if a.admins == nil {
		return false
	}
	local := net.IPv4(127, 0, 0, 1)
	if onUnixSocket(r.Context()) {
		return a.admins.Contains(local)
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	ip := remote.Addr().Unmap().WithZone("")
	return a.admins.Contains(net.IP(ip.AsSlice())) || ip == netip.IPv6Loopback() && a.admins.Contains(local)
}

func onUnixSocket(ctx context.Context) bool {
	addr, ok := ctx.Value(http.LocalAddrContextKey).(net.Addr)
	return ok && addr.Network() == "unix"
}

// option returns the value of the option with that key, ready to be sent. Options
// that are not what the user said any more are asked where they live.
func (a *httpAPI) option(key string) (value any, ok bool) {
	switch key {
	case "log_level":
		return stockLevel(a.log.GetLevel()), true
	case "nsqlookupd_tcp_addresses":
		return renderOption(reflect.ValueOf(a.srv.links.addresses())), true
	case "broadcast_tcp_port":
		return broadcastPort(a.opts.BroadcastTCPPort, a.srv.TCPAddr()), true
	case "broadcast_http_port":
		return broadcastPort(a.opts.BroadcastHTTPPort, a.srv.HTTPAddr()), true
	case "statsd_prefix":
		return statsdPrefix(a.opts, a.srv.HTTPAddr()), true
	case "drain":
		return a.srv.Draining(), true
	}
	opts := reflect.ValueOf(a.opts).Elem()
	for i := range opts.NumField() {
		tag := opts.Type().Field(i).Tag
		name := tag.Get("cfg")
		if name == "" {
			name = strings.ReplaceAll(tag.Get("flag"), "-", "_")
		}
		if name == key && name != "" {
			return renderOption(opts.Field(i)), true
		}
	}
	return nil, false
}

// renderOption returns the value of an option as stock sends it: a string bare, all
// else as JSON by its kind. So durations are nanoseconds and TLS versions numbers,
// though they have texts of their own.
func renderOption(v reflect.Value) any {
	switch {
	case v.Kind() == reflect.String:
		return v.String()
	case v.Kind() == reflect.Bool:
		return httpapi.JSON(strconv.AppendBool(nil, v.Bool()))
	case v.CanInt():
		return httpapi.JSON(strconv.AppendInt(nil, v.Int(), 10))
	case v.CanUint():
		return httpapi.JSON(strconv.AppendUint(nil, v.Uint(), 10))
	case v.Kind() == reflect.Slice && v.Len() == 0:
		return httpapi.JSON("[]")
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Float64:
		return v.Convert(reflect.TypeFor[[]float64]()).Interface()
	}
	return v.Interface()
}

// stockLevel returns stock's number of a log level: 1 is debug, 5 is fatal.
func stockLevel(level hclog.Level) int {
	switch logline.Level(level).String() {
	case "debug":
		return 1
	case "info":
		return 2
	case "warn":
		return 3
	case "error":
		return 4
	default:
		return 5
	}
}

// broadcastPort returns the port that others are told, 0 if there is none.
func broadcastPort(told int, listening net.Addr) int {
	if told != 0 {
		return told
	}
	return max(portOf(listening), 0)
}
