package notifier

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/twilio"
)

// clocked is a world with a clock: claims are other workers' business until
// settleAfter has passed, as in the database, and looking takes time.
type clocked struct {
	*world
	now      time.Time
	claimed  time.Time
	lookFor  time.Duration // how long Twilio takes to list
	lookedIn []string      // numbers asked for
}

func newClocked() *clocked {
	return &clocked{world: newWorld(), now: time.Date(2026, 3, 2, 15, 0, 0, 0, time.UTC)}
}

func (c *clocked) ClaimText(ctx context.Context, m, to, by string, again time.Duration) (store.Claim, error) {
	if c.state == "claimed" && c.now.Sub(c.claimed) < again {
		return store.Claim{State: "claimed", Attempts: c.claims}, nil
	}
	c.claimed = c.now
	return c.world.ClaimText(ctx, m, to, by, again)
}

func (c *clocked) Find(ctx context.Context, from, to, body string, since time.Time, others []string) (twilio.Sent, bool, error) {
	c.lookedIn = append(c.lookedIn, from)
	c.now = c.now.Add(c.lookFor)
	return c.world.Find(ctx, from, to, body, since, others)
}

func (c *clocked) worker(numbers ...string) *worker {
	dir := settings.NewDirectory(zap.NewNop())
	dir.Apply(events.Settings{Tenant: 7, Name: "Fig and Sons", Status: "suspended", Numbers: numbers}, false)
	w := c.world.worker()
	w.settings, w.twilio, w.now = dir, c, func() time.Time { return c.now }
	w.rows = func(events.Tenant) (rows, error) { return c, nil }
	return w
}

func TestNobodySendsWhileSomebodyElseMayBeSending(t *testing.T) {
	t.Parallel()
	c := newClocked()
	c.lostAnswer = true
	e, f := asked()
	w := c.worker("+12065550110")
	if err := w.smsRequested(t.Context(), e, f); err == nil {
		t.Fatal("an unknown outcome passes for one")
	}
	c.now = c.now.Add(settleAfter - time.Second)
	if err := w.smsRequested(t.Context(), e, f); err == nil || len(c.lookedIn) > 0 {
		t.Errorf("taken over before the first worker has given up (%v)", err)
	}
	c.now = c.now.Add(2 * time.Second)
	if err := w.smsRequested(t.Context(), e, f); err != nil {
		t.Fatal(err)
	}
	if len(c.sentTexts) != 1 || c.state != "sent" || c.count("sms.sent") != 1 {
		t.Errorf("sent %d, row %q", len(c.sentTexts), c.state)
	}
}

// A claim is for settleAfter. Whoever took long to find out that the text was
// not sent must not send it: another may have taken over by then.
func TestAnOldClaimDoesNotSend(t *testing.T) {
	t.Parallel()
	c := newClocked()
	c.dieAt = 2 * 2 // before Send
	e, f := asked()
	w := c.worker("+12065550110")
	if err := w.smsRequested(t.Context(), e, f); !errors.Is(err, errDied) {
		t.Fatal(err)
	}
	c.dieAt = -1
	c.now, c.lookFor = c.now.Add(settleAfter+time.Second), settleAfter
	if err := w.smsRequested(t.Context(), e, f); err == nil || len(c.sentTexts) != 0 {
		t.Errorf("sent %d on a claim that has run out (%v)", len(c.sentTexts), err)
	}
	c.now, c.lookFor = c.now.Add(settleAfter+time.Second), time.Second
	if err := w.smsRequested(t.Context(), e, f); err != nil || len(c.sentTexts) != 1 {
		t.Errorf("sent %d in the end (%v)", len(c.sentTexts), err)
	}
}

// The tenant's first number may have become another one since.
func TestATextIsFoundFromWhicheverNumberItWentOut(t *testing.T) {
	t.Parallel()
	c := newClocked()
	c.lostAnswer = true
	e, f := asked()
	_ = c.worker("+12065550110").smsRequested(t.Context(), e, f)
	c.now = c.now.Add(settleAfter + time.Second)
	if err := c.worker("+12065550119", "+12065550110").smsRequested(t.Context(), e, f); err != nil {
		t.Fatal(err)
	}
	if len(c.sentTexts) != 1 {
		t.Errorf("sent %d times", len(c.sentTexts))
	}
	for k := range c.facts {
		if s, ok := c.facts[k].(events.SMSSent); ok && s.From != "+12065550110" {
			t.Errorf("stated as sent from %s", s.From)
		}
	}
}

