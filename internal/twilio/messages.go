package twilio

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/twilio/twilio-go/client"
	api "github.com/twilio/twilio-go/rest/api/v2010"
)

// Options say how to reach Twilio's REST API.
type Options struct {
	AccountSID string
	AuthToken  string
	BaseURL    string            // empty: https://api.twilio.com
	Timeout    time.Duration     // of one request, answer included; 0: 10 s
	Transport  http.RoundTripper // nil: one of the client's own
}

// Client sends texts and finds those sent. It is safe for concurrent use and
// never sends anything twice by itself.
type Client struct {
	account   string
	token     string
	base      *url.URL
	timeout   time.Duration
	transport http.RoundTripper
}

// The library refuses other credentials, with an error that looks like Twilio's.
var tokenPattern = regexp.MustCompile(`^[a-zA-Z0-9]+$`)

// NewClient checks o; it does not connect.
func NewClient(o Options) (*Client, error) {
	if !ValidSID("AC", o.AccountSID) {
		return nil, errors.New("twilio client: account is no AC identifier")
	}
	if !tokenPattern.MatchString(o.AuthToken) {
		return nil, errors.New("twilio client: auth token is not of letters and digits")
	}
	base, err := url.Parse(orElse(o.BaseURL, "https://api.twilio.com"))
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") {
		return nil, errors.New("twilio client: base URL is no web address")
	}
	c := &Client{account: o.AccountSID, token: o.AuthToken, base: base, timeout: o.Timeout, transport: o.Transport}
	if c.timeout <= 0 {
		c.timeout = 10 * time.Second
	}
	if c.transport == nil {
		c.transport = ownTransport(c.timeout)
	}
	return c, nil
}

// ownTransport gives up connecting well before the request's deadline: only then
// is it known that nothing was sent.
func ownTransport(timeout time.Duration) http.RoundTripper {
	const idle = 8
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: timeout / 2, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: timeout / 2,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: idle,
		IdleConnTimeout:     90 * time.Second,
	}
}

// Close closes idle connections.
func (c *Client) Close() {
	(&http.Client{Transport: c.transport}).CloseIdleConnections()
}

// Message is one text to send.
type Message struct {
	From, To       string // E.164
	Body           string // at most MaxText characters; see Truncate
	StatusCallback string // URL told of every change; empty: none
}

// Sent is a text as Twilio knows it.
type Sent struct {
	SID       string // SM… or MM…
	Status    string // "queued", "accepted" …
	ErrorCode int    // why it failed, if it has
}

// Send asks Twilio to send m, once. Every error is an *Error, whose Kind says
// whether the text may have gone out all the same.
func (c *Client) Send(ctx context.Context, m Message) (Sent, error) {
	params := &api.CreateMessageParams{From: &m.From, To: &m.To, Body: &m.Body}
	if m.StatusCallback != "" {
		params.StatusCallback = &m.StatusCallback
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	service, x := c.service(ctx)
	created, err := service.CreateMessage(params)
	if err = x.failure(err); err != nil {
		return Sent{}, err
	}
	if created.Sid == nil || !validMessageSID(*created.Sid) {
		return Sent{}, x.unclear("answer names no message")
	}
	return sentFrom(created), nil
}

// Find looks for a text from from to to whose body is exactly body and which was
// created at since, whole seconds, or later: the oldest such that is none of the
// SIDs in others, if any. Every error is an *Error.
//
// Twilio is not asked to filter by date, because the date it filters by is that
// of sending, which a text still queued does not have.
func (c *Client) Find(ctx context.Context, from, to, body string, since time.Time, others []string) (Sent, bool, error) {
	const (
		pageSize = 100
		maxPages = 100
	)
	var (
		params        = (&api.ListMessageParams{From: &from, To: &to}).SetPageSize(pageSize)
		found         Sent
		ok            bool
		token, number string
	)
	since = since.Truncate(time.Second)
	for range maxPages {
		page, err := c.page(ctx, params, token, number)
		if err != nil {
			return Sent{}, false, err
		}
		older := 0
		for i := range page.Messages {
			m := &page.Messages[i]
			if created := createdAt(m); !created.IsZero() && created.Before(since) {
				older++
				continue
			}
			if m.Sid != nil && validMessageSID(*m.Sid) && !slices.Contains(others, *m.Sid) && m.Body != nil && sameBody(*m.Body, body) {
				found, ok = sentFrom(m), true
			}
		}
		// The list is newest first.
		if page.NextPageUri == nil || *page.NextPageUri == "" || older > 0 && older == len(page.Messages) {
			return found, ok, nil
		}
		if token, number = nextPage(*page.NextPageUri); token == "" && number == "" {
			break
		}
	}
	return Sent{}, false, &Error{Kind: Ambiguous, Status: http.StatusOK, detail: "list of messages does not end"}
}

func (c *Client) page(ctx context.Context, params *api.ListMessageParams, token, number string) (*api.ListMessageResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	service, x := c.service(ctx)
	page, err := service.PageMessage(params, token, number)
	if err = x.failure(err); err != nil {
		return nil, err
	}
	// Whatever is taken for an empty list leads to a second text.
	if page.Messages == nil {
		return nil, x.unclear("answer is no list of messages")
	}
	return page, nil
}

// service is the library's client for one request of ctx.
func (c *Client) service(ctx context.Context) (*api.ApiService, *exchange) {
	x := &exchange{ctx: ctx, base: c.base, next: c.transport}
	base := &client.Client{
		Credentials: client.NewCredentials(c.account, c.token),
		HTTPClient: &http.Client{Transport: x, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
	}
	base.SetAccountSid(c.account)
	return api.NewApiServiceWithClient(base), x
}

// nextPage is where uri leads to, both empty when it leads nowhere.
func nextPage(uri string) (token, number string) {
	next, err := url.Parse(uri)
	if err != nil {
		return "", ""
	}
	return next.Query().Get("PageToken"), next.Query().Get("Page")
}

// sameBody compares a text of the list with the one we sent. A trial account
// puts a sentence in front.
func sameBody(listed, body string) bool {
	return listed == body || listed == "Sent from your Twilio trial account - "+body
}

func createdAt(m *api.ApiV2010Message) time.Time {
	if m.DateCreated == nil {
		return time.Time{}
	}
	at, err := mail.ParseDate(*m.DateCreated)
	if err != nil {
		return time.Time{}
	}
	return at
}

func sentFrom(m *api.ApiV2010Message) Sent {
	s := Sent{SID: *m.Sid}
	if m.Status != nil {
		s.Status = *m.Status
	}
	if m.ErrorCode != nil {
		s.ErrorCode = *m.ErrorCode
	}
	return s
}

// MaxText is the longest text Twilio takes, in characters.
const MaxText = 1600

// Truncate shortens body to what Twilio takes, at the end of a word if there is
// one nearby, and ends it with three dots. It counts a character outside
// Unicode's first plane, as most emoji are, twice, as a phone does.
func Truncate(body string) string {
	const (
		dots   = "..." // one character of "…" would make every text more expensive
		nearby = 40
	)
	units, end := 0, 0
	for i, r := range body {
		if units <= MaxText-len(dots) {
			end = i
		}
		units += max(1, utf16.RuneLen(r))
	}
	if units <= MaxText {
		return body
	}
	if i := strings.LastIndexAny(body[:end], " \n\t"); i >= end-nearby {
		end = i
	}
	return strings.TrimRight(body[:end], " \n\t") + dots
}
