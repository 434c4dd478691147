package ingress

import (
	"context"
	"strings"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

// How long the owner of a call waits for its conversation workers.
const (
	firstBeat   = 250 * time.Millisecond // for a worker to say it has the turn
	nextBeat    = 350 * time.Millisecond // between signs of life after that
	suspicious  = 130 * time.Millisecond // without one: is the worker still there?
	nobodyThere = 50 * time.Millisecond  // until somebody may be
	retryAway   = 250 * time.Millisecond // while the bus is away
	retryBusy   = 100 * time.Millisecond // while workers have more than they can take
	fillerAfter = 2 * time.Second        // of silence: the caller hears that we are still there
	giveUpAfter = 14 * time.Second       // of silence: the caller hears a way on
	maxTurn     = 8000                   // bytes of one utterance

	// Speech is taken to run at this pace where Twilio does not report it.
	bytesPerSecond = 15
)

// An answer is what the agent says to one turn, however many workers it takes.
// The owner listens to the newest attempt only, and each attempt is told what
// the caller has heard of the earlier ones.
type answer struct {
	turn     int
	attempt  int
	began    time.Time
	firstAt  time.Time // first word written
	lastAt   time.Time // last word written
	worker   string    // who is at the present attempt; empty: not known
	suspect  time.Time // when to ask whether the worker is there; zero: has been asked
	deadline time.Time // when the present attempt is given up
	said     strings.Builder
	pending  strings.Builder // words that came while no socket was open
	filled   bool
	way      string
	complete bool
	action   *events.Action
	doneAt   time.Time // when the last word is taken to have been spoken
	silentAt time.Time // when Twilio said it was
	settled  bool      // written down as turn.spoken
	cut      string    // what the caller heard, once interrupted
	isCut    bool
}

func newAnswer(turn int) *answer { return &answer{turn: turn, began: time.Now()} }

// greeted is the greeting as an answer to nothing: Twilio speaks it by itself.
func greeted(text string) *answer {
	a := newAnswer(0)
	a.said.WriteString(text)
	a.complete = true
	a.doneAt = time.Now().Add(speaking(len(text)))
	return a
}

// speaking is how long n bytes of text take to say.
func speaking(n int) time.Duration {
	return time.Second + time.Duration(n)*time.Second/bytesPerSecond
}

func (a *answer) spoken() string {
	if a.isCut {
		return a.cut
	}
	return a.said.String()
}

// cutAt keeps what was said up to and including utterance, which Twilio counts
// from the beginning of what it was speaking.
func (a *answer) cutAt(utterance string) {
	a.isCut = true
	said := a.said.String()
	utterance = strings.TrimSpace(utterance)
	switch i := strings.Index(said, utterance); {
	case utterance == "":
		a.cut = ""
	case i >= 0:
		a.cut = said[:i+len(utterance)]
	default:
		// Twilio words it in its own way, numbers spelled out for one: as much
		// of ours, and no word that we did not say.
		a.cut = said[:wordEnd(said, len(utterance))]
	}
}

// wordEnd is where the word ends that is at n bytes of s.
func wordEnd(s string, n int) int {
	if n >= len(s) {
		return len(s)
	}
	if i := strings.IndexByte(s[n:], ' '); i >= 0 {
		return n + i
	}
	return len(s)
}

func (a *answer) firstMS() int {
	if a.firstAt.IsZero() || a.turn == 0 {
		return 0
	}
	return int(a.firstAt.Sub(a.began) / time.Millisecond)
}

// due is when something has to happen to the answer; zero: nothing.
func (a *answer) due() time.Time {
	switch {
	case a == nil || a.settled:
		if a != nil && a.action != nil {
			return a.doneAt
		}
		return time.Time{}
	case a.complete && !a.silentAt.IsZero():
		return a.silentAt
	case a.complete:
		return a.doneAt
	case !a.suspect.IsZero() && a.suspect.Before(a.deadline):
		return a.suspect
	}
	return a.deadline
}

// alive notes a sign of life of the worker at the present attempt.
func (a *answer) alive(worker string, now time.Time) {
	a.worker, a.deadline = worker, now.Add(nextBeat)
	if worker != "" {
		a.suspect = now.Add(suspicious)
	}
}

// patience is how long a worker gets to say that it has the turn: the first
// two little, since one may hang; more after that, when they are rather slow,
// and asking ever more of them would make them slower.
func patience(attempt int) time.Duration {
	return firstBeat << min(max(attempt-2, 0), 2)
}

// ask gives the turn to a conversation worker.
func (c *call) ask(now time.Time) {
	a := c.ans
	a.attempt++
	a.worker, a.suspect, a.deadline = "", time.Time{}, now.Add(patience(a.attempt))
	err := c.w.ask(c.tenant, events.Ask{
		Call: c.id, Turn: a.turn, Attempt: a.attempt, Caller: c.from, StartedAt: c.started,
		History: c.history, Said: a.said.String() + a.pending.String(),
	})
	if err != nil {
		// Nobody got it: the attempt does not count.
		a.attempt--
		a.deadline = now.Add(retryAway)
		c.w.metrics.away.Inc()
	}
}

// step is one message of a worker.
func (c *call) step(m events.Answer) {
	a := c.ans
	now := time.Now()
	if m.Kind == events.AnswerNobody && a != nil && a.worker == "" {
		a.deadline = now.Add(nobodyThere)
		return
	}
	if a == nil || a.complete || a.settled || m.Turn != a.turn || m.Attempt != a.attempt {
		return
	}
	switch m.Kind {
	case events.AnswerBeat:
		a.alive(m.Worker, now)
	case events.AnswerText:
		a.alive(m.Worker, now)
		c.say(m.Text)
	case events.AnswerDone:
		c.finish(m.Action)
	case events.AnswerFailed:
		if m.Reason == events.ReasonBusy {
			// Asking at once would only add to what keeps it busy.
			a.worker, a.suspect, a.deadline = "", time.Time{}, now.Add(retryBusy)
			return
		}
		c.log.Info("worker has no answer", zap.Int("turn", a.turn), zap.Int("attempt", a.attempt), zap.String("reason", m.Reason))
		c.again(now)
	}
}

// say sends words to the caller, or keeps them until a socket is open.
func (c *call) say(text string) {
	a := c.ans
	if text == "" {
		return
	}
	if c.sock == nil || !c.utter(text, false) {
		a.pending.WriteString(text)
		return
	}
	if a.firstAt.IsZero() {
		a.firstAt = time.Now()
		c.w.metrics.firstWord.Observe(a.firstAt.Sub(a.began).Seconds())
	}
	a.lastAt = time.Now()
	a.said.WriteString(text)
}

// finish is the end of the answer's words.
func (c *call) finish(action *events.Action) {
	a := c.ans
	a.complete, a.action = true, action
	a.doneAt = time.Now().Add(speaking(a.said.Len() + a.pending.Len()))
	if c.sock != nil {
		c.utter("", true)
		c.register()
	}
}

// answerDue is called when the present attempt has been silent for too long,
// or when everything that was to be said has been spoken.
func (c *call) answerDue(now time.Time) {
	a := c.ans
	switch {
	case a.complete:
	case now.Before(a.deadline):
		c.check()
		return
	default:
		c.again(now)
		return
	}
	action := a.action
	a.action = nil
	c.settle(false)
	if action != nil {
		c.act(*action)
	}
}

// check finds out whether the worker at the present attempt is still there.
func (c *call) check() {
	a := c.ans
	a.suspect = time.Time{}
	g := gone{turn: a.turn, attempt: a.attempt}
	worker := a.worker
	go func() {
		ctx, cancel := context.WithTimeout(c.w.life, nextBeat)
		defer cancel()
		if c.w.bus.Gone(ctx, worker) {
			c.post(g)
		}
	}()
}

// again asks another worker, and lets the caller know when that takes long.
func (c *call) again(now time.Time) {
	a := c.ans
	silent := now.Sub(a.began)
	if !a.lastAt.IsZero() {
		silent = now.Sub(a.lastAt)
	}
	if silent >= giveUpAfter {
		c.w.cancel(c.tenant, c.id, a.turn)
		c.w.metrics.givenUp.Inc()
		c.log.Warn("no worker answered", zap.Int("turn", a.turn), zap.Int("attempts", a.attempt))
		a.way = "fallback"
		c.say(c.w.phrases(c.tenant).wayOn)
		c.finish(nil)
		return
	}
	if !a.filled && silent >= fillerAfter && a.said.Len() == 0 {
		a.filled = true
		c.utter(c.w.phrases(c.tenant).filler, false)
	}
	c.ask(now)
}

// act does what the answer led to, once it has been spoken.
func (c *call) act(action events.Action) {
	switch action.Kind {
	case events.ActionTransfer:
		rule, ok := c.w.transferRule(c.tenant, action.To)
		if !ok {
			c.log.Warn("transfer to nobody")
			return
		}
		c.transfers++
		c.transferred, c.dialling, c.moved = rule.Name, true, c.turn
		c.put(events.CallTransferred{To: rule.Name, Number: rule.Number, Reason: clip(action.Reason, 500), Nth: c.transfers}, nil)
	case events.ActionEnd:
	default:
		return
	}
	c.ending = &action
	c.write(func(s *socket) error { return s.end(handoff(action)) })
}

// resume goes on with a call whose socket was lost: words that came meanwhile
// are spoken, and a turn nobody has answered is asked again.
func (c *call) resume() {
	a := c.ans
	switch {
	case a == nil || a.settled:
		return
	case a.pending.Len() > 0:
		text := a.pending.String()
		a.pending.Reset()
		c.say(text)
		if a.complete && a.pending.Len() == 0 {
			c.finish(a.action)
		}
	case !a.complete && a.deadline.IsZero():
		c.ask(time.Now())
	}
}

// clip shortens s to at most n bytes, at a rune boundary.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
