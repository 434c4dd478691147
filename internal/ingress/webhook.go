package ingress

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/mask"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/twilio"
)

const (
	maxBody       = 64 << 10
	maxReconnects = 5 // relays Twilio is given for one call after the first
	greetWait     = 150 * time.Millisecond

	// Parameters of the relay, which come back in its setup frame.
	paramPass        = "call"
	paramGreeting    = "greeting"
	paramDialled     = "dialled"
	maxGreetingParam = 480

	// What the agent's stand-in was, when it is over.
	afterPerson    = "person"
	afterVoicemail = "voicemail"
)

// signed lets a webhook through when Twilio sent it: right method, readable
// form, valid signature. Everything else leaves no trace but a counter.
func (w *worker) signed(route string, handle func(http.ResponseWriter, *http.Request, url.Values)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			rw.Header().Set("Allow", http.MethodPost)
			http.Error(rw, "POST only", http.StatusMethodNotAllowed)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBody))
		if err != nil {
			w.metrics.rejected.WithLabelValues(route, "size").Inc()
			http.Error(rw, "request body over 64 KiB", http.StatusRequestEntityTooLarge)
			return
		}
		if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/x-www-form-urlencoded" {
			w.metrics.rejected.WithLabelValues(route, "type").Inc()
			http.Error(rw, "want application/x-www-form-urlencoded", http.StatusUnsupportedMediaType)
			return
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			w.metrics.rejected.WithLabelValues(route, "form").Inc()
			http.Error(rw, "malformed form", http.StatusBadRequest)
			return
		}
		if !w.verifier.Request(w.publicURL, r, form, body) {
			w.reject(rw, route, "signature")
			return
		}
		handle(rw, r, form)
	}
}

func (w *worker) reject(rw http.ResponseWriter, route, why string) {
	w.metrics.rejected.WithLabelValues(route, why).Inc()
	http.Error(rw, "forbidden", http.StatusForbidden)
}

func (w *worker) badForm(rw http.ResponseWriter, route string, err error) {
	w.metrics.rejected.WithLabelValues(route, "form").Inc()
	http.Error(rw, err.Error(), http.StatusBadRequest)
}

func answerTwiML(rw http.ResponseWriter, doc []byte) {
	rw.Header().Set("Content-Type", "text/xml; charset=utf-8")
	_, _ = rw.Write(doc) //nolint:gosec // XML that is read as such, and escaped where it is made
}

// voice is POST /twilio/voice: an inbound call.
func (w *worker) voice(rw http.ResponseWriter, r *http.Request, form url.Values) {
	req, err := twilio.ParseVoiceRequest(form)
	if err != nil {
		w.badForm(rw, "voice", err)
		return
	}
	if !w.settings.Ready() {
		// Twilio goes on to the fallback URL.
		http.Error(rw, "settings are not loaded yet", http.StatusServiceUnavailable)
		return
	}
	s, ok := w.settings.ByNumber(req.To)
	if !ok || !s.Active() {
		w.metrics.refused.Inc()
		answerTwiML(rw, twilio.SayAndHangup("We're sorry. The number you have called is not in service.", ""))
		return
	}
	began := time.Now()
	e := events.New(s.Tenant, req.CallSID, began, events.CallReceived{
		From: req.From, To: req.To, ForwardedFrom: req.ForwardedFrom, Verification: req.Verification,
	})
	e.CallSeq = 1
	if err := w.received(e); err != nil {
		w.log.Error("call cannot be written down", zap.String("call", req.CallSID), zap.Error(err))
		http.Error(rw, "cannot take calls now", http.StatusServiceUnavailable)
		return
	}
	greeting := w.greetingFor(r.Context(), s, req.CallSID, req.From)
	answerTwiML(rw, w.connect(s, req.CallSID, began, greeting, "", 0))
}

