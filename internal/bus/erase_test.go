package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// files that hold a word, under dir.
func files(t testing.TB, dir, word string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // the server removes files as we look
		}
		raw, err := os.ReadFile(path)
		if err == nil && bytes.Contains(raw, []byte(word)) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func search(t testing.TB, b *bus.Bus, tenant events.Tenant, names ...string) (out []string, seqs []uint64) {
	t.Helper()
	_, err := b.Search(within(t, 20*time.Second), tenant, 1, names, func(s bus.Stored) error {
		out, seqs = append(out, fmt.Sprint(s.Name, " ", s.Call())), append(seqs, s.Seq)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out, seqs
}

func TestSearchFindsATenantsFacts(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Bus(t, bus.Options{})
	publish(t, b, heard(1, "CA1", 1), heard(2, "CA2", 1), heard(1, "CA3", 1), ended(1, "CA1", 2))
	_, js := raw(t, s)
	if _, err := js.Publish(t.Context(), "tenant.1.turn.heard", []byte("unreadable")); err != nil {
		t.Fatal(err)
	}
	if got, seqs := search(t, b, 1); !slices.Equal(got, []string{"turn.heard CA1", "turn.heard CA3", "call.ended CA1", "turn.heard "}) || !slices.Equal(seqs, []uint64{1, 3, 4, 5}) {
		t.Errorf("all: %q at %v", got, seqs)
	}
	if got, _ := search(t, b, 1, "call.ended", "call.received"); !slices.Equal(got, []string{"call.ended CA1"}) {
		t.Errorf("some: %q", got)
	}
	enough := errors.New("enough")
	last, err := b.Search(t.Context(), 1, 3, nil, func(s bus.Stored) error {
		if s.Seq == 5 {
			if _, err := s.Event(); err == nil {
				t.Error("what cannot be read is read")
			}
			return enough
		}
		if e, err := s.Event(); err != nil || e.Seq != s.Seq {
			t.Errorf("%+v, %v", e, err)
		}
		return nil
	})
	if !errors.Is(err, enough) || last != 0 {
		t.Errorf("read to %d, %v", last, err)
	}
	if _, err := b.Search(t.Context(), 0, 1, nil, nil); !errors.Is(err, events.ErrNoTenant) {
		t.Errorf("nobody's: %v", err)
	}
}

// What was erased is in no file of the server, dead letters and values of the
// register included; what is beside it still is, also after a restart.
func TestErasedBytesAreGone(t *testing.T) {
	t.Parallel()
	s := testenv.DurableServer(t)
	b := s.Bus(t, bus.Options{})
	secret, kept := "+15550009999", "+15550001111"
	var facts []events.Event
	for i := range 20 {
		e := heard(1, fmt.Sprint("CA", i%2), i+1)
		e.Fact = events.TurnHeard{Turn: i + 1, Text: []string{kept, secret}[i%2]}
		facts = append(facts, events.New(1, e.Call, at, e.Fact))
	}
	publish(t, b, facts...)
	publish(t, b, events.New(2, "CA1", at, events.TurnHeard{Turn: 1, Text: kept}))
	stop := consume(t, b, bus.Consumer{Name: "w"}, func(context.Context, events.Event, events.TurnHeard) error {
		return bus.Permanent(errors.New("broken"))
	})
	eventually(t, "all are given up", func() bool {
		letters := must[[]bus.DeadLetter](t)(b.DeadLetters(within(t, 5*time.Second), 100))
		return len(letters) == 21
	})
	stop()
	if _, err := b.RedriveAll(within(t, 20*time.Second)); err != nil { // now they wait to be retried
		t.Fatal(err)
	}
	o := openOutbox(t, b)
	for i := range 50 { // a call's entry, again and again
		if err := o.PutCall(bus.CallEntry{Tenant: 1, Call: "CA1", Owner: "me", Epoch: 1, From: secret, Said: fmt.Sprint("said ", i, " ", secret)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.PutCall(bus.CallEntry{Tenant: 1, Call: "CAlive", Owner: "me", Epoch: 1, From: kept}); err != nil {
		t.Fatal(err)
	}
	if err := o.DeleteCall(1, "CA1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the outbox is done", func() bool { return o.Depth() == 0 })
	for _, tenant := range []events.Tenant{1, 2} {
		set := events.Settings{Tenant: tenant, Version: 1, Greeting: secret}
		if err := b.PutSettings(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		set.Version, set.Greeting = 2, kept
		if err := b.PutSettings(t.Context(), set); err != nil {
			t.Fatal(err)
		}
	}
	streams := func(word string) (names []string) {
		for _, path := range files(t, s.Dir(), word) {
			rel := strings.Split(strings.TrimPrefix(path, s.Dir()), "streams/")
			names = append(names, strings.SplitN(rel[len(rel)-1], "/", 2)[0])
		}
		slices.Sort(names)
		return slices.Compact(names)
	}
	if got := streams(secret); !slices.Equal(got, []string{"EVENTS", "KV_calls", "KV_settings"}) {
		t.Fatalf("before, the secret is in %v", got)
	}
	var seqs []uint64
	_, err := b.Search(t.Context(), 1, 1, nil, func(s bus.Stored) error {
		if s.Call() == "CA1" {
			seqs = append(seqs, s.Seq)
		}
		return nil
	})
	if err != nil || len(seqs) != 10 {
		t.Fatalf("%v, %v", seqs, err)
	}
	for want := range 2 { // it can be repeated
		n, err := b.Erase(within(t, 60*time.Second), 1, seqs, nil)
		if err != nil || n != 10*(1-want) {
			t.Errorf("erased %d, %v", n, err)
		}
	}
	if err := b.TurnOver(within(t, 60*time.Second)); err != nil {
		t.Fatal(err)
	}
	if got := streams(secret); len(got) > 0 {
		t.Errorf("after, the secret is in %v", got)
	}
	s.Restart()
	eventually(t, "the bus is back", func() bool { _, err := b.LastSeq(within(t, time.Second)); return err == nil })
	if got := streams(secret); len(got) > 0 {
		t.Errorf("after a restart, the secret is in %v", got)
	}
	if got, _ := search(t, b, 1); len(got) != 10 || got[0] != "turn.heard CA0" {
		t.Errorf("left: %q", got)
	}
	if got, _ := search(t, b, 2); len(got) != 1 {
		t.Errorf("the other tenant's: %q", got)
	}
	if calls := must[[]bus.CallEntry](t)(b.ListCalls(t.Context())); len(calls) != 1 || calls[0].From != kept {
		t.Errorf("live calls: %+v", calls)
	}
	if v := must[map[events.Tenant]int64](t)(b.SettingsVersions(t.Context())); len(v) != 2 || v[1] != 2 {
		t.Errorf("settings: %v", v)
	}
	if _, err := b.Erase(t.Context(), 2, []uint64{1}, nil); err == nil {
		t.Error("another tenant's fact is erased")
	}
	// Retries of what is gone are gone; the others are handled.
	handled := make(chan events.Event, 100)
	consume(t, b, bus.Consumer{Name: "w"}, func(_ context.Context, e events.Event, _ events.TurnHeard) error {
		handled <- e
		return nil
	})
	for range 11 {
		if e := recv(t, handled, "retry"); e.Fact.(events.TurnHeard).Text != kept {
			t.Errorf("handled %+v", e)
		}
	}
	_, js := raw(t, s)
	retries := must[jetstream.Stream](t)(js.Stream(t.Context(), "RETRY"))
	eventually(t, "nothing waits", func() bool {
		return must[*jetstream.StreamInfo](t)(retries.Info(within(t, 5*time.Second))).State.Msgs == 0
	})
	if len(handled) > 0 {
		t.Errorf("%d more", len(handled))
	}
}

// A transcript that has expired in parts is read without what is gone, and
// without reading everything since.
func TestReadCallWithoutWhatWasErased(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	var seqs []uint64
	for i := range 4 {
		seqs = append(seqs, must[uint64](t)(b.Publish(t.Context(), heard(1, "CA1", i+1))))
		publish(t, b, heard(1, "CA2", i+1))
	}
	if _, err := b.Erase(t.Context(), 1, seqs[1:3], nil); err != nil {
		t.Fatal(err)
	}
	got, err := b.ReadCall(within(t, 10*time.Second), 1, "CA1", bus.Span{First: seqs[0], Since: at.Add(-time.Hour), Last: seqs[3], Facts: seqs})
	if err != nil || len(got) != 2 || got[0].Seq != seqs[0] || got[1].Seq != seqs[3] {
		t.Errorf("%+v, %v", got, err)
	}
}

// What is stored does not stay in the outbox's files.
func TestOutboxKeepsNothingThatIsDone(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	dir := t.TempDir()
	o, err := b.OpenOutbox(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close(within(t, 5*time.Second)) })
	e := events.New(1, "CA1", at, events.TurnHeard{Turn: 1, Text: "a secret word"})
	if err := o.Put(e, nil); err != nil {
		t.Fatal(err)
	}
	if len(files(t, dir, "secret")) == 0 {
		t.Error("it was never there")
	}
	eventually(t, "the words are gone", func() bool { return len(files(t, dir, "secret")) == 0 })
	if err := o.Put(events.New(1, "CA1", at, events.TurnHeard{Turn: 2, Text: "more"}), nil); err != nil {
		t.Error(err)
	}
	eventually(t, "that is stored too", func() bool { return o.Depth() == 0 })
}
