// Package ingress is the edge: it answers Twilio's webhooks, owns the socket of
// every live call, and is the only writer of a call's facts. It needs the bus
// to be useful and nothing at all to keep a caller on the line.
package ingress

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/mask"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/twilio"
	"neurosphere.ai/neurosphere/internal/vault"
)

// worker is one ingress: the calls it owns and what it needs to serve them.
type worker struct {
	log       *zap.Logger
	bus       *bus.Bus
	outbox    *bus.Outbox
	settings  *settings.Directory
	vault     *vault.Vault // nil: what could be kept, sealed, is not
	verifier  twilio.Verifier
	pass      passes
	publicURL string
	instance  string // our name among the owners of calls
	metrics   metrics
	life      context.Context // ends when sockets are to be let go
	serving   context.Context // ends when the process is asked to stop
	settle    time.Duration   // see endOrphan

	mu       sync.Mutex
	calls    map[key]*call
	expected map[key]func() // calls whose first socket is about to open
	busy     sync.WaitGroup // calls being run or about to
}

// key is a call among the live ones: its id is Twilio's word, and a caller of
// one tenant is not to meet another's for it.
type key struct {
	tenant events.Tenant
	call   string
}

func (c *call) key() key { return key{c.tenant, c.id} }

// metrics count; they carry neither tenants' nor callers' data.
type metrics struct {
	rejected    *prometheus.CounterVec
	ended       *prometheus.CounterVec
	masked      *prometheus.CounterVec
	refused     prometheus.Counter
	fallbacks   prometheus.Counter
	dropped     prometheus.Counter
	badFrames   prometheus.Counter
	relayErrors prometheus.Counter
	away        prometheus.Counter
	givenUp     prometheus.Counter
	firstWord   prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "neurosphere_" + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "neurosphere_" + name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	first := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "neurosphere_first_word_seconds", Help: "From the caller's last word to the first word sent.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2, 5, 10},
	})
	reg.MustRegister(first)
	return metrics{
		rejected:    vec("webhooks_rejected_total", "Requests turned away, by route and reason.", "route", "reason"),
		ended:       vec("calls_ended_total", "Calls ended, by reason.", "reason"),
		masked:      vec("numbers_masked_total", "Numbers left out of what callers said and texted, by kind.", "kind"),
		refused:     counter("calls_refused_total", "Calls to numbers nobody answers."),
		fallbacks:   counter("fallbacks_total", "Calls Twilio sent to the fallback."),
		dropped:     counter("inbox_dropped_total", "Messages a call could not take in time."),
		badFrames:   counter("bad_frames_total", "Socket frames that could not be read."),
		relayErrors: counter("relay_errors_total", "Frames of ours that Twilio refused."),
		away:        counter("asks_away_total", "Turns that found the bus away."),
		givenUp:     counter("given_up_total", "Turns no worker answered."),
		firstWord:   first,
	}
}

// put states e, and reports whether it did: where the disk is full or broken
// and memory too, the caller is still answered.
func (w *worker) put(e events.Event, stored func(uint64)) bool {
	err := w.outbox.Put(e, stored)
	if err != nil {
		w.log.Error("fact cannot be written down", zap.String("event", e.Fact.Name()), zap.String("call", e.Call), zap.Error(err))
	}
	return err == nil || errors.Is(err, bus.ErrNotSafe)
}

// hid counts what was left out, by kind.
func (m metrics) hid(x mask.Masked) {
	if x.Text == mask.Withheld {
		m.masked.WithLabelValues("withheld").Inc()
	}
	for _, f := range x.Found {
		m.masked.WithLabelValues(f.Kind).Inc()
	}
}

// seal seals for a tenant; nil without a vault.
func (w *worker) seal(t events.Tenant) func(text string) ([]byte, error) {
	if w.vault == nil {
		return nil
	}
	return func(text string) ([]byte, error) { return w.vault.Seal(t, mask.Purpose, text) }
}