// A caller may ask for the same words twice: the first is not the second.
func TestTheSameWordsAreTwoTexts(t *testing.T) {
	t.Parallel()
	c := newClocked()
	e, f := asked()
	c.sentTexts, c.others = []twilio.Message{{From: "+12065550110", To: f.To, Body: f.Body}}, []string{"SM1"}
	c.sendErr = &twilio.Error{Kind: twilio.Ambiguous} // and nothing was sent
	if err := c.worker("+12065550110").smsRequested(t.Context(), e, f); err == nil {
		t.Fatal("sent")
	}
	c.sendErr, c.now = nil, c.now.Add(settleAfter+time.Second)
	if err := c.worker("+12065550110").smsRequested(t.Context(), e, f); err != nil || len(c.sentTexts) != 2 || c.sid != "SM2" {
		t.Errorf("sent %d, recorded %q, %v", len(c.sentTexts), c.sid, err)
	}
}

func TestTexts(t *testing.T) {
	t.Parallel()
	s := events.Settings{Name: "Fig and Sons"}
	long := strings.Repeat("größer ", 200)
	name := events.Finding{Field: "personal.name", Subject: "caller", Value: "Ann Lee"}
	for what, tc := range map[string]struct {
		f          events.CallSummarized
		want, lack []string
	}{
		"says who called and what for": {
			events.CallSummarized{Caller: "+12065550142", Summary: "Wants a quote.", Findings: []events.Finding{name}},
			[]string{"Fig and Sons: call from +12065550142 (Ann Lee). Wants a quote."},
			[]string{"simulated", "Message"},
		},
		"does not take the spouse for the caller": {
			events.CallSummarized{Caller: "+12065550142", Findings: []events.Finding{name, {Field: "personal.name", Subject: "spouse", Value: "Bob Lee"}}},
			[]string{"Ann Lee"},
			[]string{"Bob"},
		},
		"says when the number was withheld": {
			events.CallSummarized{Caller: "anonymous", Summary: "Hung up."}, []string{"call from a withheld number. Hung up."}, []string{"anonymous"},
		},
		"brings every message": {
			events.CallSummarized{Caller: "+12065550142", Summary: "x.", Messages: []events.Message{{For: "Paula", Text: "I am late", Callback: "206 555 0199"}, {Text: "Call me"}}},
			[]string{"Message for Paula: I am late", "Call back: 206 555 0199", "Message: Call me"},
			nil,
		},
		"keeps the messages when the summary is long": {
			events.CallSummarized{Caller: "+12065550142", Summary: long, Messages: []events.Message{{Text: "the message"}}},
			[]string{"the message"},
			nil,
		},
		"says that it is simulated": {
			events.CallSummarized{Caller: "+12065550142", Summary: long, Producer: events.Producer{Simulated: true}}, []string{"simulated"}, nil,
		},
		"says so when a message makes it long": {
			events.CallSummarized{Caller: "+12065550142", Producer: events.Producer{Simulated: true}, Messages: []events.Message{{Text: long}, {Text: long}, {Text: long}, {Text: long}, {Text: long}, {Text: long}, {Text: long}, {Text: long}, {Text: long}}},
			[]string{"simulated"},
			nil,
		},
		"is one line": {
			events.CallSummarized{Caller: "+12065550142", Summary: "Wants\n\na quote.", Messages: []events.Message{{Text: "a\nb"}}}, []string{"Wants a quote.", "a b"}, []string{"\n"},
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			const call = "CA00000000000000000000000000abcdef"
			text := body(s, call, tc.f)
			for _, want := range tc.want {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in %q", want, text)
				}
			}
			for _, lack := range tc.lack {
				if strings.Contains(text, lack) {
					t.Errorf("%q in %q", lack, text)
				}
			}
			if !strings.HasSuffix(text, " #abcdef") || !utf8.ValidString(text) || utf8.RuneCountInString(text) > twilio.MaxText || body(s, call, tc.f) != text {
				t.Errorf("%d characters: %q", utf8.RuneCountInString(text), text)
			}
			// Outside the phones' own alphabet a text costs twice as much.
			if strings.Contains(text, "…") {
				t.Errorf("an expensive character of our own in %q", text)
			}
		})
	}
}

func TestStatusComesBackToTheTextItBelongsTo(t *testing.T) {
	t.Parallel()
	c := newClocked()
	e, f := asked()
	if err := c.worker("+12065550110").smsRequested(t.Context(), e, f); err != nil {
		t.Fatal(err)
	}
	url := c.sentTexts[0].StatusCallback
	for _, want := range []string{"https://phone.example/twilio/sms/status?", "customer_id=7", "m=" + f.Message} {
		if !strings.Contains(url, want) {
			t.Errorf("no %q in %q", want, url)
		}
	}
	if strings.Contains(url, "2065550101") || strings.Contains(url, "hello") {
		t.Errorf("personal data in %q", url)
	}
}
