package memory

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/mask"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/vault"
)

func (s *service) callRoutes(a *api) {
	route(a, huma.Operation{
		Method: http.MethodPost, Path: "/v2/process-call", OperationID: "process-call", DefaultStatus: http.StatusAccepted,
		Summary: "Take in a call that was held elsewhere: it is summarized, and what its caller said is remembered, as of any call; nobody is texted about it",
	}, s.processCall)
	route(a, huma.Operation{
		Method: http.MethodGet, Path: "/v2/calls/{call_id}", OperationID: "get-call", Summary: "One call and what was said in it",
	}, s.getCall)
}

// spoken is one line of a call.
type spoken struct {
	Role string     `json:"role" doc:"user or caller; assistant or agent; others are left out"`
	Text string     `json:"text" maxLength:"8000"`
	At   *time.Time `json:"at,omitempty" doc:"When it was said"`
}

type processCallIn struct {
	Body struct {
		CustomerBody
		UserID    string      `json:"user_id" maxLength:"40" doc:"The caller's number in E.164"`
		CallID    string      `json:"call_id,omitempty" nullable:"true" maxLength:"64" pattern:"^[A-Za-z0-9_.:-]*$" doc:"What you call it; absent: derived from thread_id and what was said"`
		ThreadID  string      `json:"thread_id,omitempty" nullable:"true" maxLength:"200"`
		History   [][2]string `json:"conversation_history,omitempty" nullable:"true" maxItems:"2000" doc:"Pairs of role and text, in order"`
		Turns     []spoken    `json:"turns,omitempty" nullable:"true" maxItems:"2000" doc:"The same with times, instead"`
		StartedAt *time.Time  `json:"started_at,omitempty" nullable:"true" doc:"Absent: now"`
		EndedAt   *time.Time  `json:"ended_at,omitempty" nullable:"true" doc:"Absent: when the last line was said"`
	}
}

type processCallOut struct {
	Body struct {
		Success bool   `json:"success"`
		CallID  string `json:"call_id"`
	}
}

// line is what was said, with the numbers left out that must not be kept.
type line struct {
	caller bool
	text   string
	at     time.Time
	sealed []events.Sealed
}

func (s *service) processCall(ctx context.Context, who asker, in *processCallIn) (*processCallOut, error) {
	user, err := number("body.user_id", in.Body.UserID)
	if err != nil {
		return nil, err
	}
	start, lines, end, err := s.lines(in)
	if err != nil {
		return nil, err
	}
	if id := in.Body.CallID; id == "." || id == ".." {
		return nil, invalid("body.call_id", "want an id that can stand in a path")
	}
	out := &processCallOut{}
	out.Body.Success, out.Body.CallID = true, in.Body.CallID
	if out.Body.CallID == "" {
		if out.Body.CallID, err = callID(who, user, in); err != nil {
			return nil, err
		}
	}
	if gone, err := s.erasedSince(ctx, who, user, start); err != nil {
		return nil, err
	} else if gone {
		return nil, fail(http.StatusGone, "this caller was erased after that call")
	}
	defer s.calls.lock(who.tenant.String() + "/" + out.Body.CallID)()
	done, err := s.takenIn(ctx, who, out.Body.CallID)
	if err == nil {
		err = s.claim(ctx, who, out.Body.CallID, user, lines)
	}
	if err != nil || done {
		return out, err
	}
	if lines, err = s.hide(who, lines); err != nil {
		return nil, err
	}
	set, err := s.store.Settings(ctx, who.tenant)
	if err != nil {
		return nil, err
	}
	c := conversationOf(who, user, set, out.Body.CallID)
	c.say(start, lines, end)
	return out, s.takeIn(ctx, who, c)
}

// callID names a call by what was said in it, so that the same call is the same.
func callID(who asker, user string, in *processCallIn) (string, error) {
	said, err := json.Marshal([]any{in.Body.History, in.Body.Turns, in.Body.StartedAt})
	return "api-" + events.Derive("call", who.tenant.String(), user, in.Body.ThreadID, string(said)), err
}

