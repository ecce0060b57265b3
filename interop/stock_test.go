package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// startTimeout bounds the start of one stock daemon.
const startTimeout = 10 * time.Second

// An nsqd is one nsqd, stock's unless said otherwise.
type nsqd struct {
	*process
	tcp  string
	http string // also its name in what the lookupds answer
}

// startNSQD starts a stock nsqd that registers at the given TCP addresses.
func startNSQD(t testing.TB, lookupds ...string) *nsqd {
	t.Helper()
	return startNSQDOf(t, "stock", lookupds...)
}

// startNSQDOf is startNSQD for the nsqd that is called stock or ours.
func startNSQDOf(t testing.TB, which string, lookupds ...string) *nsqd {
	t.Helper()
	d := &nsqd{tcp: freeAddr(t), http: freeAddr(t)}
	args := []string{
		"--tcp-address=" + d.tcp, "--http-address=" + d.http,
		"--broadcast-address=127.0.0.1", "--data-path=" + t.TempDir(),
	}
	for _, addr := range lookupds {
		args = append(args, "--lookupd-tcp-address="+addr)
	}
	d.process = newProcess(t, "nsqd-"+portOf(d.http), nsqdBin(which), args...)
	d.start()
	awaitPing(t, d.process, d.http)
	return d
}

// createTopic creates a topic, which nsqd acknowledges before it registers it.
func (d *nsqd) createTopic(topic string) {
	d.t.Helper()
	mustSend(d.t, "POST", d.http, "/topic/create?topic="+topic, "")
}

// createChannel creates a channel of an existing topic.
func (d *nsqd) createChannel(topic, channel string) {
	d.t.Helper()
	mustSend(d.t, "POST", d.http, "/channel/create?topic="+topic+"&channel="+channel, "")
}

// publish publishes one message.
func (d *nsqd) publish(topic, body string) {
	d.t.Helper()
	mustSend(d.t, "POST", d.http, "/pub?topic="+topic, body)
}

// useLookupds replaces the nsqlookupds that the running nsqd registers with.
func (d *nsqd) useLookupds(addrs ...string) {
	d.t.Helper()
	list, err := json.Marshal(addrs)
	if err != nil {
		d.t.Fatal(err)
	}
	mustSend(d.t, "PUT", d.http, "/config/nsqlookupd_tcp_addresses", string(list))
}

// startNSQAdmin starts a stock nsqadmin over the given nsqlookupds and returns
// its HTTP address.
func startNSQAdmin(t testing.TB, lookupds ...string) string {
	t.Helper()
	addr := freeAddr(t)
	args := []string{"--http-address=" + addr}
	for _, l := range lookupds {
		args = append(args, "--lookupd-http-address="+l)
	}
	p := newProcess(t, "nsqadmin", stockBin("nsqadmin"), args...)
	p.start()
	awaitPing(t, p, addr)
	return addr
}

// awaitPing waits until a daemon answers /ping at addr.
func awaitPing(t testing.TB, p *process, addr string) {
	t.Helper()
	eventually(t, startTimeout, p.name+" answers /ping", func() error {
		if err := p.running(); err != nil {
			return err
		}
		a, err := request("GET", addr, "/ping", "")
		if err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("status %d: %s", a.status, a.body)
		}
		return err
	})
}

// runTool runs a stock tool to its end and returns what it wrote to stdout. A
// status other than 0, or more time than within, fails the test.
func runTool(t testing.TB, within time.Duration, app string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, stockBin(app), args...)
	cmd.SysProcAttr = dieWithParent()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\nstdout: %s\nstderr: %s", app, strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String()
}

// each returns the flag once for every value.
func each(flag string, values []string) []string {
	var args []string
	for _, v := range values {
		args = append(args, flag+"="+v)
	}
	return args
}

// portOf returns the port of host:port.
func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
