package profiler

import (
	"context"
	"slices"
	"testing"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// While the rows of one tenant cannot be written, others get theirs; and what
// comes meanwhile is in the one's rows as soon as they can.
func TestNobodyWaitsForTheRowsOfAnother(t *testing.T) {
	t.Parallel()
	b, db, sound := testenv.Bus(t), testenv.Postgres(t), testenv.Postgres(t)
	all := woven(1, 2)
	if err := newWorker(t, sound).apply(t.Context(), stream(all)); err != nil {
		t.Fatal(err)
	}
	waited, release := db.Hold(t, `INSERT INTO app.calls (customer_id, call_id, received, seq) VALUES (1, $1, false, 0)`, firstCall(all, 1))
	lead(t, b, db, patience)
	part := len(all) / 3
	last := publish(t, b, all[:part])
	waited()
	for tenant, seq := range publish(t, b, all[part:2*part]) {
		last[tenant] = seq
	}
	reached(t, db, map[events.Tenant]uint64{2: last[2]})
	if got := applied(t, db, 1); got > 0 {
		t.Errorf("%d applied for who is held", got)
	}
	for tenant, seq := range publish(t, b, all[2*part:]) {
		last[tenant] = seq
	}
	reached(t, db, map[events.Tenant]uint64{2: last[2]})
	release()
	reached(t, db, last)
	for _, tenant := range []events.Tenant{1, 2} {
		want, got := timeless(t, sound.Rows(t, tenant)), timeless(t, db.Rows(t, tenant))
		delete(want, "projection_offsets")
		delete(got, "projection_offsets")
		same(t, "rows", want, got)
	}
}

// Written aside or not, rows are the same, also when whoever leads ends in the
// middle of it and the next goes on.
func TestRowsAreTheSameWrittenAside(t *testing.T) {
	t.Parallel()
	b, db, sound := testenv.Bus(t), testenv.Postgres(t), testenv.Postgres(t)
	all := woven(1, 2)
	if err := newWorker(t, sound).apply(t.Context(), stream(all)); err != nil {
		t.Fatal(err)
	}
	last := map[events.Tenant]uint64{}
	for part := range slices.Chunk(all, len(all)/3+1) {
		stop := lead(t, b, db, 0)
		for tenant, seq := range publish(t, b, part) {
			last[tenant] = seq
		}
		until(t, "some are applied", func() bool { return applied(t, db, 1) > last[1]/2 })
		stop()
	}
	lead(t, b, db, 0)
	reached(t, db, last)
	for _, tenant := range []events.Tenant{1, 2} {
		want, got := timeless(t, sound.Rows(t, tenant)), timeless(t, db.Rows(t, tenant))
		delete(want, "projection_offsets")
		delete(got, "projection_offsets")
		same(t, "rows", want, got)
	}
}

func firstCall(all []events.Event, tenant events.Tenant) string {
	for _, e := range all {
		if e.Tenant == tenant && e.Call != "" {
			return e.Call
		}
	}
	return ""
}

// What fails aside ends leading, as it does in line.
func TestWhatFailsAsideEndsLeading(t *testing.T) {
	t.Parallel()
	db := testenv.Postgres(t)
	w := newWorker(t, db)
	w.patience, w.aside = 0, map[events.Tenant]uint64{}
	failed := make(chan error, 1)
	w.fail = func(err error) { failed <- err }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.created = began.AddDate(1, 0, 0)
	all := stream(woven(1))
	if err := newWorker(t, db).apply(ctx, all[:3]); err != nil {
		t.Fatal(err)
	}
	for err := error(nil); err == nil; { // of another stream: refused, in line or aside
		if err = w.apply(ctx, all[3:4]); err == nil {
			err = <-failed
		}
	}
	w.besides.Wait()
}
