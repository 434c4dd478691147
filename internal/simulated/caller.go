package simulated

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// CallOptions of one call, played from both Twilio's and the caller's side.
type CallOptions struct {
	URL                   string // where the instance is reached
	PublicURL             string // what it signs for; default URL
	AccountSID, AuthToken string
	From, To              string
	CallSID               string        // default: random
	Turns                 []string      // the caller's words, in order
	Patience              time.Duration // for one answer; default 30 s
	Speak                 int           // characters of the agent's words spoken per second; 0: at once
	InterruptAt           map[int]int   // turn (1…) → tokens heard before the caller speaks over it
	Reconnect             bool          // when the socket is lost, as with applicationReconnect
	Linger                time.Duration // how long the caller stays silent at the end, for the agent to hang up
	DialOutcome           string        // of transfers; default no-answer
}

// Kinds of call event.
const (
	EventAgent  = "agent"
	EventCaller = "caller"
	EventNote   = "note"
)

// CallEvent is something heard on the line.
type CallEvent struct {
	Kind, Text string
	First      time.Duration // of an answer: until its first word
}

// TurnResult is how one turn of the caller went.
type TurnResult struct {
	Said     string        `json:"said"`
	Heard    string        `json:"heard"`
	First    time.Duration `json:"first_word_ns"`
	Gap      time.Duration `json:"longest_gap_ns"` // between two words of the answer, the wait for the first left out
	Answered bool          `json:"answered"`
	Cut      bool          `json:"cut"`
}

// CallResult is how a call went.
type CallResult struct {
	CallSID    string       `json:"call_sid"`
	Greeting   string       `json:"greeting"`
	Turns      []TurnResult `json:"turns"`
	Unsaid     int          `json:"unsaid"` // turns left when the agent hung up
	Reconnects int          `json:"reconnects"`
	AgentEnded bool         `json:"agent_ended"`
	Dialled    string       `json:"dialled,omitempty"`
	Refused    string       `json:"refused,omitempty"` // what was said instead of a connection
	Err        error        `json:"-"`
}

// PlayMany plays calls, so many at a time, and returns their results in order.
// observe may be nil.
func PlayMany(ctx context.Context, calls []CallOptions, parallel int, observe func(CallEvent)) []CallResult {
	out := make([]CallResult, len(calls))
	slots := make(chan struct{}, max(parallel, 1))
	var wg sync.WaitGroup
	for i, c := range calls {
		slots <- struct{}{}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() { <-slots }()
			out[i] = Call(ctx, c, observe)
		}()
	}
	wg.Wait()
	return out
}

// Call plays one call to its end.
func Call(ctx context.Context, o CallOptions, observe func(CallEvent)) CallResult {
	if o.PublicURL == "" {
		o.PublicURL = o.URL
	}
	if o.CallSID == "" {
		o.CallSID = randomSID("CA")
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	if o.DialOutcome == "" {
		o.DialOutcome = "no-answer"
	}
	if observe == nil {
		observe = func(CallEvent) {}
	}
	p := &play{o: o, observe: observe, began: time.Now(), r: CallResult{CallSID: o.CallSID, Turns: []TurnResult{}}}
	p.r.Err = p.run(ctx)
	return p.r
}

func randomSID(prefix string) string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return prefix + hex.EncodeToString(b)
}

// play is a call under way.
type play struct {
	o       CallOptions
	observe func(CallEvent)
	began   time.Time
	r       CallResult
	conn    *websocket.Conn
	frames  chan frameIn
	relay   relayVerb
	action  string
	next    int // turn to say
}

type frameIn struct {
	Type        string `json:"type"`
	Token       string `json:"token"`
	Last        bool   `json:"last"`
	HandoffData string `json:"handoffData"`
	at          time.Time
	err         error
}