// connect is the TwiML that opens the call's nth relay after the first; dialled
// is what became of a transfer before it.
func (w *worker) connect(s events.Settings, call string, began time.Time, greeting, dialled string, nth int) []byte {
	ws := "ws" + strings.TrimPrefix(w.publicURL, "http")
	w.expect(key{s.Tenant, call})
	params := map[string]string{
		paramPass:     w.pass.issue(s.Tenant, call, began, nth),
		paramGreeting: clip(greeting, maxGreetingParam),
	}
	if dialled != "" {
		params[paramDialled] = dialled
	}
	return twilio.Relay{
		URL:             ws + "/twilio/relay",
		Action:          w.actionURL(s, "n", strconv.Itoa(nth)),
		WelcomeGreeting: greeting,
		Language:        s.Language,
		TTSProvider:     s.VoiceProvider,
		Voice:           s.Voice,
		Parameters:      params,
	}.TwiML()
}

// greetingFor is the tenant's greeting, in the words for a caller we know when
// a worker says so in time.
func (w *worker) greetingFor(ctx context.Context, s events.Settings, call, from string) string {
	text := settings.Fill(s.Greeting, s, "", time.Now())
	if s.ReturningGreeting != "" {
		ctx, cancel := context.WithTimeout(ctx, greetWait)
		defer cancel()
		if g, err := w.greet(ctx, s.Tenant, events.Greet{Call: call, Caller: from}); err == nil && g.Text != "" {
			text = g.Text
		}
	}
	return text
}

// action is POST /twilio/voice/action: a relay or a transfer is over.
func (w *worker) action(rw http.ResponseWriter, r *http.Request, form url.Values) {
	a, err := twilio.ParseRelayAction(form)
	if err != nil {
		w.badForm(rw, "action", err)
		return
	}
	s, ok := w.tenantOf(r, a.To)
	if !ok {
		answerTwiML(rw, twilio.Hangup())
		return
	}
	nth, _ := strconv.Atoi(r.URL.Query().Get("n"))
	after := r.URL.Query().Get("after")
	switch {
	case after == afterVoicemail:
		w.over(s.Tenant, a.CallSID, events.EndCaller)
		answerTwiML(rw, twilio.SayAndHangup(phrasesIn(s.Language).recorded, s.Language))
	case after == afterPerson && !a.Reached():
		answerTwiML(rw, w.voicemail(s))
	case a.DialStatus != "":
		w.dialDone(rw, s, a, nth)
	case a.Status == "completed":
		w.over(s.Tenant, a.CallSID, events.EndCaller)
		answerTwiML(rw, twilio.Empty())
	case a.SessionStatus == "ended":
		w.handedOff(rw, s, a, nth)
	default:
		w.reconnect(rw, s, a, "", nth)
	}
}

// actionURL is where Twilio asks how a call of s goes on. It names the tenant,
// and the signature covers that: a number may be another's by then.
func (w *worker) actionURL(s events.Settings, name, value string) string {
	return w.publicURL + "/twilio/voice/action?customer_id=" + s.Tenant.String() + "&" + name + "=" + value
}

// tenantOf is whose call an action is of.
func (w *worker) tenantOf(r *http.Request, number string) (events.Settings, bool) {
	if t, err := events.ParseTenant(r.URL.Query().Get("customer_id")); err == nil {
		return w.settings.ByID(t)
	}
	return w.settings.ByNumber(number)
}

// handedOff does what the owner of the call said when it ended the relay.
func (w *worker) handedOff(rw http.ResponseWriter, s events.Settings, a twilio.RelayAction, nth int) {
	var want events.Action
	if err := json.Unmarshal([]byte(a.HandoffData), &want); err == nil && want.Kind == events.ActionTransfer {
		if rule, ok := ruleNamed(s, want.To); ok {
			answerTwiML(rw, twilio.Dial{
				Number: rule.Number, CallerID: s.Numbers[0], TimeoutSeconds: 25,
				Action: w.actionURL(s, "n", strconv.Itoa(nth)),
			}.TwiML())
			return
		}
	}
	w.over(s.Tenant, a.CallSID, events.EndAgent)
	answerTwiML(rw, twilio.Hangup())
}

