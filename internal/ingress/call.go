package ingress

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/mask"
	"neurosphere.ai/neurosphere/internal/twilio"
)

// A call is one live call and the only writer of its facts. Everything that
// happens to it goes through its inbox and is handled by one goroutine:
//
//	socket frames ─┐
//	answer steps  ─┼─▶ inbox ─▶ run ─▶ facts (outbox), frames (socket), asks (bus)
//	webhooks      ─┤
//	timers        ─┘
type call struct {
	w       *worker
	log     *zap.Logger
	tenant  events.Tenant
	id      string
	from    string
	to      string
	started time.Time
	epoch   int64  // of our ownership
	read    uint64 // of the stream, to here, when we took the call over; 0: it is ours from the beginning

	pastless bool // it has a past, which could not be read

	inbox chan any
	done  chan struct{}

	// Below: touched by run only.
	sock        *socket
	fresh       bool // the last socket was lost, and this one has brought no words yet
	session     string
	answered    bool
	seq         int // callseq of the last fact
	turn        int // the caller's utterances so far
	history     []events.Line
	hides       mask.Conversation // the numbers that are not written down
	hid         mask.Conversation // as it was before the caller's last words
	ans         *answer           // the answer being given, or last given and not yet written down
	keys        strings.Builder
	transfers   int
	transferred string         // name of the last transfer rule used
	moved       int            // the turn whose answer led there, if any: it was heard, and Twilio does not replay it
	dialling    bool           // the caller is with a person of the tenant
	ending      *events.Action // what we told Twilio to do when we ended the relay
	endsAt      time.Time      // when a silent line is given up; zero: never
	hungUp      bool           // the last socket was closed in good order
	keysAt      time.Time
	owned       *bus.Owned
	facts       stored
}

// What arrives in the inbox, beside events.Control.
type (
	opened struct {
		sock  *socket
		setup twilio.Setup
	}
	framed struct {
		sock  *socket
		frame twilio.Frame
	}
	closed struct {
		sock  *socket
		clean bool
	}
	gone     struct{ turn, attempt int } // who was at that attempt has died
	late     []events.Event              // facts of a former owner that came to the log after we had read it
	located  struct{}                    // where in the stream the call begins is known
	stopping struct{}                    // the process is going away
)

const (
	inboxSize = 64
	// Twilio announces the end of a call by webhook; these are how long the
	// line is kept when that announcement does not come.
	cleanGrace  = 5 * time.Second
	brokenGrace = 45 * time.Second
	dialGrace   = 4 * time.Hour // Twilio's own limit on a call
	keysPause   = 2 * time.Second
)

// post hands m to the call; false when the call is over or drowning.
func (c *call) post(m any) bool {
	select {
	case <-c.done:
		return false
	default:
	}
	select {
	case c.inbox <- m:
		return true
	case <-c.done:
		return false
	case <-time.After(time.Second):
		c.w.metrics.dropped.Inc()
		return false
	}
}

// run handles what happens to the call until it is over, handed to another
// owner, or the process stops.
func (c *call) run() {
	defer close(c.done)
	defer c.w.forget(c)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(time.Until(c.nextTimer()))
		select {
		case m := <-c.inbox:
			if over := c.handle(m); over {
				return
			}
		case m := <-c.owned.Messages():
			if over := c.handle(c.owned.Read(m)); over {
				return
			}
		case <-timer.C:
			if over := c.tick(time.Now()); over {
				return
			}
		}
	}
}

func (c *call) handle(m any) (over bool) {
	switch m := m.(type) {
	case opened:
		c.open(m)
	case framed:
		if m.sock == c.sock {
			c.frame(m.frame)
		}
	case closed:
		c.lost(m)
	case located:
		c.register()
	case events.Answer:
		c.step(m)
	case late:
		c.adopt(m)
	case gone:
		if c.catchUp() {
			return true
		}
		if a := c.ans; a != nil && !a.complete && !a.settled && a.turn == m.turn && a.attempt == m.attempt {
			c.again(time.Now())
		}
	case events.Control:
		return c.control(m)
	case stopping:
		c.leave()
		return true
	}
	return false
}

// catchUp handles what a worker said before it was found to be gone.
func (c *call) catchUp() (over bool) {
	for {
		select {
		case m := <-c.owned.Messages():
			if c.handle(c.owned.Read(m)) {
				return true
			}
		default:
			return false
		}
	}
}

