package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/moving"
	"neurosphere.ai/neurosphere/internal/profiler"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/simulated"
	"neurosphere.ai/neurosphere/internal/store"
)

func (s *served) moving(file string) moving.Options {
	s.t.Helper()
	fold, err := foldByReplay(s.Bus, s.Store, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return moving.Options{File: file, Vault: s.Vault, Passphrase: "correct horse battery staple", Projection: profiler.Projection, Fold: fold}
}

// known is what the business knows about a caller once it has had n calls.
func (s *served) known(t events.Tenant, caller string, n int) (c store.CallerContext) {
	s.t.Helper()
	rows, err := s.Store.For(t)
	if err != nil {
		s.t.Fatal(err)
	}
	s.until("the profile is of all calls", func() bool {
		if c, err = rows.CallerContext(s.t.Context(), caller, 10); err != nil {
			s.t.Fatal(err)
		}
		return c.Calls >= n
	})
	return c
}

// sent are the texts that went out for a call.
func (s *served) sent(call string) int {
	s.t.Helper()
	return byCall(s.log())[call]["sms.sent"]
}

// A business that moves to an instance of its own is known there as it was, asks
// no model and sends no text for what is past; then its phone is answered there,
// by an agent that knows its callers. Its neighbour does not go along.
func TestABusinessMovesToAnInstanceOfItsOwn(t *testing.T) {
	t.Parallel()
	from := serveAll(t, nil)
	const caller = "+12065550199"
	moves := from.tenant("Fig and Sons", "+12065550131", map[string]string{"sms_to": "+12065550141", "agent": "Alma", "returning_greeting": "Welcome back, {caller_name}."})
	stays := from.tenant("Canary Motors", "+12065550132", map[string]string{"sms_to": "+12065550142", "agent": "Bert"})
	said := from.play(simulated.CallOptions{From: caller, To: moves.Numbers[0], Turns: []string{"Hi, my name is Nadia Farouk.", "I drive a 2019 Toyota Camry."}})
	other := from.play(simulated.CallOptions{From: caller, To: stays.Numbers[0], Turns: []string{"Hi, my name is Canary Finch."}})
	if said.Err != nil || other.Err != nil {
		t.Fatal(said.Err, other.Err)
	}
	from.until("both are told", func() bool { return from.sent(said.CallSID) == 1 && from.sent(other.CallSID) == 1 })
	before := from.known(moves.Tenant, caller, 1)

	file := filepath.Join(t.TempDir(), "moves.tar.gz")
	o := from.moving(file)
	o.Suspend = true
	man, err := moving.Export(t.Context(), from.Bus, from.Store, moves.Tenant, o)
	if err != nil {
		t.Fatal(err)
	}
	if man.Open != (moving.Open{}) {
		t.Errorf("under way: %+v", man.Open)
	}
	for _, foreign := range []string{"Canary", "Finch", "Bert", stays.Numbers[0], "+12065550142", other.CallSID} {
		if bytes.Contains(gunzip(t, file), []byte(foreign)) {
			t.Errorf("the archive holds %s", foreign)
		}
	}

	to := serveAll(t, nil)
	report, err := moving.Import(t.Context(), to.Bus, to.Store, to.moving(file))
	if err != nil {
		t.Fatal(err)
	}
	hash, err := moving.Hash(t.Context(), to.Store, moves.Tenant, profiler.Projection)
	if err != nil || hash != man.Profiles || report.Status != "suspended" {
		t.Errorf("hash %v, want %v; %+v, %v", hash, man.Profiles, report, err)
	}
	if after := to.known(moves.Tenant, caller, 1); after.Name != before.Name || after.QuickBio != before.QuickBio || before.Name != "Nadia Farouk" {
		t.Errorf("known is %q %q, was %q %q", after.Name, after.QuickBio, before.Name, before.QuickBio)
	}

	if next, _, err := createTenant(t.Context(), to.Store, "New here", "insurance_v1", map[string]string{"numbers": "+12065550139"}); err != nil || next.Tenant <= moves.Tenant {
		t.Errorf("a new business is %s, %v", next.Tenant, err)
	}
	_, set, err := to.Store.UpdateSettings(t.Context(), moves.Tenant, func(s *events.Settings) error { s.Status = "active"; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := settings.Publish(t.Context(), to.Store, to.Bus); err != nil {
		t.Fatal(err)
	}
	var again simulated.CallResult
	to.until("the phone is answered", func() bool {
		again = to.play(simulated.CallOptions{From: caller, To: set.Numbers[0], Turns: []string{"Hello again, I moved to Seattle."}})
		return again.Refused == "" && again.Err == nil
	})
	to.until("its people are told of the call", func() bool { return to.sent(again.CallSID) == 1 })
	to.known(moves.Tenant, caller, 2)
	for _, e := range to.log() { // all there is of the past came with it, and nothing was done about it
		if e.Call == other.CallSID || e.Call == said.CallSID && !e.History {
			t.Errorf("%s of tenant %s, call %s", e.Fact.Name(), e.Tenant, e.Call)
		}
	}
	if n := to.sent(said.CallSID); n != 1 {
		t.Errorf("of the call before %d texts were sent, want that one", n)
	}
	if !strings.Contains(again.Greeting, "Nadia") {
		t.Errorf("greets with %q", again.Greeting)
	}
}

func gunzip(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	gz, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(gz)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
