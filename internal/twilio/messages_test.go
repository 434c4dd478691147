package twilio_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/internal/twilio"
)

const (
	authToken = "0123456789abcdef0123456789abcdef"
	business  = "+15005550006"
	staff     = "+15005550010"
	secret    = "Anne Smith called about her claim"
	messages  = "/2010-04-01/Accounts/" + accountSID + "/Messages.json"
)

// client is a client of the server handle makes, and the server's requests.
func client(t *testing.T, handle http.HandlerFunc) *twilio.Client {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return clientAt(t, twilio.Options{BaseURL: server.URL})
}

func clientAt(t *testing.T, o twilio.Options) *twilio.Client {
	t.Helper()
	o.AccountSID, o.AuthToken = accountSID, authToken
	c, err := twilio.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func created(sid, status string) string {
	return `{"account_sid":"` + accountSID + `","api_version":"2010-04-01","body":"` + secret + `","date_created":"Thu, 24 Aug 2023 05:01:45 +0000","date_sent":null,"direction":"outbound-api","error_code":null,"error_message":null,"from":"` + business + `","num_media":"0","num_segments":"1","price":null,"sid":"` + sid + `","status":"` + status + `","subresource_uris":{"media":"/x"},"to":"` + staff + `"}`
}

func refusal(status, code int) string {
	return fmt.Sprintf(`{"code":%d,"message":"To number: %s, is wrong for %s","more_info":"https://www.twilio.com/docs/errors/%d","status":%d}`, code, staff, secret, code, status)
}

var textToStaff = twilio.Message{From: business, To: staff, Body: secret + " & more…", StatusCallback: "https://h.example/twilio/sms/status?customer_id=7&m=abc"}

func TestSend(t *testing.T) {
	t.Parallel()
	type request struct {
		Method, Path, User, Password, Type string
		Form                               url.Values
	}
	got := make(chan request, 1)
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		user, password, _ := r.BasicAuth()
		got <- request{r.Method, r.URL.String(), user, password, r.Header.Get("Content-Type"), form}
		answer(w, http.StatusCreated, created(messageSID, "queued"))
	})
	sent, err := c.Send(t.Context(), textToStaff)
	if err != nil {
		t.Fatal(err)
	}
	if want := (twilio.Sent{SID: messageSID, Status: "queued"}); sent != want {
		t.Errorf("sent %+v, want %+v", sent, want)
	}
	want := request{http.MethodPost, messages, accountSID, authToken, "application/x-www-form-urlencoded", form(
		"From", business, "To", staff, "Body", textToStaff.Body, "StatusCallback", textToStaff.StatusCallback)}
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestSendUnderAPathAndFailedAtOnce(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := strings.Replace(created(messageSID, "failed"), `"error_code":null`, `"error_code":30008`, 1)
		if r.URL.Path != "/fake"+messages {
			body = "{}"
		}
		answer(w, http.StatusCreated, body)
	}))
	t.Cleanup(server.Close)
	sent, err := clientAt(t, twilio.Options{BaseURL: server.URL + "/fake/"}).Send(t.Context(), textToStaff)
	if want := (twilio.Sent{SID: messageSID, Status: "failed", ErrorCode: 30008}); err != nil || sent != want {
		t.Errorf("sent %+v, %v, want %+v", sent, err, want)
	}
}

// checkError fails unless err is an *Error of that kind, status and code that
// tells nothing personal, however it is printed.
func checkError(t *testing.T, err error, kind twilio.Kind, status, code int) *twilio.Error {
	t.Helper()
	var e *twilio.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *twilio.Error", err)
	}
	if e.Kind != kind || e.Status != status || e.Code != code {
		t.Errorf("kind %v, status %d, code %d, want %v, %d, %d", e.Kind, e.Status, e.Code, kind, status, code)
	}
	for ; err != nil; err = errors.Unwrap(err) {
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err), e.Reason()} {
			for _, personal := range []string{staff[1:], business[1:], "Anne", accountSID, authToken} {
				if strings.Contains(text, personal) {
					t.Errorf("error tells %q: %s", personal, text)
				}
			}
		}
	}
	return e
}