// lines are what was said, when it began and when it was over.
func (s *service) lines(in *processCallIn) (start time.Time, out []line, end time.Time, err error) {
	all, where := in.Body.Turns, "body.turns"
	if len(in.Body.History) > 0 {
		if len(all) > 0 {
			return start, nil, end, invalid(where, "want conversation_history or turns, not both")
		}
		where = "body.conversation_history"
		for _, h := range in.Body.History {
			all = append(all, spoken{Role: h[0], Text: h[1]})
		}
	}
	now := s.now().UTC()
	start = now
	if in.Body.StartedAt != nil {
		start = in.Body.StartedAt.UTC()
	}
	last, heard := start, false
	for i, t := range all {
		who, ok := roles[strings.ToLower(t.Role)]
		text := strings.TrimSpace(plain(t.Text))
		if !ok || text == "" {
			continue
		}
		if len(text) > 8000 {
			return start, nil, end, invalid(fmt.Sprintf("%s[%d]", where, i), "want at most 8000 bytes of text")
		}
		if t.At != nil {
			last = t.At.UTC()
		}
		heard = heard || who == events.RoleCaller
		out = append(out, line{caller: who == events.RoleCaller, text: text, at: last})
	}
	if !heard {
		return start, nil, end, invalid(where, "want at least one line of the caller's: role user")
	}
	if end = last; in.Body.EndedAt != nil {
		end = in.Body.EndedAt.UTC()
	}
	for _, t := range []time.Time{start, last, end} {
		if t.Year() < 1990 || t.After(now.Add(24*time.Hour)) {
			return start, nil, end, invalid("body.started_at", "want times of a call that is over")
		}
	}
	if end.Before(start) {
		return start, nil, end, invalid("body.ended_at", "want a call that ends after it begins")
	}
	return start, out, end, nil
}

var roles = map[string]string{
	"user": events.RoleCaller, "caller": events.RoleCaller, "human": events.RoleCaller, "customer": events.RoleCaller,
	"assistant": events.RoleAgent, "agent": events.RoleAgent, "ai": events.RoleAgent,
}

// hide leaves out the numbers that must not be written down; those that may be
// kept are kept sealed.
func (s *service) hide(who asker, lines []line) ([]line, error) {
	m := mask.New()
	seal := func(text string) ([]byte, error) { return s.vault.Seal(who.tenant, mask.Purpose, text) }
	for i, l := range lines {
		if !l.caller {
			m.Agent(l.text)
			lines[i].text = alone(l.text) // agents elsewhere may read a number back
			continue
		}
		got := m.Caller(l.text, byVoice)
		sealed, err := got.Sealed(seal)
		if err != nil {
			return nil, err
		}
		lines[i].text, lines[i].sealed = got.Text, sealed
	}
	return lines, nil
}

// byVoice is said of what was not keyed on a phone.
const byVoice = false

// alone is a text that belongs to no conversation, without such numbers.
func alone(text string) string { return mask.New().Caller(text, byVoice).Text }

// claim takes the id of a call for what was said in it: of two who hand in a call
// under one id, in whatever processes, those who were first have it. The digest
// is keyed, since it is of numbers, too, that are not to be written down.
func (s *service) claim(ctx context.Context, who asker, call, user string, lines []line) error {
	said := [][2]string{{user}}
	for _, l := range lines {
		said = append(said, [2]string{strconv.FormatBool(l.caller), l.text})
	}
	raw, err := json.Marshal(said)
	if err != nil {
		return err
	}
	digest, err := s.vault.Ref(who.tenant, "call", string(raw))
	if err != nil {
		return err
	}
	first, err := who.rows.ClaimCall(ctx, call, digest)
	if err == nil && first != digest {
		err = fail(http.StatusConflict, "another call was handed in with this call_id")
	}
	return err
}

// erasedSince reports whether a caller was erased after a call of theirs began.
func (s *service) erasedSince(ctx context.Context, who asker, user string, start time.Time) (bool, error) {
	ref, err := s.vault.Ref(who.tenant, vault.Caller, user)
	if err != nil {
		return false, err
	}
	until, err := who.rows.ErasedUntil(ctx, ref)
	return !start.After(until), err
}

