package env

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// clockOf returns by how much the clock of the process at an HTTP address is ahead of
// ours, to the second.
func clockOf(ctx context.Context, addr string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/ping", nil)
	if err != nil {
		return 0, err
	}
	resp, err := alone(askWithin).RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0, fmt.Errorf("date of %s: %w", addr, err)
	}
	return time.Until(date), nil
}
