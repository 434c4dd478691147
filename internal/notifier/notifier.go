// Package notifier tells a tenant's people what was said, by text: each text
// exactly once, whatever dies in between, and none to those who opted out.
package notifier

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/twilio"
)

const (
	slots = 8
	// A claim without an outcome may belong to a worker that died before
	// sending, after it, or that is still waiting for Twilio. After this long
	// Twilio's list tells which.
	settleAfter = 30 * time.Second
	// Whoever has not begun to send by then must not any more, because somebody
	// else may take over; Twilio gets 10 s to answer.
	sendWithin = settleAfter / 2
	clockSlack = 2 * time.Minute
)

// Run listens for call.summarized and sms.requested.
func Run(ctx context.Context, p *app.Platform) error {
	if p.Store == nil {
		return app.Wrong(errors.New("notifier: DATABASE_URL is needed"))
	}
	client, err := twilio.NewClient(twilio.Options{AccountSID: p.Config.TwilioAccountSID, AuthToken: p.Config.TwilioAuthToken, BaseURL: p.Config.TwilioAPIURL})
	if err != nil {
		return app.Wrong(err)
	}
	defer client.Close()
	dir := settings.NewDirectory(p.Log)
	w := &worker{
		log: p.Log.Named("notifier"), settings: dir, twilio: client, publish: p.Bus.Publish, publicURL: p.Config.PublicURL, name: uuid.NewString(), now: time.Now,
		rows: func(t events.Tenant) (rows, error) { return p.Store.For(t) },
	}
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go func() {
		for watch.Err() == nil {
			if err := dir.Watch(watch, p.Bus); err != nil && watch.Err() == nil {
				w.log.Warn("settings interrupted", zap.Error(err))
				time.Sleep(time.Second)
			}
		}
	}()
	if dir.WaitReady(ctx) != nil {
		return nil
	}
	p.Ready("notifier")
	var g errgroup.Group
	g.Go(func() error {
		return bus.Consume(ctx, p.Bus, bus.Consumer{Name: "notifier-summarized", Slots: slots}, w.callSummarized)
	})
	g.Go(func() error {
		return bus.Consume(ctx, p.Bus, bus.Consumer{Name: "notifier-requested", Slots: slots}, w.smsRequested)
	})
	return g.Wait()
}

// rows is the store as sending once needs it.
type rows interface {
	ClaimText(ctx context.Context, message, recipient, by string, again time.Duration) (store.Claim, error)
	UnclaimText(ctx context.Context, message, by string) error
	TextSent(ctx context.Context, message, sid string) error
	TextFailed(ctx context.Context, message, code string) error
	OtherTexts(ctx context.Context, message, recipient string) (sids []string, err error)
	OptedOut(ctx context.Context, number string) (bool, error)
}

type sender interface {
	Send(ctx context.Context, m twilio.Message) (twilio.Sent, error)
	Find(ctx context.Context, from, to, body string, since time.Time, others []string) (twilio.Sent, bool, error)
}

type worker struct {
	log       *zap.Logger
	settings  *settings.Directory
	twilio    sender
	publish   func(ctx context.Context, e events.Event) (uint64, error)
	rows      func(t events.Tenant) (rows, error)
	publicURL string
	name      string
	now       func() time.Time
}

// callSummarized asks for one text to each of the tenant's numbers.
func (w *worker) callSummarized(ctx context.Context, e events.Event, f events.CallSummarized) error {
	s, ok := w.settings.ByID(e.Tenant)
	if !ok {
		return fmt.Errorf("tell of call %s: settings of its tenant are not known", e.Call)
	}
	if f.Revision > 0 || f.Via != "" {
		return nil // people were told when it was new; of what was no phone call they know
	}
	for _, to := range s.SMSTo {
		out := events.New(e.Tenant, e.Call, e.Time, events.SMSRequested{
			Message: events.MessageID(e.Tenant, e.Call, events.PurposeSummary, to, ""), To: to, Body: body(s, e.Call, f), Purpose: events.PurposeSummary,
		})
		out.Cause = e.ID
		if _, err := w.publish(ctx, out); err != nil {
			return fmt.Errorf("ask for text of call %s: %w", e.Call, err)
		}
	}
	return nil
}

// body is what a tenant's people read. It ends in a mark of the call, so that
// no two calls lead to the same words: that is how a text is found again. Our
// own characters are of the phones' alphabet: outside it a text costs twice.
func body(s events.Settings, call string, f events.CallSummarized) string {
	var b strings.Builder
	b.WriteString(s.Name + ": call from " + caller(f))
	b.WriteString(". " + clip(f.Summary, 240))
	for _, m := range f.Messages {
		b.WriteString(" Message")
		if m.For != "" {
			b.WriteString(" for " + m.For)
		}
		b.WriteString(": " + clip(m.Text, 200))
		if m.Callback != "" {
			b.WriteString(" Call back: " + m.Callback)
		}
	}
	end := " #" + call[max(0, len(call)-6):]
	if f.Producer.Simulated {
		end = " [simulated]" + end
	}
	return clip(strings.Join(strings.Fields(b.String()), " "), 1400) + end
}

