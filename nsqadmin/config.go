package nsqadmin

import (
	"encoding/json"
	"errors"
	"io"
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
const maxConfigValue = 1 << 20

var (
	errInvalidOption = httpapi.NewError(http.StatusBadRequest, "INVALID_OPTION")
	errInvalidValue  = httpapi.NewError(http.StatusBadRequest, "INVALID_VALUE")
	errValueTooBig   = httpapi.NewError(http.StatusRequestEntityTooLarge, "INVALID_VALUE") // or empty
	errInvalidRemote = httpapi.NewError(http.StatusBadRequest, "INVALID_REMOTE_ADDR")
)

func (s *Server) configRoutes(rt *httpapi.Router) {
	rt.V1("GET", s.base+"/config/{opt}", s.getConfig)
	rt.V1Body("PUT", s.base+"/config/{opt}", s.putConfig)
}

// getConfig answers with the value in use of the option with that key in the
// configuration file: a string bare, all else as JSON, durations in nanoseconds.
func (s *Server) getConfig(r *http.Request) (any, error) {
	if err := s.mayConfigure(r); err != nil {
		return nil, err
	}
	value, ok := s.option(chi.URLParam(r, "opt"))
	if !ok {
		return nil, errInvalidOption
	}
	return value, nil
}

// putConfig sets what can change while nsqadmin runs, and answers with the new value.
// What is set is gone with the process.
func (s *Server) putConfig(r *http.Request) (any, error) {
	if err := s.mayConfigure(r); err != nil {
		return nil, err
	}
	if _, role := s.who(r); s.opts.AuthFile != "" && role < admin {
		return nil, errForbidden
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxConfigValue+1))
	if err != nil {
		return nil, httpapi.NewError(http.StatusBadRequest, "INVALID_REQUEST")
	}
	if len(body) == 0 || len(body) > maxConfigValue {
		return nil, errValueTooBig
	}
	switch chi.URLParam(r, "opt") {
	case "nsqlookupd_http_addresses":
		if err := s.setLookupds(body); err != nil {
			return nil, errInvalidValue
		}
	case "log_level":
		var level logline.Level
		if level.UnmarshalText(body) != nil {
			return nil, errInvalidValue
		}
		s.log.SetLevel(hclog.Level(level))
	default:
		return nil, errInvalidOption
	}
	return s.getConfig(r)
}

// setLookupds replaces the nsqlookupds that are asked by those in a JSON array.
func (s *Server) setLookupds(body []byte) error {
	var addresses []string
	if err := json.Unmarshal(body, &addresses); err != nil {
		return err
	}
	if len(s.opts.NSQDHTTPAddresses) > 0 {
		return errors.New("this nsqadmin asks nsqds")
	}
	for _, address := range addresses {
		if err := validDaemon(address); err != nil {
			return err
		}
	}
	s.lookupds.Store(&addresses)
	s.poller.SetLookupds(addresses)
	return nil
}

// mayConfigure says whether r comes from --allow-config-from-cidr. The same host
// counts as 127.0.0.1 also if it comes from ::1.
func (s *Server) mayConfigure(r *http.Request) error {
	if s.opts.AllowConfigFromCIDR == "" {
		return nil
	}
	network, err := netip.ParsePrefix(s.opts.AllowConfigFromCIDR)
	if err != nil {
		return errForbidden // not after Validate
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return errInvalidRemote
	}
	ip := remote.Addr().Unmap().WithZone("")
	if ip == netip.IPv6Loopback() && !network.Contains(ip) {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if !network.Contains(ip) {
		return errForbidden
	}
	return nil
}

// option returns the value of the option with that key, ready to be sent.
func (s *Server) option(key string) (value any, ok bool) {
	switch key {
	case "log_level":
		return stockLevel(s.log.GetLevel()), true
	case "nsqlookupd_http_addresses":
		return renderOption(reflect.ValueOf(*s.lookupds.Load())), true
	}
	opts := reflect.ValueOf(s.opts).Elem()
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

// renderOption returns an option as stock sends it, by its kind.
func renderOption(v reflect.Value) any {
	switch {
	case v.Kind() == reflect.String:
		return v.String()
	case v.CanInt():
		return httpapi.JSON(strconv.AppendInt(nil, v.Int(), 10))
	case v.Kind() == reflect.Slice && v.Len() == 0:
		return httpapi.JSON("[]")
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