// takenIn reports whether a call has been taken in already. One on the phone,
// at this moment or before, is nobody else's to speak in.
func (s *service) takenIn(ctx context.Context, who asker, call string) (bool, error) {
	if erased, err := who.rows.Erased(ctx, call); err != nil {
		return false, err
	} else if erased {
		return false, fail(http.StatusGone, "this call was erased")
	}
	row, err := who.rows.CallRow(ctx, call)
	switch {
	case absent(err):
		return false, nil
	case err != nil:
		return false, err
	}
	at, err := s.whereSaid(ctx, who, row)
	if err != nil {
		return false, err
	}
	facts, err := s.bus.ReadCall(ctx, who.tenant, call, at)
	if err != nil {
		return false, err
	}
	for _, e := range facts {
		if f, ok := e.Fact.(events.CallReceived); ok && f.Via == events.ViaAPI {
			return row.Ended != nil, nil // else it was cut short
		}
	}
	if row.Ended != nil && len(facts) == 0 {
		return true, nil // too old to tell
	}
	return false, fail(http.StatusConflict, "a call on the phone has this call_id")
}

// taken is the facts of a call that is being taken in.
type taken struct {
	who      asker
	from, to string
	call     string
	facts    []events.Event
}

func conversationOf(who asker, user string, set events.Settings, call string) *taken {
	c := &taken{who: who, from: user, call: call}
	if len(set.Numbers) > 0 {
		c.to = set.Numbers[0]
	}
	return c
}

func (c *taken) state(at time.Time, f events.Fact) {
	e := events.New(c.who.tenant, c.call, at, f)
	e.CallSeq = len(c.facts) + 1
	c.facts = append(c.facts, e)
}

// maxGreeting is how long a greeting may be, in bytes; what is said after it
// before the caller speaks is said unasked.
const maxGreeting = 2000

// say states a whole call, as an ingress would have.
func (c *taken) say(start time.Time, lines []line, end time.Time) {
	c.state(start, events.CallReceived{From: c.from, To: c.to, Via: events.ViaAPI})
	greeting := ""
	for len(lines) > 0 && !lines[0].caller && len(greeting)+len(" ")+len(lines[0].text) <= maxGreeting {
		greeting, lines = strings.TrimSpace(greeting+" "+lines[0].text), lines[1:]
	}
	c.state(start, events.CallAnswered{Session: "api", Greeting: greeting})
	turn := 0
	for _, l := range lines {
		if l.caller {
			turn++
			c.state(l.at, events.TurnHeard{Turn: turn, Text: l.text, Sealed: l.sealed})
		} else {
			c.state(l.at, events.TurnSpoken{Turn: turn, Text: l.text})
		}
	}
	c.state(end, events.CallEnded{
		From: c.from, To: c.to, StartedAt: start, EndedAt: end, Seconds: int(end.Sub(start) / time.Second), Reason: events.EndCaller,
		Turns: turn, Answered: true, Via: events.ViaAPI,
	})
}

// takeIn publishes a call's facts in order and writes its row.
func (s *service) takeIn(ctx context.Context, who asker, c *taken) error {
	last := len(c.facts) - 1
	var seqs []uint64
	for i := range c.facts {
		if f, ok := c.facts[i].Fact.(events.CallEnded); ok && i == last {
			f.FirstSeq, f.Facts = seqs[0], seqs
			c.facts[i].Fact = f
		}
		seq, err := s.bus.Publish(ctx, c.facts[i])
		if err != nil {
			return err
		}
		c.facts[i].Seq, seqs = seq, append(seqs, seq)
	}
	rows := slices.DeleteFunc(slices.Clone(c.facts), func(e events.Event) bool {
		switch e.Fact.(type) {
		case events.TurnHeard, events.TurnSpoken:
			return true // stay in the log
		}
		return false
	})
	s.write(ctx, who, rows)
	return nil
}

// keyed lets one at a time do what has the same key.
type keyed struct {
	mu   sync.Mutex
	held map[string]*holding
}

type holding struct {
	sync.Mutex
	users int
}

