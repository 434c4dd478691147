package notifier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/twilio"
)

var errDied = errors.New("died")

// world is everything outside the worker. It can die before or after any of
// the worker's steps, and keeps what was done by then.
type world struct {
	step, dieAt int
	state       string // of the text's row
	sid         string
	claims      int
	sentTexts   []twilio.Message
	out         bool
	stated      map[string]int
	facts       []events.Fact
	sendErr     error
	lostAnswer  bool // Twilio sends, and its answer is lost
	others      []string
}

// at counts a step and dies there when it is its turn: even steps before the
// effect, odd ones after it.
func (w *world) at(effect func()) error {
	defer func() { w.step += 2 }()
	if w.step == w.dieAt {
		return errDied
	}
	effect()
	if w.step+1 == w.dieAt {
		return errDied
	}
	return nil
}

func (w *world) ClaimText(_ context.Context, _, _, _ string, _ time.Duration) (c store.Claim, err error) {
	err = w.at(func() {
		switch w.state {
		case "sent", "failed":
			c = store.Claim{State: w.state, SID: w.sid}
		default:
			// Time has passed since the last claim.
			w.state = "claimed"
			w.claims++
			c = store.Claim{Ours: true, State: w.state, Attempts: w.claims, First: time.Now()}
		}
	})
	return c, err
}

func (w *world) UnclaimText(context.Context, string, string) error {
	return w.at(func() { w.state, w.claims = "", 0 })
}

func (w *world) TextSent(_ context.Context, _, sid string) error {
	return w.at(func() { w.state, w.sid = "sent", sid })
}

func (w *world) TextFailed(context.Context, string, string) error {
	return w.at(func() { w.state = "failed" })
}

func (w *world) OtherTexts(context.Context, string, string) ([]string, error) {
	return w.others, nil
}

func (w *world) OptedOut(context.Context, string) (bool, error) {
	return w.out, w.at(func() {})
}

func (w *world) Send(_ context.Context, m twilio.Message) (s twilio.Sent, err error) {
	if w.sendErr != nil {
		return s, w.sendErr
	}
	err = w.at(func() { w.sentTexts = append(w.sentTexts, m) })
	if w.lostAnswer {
		w.lostAnswer = false
		return s, &twilio.Error{Kind: twilio.Ambiguous}
	}
	return twilio.Sent{SID: fmt.Sprintf("SM%d", len(w.sentTexts))}, err
}

func (w *world) Find(_ context.Context, from, to, body string, _ time.Time, others []string) (s twilio.Sent, ok bool, err error) {
	err = w.at(func() {
		for i, m := range w.sentTexts {
			if sid := fmt.Sprintf("SM%d", i+1); m.From == from && m.To == to && m.Body == body && !slices.Contains(others, sid) {
				s, ok = twilio.Sent{SID: sid}, true
			}
		}
	})
	return s, ok, err
}

func (w *world) publish(_ context.Context, e events.Event) (uint64, error) {
	// The stream keeps one of each id.
	return 1, w.at(func() {
		w.stated[e.Fact.Name()+" "+e.ID]++
		w.facts = append(w.facts, e.Fact)
	})
}

func (w *world) count(name string) (n int) {
	for k := range w.stated {
		if strings.HasPrefix(k, name+" ") {
			n++
		}
	}
	return n
}

func newWorld() *world { return &world{dieAt: -1, stated: map[string]int{}} }

func (w *world) worker() *worker {
	dir := settings.NewDirectory(zap.NewNop())
	dir.Apply(events.Settings{Tenant: 7, Name: "Fig and Sons", Numbers: []string{"+12065550110"}, SMSTo: []string{"+12065550101", "+12065550102"}}, false)
	return &worker{
		log: zap.NewNop(), settings: dir, twilio: w, publish: w.publish, publicURL: "https://phone.example", name: "w", now: time.Now,
		rows: func(events.Tenant) (rows, error) { return w, nil },
	}
}

func asked() (events.Event, events.SMSRequested) {
	f := events.SMSRequested{Message: strings.Repeat("0a", 16), To: "+12065550101", Body: "hello", Purpose: events.PurposeSummary}
	return events.New(7, "CA1", time.Now(), f), f
}