// dialDone: the person the call was transferred to has hung up, or never came.
func (w *worker) dialDone(rw http.ResponseWriter, s events.Settings, a twilio.RelayAction, nth int) {
	w.tell(s.Tenant, a.CallSID, events.Control{Kind: events.ControlDialled, Reason: a.DialStatus, At: time.Now()})
	if a.Reached() {
		w.over(s.Tenant, a.CallSID, events.EndTransfer)
		answerTwiML(rw, twilio.Hangup())
		return
	}
	w.reconnect(rw, s, a, phrasesIn(s.Language).nobody, nth)
}

// reconnect gives Twilio another relay for a call that goes on.
func (w *worker) reconnect(rw http.ResponseWriter, s events.Settings, a twilio.RelayAction, words string, nth int) {
	if nth >= maxReconnects {
		w.metrics.givenUp.Inc()
		answerTwiML(rw, w.person(s))
		return
	}
	answerTwiML(rw, w.connect(s, a.CallSID, time.Now(), words, a.DialStatus, nth+1))
}

// fallback is POST /twilio/voice/fallback: nothing else worked. It needs
// neither bus nor database.
func (w *worker) fallback(rw http.ResponseWriter, _ *http.Request, form url.Values) {
	req, err := twilio.ParseVoiceRequest(form)
	if err != nil {
		w.badForm(rw, "fallback", err)
		return
	}
	w.metrics.fallbacks.Inc()
	s, ok := w.settings.ByNumber(req.To)
	if !ok || !s.Active() {
		answerTwiML(rw, twilio.SayAndHangup(phrasesIn(s.Language).away, s.Language))
		return
	}
	answerTwiML(rw, w.person(s))
}

// person is the way on without an agent: someone's phone and, where nobody
// answers there, voicemail.
func (w *worker) person(s events.Settings) []byte {
	if s.FallbackNumber == "" {
		return w.voicemail(s)
	}
	return twilio.Dial{Number: s.FallbackNumber, CallerID: s.Numbers[0], TimeoutSeconds: 25, Action: w.actionURL(s, "after", afterPerson)}.TwiML()
}

func (w *worker) voicemail(s events.Settings) []byte {
	return twilio.Voicemail{
		Say: s.Name + ". " + phrasesIn(s.Language).voicemail, Language: s.Language,
		Action: w.actionURL(s, "after", afterVoicemail), RecordingCallback: w.publicURL + "/twilio/recording?customer_id=" + s.Tenant.String(), MaxSeconds: 300,
	}.TwiML()
}

// status is POST /twilio/status: Twilio's word on the call itself.
func (w *worker) status(rw http.ResponseWriter, _ *http.Request, form url.Values) {
	st, err := twilio.ParseCallStatus(form)
	if err != nil {
		w.badForm(rw, "status", err)
		return
	}
	if s, ok := w.settings.ByNumber(st.To); ok && st.Over() {
		reason := events.EndCaller
		if st.Status == "failed" {
			reason = events.EndFailed
		}
		w.over(s.Tenant, st.CallSID, reason)
	}
	rw.WriteHeader(http.StatusNoContent)
}

// recording is POST /twilio/recording: Twilio holds a recording. The URL
// carries the tenant, and is covered by the signature.
func (w *worker) recording(rw http.ResponseWriter, r *http.Request, form url.Values) {
	rec, err := twilio.ParseRecordingStatus(form)
	if err != nil {
		w.badForm(rw, "recording", err)
		return
	}
	t, err := events.ParseTenant(r.URL.Query().Get("customer_id"))
	if err != nil {
		w.badForm(rw, "recording", errors.New("want customer_id in the query"))
		return
	}
	if rec.Status == "completed" && !w.accept(rw, events.New(t, rec.CallSID, time.Now(),
		events.CallRecorded{Recording: rec.RecordingSID, URL: rec.URL, Seconds: rec.Seconds})) {
		return
	}
	rw.WriteHeader(http.StatusNoContent)
}

