package profiler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/replay"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// business is a database with two customers.
func business(t *testing.T) *testenv.Database {
	t.Helper()
	db := testenv.Postgres(t)
	for want := range events.Tenant(2) {
		if got := db.Customer(t, events.Settings{}).Tenant; got != want+1 {
			t.Fatalf("customer %s, want %s", got, want+1)
		}
	}
	return db
}

// replayed is what a replay reports, and the differences it found by table.
func replayed(t *testing.T, b *bus.Bus, db *testenv.Database, o replay.Options) (r replay.Report, found map[string]int) {
	t.Helper()
	found = map[string]int{}
	o.Live = Projection
	o.Found = func(_ events.Tenant, d store.Difference) { found[d.Table]++ }
	r, err := replay.Run(t.Context(), b, db.Store, o)
	if err != nil {
		t.Fatal(err)
	}
	return r, found
}

// Rows the profiler made as things happened are those a replay makes, whether
// calls came in another order or everything came three times.
func TestReplayFindsTheRowsInUse(t *testing.T) {
	t.Parallel()
	days := woven(1, 2)
	r := rand.New(rand.NewPCG(7, 7))
	shuffled := slices.Clone(days)
	r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	hashes := map[string]map[string][]string{}
	for name, all := range map[string][]events.Event{"in order": days, "shuffled": shuffled} {
		b, db := testenv.Bus(t), business(t)
		leads(t, b, db)
		reached(t, db, publish(t, b, all))
		got, found := replayed(t, b, db, replay.Options{})
		if got.Different != 0 || got.Rows < 100 || got.Tenants != 2 || len(found) > 0 {
			t.Errorf("%s: %+v, %v", name, got, found)
		}
		hashes[name] = timeless(t, db.Rows(t, 1))
		delete(hashes[name], "projection_offsets")
	}
	same(t, "shuffled", hashes["in order"], hashes["shuffled"])
}

