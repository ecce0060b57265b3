package nsqadmin

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"
)

// A setup is what pages need of the options. It does not change after Open.
type setup struct {
	basePath    string // "" or "/admin": what precedes the path of each link
	version     string
	messageView bool      // peek works
	logsIn      bool      // there are users to log in as, at /login
	staticDir   string    // --dev-static-dir: assets are read from there; "": those in the program
	settings    []setting // for /config, secrets masked; in the order of Options
}

// A setting is an option as it is in effect.
type setting struct {
	Name, Value, Default string
	Usage                string
}

func newSetup(o *Options) *setup {
	s := &setup{basePath: strings.TrimSuffix(o.BasePath, "/"), version: Version, messageView: !o.DisableMessageView, logsIn: o.AuthFile != "", staticDir: o.DevStaticDir}
	values, defaults := reflect.ValueOf(masked(*o)), reflect.ValueOf(*DefaultOptions())
	for i := range values.NumField() {
		tag := values.Type().Field(i).Tag
		s.settings = append(s.settings, setting{
			Name:    tag.Get("flag"),
			Value:   settingText(values.Field(i)),
			Default: settingText(defaults.Field(i)),
			Usage:   tag.Get("usage"),
		})
	}
	return s
}

// masked returns o without what is secret in it. Endpoints of webhooks often have a
// secret in their path.
func masked(o Options) Options {
	if u, err := url.Parse(o.GraphiteURL); err == nil && u.User != nil {
		o.GraphiteURL = u.Redacted()
	}
	if u, err := url.Parse(o.NotificationHTTPEndpoint); err == nil && u.Host != "" {
		o.NotificationHTTPEndpoint = u.Scheme + "://" + u.Host + "/..."
	}
	return o
}

func settingText(v reflect.Value) string {
	if list, ok := v.Interface().([]string); ok {
		return strings.Join(list, ", ")
	}
	return fmt.Sprint(v.Interface())
}
