package profiler

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/privacy"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/testenv"
	"neurosphere.ai/neurosphere/internal/vault"
)

// Whoever leads erases what was asked for while nobody did, and at once what is
// asked for then; the second time the bytes wait for others to go with them.
func TestWhoeverLeadsErasesWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	db, b := testenv.Postgres(t), testenv.Bus(t)
	v, err := vault.New(strings.Repeat("ab", 32))
	if err != nil {
		t.Fatal(err)
	}
	id := db.Customer(t, settings.Default("Acme", insurance)).Tenant
	rows, err := db.Store.For(id)
	if err != nil {
		t.Fatal(err)
	}
	known := func(who string) bool {
		c, err := rows.CallersKnown(t.Context(), []string{who})
		return err == nil && len(c) == 1
	}
	const first, second, third = "+12065550191", "+12065550192", "+12065550193"
	for _, who := range []string{first, second, third} {
		f := events.MemoryStored{Memory: "m" + who[10:], Caller: who, Type: "fact", Key: "pet", Value: `"cat"`, Origin: "api"}
		if _, err := b.Publish(t.Context(), events.New(id, "", began, f)); err != nil {
			t.Fatal(err)
		}
	}
	s := &privacy.Service{Bus: b, Store: db.Store, Vault: v, Live: Projection}
	ask := func(who string) string {
		t.Helper()
		e, _, err := s.Ask(t.Context(), privacy.Request{Tenant: id, Caller: who, By: "api:key"})
		if err != nil {
			t.Fatal(err)
		}
		return e.ID
	}
	state := func(id string) string {
		e, err := rows.Erasure(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return e.State
	}
	before := ask(first)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	w := newWorker(t, db)
	w.leaveOut, w.holds = b.LeaveOut, b.Holds
	p := &app.Platform{Log: zap.NewNop(), Bus: b, Store: db.Store, Vault: v, Config: app.Config{DataDir: t.TempDir(), DatabaseURL: "x", ErasureLedger: filepath.Join(t.TempDir(), "ledger")}}
	go func() { done <- w.lead(ctx, p) }()
	t.Cleanup(func() { cancel(); <-done })
	until(t, "what was asked for before is done", func() bool { return state(before) == privacy.StateDone })
	until(t, "the others are known", func() bool { return known(second) && known(third) })
	if known(first) {
		t.Error("the first is known")
	}
	now := ask(second)
	until(t, "what is asked for now is erased", func() bool { return state(now) == privacy.StateErased })
	if known(second) || !known(third) {
		t.Errorf("known are the second %v and the third %v", known(second), known(third))
	}
	if all, err := privacy.NewLedger(p.Config.ErasureLedger).Entries(); err != nil || len(all) != 3 { // begun, done, begun
		t.Errorf("ledger %+v, %v", all, err)
	}
}