// caller is who called, as far as it is known.
func caller(f events.CallSummarized) string {
	from := f.Caller
	if !events.Identified(from) {
		from = "a withheld number"
	}
	for _, v := range f.Findings {
		if v.Field == "personal.name" && (v.Subject == "" || v.Subject == "caller") {
			return from + " (" + v.Value + ")"
		}
	}
	return from
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n] + "..."
}

// smsRequested sends one text: claim, send, record, state.
func (w *worker) smsRequested(ctx context.Context, e events.Event, f events.SMSRequested) error {
	s, ok := w.settings.ByID(e.Tenant)
	if !ok || len(s.Numbers) == 0 {
		return errors.New("send text: the tenant has no number to send from")
	}
	t, err := w.rows(e.Tenant)
	if err != nil {
		return bus.Permanent(err)
	}
	out, err := t.OptedOut(ctx, f.To)
	if err != nil {
		return err
	}
	claimed := w.now()
	claim, err := t.ClaimText(ctx, f.Message, f.To, w.name, settleAfter)
	switch {
	case err != nil:
		return err
	case !claim.Ours && claim.State == "sent":
		return w.sent(ctx, e, f, s.Numbers[0], claim.SID)
	case !claim.Ours && claim.State == "failed":
		return nil
	case !claim.Ours:
		return errors.New("text is being sent, or its outcome is not known yet")
	}
	if claim.Attempts > 1 {
		// Somebody began before. It may have gone out.
		from, sid, err := w.find(ctx, s, f, claim.First.Add(-clockSlack), t)
		if err != nil {
			return fmt.Errorf("look for text: %w", err)
		}
		if sid != "" {
			return w.record(ctx, e, f, from, sid, t)
		}
	}
	if out {
		return w.fail(ctx, e, f, t, "", "opted_out")
	}
	if w.now().Sub(claimed) > sendWithin {
		return errors.New("send text: the claim is too old to send on")
	}
	return w.send(ctx, e, f, s, t)
}

// find looks for a text that may have gone out, from whichever of the tenant's
// numbers was the first one then. Others may say the same to the same person.
func (w *worker) find(ctx context.Context, s events.Settings, f events.SMSRequested, since time.Time, t rows) (from, sid string, err error) {
	others, err := t.OtherTexts(ctx, f.Message, f.To)
	if err != nil {
		return "", "", err
	}
	for _, from := range s.Numbers {
		had, found, err := w.twilio.Find(ctx, from, f.To, f.Body, since, others)
		if err != nil {
			return "", "", err
		}
		if found {
			return from, had.SID, nil
		}
	}
	return "", "", nil
}

func (w *worker) send(ctx context.Context, e events.Event, f events.SMSRequested, s events.Settings, t rows) error {
	sent, err := w.twilio.Send(ctx, twilio.Message{From: s.Numbers[0], To: f.To, Body: f.Body, StatusCallback: w.callback(e, f)})
	if err == nil {
		return w.record(ctx, e, f, s.Numbers[0], sent.SID, t)
	}
	var failed *twilio.Error
	if !errors.As(err, &failed) {
		return err
	}
	switch failed.Kind {
	case twilio.OptedOut:
		if _, err := w.publish(ctx, events.New(e.Tenant, e.Call, w.now(), events.SMSOptedOut{Number: f.To, Source: f.Message})); err != nil {
			return err
		}
		return w.fail(ctx, e, f, t, strconv.Itoa(failed.Code), failed.Reason())
	case twilio.Refused:
		return w.fail(ctx, e, f, t, strconv.Itoa(failed.Code), failed.Reason())
	case twilio.Busy, twilio.Unauthorised:
		// Nothing was sent: whoever gets it next may begin afresh.
		return errors.Join(err, t.UnclaimText(ctx, f.Message, w.name))
	}
	return err // not known: the claim stays until Twilio's list can tell
}

// callback carries the text's identity, so that Twilio's word on it arrives
// even when we die before writing down what Twilio called it.
func (w *worker) callback(e events.Event, f events.SMSRequested) string {
	q := url.Values{"customer_id": {e.Tenant.String()}, "m": {f.Message}, "p": {f.Purpose}}
	if e.Call != "" {
		q.Set("call", e.Call)
	}
	return w.publicURL + "/twilio/sms/status?" + q.Encode()
}

func (w *worker) record(ctx context.Context, e events.Event, f events.SMSRequested, from, sid string, t rows) error {
	if err := t.TextSent(ctx, f.Message, sid); err != nil {
		return err
	}
	return w.sent(ctx, e, f, from, sid)
}

func (w *worker) sent(ctx context.Context, e events.Event, f events.SMSRequested, from, sid string) error {
	out := events.New(e.Tenant, e.Call, w.now(), events.SMSSent{Message: f.Message, To: f.To, From: from, SID: sid, Purpose: f.Purpose})
	out.Cause = e.ID
	_, err := w.publish(ctx, out)
	return err
}

func (w *worker) fail(ctx context.Context, e events.Event, f events.SMSRequested, t rows, code, reason string) error {
	out := events.New(e.Tenant, e.Call, w.now(), events.SMSFailed{Message: f.Message, Code: code, Reason: reason})
	out.Cause = e.ID
	if _, err := w.publish(ctx, out); err != nil {
		return err
	}
	return t.TextFailed(ctx, f.Message, code)
}