// twimlDoc is the TwiML we understand.
type twimlDoc struct {
	XMLName xml.Name `xml:"Response"`
	Say     []string `xml:"Say"`
	Connect *struct {
		Action string    `xml:"action,attr"`
		Relay  relayVerb `xml:"ConversationRelay"`
	} `xml:"Connect"`
	Dial *struct {
		Action string `xml:"action,attr"`
		Number string `xml:"Number"`
	} `xml:"Dial"`
	Hangup *struct{} `xml:"Hangup"`
	Reject *struct{} `xml:"Reject"`
}

type relayVerb struct {
	URL        string `xml:"url,attr"`
	Greeting   string `xml:"welcomeGreeting,attr"`
	Parameters []struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	} `xml:"Parameter"`
}

func (p *play) run(ctx context.Context) error {
	doc, err := p.post(ctx, p.o.PublicURL+"/twilio/voice", url.Values{"CallStatus": {"ringing"}})
	if err != nil {
		return err
	}
	// However it goes on, Twilio tells the end of every call it began.
	defer p.status(context.WithoutCancel(ctx))
	for range 12 {
		if doc.Connect == nil {
			return p.other(doc)
		}
		p.relay, p.action = doc.Connect.Relay, doc.Connect.Action
		if p.r.Greeting == "" {
			p.r.Greeting = p.relay.Greeting
		}
		if p.relay.Greeting != "" {
			p.observe(CallEvent{Kind: EventAgent, Text: p.relay.Greeting})
		}
		how, err := p.talk(ctx)
		if err != nil {
			return err
		}
		if doc, err = p.after(ctx, how); err != nil || doc == nil {
			return err
		}
	}
	return errors.New("connected again and again")
}

// other is TwiML that connects to nobody.
func (p *play) other(doc *twimlDoc) error {
	p.r.Unsaid = len(p.o.Turns) - p.next
	if len(doc.Say) > 0 {
		p.r.Refused = strings.Join(doc.Say, " ")
		p.observe(CallEvent{Kind: EventNote, Text: p.r.Refused})
	}
	return nil
}

// outcome of one relay session.
type outcome struct {
	status, handoff string // "ended", "failed", "completed"
}

// after asks the action URL, and follows transfers.
func (p *play) after(ctx context.Context, how outcome) (*twimlDoc, error) {
	if p.action == "" {
		return nil, nil //nolint:nilnil // nothing to go on with
	}
	form := url.Values{"SessionId": {randomSID("VX")}, "SessionStatus": {how.status}, "SessionDuration": {p.seconds()}, "CallStatus": {"in-progress"}}
	if how.status == "completed" {
		form.Set("CallStatus", "completed")
	}
	if how.handoff != "" {
		form.Set("HandoffData", how.handoff)
	}
	doc, err := p.post(ctx, p.action, form)
	if err != nil || how.status == "completed" {
		return nil, err
	}
	if doc.Dial != nil {
		p.r.Dialled = doc.Dial.Number
		p.observe(CallEvent{Kind: EventNote, Text: "transferred to a person: " + p.o.DialOutcome})
		if doc.Dial.Action == "" {
			return nil, nil //nolint:nilnil // the call ends with the dial
		}
		doc, err = p.post(ctx, doc.Dial.Action, url.Values{"CallStatus": {"in-progress"}, "DialCallStatus": {p.o.DialOutcome}, "DialCallSid": {randomSID("CA")}})
		if err != nil {
			return nil, err
		}
	}
	if doc.Connect == nil {
		return nil, p.other(doc)
	}
	return doc, nil
}

func (p *play) seconds() string { return strconv.Itoa(int(time.Since(p.began).Seconds())) }