// Wherever it dies, the text goes out once, and that is stated once.
func TestTextGoesOutOnceWhereverTheWorkerDies(t *testing.T) {
	for dieAt := range 14 {
		t.Run(fmt.Sprint("dies at step ", dieAt), func(t *testing.T) {
			w := newWorld()
			w.dieAt = dieAt
			e, f := asked()
			died := false
			for range 3 { // redelivered until handled
				w.step = 0
				if err := w.worker().smsRequested(t.Context(), e, f); err == nil {
					break
				} else if !errors.Is(err, errDied) {
					t.Fatal(err)
				}
				died, w.dieAt = true, -1
			}
			if len(w.sentTexts) != 1 || w.count("sms.sent") != 1 || w.state != "sent" {
				t.Errorf("sent %d, stated %d, row %q (died %v)", len(w.sentTexts), w.count("sms.sent"), w.state, died)
			}
		})
	}
}

func TestAnswerLostAfterSendingIsFoundAgain(t *testing.T) {
	w := newWorld()
	w.lostAnswer = true
	e, f := asked()
	if err := w.worker().smsRequested(t.Context(), e, f); err == nil {
		t.Fatal("an unknown outcome passes for one")
	}
	if err := w.worker().smsRequested(t.Context(), e, f); err != nil {
		t.Fatal(err)
	}
	if len(w.sentTexts) != 1 || w.state != "sent" {
		t.Errorf("sent %d times, row %q", len(w.sentTexts), w.state)
	}
}

func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		out         bool
		err         error
		retried     bool
		state, fact string
	}{
		"opted out here":     {out: true, state: "failed", fact: "sms.failed"},
		"opted out at them":  {err: &twilio.Error{Kind: twilio.OptedOut, Code: 21610}, state: "failed", fact: "sms.opted_out"},
		"refused":            {err: &twilio.Error{Kind: twilio.Refused, Code: 21211}, state: "failed", fact: "sms.failed"},
		"busy is tried anew": {err: &twilio.Error{Kind: twilio.Busy, Code: 20429}, retried: true, state: ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.out, w.sendErr = tc.out, tc.err
			e, f := asked()
			err := w.worker().smsRequested(t.Context(), e, f)
			if (err != nil) != tc.retried || w.state != tc.state || len(w.sentTexts) != 0 {
				t.Errorf("err %v, row %q, sent %d", err, w.state, len(w.sentTexts))
			}
			if tc.fact != "" && w.count(tc.fact) != 1 {
				t.Errorf("stated %v, want %s", w.stated, tc.fact)
			}
		})
	}
}

func TestEachRecipientIsAskedForOnce(t *testing.T) {
	w := newWorld()
	f := events.CallSummarized{Caller: "+12065550142", Summary: "Wants a quote.", Producer: events.Producer{Simulated: true}}
	e := events.New(7, "CA00000000000000000000000000abcdef", time.Now(), f)
	for range 2 {
		if err := w.worker().callSummarized(t.Context(), e, f); err != nil {
			t.Fatal(err)
		}
	}
	if w.count("sms.requested") != 2 {
		t.Errorf("%d texts asked for, want one for each number", w.count("sms.requested"))
	}
	text := body(events.Settings{Name: "Fig and Sons"}, e.Call, f)
	if !strings.Contains(text, "simulated") || !strings.Contains(text, "Fig and Sons") || !strings.HasSuffix(text, "#abcdef") {
		t.Errorf("text %q", text)
	}
}

// Of a call that was handed to us, or imported, its tenant knows already.
func TestNobodyIsTextedAboutWhatWasNoPhoneCall(t *testing.T) {
	for via, want := range map[string]int{"": 2, events.ViaAPI: 0, events.ViaImport: 0} {
		w := newWorld()
		f := events.CallSummarized{Caller: "+12065550142", Summary: "Wants a quote.", Via: via}
		if err := w.worker().callSummarized(t.Context(), events.New(7, "CA1", time.Now(), f), f); err != nil {
			t.Fatal(err)
		}
		if w.count("sms.requested") != want {
			t.Errorf("via %q: %d texts asked for, want %d", via, w.count("sms.requested"), want)
		}
	}
}
