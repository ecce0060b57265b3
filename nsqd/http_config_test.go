package nsqd

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/httpapi"
	"nsqraft/internal/logline"
)

// What stock v1.3.0 prints of the same options.
func TestOptionsAsStockPrintsThem(t *testing.T) {
	opts := DefaultOptions()
	opts.NodeID = 617
	opts.DataPath = "/data"
	opts.TLSRequired = tlsRequired
	opts.E2EPercentiles = Percentiles{1, 0.99}
	opts.AuthHTTPAddresses = []string{"a:1", "b:2"}
	a := &httpAPI{opts: opts, log: hclog.NewNullLogger()}
	for key, want := range map[string]string{
		"id":                                 `617`,
		"tcp_address":                        `0.0.0.0:4150`,
		"data_path":                          `/data`,
		"tls_cert":                           ``,
		"msg_timeout":                        `60000000000`,
		"http_client_connect_timeout":        `2000000000`,
		"mem_queue_size":                     `10000`,
		"max_deflate_level":                  `6`,
		"deflate":                            `true`,
		"tls_required":                       `2`,
		"tls_min_version":                    `771`,
		"auth_http_addresses":                `["a:1","b:2"]`,
		"enable_experiment":                  `[]`,
		"e2e_processing_latency_percentiles": `[1,0.99]`,
		"log_prefix":                         `[nsqd] `,
	} {
		value, ok := a.option(key)
		var got string
		switch v := value.(type) {
		case string:
			got = v
		case httpapi.JSON:
			got = string(v)
		default:
			b, err := json.Marshal(v)
			if err != nil {
				t.Error(err)
			}
			got = string(b)
		}
		if !ok || got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	for _, key := range []string{"", "-", "config", "node_id", "msg-timeout", "MsgTimeout", "lookupd_tcp_address"} {
		if value, ok := a.option(key); ok {
			t.Errorf("%q: got %v, want nothing", key, value)
		}
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Options]()) {
		if k := renderOption(reflect.ValueOf(opts).Elem().FieldByIndex(field.Index)); k == nil {
			t.Errorf("%s renders as nothing", field.Name)
		}
	}
}

func TestStockLevel(t *testing.T) {
	for text, want := range map[string]int{"debug": 1, "info": 2, "warn": 3, "error": 4, "fatal": 5} {
		var level logline.Level
		if err := level.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := stockLevel(hclog.Level(level)); got != want {
			t.Errorf("%s: got %d, want %d", text, got, want)
		}
	}
}

func TestMayConfigure(t *testing.T) {
	tests := []struct {
		cidr, remote string
		unix         bool
		want         bool
	}{
		{"127.0.0.1/8", "127.0.0.1:5000", false, true},
		{"127.0.0.1/8", "127.9.9.9:5000", false, true},
		{"127.0.0.1/8", "[::1]:5000", false, true},
		{"127.0.0.1/8", "[::ffff:127.0.0.1]:5000", false, true},
		{"127.0.0.1/8", "10.0.0.1:5000", false, false},
		{"127.0.0.1/8", "[fe80::1%eth0]:5000", false, false},
		{"127.0.0.1/8", "@", true, true},
		{"127.0.0.1/8", "", true, true},
		{"127.0.0.1/8", "", false, false},
		{"10.0.0.0/8", "10.0.0.1:5000", false, true},
		{"10.0.0.0/8", "127.0.0.1:5000", false, false},
		{"10.0.0.0/8", "[::1]:5000", false, false},
		{"10.0.0.0/8", "@", true, false},
		{"0.0.0.0/0", "8.8.8.8:5000", false, true},
		{"::1/128", "[::1]:5000", false, true},
		{"::/0", "10.0.0.1:5000", false, false},
		{"fe80::/10", "[fe80::1%eth0]:5000", false, true},
		{"", "127.0.0.1:5000", false, false},
		{"", "@", true, false},
	}
	for _, tt := range tests {
		opts := &Options{AllowConfigFromCIDR: tt.cidr}
		a, err := newHTTPAPI(&Server{opts: opts, log: hclog.NewNullLogger()})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("PUT", "/config/log_level", nil)
		r.RemoteAddr = tt.remote
		var local net.Addr = &net.TCPAddr{Port: 4151}
		if tt.unix {
			local = &net.UnixAddr{Net: "unix", Name: "/run/nsqd.sock"}
		}
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
		if got := a.mayConfigure(r); got != tt.want {
			t.Errorf("%+v: got %v", tt, got)
		}
	}
	if _, err := newHTTPAPI(&Server{opts: &Options{AllowConfigFromCIDR: "127.0.0.1"}}); err == nil || !strings.Contains(err.Error(), "--allow-config-from-cidr") {
		t.Errorf("no network: got %v", err)
	}
}