// post sends one signed webhook.
func (p *play) post(ctx context.Context, target string, form url.Values) (*twimlDoc, error) {
	for k, v := range map[string]string{
		"CallSid": p.o.CallSID, "AccountSid": p.o.AccountSID, "From": p.o.From, "To": p.o.To,
		"Caller": p.o.From, "Called": p.o.To, "Direction": "inbound", "ApiVersion": "2010-04-01",
	} {
		form.Set(k, v)
	}
	var last error
	for try := range 5 {
		if try > 0 {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(time.Duration(try) * 200 * time.Millisecond):
			}
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.reach(target), strings.NewReader(form.Encode()))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("X-Twilio-Signature", signature(p.o.AuthToken, target, form))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			last = err
			continue
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		_ = resp.Body.Close()
		switch {
		case err != nil:
			last = err
			continue
		case resp.StatusCode >= 500:
			last = fmt.Errorf("%s answered %d", pathOf(target), resp.StatusCode)
			continue
		case resp.StatusCode >= 300:
			return nil, fmt.Errorf("%s answered %d: %s", pathOf(target), resp.StatusCode, strings.TrimSpace(string(body)))
		}
		doc := &twimlDoc{}
		if len(body) > 0 {
			if err := xml.Unmarshal(body, doc); err != nil {
				return nil, fmt.Errorf("%s answered no TwiML: %w", pathOf(target), err)
			}
		}
		return doc, nil
	}
	return nil, last
}

func pathOf(target string) string {
	u, err := url.Parse(target)
	if err != nil {
		return target
	}
	return u.Path
}

// reach is target at the instance's own address.
func (p *play) reach(target string) string {
	if rest, ok := strings.CutPrefix(target, p.o.PublicURL); ok {
		return p.o.URL + rest
	}
	if rest, ok := strings.CutPrefix(target, "ws"+strings.TrimPrefix(p.o.PublicURL, "http")); ok {
		return "ws" + strings.TrimPrefix(p.o.URL, "http") + rest
	}
	return target
}

// status is Twilio's word that the call is over.
func (p *play) status(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := p.post(ctx, p.o.PublicURL+"/twilio/status", url.Values{
		"CallStatus": {"completed"}, "CallDuration": {p.seconds()}, "SequenceNumber": {"3"}, "Timestamp": {time.Now().UTC().Format(time.RFC1123Z)},
	})
	if err != nil && p.r.Err == nil {
		p.r.Err = err
	}
}

// open connects the socket and says whose it is.
func (p *play) open(ctx context.Context) error {
	hdr := http.Header{}
	hdr["x-twilio-signature"] = []string{signature(p.o.AuthToken, p.relay.URL, nil)}
	dctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, resp, err := websocket.Dial(dctx, p.reach(p.relay.URL), &websocket.DialOptions{HTTPHeader: hdr, CompressionMode: websocket.CompressionDisabled})
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close()
	}
	if err != nil {
		return err
	}
	conn.SetReadLimit(1 << 20)
	params := map[string]string{}
	for _, v := range p.relay.Parameters {
		params[v.Name] = v.Value
	}
	p.conn = conn
	frames := make(chan frameIn, 256)
	p.frames = frames
	go func() {
		for {
			var f frameIn
			_, raw, err := conn.Read(ctx)
			f.at = time.Now()
			if err == nil {
				err = json.Unmarshal(raw, &f)
			}
			f.err = err
			frames <- f
			if err != nil {
				close(frames)
				return
			}
		}
	}()
	return p.send(ctx, map[string]any{
		"type": "setup", "sessionId": randomSID("VX"), "accountSid": p.o.AccountSID, "callSid": p.o.CallSID, "parentCallSid": "",
		"from": p.o.From, "to": p.o.To, "forwardedFrom": "", "callType": "PSTN", "callerName": "", "direction": "inbound",
		"callStatus": "IN-PROGRESS", "customParameters": params,
	})
}

func (p *play) send(ctx context.Context, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return p.conn.Write(ctx, websocket.MessageText, raw)
}