func TestErrorsAreClassified(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status, code int
		body         string // empty: Twilio's refusal with that code
		retryAfter   string
		kind         twilio.Kind
		wait         time.Duration
	}{
		"no mobile number":           {status: 400, code: 21614, kind: twilio.Refused},
		"not found":                  {status: 404, code: 20404, kind: twilio.Refused},
		"code we do not know":        {status: 400, code: 29999, kind: twilio.Refused},
		"opted out":                  {status: 400, code: 21610, kind: twilio.OptedOut},
		"wrong token":                {status: 401, code: 20003, kind: twilio.Unauthorised},
		"suspended":                  {status: 403, code: 20005, kind: twilio.Unauthorised},
		"wrong token, no words":      {status: 401, body: "no", kind: twilio.Unauthorised},
		"too many requests":          {status: 429, code: 20429, retryAfter: "7", kind: twilio.Busy, wait: 7 * time.Second},
		"too many requests, html":    {status: 429, body: "<html>", retryAfter: "99999", kind: twilio.Busy, wait: time.Hour},
		"too many, wait not told":    {status: 429, code: 20429, kind: twilio.Busy},
		"too many, wait is nonsense": {status: 429, code: 20429, retryAfter: "-5", kind: twilio.Busy},
		"sender has many waiting":    {status: 400, code: 21611, kind: twilio.Busy},
		"trouble at Twilio":          {status: 500, code: 20500, kind: twilio.Ambiguous},
		"unavailable":                {status: 503, code: 20503, retryAfter: "1", kind: twilio.Ambiguous, wait: time.Second},
		"unavailable, html":          {status: 502, body: "<html>", kind: twilio.Ambiguous},
		"opted out, says a 500":      {status: 500, code: 21610, kind: twilio.Ambiguous},
		"request timeout":            {status: 408, code: 20408, kind: twilio.Ambiguous},
		"somebody else's 404":        {status: 404, body: "<html>not here", kind: twilio.Ambiguous},
		"somebody else's json":       {status: 400, body: `{"error":"bad"}`, kind: twilio.Ambiguous},
		"redirect":                   {status: 302, body: created(messageSID, "queued"), kind: twilio.Ambiguous},
		"created, html":              {status: 201, body: "<html>", kind: twilio.Ambiguous},
		"created, cut off":           {status: 201, body: created(messageSID, "queued")[:100], kind: twilio.Ambiguous},
		"created, nothing named":     {status: 201, body: "{}", kind: twilio.Ambiguous},
		"created, null":              {status: 201, body: "null", kind: twilio.Ambiguous},
		"created, odd name":          {status: 201, body: created(callSID, "queued"), kind: twilio.Ambiguous},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := make(chan struct{}, 10)
			c := client(t, func(w http.ResponseWriter, r *http.Request) {
				asked <- struct{}{}
				if tt.retryAfter != "" {
					w.Header().Set("Retry-After", tt.retryAfter)
				}
				if tt.status == http.StatusFound {
					w.Header().Set("Location", "/elsewhere")
				}
				body := tt.body
				if body == "" {
					body = refusal(tt.status, tt.code)
				}
				answer(w, tt.status, body)
			})
			_, err := c.Send(t.Context(), textToStaff)
			e := checkError(t, err, tt.kind, tt.status, tt.code)
			if e.RetryAfter != tt.wait {
				t.Errorf("retry after %v, want %v", e.RetryAfter, tt.wait)
			}
			if len(asked) != 1 {
				t.Errorf("asked %d times", len(asked))
			}
		})
	}
}