// Whatever is missing, made up or not the same is found, by table, and -swap
// puts it right.
func TestReplayFindsWhatIsNotSoAndPutsItRight(t *testing.T) {
	t.Parallel()
	b, db := testenv.Bus(t), business(t)
	stop := leads(t, b, db)
	reached(t, db, publish(t, b, woven(1, 2)))
	stop()
	want := []map[string][]string{db.Rows(t, 1), db.Rows(t, 2)}
	for table := range want[0] {
		if table == "projection_offsets" {
			continue
		}
		db.Clear(t, 1, table)
		got, found := replayed(t, b, db, replay.Options{})
		if found[table] != len(want[0][table]) || len(found) != 1 || got.Different != int64(found[table]) || got.Swapped {
			t.Errorf("without %s: %v of %d", table, found, len(want[0][table]))
		}
		if got, found = replayed(t, b, db, replay.Options{Tenant: 1, Swap: true}); !got.Swapped || found[table] == 0 {
			t.Errorf("putting %s right: %+v, %v", table, got, found)
		}
		same(t, "after putting "+table+" right", want[0], db.Rows(t, 1))
	}
	// Rows of calls the log knows nothing of, and of another name for a caller.
	made := day(1)
	for i := range made {
		made[i].ID, made[i].Call, made[i].Seq = fmt.Sprint("made up ", i), made[i].Call+"x", 1
	}
	rows, err := db.Store.For(1)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorker(t, db)
	if w.created, err = b.StreamCreated(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = rows.Project(t.Context(), Projection, w.created, func(p *store.Projection) error {
		touched, err := w.models.Apply(p, made)
		return errors.Join(err, w.models.Fold(p, touched))
	})
	if err != nil {
		t.Fatal(err)
	}
	got, found := replayed(t, b, db, replay.Options{})
	if found["calls"] != 7 || found["caller_profiles"] == 0 || got.Different < 20 {
		t.Errorf("made up: %+v, %v", got, found)
	}
	// One caller's alone.
	if got, _ = replayed(t, b, db, replay.Options{Tenant: 1, Caller: "+12065550190", Swap: true}); got.Different == 0 {
		t.Errorf("one caller: %+v", got)
	}
	if got, _ = replayed(t, b, db, replay.Options{Tenant: 1, Caller: "+12065550190"}); got.Different != 0 {
		t.Errorf("one caller, put right: %+v", got)
	}
	if got, _ = replayed(t, b, db, replay.Options{Tenant: 1, Caller: "+12065550191"}); got.Different == 0 {
		t.Error("another caller was put right too")
	}
	replayed(t, b, db, replay.Options{Swap: true})
	same(t, "all put right", want[0], db.Rows(t, 1))
	same(t, "the other tenant", want[1], db.Rows(t, 2))
}

// A caller whose rows the database refuses is left out and told of; all others
// are as they were.
func TestReplayLeavesOutARefusedCaller(t *testing.T) {
	t.Parallel()
	b, db := testenv.Bus(t), business(t)
	leads(t, b, db)
	reached(t, db, publish(t, b, woven(1, 2)))
	db.Exec(t, `ALTER TABLE rebuild.caller_profiles ADD CONSTRAINT nobody CHECK (customer_id <> 2 OR user_id <> '+12065550190')`)
	got, found := replayed(t, b, db, replay.Options{})
	if got.Refused != 1 || got.Tenants != 2 || found["caller_profiles"] != 1 || found["calls"] != 0 {
		t.Errorf("%+v, %v", got, found)
	}
	got, _ = replayed(t, b, db, replay.Options{Tenant: 2, Caller: "+12065550191"})
	if got.Different != 0 || got.Rows == 0 {
		t.Errorf("another caller of the same customer: %+v", got)
	}
	if got, _ = replayed(t, b, db, replay.Options{Tenant: 1}); got.Different != 0 || got.Refused != 0 {
		t.Errorf("another customer: %+v", got)
	}
}

// A caller whose new profile the database refuses keeps the one there is, and
// nobody waits for it.
func TestARefusedProfileKeepsNobodyFromTheNewTemplate(t *testing.T) {
	t.Parallel()
	b, db := testenv.Bus(t), business(t)
	leads(t, b, db)
	reached(t, db, publish(t, b, woven(1, 2)))
	db.Exec(t, `ALTER TABLE app.caller_profiles ADD CONSTRAINT nobody CHECK (customer_id <> 1 OR user_id <> '+12065550190' OR template <> 'insurance_v2')`)
	tpl := insurance
	tpl.ID = "insurance_v2"
	for _, tenant := range []events.Tenant{1, 2} {
		if _, err := b.Publish(t.Context(), events.New(tenant, "", began, settingsChanged(tenant, 9, tpl))); err != nil {
			t.Fatal(err)
		}
	}
	for tenant, want := range map[events.Tenant]int{1: 1, 2: 0} {
		until(t, "the new template", func() bool {
			rows, former := db.Rows(t, tenant)["caller_profiles"], 0
			for _, row := range rows {
				if !strings.Contains(row, `"insurance_v2"`) {
					former++
				}
			}
			return len(rows) > 1 && former == want
		})
	}
}

// A replay that is stopped goes on where it was.
func TestReplayGoesOnWhereItWasStopped(t *testing.T) {
	t.Parallel()
	b, db := testenv.Bus(t), business(t)
	stop := leads(t, b, db)
	reached(t, db, publish(t, b, woven(1, 2)))
	stop()
	want := db.Rows(t, 1)
	db.Clear(t, 1, "calls", "caller_profiles")
	total, stops := int64(0), 0
	for _, stage := range []string{"reading", "folding", "swapping", ""} {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := replay.Run(ctx, b, db.Store, replay.Options{Live: Projection, Swap: true, Progress: func(p replay.Progress) {
			if p.Stage == stage && (stage != "folding" || p.Tenant == 2) {
				cancel()
			}
		}})
		cancel()
		if stage == "" && err != nil {
			t.Fatal(err)
		} else if err != nil {
			stops++
		}
		total += r.Events
	}
	if stops == 0 {
		t.Error("never stopped")
	}
	same(t, "in the end", want, db.Rows(t, 1))
	once, _ := replayed(t, b, db, replay.Options{})
	if total > 2*once.Events {
		t.Errorf("%d events were read for %d", total, once.Events)
	}
}

// Rows as of a time are those there were then.
func TestReplayAsOf(t *testing.T) {
	t.Parallel()
	b, db := testenv.Bus(t), business(t)
	all := woven(1, 2)
	half := len(all) / 2
	for all[half].Time.Equal(all[half-1].Time) {
		half++
	}
	stop := leads(t, b, db)
	reached(t, db, publish(t, b, all[:half]))
	stop()
	publish(t, b, all[half:])
	if got, found := replayed(t, b, db, replay.Options{AsOf: all[half-1].Time}); got.Different != 0 || got.Rows < 50 {
		t.Errorf("%+v, %v", got, found)
	}
	if got, _ := replayed(t, b, db, replay.Options{AsOf: all[half-1].Time.Add(-time.Minute)}); got.Different == 0 {
		t.Error("as of a minute before: the same")
	}
}

// What happens while rows are compared and swapped is neither lost nor taken
// for a difference.
func TestReplayWhileThingsHappen(t *testing.T) {
	t.Parallel()
	b, db := testenv.Bus(t), business(t)
	leads(t, b, db)
	all := woven(1, 2)
	third := len(all) / 3
	reached(t, db, publish(t, b, all[:third]))
	last := make(chan map[events.Tenant]uint64, 1)
	go func() { last <- publish(t, b, all[third:]) }()
	for range 3 {
		if got, found := replayed(t, b, db, replay.Options{}); got.Different != 0 {
			t.Errorf("compared: %+v, %v", got, found)
		}
		if got, found := replayed(t, b, db, replay.Options{Swap: true}); !got.Swapped {
			t.Errorf("swapped: %+v, %v", got, found)
		}
	}
	reached(t, db, <-last)
	if got, found := replayed(t, b, db, replay.Options{}); got.Different != 0 {
		t.Errorf("in the end: %+v, %v", got, found)
	}
}

// A tenant whose rows had been put in place when a replay was stopped, or that
// was replayed by itself since, is read from the beginning by the next: what
// was stated meanwhile is not all there is.
func TestReplayIsWholeForATenantThatWasDone(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]replay.Options{"swapped": {}, "replayed by itself": {Tenant: 1}} {
		b, db := testenv.Bus(t), business(t)
		leads(t, b, db)
		all := woven(1, 2)
		reached(t, db, publish(t, b, all[:len(all)-20]))
		ctx, cancel := context.WithCancel(t.Context())
		last := events.Tenant(1) // whose rows come last
		if between.Tenant == 0 {
			last = 2
		}
		_, err := replay.Run(ctx, b, db.Store, replay.Options{Live: Projection, Swap: true, Progress: func(p replay.Progress) {
			if p.Stage == "swapping" && p.Tenant == last {
				cancel()
			}
		}})
		cancel()
		if err == nil {
			t.Fatal("never stopped")
		}
		if between.Tenant != 0 {
			replayed(t, b, db, between)
		}
		reached(t, db, publish(t, b, all[len(all)-20:]))
		want := []map[string][]string{db.Rows(t, 1), db.Rows(t, 2)}
		if got, found := replayed(t, b, db, replay.Options{Swap: true}); got.Different != 0 || !got.Resumed {
			t.Errorf("%s: %+v, %v", name, got, found)
		}
		same(t, name+": customer 1", want[0], db.Rows(t, 1))
		same(t, name+": customer 2", want[1], db.Rows(t, 2))
	}
}

