package nsqadmin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
)

// maxNotifications bounds what waits for an endpoint that is slow or away; what is
// more is logged and dropped.
const maxNotifications = 256

// A notification is what the endpoint is told of an action: stock's body, and result.
type notification struct {
	Action    string       `json:"action"`
	Topic     string       `json:"topic"`
	Channel   string       `json:"channel,omitempty"`
	Node      string       `json:"node,omitempty"`
	Timestamp int64        `json:"timestamp"` // unix seconds
	User      string       `json:"user,omitempty"`
	RemoteIP  string       `json:"remote_ip"` // with port, as in stock
	UserAgent string       `json:"user_agent"`
	URL       string       `json:"url"`    // of the request
	Via       string       `json:"via"`    // the host of this nsqadmin
	Result    []resultJSON `json:"result"` // daemon by daemon
}

// A notifier POSTs notifications one after the other. Whatever the endpoint does, no
// action waits for it.
type notifier struct {
	// Read-only after newNotifier.
	endpoint string // "" for none
	client   *http.Client
	via      string
	log      hclog.Logger

	queue chan *notification
	count *prometheus.CounterVec // result: sent, failed, dropped
}

func newNotifier(o *Options, count *prometheus.CounterVec, log hclog.Logger) *notifier {
	via, err := os.Hostname()
	if err != nil {
		via = "unknown"
	}
	return &notifier{
		endpoint: o.NotificationHTTPEndpoint,
		client: &http.Client{
			Timeout: o.RequestTimeout,
			Transport: &http.Transport{
				Proxy:                 http.ProxyFromEnvironment,
				DialContext:           (&net.Dialer{Timeout: o.ConnectTimeout}).DialContext,
				TLSHandshakeTimeout:   o.ConnectTimeout,
				ResponseHeaderTimeout: o.RequestTimeout,
				IdleConnTimeout:       time.Minute,
			},
		},
		via:   via,
		log:   log,
		queue: make(chan *notification, maxNotifications),
		count: count,
	}
}

// notify queues what the endpoint is to know about an action that r asked for.
func (n *notifier) notify(r *http.Request, user string, a *action, results []resultJSON, at time.Time) {
	if n.endpoint == "" {
		return
	}
	u := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawQuery: r.URL.RawQuery}
	if r.TLS != nil || r.Header.Get("X-Scheme") == "https" {
		u.Scheme = "https"
	}
	note := &notification{
		Action:    a.name,
		Topic:     a.topic,
		Channel:   a.channel,
		Node:      a.node,
		Timestamp: at.Unix(),
		User:      user,
		RemoteIP:  r.RemoteAddr,
		UserAgent: r.UserAgent(),
		URL:       u.String(),
		Via:       n.via,
		Result:    results,
	}
	select {
	case n.queue <- note:
	default:
		n.count.WithLabelValues("dropped").Inc()
		n.log.Error("a notification is dropped: the endpoint does not keep up", "action", a.name, "topic", a.topic, "channel", a.channel)
	}
}

// run sends what is queued until ctx ends.
func (n *notifier) run(ctx context.Context) {
	defer n.client.CloseIdleConnections()
	for {
		select {
		case note := <-n.queue:
			if err := n.send(ctx, note); err == nil {
				n.count.WithLabelValues("sent").Inc()
			} else {
				n.count.WithLabelValues("failed").Inc()
				n.log.Error("a notification was not delivered", "action", note.Action, "topic", note.Topic, "channel", note.Channel, "err", err)
			}
		case <-ctx.Done():
			if left := len(n.queue); left > 0 {
				n.log.Warn("notifications were not sent before the end", "count", left)
			}
			return
		}
	}
}

func (n *notifier) send(ctx context.Context, note *notification) error {
	body, err := json.Marshal(note)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	if resp.StatusCode >= 300 {
		return fmt.Errorf("the endpoint answers %s", resp.Status)
	}
	return nil
}