func TestErrorTexts(t *testing.T) {
	t.Parallel()
	c := client(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 400, refusal(400, 21614)) })
	_, err := c.Send(t.Context(), textToStaff)
	if want := "twilio: refused, status 400, code 21614: recipient is not a mobile number"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestLateAnswers(t *testing.T) {
	t.Parallel()
	// A server that answers nothing until its client has gone.
	silent := func(arrived chan<- struct{}) http.HandlerFunc {
		return func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			arrived <- struct{}{}
			<-r.Context().Done()
		}
	}
	t.Run("no answer in time", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(silent(make(chan struct{}, 1)))
		t.Cleanup(server.Close)
		c := clientAt(t, twilio.Options{BaseURL: server.URL, Timeout: 50 * time.Millisecond})
		_, err := c.Send(t.Context(), textToStaff)
		checkError(t, err, twilio.Ambiguous, 0, 0)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v is no exceeded deadline", err)
		}
	})
	t.Run("answer stops half way", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer(w, http.StatusCreated, `{"sid":`)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))
		t.Cleanup(server.Close)
		c := clientAt(t, twilio.Options{BaseURL: server.URL, Timeout: 50 * time.Millisecond})
		_, err := c.Send(t.Context(), textToStaff)
		checkError(t, err, twilio.Ambiguous, http.StatusCreated, 0)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v is no exceeded deadline", err)
		}
	})
	t.Run("given up while waiting", func(t *testing.T) {
		t.Parallel()
		arrived := make(chan struct{}, 1)
		c := client(t, silent(arrived))
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-arrived
			cancel()
		}()
		_, err := c.Send(ctx, textToStaff)
		checkError(t, err, twilio.Ambiguous, 0, 0)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v is no cancellation", err)
		}
	})
}

func TestConnectionResets(t *testing.T) {
	t.Parallel()
	t.Run("reset after the request", func(t *testing.T) {
		t.Parallel()
		c := client(t, func(w http.ResponseWriter, _ *http.Request) { reset(t, w) })
		_, err := c.Send(t.Context(), textToStaff)
		checkError(t, err, twilio.Ambiguous, 0, 0)
	})
	t.Run("reset on a kept connection", func(t *testing.T) {
		t.Parallel()
		var once sync.Once
		asked := make(chan struct{}, 10)
		c := client(t, func(w http.ResponseWriter, _ *http.Request) {
			asked <- struct{}{}
			first := false
			once.Do(func() { first = true })
			if first {
				answer(w, http.StatusCreated, created(messageSID, "queued"))
				return
			}
			reset(t, w)
		})
		if _, err := c.Send(t.Context(), textToStaff); err != nil {
			t.Fatal(err)
		}
		_, err := c.Send(t.Context(), textToStaff)
		checkError(t, err, twilio.Ambiguous, 0, 0)
		if len(asked) != 2 {
			t.Errorf("asked %d times, want 2", len(asked))
		}
	})
}

func TestNothingIsSent(t *testing.T) {
	t.Parallel()
	t.Run("given up before", func(t *testing.T) {
		t.Parallel()
		c := client(t, func(http.ResponseWriter, *http.Request) { t.Error("asked") })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := c.Send(ctx, textToStaff)
		checkError(t, err, twilio.Busy, 0, 0)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v is no cancellation", err)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		t.Parallel()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := listener.Addr().String()
		listener.Close()
		_, err = clientAt(t, twilio.Options{BaseURL: "http://" + address}).Send(t.Context(), textToStaff)
		checkError(t, err, twilio.Busy, 0, 0)
	})
	t.Run("certificate not trusted", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("asked") }))
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		server.StartTLS()
		t.Cleanup(server.Close)
		_, err := clientAt(t, twilio.Options{BaseURL: server.URL}).Send(t.Context(), textToStaff)
		checkError(t, err, twilio.Busy, 0, 0)
	})
}

// reset breaks the connection so that its client sees a reset, not an end.
func reset(t *testing.T, w http.ResponseWriter) {
	t.Helper()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

func TestRefusalsKeepTheConnection(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	connections := map[string]bool{}
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		connections[r.RemoteAddr] = true
		mu.Unlock()
		answer(w, 400, refusal(400, 21614))
	})
	for range 5 {
		_, err := c.Send(t.Context(), textToStaff)
		checkError(t, err, twilio.Refused, 400, 21614)
	}
	if len(connections) != 1 {
		t.Errorf("%d connections for 5 refusals", len(connections))
	}
}

// listed is one text in the list of a fake.
type listed struct {
	SID     string `json:"sid"`
	Body    string `json:"body"`
	Status  string `json:"status"`
	Created string `json:"date_created,omitempty"`
	Code    *int   `json:"error_code"`
}

func at(t time.Time) string { return t.UTC().Format(time.RFC1123Z) }

func sid(n int) string { return fmt.Sprintf("SM%032x", n) }