// Rows that a comparison left out, because those in use had not come so far, are
// not left out by the replay that goes on with it.
func TestReplayGoesOnWithWhatAComparisonLeftOut(t *testing.T) {
	t.Parallel()
	b, db := testenv.Bus(t), business(t)
	all := woven(1, 2)
	third := len(all) / 3
	stop := leads(t, b, db)
	reached(t, db, publish(t, b, all[:third]))
	stop()
	publish(t, b, all[third:2*third])
	ctx, cancel := context.WithCancel(t.Context())
	_, err := replay.Run(ctx, b, db.Store, replay.Options{Live: Projection, Progress: func(p replay.Progress) {
		if p.Stage == "folding" {
			cancel()
		}
	}})
	cancel()
	if err == nil {
		t.Fatal("never stopped")
	}
	leads(t, b, db)
	reached(t, db, publish(t, b, all[2*third:]))
	if got, found := replayed(t, b, db, replay.Options{Swap: true}); got.Different != 0 || !got.Resumed {
		t.Errorf("%+v, %v", got, found)
	}
}

// Several replays at one moment do not spoil each other's rows.
func TestReplaysTakeTurns(t *testing.T) {
	t.Parallel()
	b, db := testenv.Bus(t), business(t)
	leads(t, b, db)
	reached(t, db, publish(t, b, woven(1, 2)))
	want := db.Rows(t, 1)
	var g errgroup.Group
	for i := range 6 {
		g.Go(func() error {
			r, err := replay.Run(t.Context(), b, db.Store, replay.Options{Live: Projection, Swap: i%2 == 0, Tenant: events.Tenant(i % 3)})
			if err == nil && r.Different > 0 {
				err = fmt.Errorf("replay %d: %+v", i, r)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	same(t, "afterwards", want, db.Rows(t, 1))
}
