package simulated

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Twilio signs with it
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// TwilioOptions of a stand-in for Twilio's REST API. Kinds of fault: delay 429
// 401 500 500-after timeout-after reset reset-after drop-callbacks
// duplicate-callbacks.
type TwilioOptions struct {
	Addr, AccountSID, AuthToken string
	Dir                         string // where accepted texts survive a restart; empty: nowhere
	Latency                     time.Duration
	Faults                      []Fault
	OptedOut                    []string // numbers that replied STOP
}

// SentText is a text the stand-in accepted.
type SentText struct {
	SID      string    `json:"sid"`
	From     string    `json:"from"`
	To       string    `json:"to"`
	Body     string    `json:"body"`
	Callback string    `json:"status_callback"`
	At       time.Time `json:"at"`
	Status   string    `json:"status"`
}

// Twilio is a running stand-in.
type Twilio struct {
	o      TwilioOptions
	l      net.Listener
	srv    *http.Server
	faults faults
	ctx    context.Context
	stop   context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	texts []*SentText
	n     int
	file  *os.File
}

// StartTwilio serves until Close.
func StartTwilio(o TwilioOptions) (*Twilio, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	t := &Twilio{o: o}
	t.faults.set(o.Faults)
	if err := t.load(); err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", o.Addr)
	if err != nil {
		return nil, err
	}
	t.l = l
	t.ctx, t.stop = context.WithCancel(context.Background())
	mux := http.NewServeMux()
	mux.HandleFunc("/2010-04-01/Accounts/{account}/Messages.json", t.messages)
	mux.HandleFunc("POST /_simulated/faults", t.faults.serve)
	mux.HandleFunc("GET /_simulated/messages", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(t.Texts())
	})
	t.srv = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = t.srv.Serve(l) }()
	return t, nil
}

// load reads what earlier runs accepted.
func (t *Twilio) load() error {
	if t.o.Dir == "" {
		return nil
	}
	if err := os.MkdirAll(t.o.Dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(t.o.Dir, "texts.jsonl")
	raw, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for line := range bytes.Lines(raw) {
		var s SentText
		if json.Unmarshal(line, &s) == nil {
			s.Status = "delivered"
			t.texts = append(t.texts, &s)
		}
	}
	t.n = len(t.texts)
	t.file, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return err
}

// ForgetTexts removes from a stand-in's directory the texts it accepted that
// hold one of words, as somebody would at Twilio, and returns how many.
func ForgetTexts(dir string, words []string) (n int, err error) {
	path := filepath.Join(dir, "texts.jsonl")
	raw, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	var left []byte
	for line := range bytes.Lines(raw) {
		var s SentText
		if json.Unmarshal(line, &s) == nil && slices.ContainsFunc(words, func(w string) bool { return s.SID == w || s.To == w }) {
			n++
			continue
		}
		left = append(left, line...)
	}
	if n == 0 {
		return 0, nil
	}
	return n, os.WriteFile(path, left, 0o600) // in place: a server that runs appends to it
}

// URL is the base URL for clients.
func (t *Twilio) URL() string { return "http://" + t.l.Addr().String() }

// Close stops the server and whatever it still had to call back.
func (t *Twilio) Close() error {
	t.stop()
	err := t.srv.Close()
	t.wg.Wait()
	if t.file != nil {
		_ = t.file.Close()
	}
	return err
}

// Texts are all texts accepted, oldest first.
func (t *Twilio) Texts() []SentText {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]SentText, 0, len(t.texts))
	for _, s := range t.texts {
		out = append(out, *s)
	}
	return out
}

func twilioError(w http.ResponseWriter, status, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"code": code, "message": message, "more_info": fmt.Sprintf("https://www.twilio.com/docs/errors/%d", code), "status": status})
}

func (t *Twilio) messages(w http.ResponseWriter, r *http.Request) {
	user, pass, _ := r.BasicAuth()
	if user != t.o.AccountSID || pass != t.o.AuthToken {
		twilioError(w, 401, 20003, "Authenticate")
		return
	}
	if r.PathValue("account") != t.o.AccountSID {
		twilioError(w, 404, 20404, "The requested resource was not found")
		return
	}
	pause(r, t.o.Latency)
	if err := r.ParseForm(); err != nil {
		twilioError(w, 400, 20001, "Malformed form")
		return
	}
	switch r.Method {
	case http.MethodGet:
		t.list(w, r.Form)
	case http.MethodPost:
		t.create(w, r)
	default:
		twilioError(w, 405, 20004, "Method not allowed")
	}
}

