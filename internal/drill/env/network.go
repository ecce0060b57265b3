package env

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// A network is what lies between nodes, and between them and clients.
type network interface {
	// missing is Env.Missing, of the kinds of ofNetwork.
	missing(k Kind) string
	// set makes the network as all says, and nothing else than that.
	set(all map[path]effect) error
	// counts returns what was seen of a path since it was made. A path from or to clients
	// has none.
	counts(p path) counts
	close() error
}

// counts are of packets, or of what they carry.
type counts struct{ Passed, Stopped, Late, Lost, Overtaken, Doubled uint64 }

const (
	seenWithin = 1500 * time.Millisecond // nodes say something all the time
	quietFor   = 20 * time.Millisecond   // nothing passes on what is cut
	unreached  = 250 * time.Millisecond  // a node on this machine answers sooner
)

// seen returns true once the effect of f was: on some path of it something was stopped,
// or came late, and nothing passes on any that is cut.
func seen(ctx context.Context, n network, f Fault, nodes []string) bool {
	var paths []path
	for _, p := range pathsOf(f, nodes) {
		if p.From != clients && p.To != clients {
			paths = append(paths, p)
		}
	}
	if len(paths) == 0 {
		return true
	}
	total := func() (sum counts) {
		for _, p := range paths {
			c := n.counts(p)
			sum.Passed += c.Passed
			sum.Stopped += c.Stopped
			sum.Late += c.Late
			sum.Lost += c.Lost
			sum.Overtaken += c.Overtaken
			sum.Doubled += c.Doubled
		}
		return sum
	}
	first := total()
	passed, since := first.Passed, time.Now()
	for begun := since; ctx.Err() == nil && time.Since(begun) < seenWithin; time.Sleep(2 * time.Millisecond) {
		now := total()
		if now.Passed != passed {
			passed, since = now.Passed, time.Now()
		}
		switch f.Kind {
		case Delay:
			if now.Late > first.Late {
				return true
			}
		case Loss:
			if now.Lost > first.Lost {
				return true
			}
		case Reorder:
			if now.Overtaken > first.Overtaken {
				return true
			}
		case Duplicate:
			if now.Doubled > first.Doubled {
				return true
			}
		default:
			if now.Stopped > first.Stopped && time.Since(since) >= quietFor {
				return true
			}
		}
	}
	return false
}

// silent says whether the node at an HTTP address answers nothing, and does not refuse
// either.
func silent(ctx context.Context, addr string) bool {
	err := ping(ctx, addr)
	var timeout net.Error
	return err != nil && errors.As(err, &timeout) && timeout.Timeout()
}

// fallsSilent asks until the node at an HTTP address is silent, and says whether it was:
// on a busy machine it may answer once more after it was told to stop.
func fallsSilent(ctx context.Context, addr string) bool {
	for begun := time.Now(); ctx.Err() == nil && time.Since(begun) < seenWithin; time.Sleep(2 * time.Millisecond) {
		if silent(ctx, addr) {
			return true
		}
	}
	return false
}

// lags says whether the node at an HTTP address takes d each way, or longer.
func lags(ctx context.Context, addr string, d time.Duration) bool {
	if d <= 0 {
		return true // that cannot be seen
	}
	asked := time.Now()
	err := pingWithin(ctx, addr, 2*d+askWithin)
	return err == nil && time.Since(asked) >= 2*d
}

// gone says whether nobody listens at addr.
func gone(ctx context.Context, addr string) bool {
	d := net.Dialer{Timeout: unreached}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err == nil {
		conn.Close()
	}
	return err != nil
}

// ping asks the node at an HTTP address whether it lives, over a connection of its own.
func ping(ctx context.Context, addr string) error { return pingWithin(ctx, addr, unreached) }

func pingWithin(ctx context.Context, addr string, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/ping", nil)
	if err != nil {
		return err
	}
	resp, err := alone(d).RoundTrip(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// alone makes a connection for each request, within a time.
func alone(dial time.Duration) *http.Transport {
	return &http.Transport{DialContext: (&net.Dialer{Timeout: dial}).DialContext, DisableKeepAlives: true}
}
