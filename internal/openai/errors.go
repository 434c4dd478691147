package openai

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	sdk "github.com/sashabaranov/go-openai"
)

// Kind is why a request came to nothing.
type Kind string

// Kinds of failure.
const (
	Busy         Kind = "busy"         // 429: rate limit
	Quota        Kind = "quota"        // 429: nothing left to spend
	Unauthorised Kind = "unauthorised" // 401, 403
	TooLong      Kind = "too_long"     // the conversation, or the document asked for, does not fit the model
	Bad          Kind = "bad"          // 400, 404, or not even sent: the same request fails again
	Refused      Kind = "refused"      // the model would not, or was not allowed to
	Down         Kind = "down"         // 5xx, no connection, rubbish
	Cut          Kind = "cut"          // the answer ended without saying so
	Stalled      Kind = "stalled"      // nothing came in time
	Unusable     Kind = "unusable"     // empty, or not the document asked for
)

// Error is a failed request. Its text holds no content.
type Error struct {
	Kind       Kind
	Status     int           // HTTP; 0 when there was none
	RetryAfter time.Duration // what the server asked for; 0: nothing
}

// Error names the kind and the status.
func (e *Error) Error() string {
	if e.Status == 0 {
		return "openai: " + string(e.Kind)
	}
	return fmt.Sprintf("openai: %s (status %d)", e.Kind, e.Status)
}

// Retryable reports whether the same request may succeed later.
func (e *Error) Retryable() bool {
	switch e.Kind {
	case Busy, Down, Cut, Stalled, Unusable:
		return true
	}
	return false
}

// KindOf is the kind of err, empty when it is not of a request.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

// classify says what an error of the client library means.
func classify(err error, n *note) *Error {
	var api *sdk.APIError
	var req *sdk.RequestError
	status, code := 0, ""
	switch {
	case errors.As(err, &api):
		status, code = api.HTTPStatusCode, strings.ToLower(fmt.Sprint(api.Code, " ", api.Type))
	case errors.As(err, &req):
		status = req.HTTPStatusCode
	case !n.sent:
		return &Error{Kind: Bad} // the library itself would not send it
	}
	return &Error{Kind: kind(status, code), Status: status, RetryAfter: n.retryAfter}
}

// kind goes by the code first: in the middle of a stream there is no status.
func kind(status int, code string) Kind {
	is := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(code, w) {
				return true
			}
		}
		return false
	}
	switch {
	case is("quota", "credit_balance"):
		return Quota
	case status == 429 || is("rate_limit", "slow_down"):
		return Busy
	case is("context_length", "string_above_max_length"), status == 413:
		return TooLong
	case is("content_filter", "content_policy"):
		return Refused
	case status == 401 || status == 403 || is("invalid_api_key"):
		return Unauthorised
	case status == 408 || status == 409:
		return Down
	case status >= 400 && status < 500:
		return Bad
	}
	return Down
}

// note is what the transport saw of one request: the client library shows
// neither the header nor the body.
type note struct {
	sent       bool
	retryAfter time.Duration
	body       io.Reader
}

type noteKey struct{}

func withNote(ctx context.Context) (context.Context, *note) {
	n := &note{}
	return context.WithValue(ctx, noteKey{}, n), n
}

// drain reads what follows the end of a stream. Only a body read to its end
// lets the connection be used again.
func (n *note) drain() {
	if n.body != nil {
		_, _ = io.CopyN(io.Discard, n.body, 4096)
	}
}

type noting struct{ http.RoundTripper }

func (t noting) RoundTrip(r *http.Request) (*http.Response, error) {
	n, _ := r.Context().Value(noteKey{}).(*note)
	if n != nil {
		n.sent = true
	}
	resp, err := t.RoundTripper.RoundTrip(r)
	if n != nil && err == nil {
		n.body, n.retryAfter = resp.Body, retryAfter(resp.Header, time.Now())
	}
	return resp, err
}

// retryAfter reads how long the server wants to be left alone: milliseconds,
// seconds or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms > 0 {
		return time.Duration(ms * float64(time.Millisecond))
	}
	v := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(v, 64); err == nil && s > 0 {
		return time.Duration(s * float64(time.Second))
	}
	if at, err := http.ParseTime(v); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}
