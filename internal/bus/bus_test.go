package bus_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/testenv"
)

func TestOpenManyAtOnce(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { s.Remote(t, bus.Options{}) })
	}
	wg.Wait()
	_, js := raw(t, s)
	ctx := within(t, 10*time.Second)
	cfg := must[jetstream.Stream](t)(js.Stream(ctx, events.Stream)).CachedInfo().Config
	if cfg.Duplicates != 10*time.Minute || cfg.Discard != jetstream.DiscardNew || cfg.MaxMsgSize != bus.MaxEventSize || cfg.MaxConsumers != 1000 ||
		!cfg.AllowDirect || cfg.DenyDelete || cfg.AllowRollup || cfg.AllowMsgTTL || cfg.AllowMsgSchedules || cfg.Storage != jetstream.FileStorage {
		t.Errorf("config %+v", cfg)
	}
	if len(cfg.Subjects) != len(events.Nouns) {
		t.Errorf("subjects %v", cfg.Subjects)
	}
}

// What an operator has set stays; what is missing is added; what contradicts
// our promises is refused.
func TestOpenOnExistingStream(t *testing.T) {
	t.Parallel()
	base := jetstream.StreamConfig{Name: events.Stream, Subjects: []string{"tenant.*.call.*", "tenant.*.extra.*"}, Storage: jetstream.FileStorage, MaxAge: time.Hour, AllowDirect: true}
	open := func(t *testing.T, change func(*jetstream.StreamConfig)) (*testenv.BusServer, error) {
		s := testenv.Server(t)
		_, js := raw(t, s)
		cfg := base
		change(&cfg)
		ctx := within(t, 10*time.Second)
		must[jetstream.Stream](t)(js.CreateStream(ctx, cfg))
		b, err := bus.Open(ctx, bus.Options{URL: s.URL()})
		if err == nil {
			t.Cleanup(b.Close)
		}
		return s, err
	}
	t.Run("subjects are added, limits kept", func(t *testing.T) {
		s, err := open(t, func(*jetstream.StreamConfig) {})
		if err != nil {
			t.Fatal(err)
		}
		_, js := raw(t, s)
		cfg := must[jetstream.Stream](t)(js.Stream(within(t, 5*time.Second), events.Stream)).CachedInfo().Config
		if cfg.MaxAge != time.Hour || len(cfg.Subjects) != len(events.Nouns)+1 {
			t.Errorf("config %+v", cfg)
		}
	})
	for name, change := range map[string]func(*jetstream.StreamConfig){
		"kept in memory":            func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"consumed once":             func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy },
		"headers may purge":         func(c *jetstream.StreamConfig) { c.AllowRollup = true },
		"headers may set an expiry": func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true },
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			start := time.Now()
			if _, err := open(t, change); err == nil || !strings.Contains(err.Error(), "bus holds something else") {
				t.Errorf("error %v", err)
			}
			if d := time.Since(start); d > 30*time.Second {
				t.Errorf("that took %v", d)
			}
		})
	}
}

func TestOpenWaitsForServer(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	s.Stop()
	t.Run("as long as it may", func(t *testing.T) {
		short, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if _, err := bus.Open(short, bus.Options{URL: s.URL()}); !errors.Is(err, bus.ErrAway) {
			t.Errorf("error %v", err)
		}
	})
	time.AfterFunc(50*time.Millisecond, s.Restart)
	if b := s.Remote(t, bus.Options{}); !b.Connected() {
		t.Error("not connected")
	}
}

func TestOpenNeverTellsPassword(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.DebugLevel)
	s := testenv.Server(t)
	secret := s.URL()[strings.LastIndexByte(s.URL()[:strings.LastIndexByte(s.URL(), '@')], ':')+1 : strings.LastIndexByte(s.URL(), '@')]
	b := s.Remote(t, bus.Options{Log: zap.New(core)})
	s.Restart()
	eventually(t, "reconnected", func() bool { return logs.FilterMessage("bus reconnected").Len() > 0 })
	b.Close()
	for _, l := range logs.All() {
		for _, v := range l.ContextMap() {
			if s, ok := v.(string); ok && strings.Contains(s, secret) {
				t.Errorf("logged %s", l.Message)
			}
		}
	}
	if _, err := bus.Open(within(t, time.Second), bus.Options{URL: "nats://u:hush@[bad"}); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("error %v", err)
	}
}

func TestStreamPosition(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	ctx := within(t, 10*time.Second)
	if last := must[uint64](t)(b.LastSeq(ctx)); last != 0 {
		t.Errorf("empty stream ends at %d", last)
	}
	publish(t, b, heard(1, "CA1", 1))
	if last := must[uint64](t)(b.LastSeq(ctx)); last != 1 {
		t.Errorf("stream ends at %d", last)
	}
	if d := time.Since(must[time.Time](t)(b.StreamCreated(ctx))); d < 0 || d > time.Minute {
		t.Errorf("created %v ago", d)
	}
}