func (c *call) nextTimer() time.Time {
	next := time.Now().Add(time.Hour)
	for _, t := range []time.Time{c.endsAt, c.keysAt, c.ans.due()} {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	return next
}

func (c *call) tick(now time.Time) (over bool) {
	if past(c.keysAt, now) {
		c.pressed()
	}
	if past(c.ans.due(), now) {
		c.answerDue(now)
	}
	if past(c.endsAt, now) {
		reason := events.EndFailed
		if c.hungUp {
			reason = events.EndCaller
		}
		c.end(c.why(reason), now)
		return true
	}
	return false
}

// why is the reason a call ended, given what Twilio or the socket says of it:
// what we did to it ourselves comes first.
func (c *call) why(reason string) string {
	switch {
	case c.transferred != "" && c.dialling:
		return events.EndTransfer
	case c.ending != nil && c.ending.Kind == events.ActionEnd:
		return events.EndAgent
	case !c.answered && reason != events.EndLost:
		return events.EndRejected
	}
	return reason
}

func past(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// open attaches a socket: the call's first, or the one Twilio opened after it
// lost the last.
func (c *call) open(m opened) {
	if c.sock != nil {
		c.sock.close()
	}
	if c.dialling {
		// Its outcome has not reached us: whoever owned the call had died.
		c.dialled(cmp.Or(m.setup.Parameters[paramDialled], "failed"))
	}
	c.sock, c.session, c.endsAt, c.dialling = m.sock, m.setup.SessionID, time.Time{}, false
	c.fresh = c.answered && (c.moved == 0 || c.turn > c.moved)
	if c.answered {
		c.log.Info("caller reconnected", zap.Int("turn", c.turn))
		c.resume()
		return
	}
	c.answered = true
	greeting := m.setup.Parameters[paramGreeting]
	c.put(events.CallAnswered{Session: m.setup.SessionID, Greeting: greeting}, func() {
		// Never wait here: the outbox calls, for every call.
		select {
		case c.inbox <- located{}:
		default:
		}
	})
	c.register()
	if greeting != "" {
		c.history = append(c.history, events.Line{Role: events.RoleAgent, Text: greeting})
		c.ans = greeted(greeting)
	}
}

// register writes down who owns the call, where in the stream it begins and
// how far the caller has been answered, for whoever has to take it over.
func (c *call) register() { c.w.register(c) }

func (c *call) frame(f twilio.Frame) {
	switch f := f.(type) {
	case twilio.Prompt:
		if f.Last {
			c.heard(f.Text, f.Lang)
		}
	case twilio.Interrupt:
		c.interrupted(f.Heard)
	case twilio.DTMF:
		c.keys.WriteString(f.Digit)
		c.keysAt = time.Now().Add(keysPause)
		if f.Digit == "#" || c.keys.Len() >= 32 {
			c.pressed()
		}
	case twilio.Info:
		if f.Name == "agentSpeaking" && f.Value == "off" {
			c.fellSilent()
		}
	case twilio.ErrorFrame:
		c.w.metrics.relayErrors.Inc()
		c.log.Warn("twilio refused a frame")
	}
}

func (c *call) pressed() {
	if c.stateKeys() {
		c.ask(time.Now())
	}
}

// heard is one utterance of the caller.
func (c *call) heard(text, lang string) {
	text = strings.TrimSpace(text)
	if text == "" {
		return
	}
	replayed := c.fresh && c.hearsAgain(text)
	c.stateKeys()
	c.fresh = false
	if replayed {
		c.repeat()
		return
	}
	c.state(events.TurnHeard{Text: text, Lang: lang})
	c.ask(time.Now())
}

// stateKeys makes a turn of the keys pressed so far, if any. Words that follow,
// or the end of the call, do not wait for more of them.
func (c *call) stateKeys() bool {
	digits := strings.TrimSuffix(c.keys.String(), "#")
	c.keys.Reset()
	c.keysAt = time.Time{}
	if digits != "" {
		c.fresh = false
		c.state(events.TurnHeard{Text: digits, Keys: true})
	}
	return digits != ""
}

// state states the caller's next turn, which is yet to be answered.
func (c *call) state(f events.TurnHeard) {
	c.settle(false)
	c.endsAt, c.ending = time.Time{}, nil
	f.Turn = c.turn + 1
	c.hide(&f)
	c.put(f, nil)
	c.remember(f)
}

// hide leaves out of what was heard what must not be written down. Nobody gets
// the words before: not the log, not the history the model is shown.
func (c *call) hide(f *events.TurnHeard) {
	c.hid = c.hides
	m := c.hides.Caller(f.Text, f.Keys)
	f.Text = clip(m.Text, maxTurn)
	c.w.metrics.hid(m)
	var err error
	if f.Sealed, err = m.Sealed(c.w.seal(c.tenant)); err != nil {
		c.log.Error("number not kept", zap.Error(err))
	}
}

// hearsAgain reports whether Twilio says again what was heard last, of which
// no more than the masked words are known.
func (c *call) hearsAgain(text string) bool {
	was := c.hid
	return clip(was.Caller(text, false).Text, maxTurn) == c.lastHeard()
}

// remember makes f the newest of what was said.
func (c *call) remember(f events.TurnHeard) {
	line := f.Text
	if f.Keys {
		line = "(pressed on the phone) " + f.Text
	}
	c.turn = max(c.turn, f.Turn)
	c.history = append(c.history, events.Line{Role: events.RoleCaller, Text: line})
	c.ans = newAnswer(f.Turn)
}

// repeat says an answer again whose turn came again: after a reconnection
// Twilio replays what it has had no answer to. One still being given goes on.
func (c *call) repeat() {
	a := c.ans
	if a == nil || a.turn != c.turn || !a.complete {
		return
	}
	text := a.said.String()
	if last := len(c.history) - 1; a.settled && last >= 0 && c.history[last].Role == events.RoleAgent {
		text = c.history[last].Text
	}
	c.utter(text, false)
	c.utter("", true)
}

func (c *call) lastHeard() string {
	for i := len(c.history) - 1; i >= 0; i-- {
		if c.history[i].Role == events.RoleCaller {
			return c.history[i].Text
		}
	}
	return ""
}

// interrupted cuts the answer where the caller spoke over it.
func (c *call) interrupted(utterance string) {
	if c.ans == nil || c.ans.settled {
		return
	}
	if c.ans.turn > 0 && !c.ans.complete {
		c.w.cancel(c.tenant, c.id, c.ans.turn)
		if c.ans.said.Len() > 0 {
			c.utter("", true)
		}
	}
	c.ans.cutAt(utterance)
	c.ans.action = nil // whoever interrupts a goodbye wants to go on
	c.settle(true)
}

// fellSilent is Twilio's word that everything sent has been spoken.
func (c *call) fellSilent() {
	if c.ans != nil && c.ans.complete && !c.ans.settled {
		c.ans.silentAt = time.Now()
	}
}

// settle writes down what the caller heard of the last answer.
func (c *call) settle(cut bool) {
	a := c.ans
	if a == nil || a.settled {
		return
	}
	a.settled = true
	c.hides.Agent(a.said.String()) // all of it: a question is answered before its end
	if a.turn > 0 && !a.complete && !cut {
		// The caller went on before the answer was there.
		c.w.cancel(c.tenant, c.id, a.turn)
		cut = a.said.Len() > 0
	}
	text := strings.TrimSpace(a.spoken())
	if a.turn == 0 {
		if len(c.history) > 0 && cut {
			c.history[len(c.history)-1] = events.Line{Role: events.RoleAgent, Text: text, Cut: true}
		}
	} else if text != "" {
		c.history = append(c.history, events.Line{Role: events.RoleAgent, Text: text, Cut: cut})
	}
	if text == "" {
		return
	}
	f := events.TurnSpoken{Turn: a.turn, Text: text, Cut: cut, Way: a.way, FirstMS: a.firstMS()}
	if a.attempt > 1 {
		f.Attempts = a.attempt
	}
	c.put(f, nil)
}

// put states a fact of this call, and calls then, if any, once it is stored.
func (c *call) put(f events.Fact, then func()) {
	c.seq++
	e := events.New(c.tenant, c.id, time.Now(), f)
	e.CallSeq = c.seq
	c.w.put(e, func(seq uint64) {
		c.facts.add(seq)
		if then != nil {
			then()
		}
	})
}

// write sends something over the socket; false when there is none (any more).
func (c *call) write(send func(*socket) error) bool {
	if c.sock == nil {
		return false
	}
	if err := send(c.sock); err != nil {
		c.log.Info("socket is gone", zap.Error(err))
		c.lost(closed{sock: c.sock})
		return false
	}
	return true
}

// utter sends words, and says whether they end the utterance.
func (c *call) utter(text string, last bool) bool {
	return c.write(func(s *socket) error { return s.say(twilio.Text{Token: text, Last: last}) })
}

// lost is the end of a socket, which is not yet the end of the call.
func (c *call) lost(m closed) {
	if m.sock != c.sock || c.sock == nil {
		return
	}
	c.sock.close()
	c.sock, c.hungUp = nil, m.clean
	switch {
	case c.dialling:
		c.endsAt = time.Now().Add(dialGrace)
	case m.clean:
		c.endsAt = time.Now().Add(cleanGrace)
	default:
		c.endsAt = time.Now().Add(brokenGrace)
	}
}

// control is news of the call that reached us by webhook, here or elsewhere.
func (c *call) control(m events.Control) (over bool) {
	switch m.Kind {
	case events.ControlTaken:
		if m.Epoch <= c.epoch {
			return false
		}
		c.log.Info("call taken over", zap.Int64("epoch", m.Epoch))
		c.abandon()
		return true
	case events.ControlDialled:
		c.dialled(m.Reason)
		return false
	case events.ControlEnded:
		c.end(c.why(m.Reason), m.At)
		return true
	}
	return false
}

// dialled is the outcome of a transfer.
func (c *call) dialled(outcome string) {
	if c.transfers == 0 || outcome == "" {
		return
	}
	c.put(events.CallTransferred{To: c.transferred, Outcome: outcome, Nth: c.transfers}, nil)
	if !reached(outcome) {
		c.notReached(outcome)
		c.endsAt = time.Now().Add(brokenGrace)
	}
}

// notReached: the person did not answer, and the caller is ours again.
func (c *call) notReached(outcome string) {
	c.history = append(c.history, events.Line{Role: events.RoleAgent, Text: "(the transfer to " + c.transferred + " was not answered: " + outcome + ")"})
	c.transferred, c.dialling = "", false
}

func reached(outcome string) bool { return outcome == "completed" || outcome == "answered" }

// end states call.ended and lets go of the call.
func (c *call) end(reason string, at time.Time) {
	c.stateKeys()
	c.settle(c.ans != nil && !c.ans.complete)
	if at.IsZero() {
		at = time.Now()
	}
	if at.Before(c.started) {
		at = c.started
	}
	c.seq++
	first, facts := c.facts.known()
	e := events.New(c.tenant, c.id, at, events.CallEnded{
		From: c.from, To: c.to, StartedAt: c.started, EndedAt: at.UTC().Truncate(time.Microsecond),
		Seconds: int(at.Sub(c.started) / time.Second), Reason: reason, Turns: c.turn,
		FirstSeq: first, Facts: facts, Answered: c.answered, Transferred: c.transferred,
	})
	e.CallSeq = c.seq
	// A call whose end is stated nowhere stays on the register, for the sweeper.
	if c.w.put(e, nil) {
		c.w.unregister(c)
	}
	c.abandon()
	c.w.metrics.ended.WithLabelValues(reason).Inc()
	c.log.Info("call ended", zap.String("reason", reason), zap.Int("turns", c.turn))
}

// leave gives the call up without ending it: Twilio reconnects to another
// ingress, which finds everything in the log.
func (c *call) leave() {
	c.stateKeys()
	c.settle(c.ans != nil && !c.ans.complete)
	c.register()
	if c.sock != nil {
		c.sock.restart()
	}
	c.abandon()
}

func (c *call) abandon() {
	if c.sock != nil {
		c.sock.close()
		c.sock = nil
	}
	c.owned.Release()
}

// stored is where in the stream a call's facts are, as far as they have arrived.
type stored struct {
	mu        sync.Mutex
	from      uint64
	seqs      []uint64
	inherited bool
}

// inherit takes over what is known of a call that others owned before. What
// they stated last may still arrive among our facts, so that none after the
// newest inherited one are known.
func (s *stored) inherit(from uint64, seqs []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from, s.seqs, s.inherited = from, seqs, true
}

func (s *stored) add(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.from == 0 {
		s.from = seq
	}
	if !s.inherited {
		s.seqs = append(s.seqs, seq)
	}
}

// known is where the call begins, 0 when nothing has arrived, and all up to
// the newest that is known, or none.
func (s *stored) known() (first uint64, seqs []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.from, slices.Clone(s.seqs)
}

func handoff(a events.Action) string {
	raw, err := json.Marshal(a)
	if err != nil {
		return ""
	}
	return string(raw)
}