// list serves texts in pages of two, whatever page size is asked for.
func list(t *testing.T, texts []listed, pages *int) http.HandlerFunc {
	const size = 2
	return func(w http.ResponseWriter, r *http.Request) {
		*pages++
		q := r.URL.Query()
		if r.Method != http.MethodGet || r.URL.Path != messages || q.Get("From") != business || q.Get("To") != staff || q.Get("PageSize") != "100" {
			t.Errorf("asked for %s %s", r.Method, r.URL)
		}
		page := 0
		if token := q.Get("PageToken"); token != "" {
			page, _ = strconv.Atoi(strings.TrimPrefix(token, "PASM"))
			if q.Get("Page") != strconv.Itoa(page) {
				t.Errorf("page %q with token %q", q.Get("Page"), token)
			}
		}
		from, to := min(page*size, len(texts)), min((page+1)*size, len(texts))
		body := map[string]any{"page": page, "page_size": size, "messages": append([]listed{}, texts[from:to]...), "next_page_uri": nil}
		if to < len(texts) {
			next := url.Values{"From": {business}, "To": {staff}, "PageSize": {"100"}, "Page": {strconv.Itoa(page + 1)}, "PageToken": {fmt.Sprintf("PASM%d", page+1)}}
			body["next_page_uri"] = messages + "?" + next.Encode()
		}
		text, _ := json.Marshal(body)
		answer(w, http.StatusOK, string(text))
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 11, 23, 14, 0, 0, 900e6, time.UTC)
	second := since.Truncate(time.Second)
	other := func(n int, d time.Duration) listed {
		return listed{SID: sid(n), Body: "other", Status: "sent", Created: at(second.Add(d))}
	}
	ours := func(n int, d time.Duration) listed {
		return listed{SID: sid(n), Body: secret, Status: "delivered", Created: at(second.Add(d))}
	}
	undated := ours(1, 0)
	undated.Created = ""
	trial := ours(1, 0)
	trial.Body = "Sent from your Twilio trial account - " + secret
	failed := ours(1, time.Second)
	failed.Status, failed.Code = "failed", new(30006)
	almost := []listed{ours(1, 0), ours(2, 0), ours(3, 0), ours(4, 0)}
	almost[0].Body += " "
	almost[1].Body = "x" + secret
	almost[2].Body = strings.ToLower(secret)
	almost[3].SID = ""
	older := []listed{other(1, -time.Hour), other(2, -time.Hour), other(3, -time.Hour)}
	tests := map[string]struct {
		texts []listed
		want  twilio.Sent
		found bool
		pages int
	}{
		"empty":                     {nil, twilio.Sent{}, false, 1},
		"on the first page":         {[]listed{ours(1, time.Second)}, twilio.Sent{SID: sid(1), Status: "delivered"}, true, 1},
		"in the second it began":    {[]listed{ours(1, 0)}, twilio.Sent{SID: sid(1), Status: "delivered"}, true, 1},
		"a second too old":          {[]listed{ours(1, -time.Second)}, twilio.Sent{}, false, 1},
		"on the last page":          {[]listed{other(5, 9), other(4, 8), other(3, 7), other(2, 6), ours(1, 5)}, twilio.Sent{SID: sid(1), Status: "delivered"}, true, 3},
		"the oldest of two":         {[]listed{ours(3, 9*time.Second), other(2, time.Second), ours(1, time.Second)}, twilio.Sent{SID: sid(1), Status: "delivered"}, true, 2},
		"same words long ago":       {append([]listed{other(9, 0)}, ours(1, -time.Hour)), twilio.Sent{}, false, 1},
		"stops at a page of old":    {append([]listed{other(9, 1), other(8, 1)}, append(older, ours(7, 1))...), twilio.Sent{}, false, 2},
		"reads on after a few old":  {[]listed{other(9, 1), other(8, -1e12), ours(7, 1)}, twilio.Sent{SID: sid(7), Status: "delivered"}, true, 2},
		"another text of ours":      {[]listed{ours(8, time.Second), ours(77, time.Second)}, twilio.Sent{SID: sid(8), Status: "delivered"}, true, 1},
		"no date":                   {[]listed{undated}, twilio.Sent{SID: sid(1), Status: "delivered"}, true, 1},
		"trial account":             {[]listed{trial}, twilio.Sent{SID: sid(1), Status: "delivered"}, true, 1},
		"sent and failed":           {[]listed{failed}, twilio.Sent{SID: sid(1), Status: "failed", ErrorCode: 30006}, true, 1},
		"almost the same, no match": {almost, twilio.Sent{}, false, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pages := 0
			got, found, err := client(t, list(t, tt.texts, &pages)).Find(t.Context(), business, staff, secret, since, []string{sid(77)})
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want || found != tt.found || pages != tt.pages {
				t.Errorf("found %+v, %v on %d pages, want %+v, %v on %d", got, found, pages, tt.want, tt.found, tt.pages)
			}
		})
	}
}