// received writes a new call down: first for whoever may have to end it, then
// as a fact.
func (w *worker) received(e events.Event) error {
	f, ok := e.Fact.(events.CallReceived)
	if !ok {
		return errors.New("not a received call")
	}
	err := w.outbox.PutCall(bus.CallEntry{
		Tenant: e.Tenant, Call: e.Call, Owner: w.instance, Epoch: 1, From: f.From, To: f.To, StartedAt: e.Time,
	})
	if err != nil {
		return err
	}
	return w.outbox.Put(e, nil)
}

func (w *worker) ask(t events.Tenant, a events.Ask) error { return w.bus.Ask(t, a) }

func (w *worker) greet(ctx context.Context, t events.Tenant, g events.Greet) (events.Greeting, error) {
	return w.bus.Greet(ctx, t, g)
}

func (w *worker) cancel(t events.Tenant, call string, turn int) {
	// Nobody there to stop is as good as stopped.
	_ = w.bus.Cancel(t, call, turn)
}

func (w *worker) transferRule(t events.Tenant, name string) (events.Transfer, bool) {
	s, _ := w.settings.ByID(t)
	return ruleNamed(s, name)
}

// phrases are our own words in a tenant's language.
func (w *worker) phrases(t events.Tenant) phrases {
	s, _ := w.settings.ByID(t)
	return phrasesIn(s.Language)
}

// tell gives the owner of a call news; false when the call has no owner.
func (w *worker) tell(t events.Tenant, id string, m events.Control) bool {
	if c := w.own(t, id); c != nil {
		return c.post(m)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	handled, err := w.bus.Control(ctx, t, id, m)
	return err == nil && handled
}

const (
	settleTime   = 2 * time.Second // between looks at a call that somebody may be ending
	settleLooks  = 15
	answeredLate = 5 // looks after which a call that was not answered is taken to stay so
)

// over ends the call wherever it is owned. Without an owner it is ended here,
// from the log.
func (w *worker) over(t events.Tenant, id, reason string) {
	m := events.Control{Kind: events.ControlEnded, Reason: reason, At: time.Now()}
	if w.tell(t, id, m) {
		return
	}
	w.busy.Go(func() {
		if err := w.endOrphan(t, id, m); err != nil {
			w.log.Info("call is left to the sweeper", zap.String("call", id), zap.Error(err))
		}
	})
}

// endOrphan ends a call that nobody owns, unless it only seems so: Twilio tells
// of most ends twice, and whoever had the call may still be writing down how
// it went. Ended before all of that is in the log, it would be told short.
func (w *worker) endOrphan(t events.Tenant, id string, m events.Control) error {
	for look := range settleLooks {
		select {
		case <-w.serving.Done():
			return w.serving.Err()
		case <-time.After(w.settle):
		}
		ctx, cancel := context.WithTimeout(context.Background(), registryWait)
		entry, err := w.bus.GetCall(ctx, t, id)
		cancel()
		switch {
		case errors.Is(err, bus.ErrNoCall):
			return nil // ended
		case err != nil:
			return err
		case !entry.Answered && look < answeredLate:
			continue
		case entry.Answered && entry.Owner == w.instance:
			return nil // by us: it is in the outbox
		case entry.Answered:
			ctx, cancel := context.WithTimeout(context.Background(), registryWait)
			alive, err := w.bus.AliveOwners(ctx)
			cancel()
			if err != nil || alive[entry.Owner] {
				continue
			}
		}
		ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return w.endFromLog(ctx, t, id, m)
	}
	return errors.New("its owner is alive")
}

// expect keeps the process until the call that Twilio has just been told to
// connect has connected, as it does within a moment.
func (w *worker) expect(k key) {
	ctx, connected := context.WithTimeout(w.life, connectWait)
	w.mu.Lock()
	w.expected[k] = connected
	w.mu.Unlock()
	w.busy.Go(func() {
		<-ctx.Done()
		connected()
		w.mu.Lock()
		delete(w.expected, k)
		w.mu.Unlock()
	})
}

func (w *worker) own(t events.Tenant, id string) *call {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[key{t, id}]
}

func (w *worker) forget(c *call) {
	w.mu.Lock()
	if w.calls[c.key()] == c {
		delete(w.calls, c.key())
	}
	w.mu.Unlock()
	w.busy.Done()
}