// talk is one relay session: the caller's turns, until someone hangs up.
func (p *play) talk(ctx context.Context) (outcome, error) {
	if err := p.reopen(ctx, 0); err != nil {
		return outcome{status: "failed"}, nil //nolint:nilerr // Twilio asks the action URL
	}
	for p.next < len(p.o.Turns) {
		turn := p.next
		p.next++
		said := p.o.Turns[turn]
		p.observe(CallEvent{Kind: EventCaller, Text: said})
		t := TurnResult{Said: said}
		end, err := p.exchange(ctx, turn, &t)
		p.r.Turns = append(p.r.Turns, t)
		if t.Heard != "" {
			p.observe(CallEvent{Kind: EventAgent, Text: strings.TrimSpace(t.Heard), First: t.First})
		}
		if err != nil {
			return outcome{}, err
		}
		if end != nil {
			return p.ended(*end), nil
		}
	}
	if end := p.linger(ctx); end != nil {
		return p.ended(*end), nil
	}
	p.observe(CallEvent{Kind: EventNote, Text: "caller hangs up"})
	_ = p.conn.Close(websocket.StatusNormalClosure, "")
	return outcome{status: "completed"}, nil
}

func (p *play) ended(f frameIn) outcome {
	p.r.AgentEnded = true
	p.r.Unsaid = len(p.o.Turns) - p.next
	p.observe(CallEvent{Kind: EventNote, Text: "agent ends the conversation"})
	_ = p.conn.Close(websocket.StatusNormalClosure, "")
	return outcome{status: "ended", handoff: f.HandoffData}
}

// linger waits for the agent to hang up after the last turn.
func (p *play) linger(ctx context.Context) *frameIn {
	if p.o.Linger <= 0 {
		return nil
	}
	late := time.NewTimer(p.o.Linger)
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-late.C:
			return nil
		case f, ok := <-p.frames:
			if !ok || f.err != nil {
				return nil
			}
			if f.Type == "end" {
				return &f
			}
		}
	}
}

// exchange says one turn and hears the answer out.
func (p *play) exchange(ctx context.Context, turn int, t *TurnResult) (*frameIn, error) {
	prompt := map[string]any{"type": "prompt", "voicePrompt": t.Said, "lang": "en-US", "last": true}
	sent := time.Now()
	if err := p.send(ctx, prompt); err != nil {
		if err := p.reopen(ctx, 1); err != nil {
			return nil, err
		}
		if err := p.send(ctx, prompt); err != nil {
			return nil, err
		}
	}
	late := time.NewTimer(p.o.Patience)
	defer late.Stop()
	last, tokens := sent, 0
	var heard strings.Builder
	defer func() { t.Heard = heard.String() }()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-late.C:
			return nil, nil //nolint:nilnil // unanswered: the result says so
		case f, ok := <-p.frames:
			if !ok || f.err != nil {
				if err := p.reopen(ctx, 1); err != nil {
					return nil, err
				}
				continue
			}
			switch f.Type {
			case "end":
				return &f, nil
			case "text":
				if f.Token != "" {
					if heard.Len() == 0 {
						t.First = f.at.Sub(sent)
					} else {
						t.Gap = max(t.Gap, f.at.Sub(last))
					}
					heard.WriteString(f.Token)
					last = f.at
					tokens++
					if p.o.Speak > 0 {
						sleep(ctx, time.Duration(len(f.Token))*time.Second/time.Duration(p.o.Speak))
					}
				}
				if n := p.o.InterruptAt[turn+1]; n > 0 && tokens >= n {
					t.Cut, t.Answered = true, true
					return nil, p.send(ctx, map[string]any{"type": "interrupt", "utteranceUntilInterrupt": strings.TrimSpace(heard.String()), "durationUntilInterruptMs": 460})
				}
				if f.Last {
					t.Answered = true
					return nil, nil //nolint:nilnil // heard out
				}
			}
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// reopen connects the socket, again and again for as long as Twilio would.
func (p *play) reopen(ctx context.Context, again int) error {
	if again > 0 && !p.o.Reconnect {
		return errors.New("the socket was lost")
	}
	p.r.Reconnects += again
	var err error
	for wait := 50 * time.Millisecond; wait < 5*time.Second; wait *= 2 {
		if err = p.open(ctx); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
	return err
}