// What is no list must not pass for an empty one: the text would be sent again.
func TestFindDoubts(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status int
		body   string
		kind   twilio.Kind
		code   int
	}{
		"trouble at Twilio":  {500, refusal(500, 20500), twilio.Ambiguous, 20500},
		"too many requests":  {429, refusal(429, 20429), twilio.Busy, 20429},
		"wrong token":        {401, refusal(401, 20003), twilio.Unauthorised, 20003},
		"no list":            {200, "{}", twilio.Ambiguous, 0},
		"null":               {200, "null", twilio.Ambiguous, 0},
		"html":               {200, "<html>", twilio.Ambiguous, 0},
		"redirect":           {301, `{"messages":[]}`, twilio.Ambiguous, 0},
		"leads nowhere":      {200, `{"messages":[],"next_page_uri":"/x"}`, twilio.Ambiguous, 0},
		"leads to a bad uri": {200, `{"messages":[],"next_page_uri":":%"}`, twilio.Ambiguous, 0},
		"does not end":       {200, `{"messages":[],"next_page_uri":"/x?Page=1&PageToken=a"}`, twilio.Ambiguous, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			c := client(t, func(w http.ResponseWriter, _ *http.Request) {
				asked++
				answer(w, tt.status, tt.body)
			})
			_, found, err := c.Find(t.Context(), business, staff, secret, time.Now(), nil)
			if err == nil || found {
				t.Fatalf("found %v without an error", found)
			}
			checkError(t, err, tt.kind, tt.status, tt.code)
			if ends := name != "does not end"; ends && asked != 1 || asked > 1000 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	good := twilio.Options{AccountSID: accountSID, AuthToken: authToken}
	for name, change := range map[string]func(*twilio.Options){
		"no account":       func(o *twilio.Options) { o.AccountSID = "" },
		"api key":          func(o *twilio.Options) { o.AccountSID = "SK" + accountSID[2:] },
		"no token":         func(o *twilio.Options) { o.AuthToken = "" },
		"token with colon": func(o *twilio.Options) { o.AuthToken = "hunter:2" },
		"base without web": func(o *twilio.Options) { o.BaseURL = "api.twilio.com" },
		"base of a file":   func(o *twilio.Options) { o.BaseURL = "file:///hunter" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := good
			change(&o)
			_, err := twilio.NewClient(o)
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), "hunter") {
				t.Errorf("error tells the setting: %v", err)
			}
		})
	}
}

func TestTruncate(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 1600)
	tests := map[string]struct{ body, want string }{
		"short":                {"Hello", "Hello"},
		"just fits":            {long, long},
		"one too long":         {long + "a", long[:1597] + "..."},
		"at the end of a word": {strings.Repeat("word ", 400), strings.TrimRight(strings.Repeat("word ", 319), " ") + "..."},
		"one very long word":   {"Hi " + long, "Hi " + long[:1594] + "..."},
		"emoji just fit":       {strings.Repeat("👍", 800), strings.Repeat("👍", 800)},
		"emoji count twice":    {strings.Repeat("👍", 801), strings.Repeat("👍", 798) + "..."},
		"letters stay whole":   {strings.Repeat("é", 1601), strings.Repeat("é", 1597) + "..."},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := twilio.Truncate(tt.body); got != tt.want {
				t.Errorf("%d bytes ending %q, want %d ending %q", len(got), got[max(0, len(got)-12):], len(tt.want), tt.want[max(0, len(tt.want)-12):])
			}
		})
	}
}
