package twilio

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/twilio/twilio-go/client"
)

// Kind says what can be done about an Error.
type Kind int

// The kinds of Error.
const (
	Refused      Kind = iota + 1 // Twilio will never do it; nothing was sent
	OptedOut                     // the recipient wants no texts from this sender; nothing was sent
	Busy                         // nothing was sent; it may be tried again, after RetryAfter
	Ambiguous                    // it may have been done or not
	Unauthorised                 // the credentials are wrong or suspended; nothing was sent
)

// String is the kind in words.
func (k Kind) String() string {
	switch k {
	case Refused:
		return "refused"
	case OptedOut:
		return "recipient opted out"
	case Busy:
		return "busy"
	case Ambiguous:
		return "outcome unknown"
	case Unauthorised:
		return "not authorised"
	}
	return fmt.Sprintf("kind %d", int(k))
}

// Error is why Twilio's REST API did not do what it was asked. Its text holds no
// number, no body and nothing else Twilio said, since Twilio quotes both.
type Error struct {
	Kind       Kind
	Status     int           // of HTTP; 0: there was no answer
	Code       int           // of Twilio; 0: it gave none
	RetryAfter time.Duration // at most an hour; 0: Twilio did not say

	detail string
	cause  error // a context's, or nil
}

// Error is the kind, the numbers and their meaning where it is known.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("twilio: ")
	b.WriteString(e.Kind.String())
	if e.Status != 0 {
		fmt.Fprintf(&b, ", status %d", e.Status)
	}
	if e.Code != 0 {
		fmt.Fprintf(&b, ", code %d", e.Code)
	}
	if reason := e.Reason(); reason != "" && reason != e.Kind.String() {
		b.WriteString(": ")
		b.WriteString(reason)
	}
	return b.String()
}

// Unwrap is context.Canceled or context.DeadlineExceeded when that was the cause.
func (e *Error) Unwrap() error { return e.cause }

// Reason says what was wrong in a few words, without personal data; it can be
// shown to the tenant.
func (e *Error) Reason() string {
	if e.detail != "" {
		return e.detail
	}
	switch e.Code {
	case 20003:
		return "account or token is wrong"
	case 20429:
		return "too many requests"
	case 21211:
		return "recipient is no valid number"
	case 21212, 21606:
		return "sender is no number that can send texts"
	case 21408:
		return "texts to that region are not enabled"
	case 21602, 21617:
		return "text is empty or too long"
	case 21608:
		return "trial account and recipient not verified"
	case 21610:
		return "recipient opted out"
	case 21611:
		return "sender has too many texts waiting"
	case 21612:
		return "recipient cannot be reached from this sender"
	case 21614, 21635:
		return "recipient is not a mobile number"
	}
	return e.Kind.String()
}

// exchange is one request of the library. The library takes no context, knows
// one base URL and keeps the status and headers of a refusal to itself: all of
// that goes by way of its transport.
type exchange struct {
	ctx  context.Context
	base *url.URL
	next http.RoundTripper

	tried      bool // the request may have left
	status     int
	retryAfter time.Duration
}

// maxAnswer is far more than a page of messages takes, in bytes.
const maxAnswer = 8 << 20

// RoundTrip sends q to the configured address under the caller's context. The
// answer is read whole here, because the library leaves the body of a refusal
// open.
func (x *exchange) RoundTrip(q *http.Request) (*http.Response, error) {
	if err := x.ctx.Err(); err != nil {
		return nil, err
	}
	x.tried = true
	q = q.Clone(x.ctx)
	q.URL.Scheme, q.URL.Host, q.Host = x.base.Scheme, x.base.Host, x.base.Host
	q.URL.Path = strings.TrimSuffix(x.base.Path, "/") + q.URL.Path
	q.URL.RawPath = ""
	response, err := x.next.RoundTrip(q)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	x.status = response.StatusCode
	x.retryAfter = retryAfter(response.Header)
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}

// retryAfter reads the header of that name, seconds or a date, up to an hour.
func retryAfter(h http.Header) time.Duration {
	var wait time.Duration
	s := h.Get("Retry-After")
	if seconds, err := strconv.ParseInt(s, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		wait = time.Until(at)
	}
	return min(max(0, wait), time.Hour)
}

// failure classifies how the exchange went; nil when Twilio did as asked. err is
// what the library makes of it, which is never shown: it holds the URL, and with
// it the numbers.
func (x *exchange) failure(err error) error {
	if err == nil && x.status >= 200 && x.status < 300 {
		return nil
	}
	e := &Error{Status: x.status, RetryAfter: x.retryAfter}
	var told *client.TwilioRestError
	if errors.As(err, &told) {
		e.Code = told.Code
	}
	switch {
	case x.status == 0:
		x.unanswered(e, err)
	case x.status == http.StatusTooManyRequests || e.Code == 20429 || e.Code == 21611:
		e.Kind = Busy
	case x.status == http.StatusUnauthorized || x.status == http.StatusForbidden || e.Code == 20003:
		e.Kind = Unauthorised
	case x.status >= 500 || x.status == http.StatusRequestTimeout:
		e.Kind, e.detail = Ambiguous, "trouble at Twilio"
	case e.Code == 21610:
		e.Kind = OptedOut
	case x.status >= 400 && e.Code != 0:
		e.Kind = Refused
	default:
		// Redirects and refusals in words that are not Twilio's come from
		// something in between.
		e.Kind, e.detail = Ambiguous, "answer not understood"
		e.cause = contextCause(err)
	}
	return e
}

// unanswered tells a request that cannot have reached Twilio from one that can.
func (x *exchange) unanswered(e *Error, err error) {
	e.cause = contextCause(err)
	// Only what proves that nothing left counts; a doubt is Ambiguous.
	var op *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case !x.tried:
		e.Kind, e.detail = Busy, "given up before it was sent"
	case errors.As(err, &op) && op.Op == "dial", errors.As(err, &certificate):
		e.Kind, e.detail = Busy, "no connection"
	case errors.Is(err, context.Canceled):
		e.Kind, e.detail = Ambiguous, "given up"
	case errors.Is(err, context.DeadlineExceeded):
		e.Kind, e.detail = Ambiguous, "no answer in time"
	default:
		e.Kind, e.detail = Ambiguous, "connection lost"
	}
}

// unclear is the error for an answer that cannot be used.
func (x *exchange) unclear(detail string) error {
	return &Error{Kind: Ambiguous, Status: x.status, detail: detail}
}

func contextCause(err error) error {
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, cause) {
			return cause
		}
	}
	return nil
}