// create takes a text, or fails before or after it has.
func (t *Twilio) create(w http.ResponseWriter, r *http.Request) {
	f, faulty := t.faults.next("delay", "429", "401", "500", "500-after", "timeout-after", "reset", "reset-after")
	if faulty {
		switch f.Kind {
		case "delay":
			pause(r, time.Duration(f.DelayMS)*time.Millisecond)
		case "429":
			w.Header().Set("Retry-After", "1")
			twilioError(w, 429, 20429, "Too Many Requests")
			return
		case "401":
			twilioError(w, 401, 20003, "Authenticate")
			return
		case "500":
			twilioError(w, 500, 20500, "Internal Server Error")
			return
		case "reset":
			reset(w)
			return
		}
	}
	if status, code, message := t.refuse(r.PostForm); code != 0 {
		twilioError(w, status, code, message)
		return
	}
	s := t.accept(r.PostForm)
	if faulty {
		switch f.Kind {
		case "500-after":
			twilioError(w, 500, 20500, "Internal Server Error")
			return
		case "timeout-after":
			<-r.Context().Done()
			return
		case "reset-after":
			reset(w)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(t.resource(s))
}

// refuse is Twilio's table of what it does not send.
func (t *Twilio) refuse(form url.Values) (status, code int, message string) {
	to, body := form.Get("To"), form.Get("Body")
	switch {
	case to == "":
		return 400, 21604, "A 'To' phone number is required."
	case form.Get("From") == "" && form.Get("MessagingServiceSid") == "":
		return 400, 21603, "A 'From' phone number is required."
	case body == "":
		return 400, 21602, "Message body is required."
	case len([]rune(body)) > 1600:
		return 400, 21617, "The concatenated message body exceeds the 1600 character limit."
	case !strings.HasPrefix(to, "+") || len(to) < 9:
		return 400, 21211, "Invalid 'To' Phone Number: " + to
	case to == "+15005550009":
		return 400, 21614, "To number: +15005550009, is not a mobile number"
	case slices.Contains(t.o.OptedOut, to):
		return 400, 21610, "Attempt to send to unsubscribed recipient"
	}
	return 0, 0, ""
}

func (t *Twilio) accept(form url.Values) SentText {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
	s := &SentText{
		SID: fmt.Sprintf("SM%032x", uint64(time.Now().UnixNano())<<8|uint64(t.n&0xff)), From: form.Get("From"), To: form.Get("To"),
		Body: form.Get("Body"), Callback: form.Get("StatusCallback"), At: time.Now().UTC(), Status: "queued",
	}
	t.texts = append(t.texts, s)
	if t.file != nil {
		if raw, err := json.Marshal(s); err == nil {
			_, _ = t.file.Write(append(raw, '\n'))
		}
	}
	if s.Callback != "" {
		t.wg.Add(1)
		go t.callBack(*s)
	}
	return *s
}

func (t *Twilio) resource(s SentText) map[string]any {
	return map[string]any{
		"sid": s.SID, "account_sid": t.o.AccountSID, "api_version": "2010-04-01", "from": s.From, "to": s.To, "body": s.Body,
		"status": s.Status, "direction": "outbound-api", "num_segments": "1", "num_media": "0", "error_code": nil, "error_message": nil,
		"date_created": s.At.Format(time.RFC1123Z), "date_updated": s.At.Format(time.RFC1123Z), "date_sent": nil,
		"messaging_service_sid": nil, "price": nil, "price_unit": "USD",
		"uri": "/2010-04-01/Accounts/" + t.o.AccountSID + "/Messages/" + s.SID + ".json", "subresource_uris": map[string]string{},
	}
}

// list is newest first, by page.
func (t *Twilio) list(w http.ResponseWriter, form url.Values) {
	t.mu.Lock()
	var all []map[string]any
	for i := len(t.texts) - 1; i >= 0; i-- {
		s := t.texts[i]
		if (form.Get("To") == "" || s.To == form.Get("To")) && (form.Get("From") == "" || s.From == form.Get("From")) {
			all = append(all, t.resource(*s))
		}
	}
	t.mu.Unlock()
	size, _ := strconv.Atoi(form.Get("PageSize"))
	if size <= 0 || size > 1000 {
		size = 50
	}
	page, _ := strconv.Atoi(form.Get("Page"))
	from := min(page*size, len(all))
	to := min(from+size, len(all))
	var next any
	if to < len(all) {
		q := url.Values{"To": {form.Get("To")}, "From": {form.Get("From")}, "PageSize": {strconv.Itoa(size)}, "Page": {strconv.Itoa(page + 1)}, "PageToken": {"PT" + strconv.Itoa(page+1)}}
		next = "/2010-04-01/Accounts/" + t.o.AccountSID + "/Messages.json?" + q.Encode()
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"messages": append([]map[string]any{}, all[from:to]...), "page": page, "page_size": size, "start": from, "end": max(to-1, 0),
		"next_page_uri": next, "previous_page_uri": nil, "first_page_uri": "", "uri": "",
	})
}

// callBack tells the text's owner how it is doing, as Twilio does.
func (t *Twilio) callBack(s SentText) {
	defer t.wg.Done()
	if _, drop := t.faults.next("drop-callbacks"); drop {
		return
	}
	_, twice := t.faults.next("duplicate-callbacks")
	for _, status := range []string{"sent", "delivered"} {
		form := url.Values{
			"AccountSid": {t.o.AccountSID}, "From": {s.From}, "To": {s.To}, "MessageSid": {s.SID}, "SmsSid": {s.SID},
			"MessageStatus": {status}, "SmsStatus": {status}, "ApiVersion": {"2010-04-01"},
		}
		for range 1 + b2i(twice) {
			t.post(s.Callback, form)
		}
		t.mu.Lock()
		for _, have := range t.texts {
			if have.SID == s.SID {
				have.Status = status
			}
		}
		t.mu.Unlock()
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// post delivers one signed callback, a few times if need be.
func (t *Twilio) post(target string, form url.Values) {
	for wait := 100 * time.Millisecond; wait < 10*time.Second; wait *= 2 {
		req, err := http.NewRequestWithContext(t.ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
		if err != nil {
			return
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("X-Twilio-Signature", signature(t.o.AuthToken, target, form))
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode < 500 {
				return
			}
		}
		select {
		case <-t.ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// signature is Twilio's, written here a second time on purpose: what checks it
// elsewhere is checked by it.
func signature(token, target string, form url.Values) string {
	keys := make([]string, 0, len(form))
	for k := range form {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	data := target
	for _, k := range keys {
		values := slices.Clone(form[k])
		slices.Sort(values)
		for _, v := range slices.Compact(values) {
			data += k + v
		}
	}
	m := hmac.New(sha1.New, []byte(token))
	m.Write([]byte(data))
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}