func (k *keyed) lock(key string) (unlock func()) {
	k.mu.Lock()
	if k.held == nil {
		k.held = map[string]*holding{}
	}
	h := k.held[key]
	if h == nil {
		h = &holding{}
		k.held[key] = h
	}
	h.users++
	k.mu.Unlock()
	h.Lock()
	return func() {
		h.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(k.held, key)
		}
	}
}

type getCallIn struct {
	CustomerQuery
	CallID string `path:"call_id" maxLength:"64"`
}

type turn struct {
	Turn int       `json:"turn" doc:"Among the caller's; an agent's is the one it answers"`
	Role string    `json:"role" enum:"caller,agent"`
	Text string    `json:"text"`
	At   time.Time `json:"at"`
	Cut  bool      `json:"cut,omitempty" doc:"The caller interrupted"`
}

type callOut struct {
	Body struct {
		Success    bool       `json:"success"`
		CustomerID int32      `json:"customer_id"`
		CallID     string     `json:"call_id"`
		UserID     string     `json:"user_id" doc:"Empty where the number was withheld or is not known yet"`
		ReceivedAt *time.Time `json:"received_at"`
		EndedAt    *time.Time `json:"ended_at"`
		Seconds    *int       `json:"seconds"`
		Reason     string     `json:"reason"`
		Summary    string     `json:"summary"`
		Transcript []turn     `json:"transcript" doc:"Empty once it has been removed for its age"`
	}
}

func (s *service) getCall(ctx context.Context, who asker, in *getCallIn) (*callOut, error) {
	row, err := who.rows.CallRow(ctx, plain(in.CallID))
	if err != nil {
		return nil, err
	}
	at, err := s.whereSaid(ctx, who, row)
	if err != nil {
		return nil, err
	}
	facts, err := s.bus.ReadCall(ctx, who.tenant, row.ID, at)
	if err != nil {
		return nil, err
	}
	out := &callOut{}
	b := &out.Body
	b.Success, b.CustomerID, b.CallID, b.ReceivedAt, b.EndedAt, b.Seconds = true, int32(who.tenant), row.ID, utc(row.Received), utc(row.Ended), row.Seconds
	for to, v := range map[*string]*string{&b.UserID: row.Caller, &b.Reason: row.Reason, &b.Summary: row.Summary} {
		if v != nil {
			*to = *v
		}
	}
	b.Transcript = transcript(facts)
	return out, nil
}

// span is where a call's facts lie as far as its row tells.
func span(row store.CallRow) bus.Span {
	at := bus.Span{}
	if row.Received != nil {
		at.Since = row.Received.Add(-time.Minute)
	}
	return at
}

// whereSaid is where a call's facts lie. The newest fact its row is made of is
// its end, most times, which knows where the others are.
func (s *service) whereSaid(ctx context.Context, who asker, row store.CallRow) (bus.Span, error) {
	at := span(row)
	if row.Ended == nil || row.Seq <= 0 {
		return at, nil
	}
	seq := uint64(row.Seq)
	newest, err := s.bus.ReadCall(ctx, who.tenant, row.ID, bus.Span{First: seq, Last: seq})
	if err != nil {
		return at, err
	}
	for _, e := range newest {
		if f, ok := e.Fact.(events.CallEnded); ok {
			at.First, at.Facts, at.Last = f.FirstSeq, f.Facts, e.Seq
		}
	}
	return at, nil
}

func transcript(facts []events.Event) []turn {
	out := []turn{}
	for _, e := range facts {
		switch f := e.Fact.(type) {
		case events.CallAnswered:
			if f.Greeting != "" {
				out = append(out, turn{Role: events.RoleAgent, Text: f.Greeting, At: e.Time})
			}
		case events.TurnHeard:
			out = append(out, turn{Turn: f.Turn, Role: events.RoleCaller, Text: f.Text, At: e.Time})
		case events.TurnSpoken:
			out = append(out, turn{Turn: f.Turn, Role: events.RoleAgent, Text: f.Text, At: e.Time, Cut: f.Cut})
		}
	}
	return out
}