// smsStatus is POST /twilio/sms/status: how a text of ours is doing. The URL
// carries our message id and the tenant, and is covered by the signature.
func (w *worker) smsStatus(rw http.ResponseWriter, r *http.Request, form url.Values) {
	st, err := twilio.ParseMessageStatus(form)
	if err != nil {
		w.badForm(rw, "sms_status", err)
		return
	}
	tenant, err := events.ParseTenant(r.URL.Query().Get("customer_id"))
	message := r.URL.Query().Get("m")
	if err != nil || !messageID(message) {
		w.badForm(rw, "sms_status", errors.New("want customer_id and m in the query"))
		return
	}
	if s, ok := w.settings.ByID(tenant); !ok || !owns(s, st.From) {
		w.badForm(rw, "sms_status", errors.New("no such text"))
		return
	}
	now := time.Now()
	var facts []events.Fact
	switch st.Status {
	case "delivered", "read":
		facts = append(facts, events.SMSDelivered{Message: message, SID: st.MessageSID})
	case "failed", "undelivered", "canceled":
		facts = append(facts, events.SMSFailed{Message: message, SID: st.MessageSID, Code: strconv.Itoa(st.ErrorCode), Reason: st.Status})
	case "sent", "sending", "queued", "accepted":
		// Twilio has it: whoever sent it may have died before writing that down.
		facts = append(facts, events.SMSSent{Message: message, To: st.To, From: st.From, SID: st.MessageSID, Purpose: r.URL.Query().Get("p")})
	}
	for _, f := range facts {
		if !w.accept(rw, events.New(tenant, callOf(r.URL.Query().Get("call")), now, f)) {
			return
		}
	}
	rw.WriteHeader(http.StatusNoContent)
}

// sms is POST /twilio/sms: a text to a tenant's number.
func (w *worker) sms(rw http.ResponseWriter, _ *http.Request, form url.Values) {
	in, err := twilio.ParseInboundMessage(form)
	if err != nil {
		w.badForm(rw, "sms", err)
		return
	}
	s, ok := w.settings.ByNumber(in.To)
	if !ok {
		w.metrics.refused.Inc()
		answerTwiML(rw, twilio.Empty())
		return
	}
	now := time.Now()
	body := mask.New().Caller(in.Body, false)
	w.metrics.hid(body)
	facts := []events.Fact{events.SMSReceived{SID: in.MessageSID, From: in.From, To: in.To, Body: body.Text}}
	switch in.Keyword() {
	case twilio.KeywordStop:
		facts = append(facts, events.SMSOptedOut{Number: in.From, Source: in.MessageSID})
	case twilio.KeywordStart:
		facts = append(facts, events.SMSOptedIn{Number: in.From, Source: in.MessageSID})
	}
	for _, f := range facts {
		if !w.accept(rw, events.New(s.Tenant, "", now, f)) {
			return
		}
	}
	answerTwiML(rw, twilio.Empty())
}

// accept spools e before Twilio is told that we have it.
func (w *worker) accept(rw http.ResponseWriter, e events.Event) bool {
	if err := w.outbox.Put(e, nil); err != nil {
		w.log.Error("fact cannot be written down", zap.String("event", e.Fact.Name()), zap.Error(err))
		http.Error(rw, "cannot take this now", http.StatusServiceUnavailable)
		return false
	}
	return true
}

func owns(s events.Settings, number string) bool {
	for _, n := range s.Numbers {
		if n == number {
			return true
		}
	}
	return false
}

func ruleNamed(s events.Settings, name string) (events.Transfer, bool) {
	for _, t := range s.Transfers {
		if strings.EqualFold(t.Name, name) {
			return t, true
		}
	}
	return events.Transfer{}, false
}

func messageID(s string) bool {
	if len(s) != 32 {
		return false
	}
	for _, r := range s {
		if !strings.ContainsRune("0123456789abcdef", r) {
			return false
		}
	}
	return true
}

// callOf is s when it can be a call's id, else empty.
func callOf(s string) string {
	if twilio.ValidSID("CA", s) {
		return s
	}
	return ""
}
