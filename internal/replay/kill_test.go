package replay_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/readmodel"
	"neurosphere.ai/neurosphere/internal/replay"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// replayUntilKilled replays until it is killed; where it is to hang it says so.
func replayUntilKilled(ctx context.Context, c child) error {
	b, s, err := c.reach(ctx)
	if err != nil {
		return err
	}
	o := c.options()
	o.Progress = func(p replay.Progress) {
		if c.HangAt == fmt.Sprint(p.Stage, " ", p.Tenant) {
			_ = say("here")
			select {}
		}
	}
	r, err := replay.Run(ctx, b, s, o)
	return fmt.Errorf("came to its end: %+v, %w", r, err)
}

// options are in batches so small that a short log has many.
func (c child) options() replay.Options {
	return replay.Options{Live: projection, Build: "test", Tenant: c.Tenant, Caller: c.Caller, AsOf: c.AsOf, Swap: c.Swap}.InBatches(25)
}

const (
	projection = "test"
	customers  = 3
)

// town is a log that goes on, and two databases: in one, replays are killed.
type town struct {
	t           *testing.T
	url         string
	bus         *bus.Bus
	calls       int
	rough, calm *testenv.Database
}

func newTown(t *testing.T) *town {
	server := testenv.Server(t)
	w := &town{t: t, url: server.URL(), bus: server.Bus(t, bus.Options{}), rough: testenv.Postgres(t), calm: testenv.Postgres(t)}
	for _, db := range []*testenv.Database{w.rough, w.calm} {
		for range customers {
			db.Customer(t, events.Settings{Template: events.Template{ID: "insurance_v1"}})
		}
	}
	w.goOn(24)
	w.goOn(24)
	for i := range 10 {
		fill(t, w.bus, customers, lone(i), lone(i)+1)
	}
	return w
}

// lone is a call whose caller calls only once.
func lone(i int) int { return 9000 + (customers*callsOfOne+1)*i }

// goOn has some more calls happen, with what may come of some.
func (w *town) goOn(calls int) {
	w.t.Helper()
	fill(w.t, w.bus, customers, w.calls, w.calls+calls)
	for i := w.calls; i < w.calls+calls; i++ {
		call, caller, id := callID(i), callerOf(i, customers), fmt.Sprint("m", i)
		switch i % 5 {
		case 0:
			w.state(i, call, events.CallErased{By: "staff:1"})
		case 1:
			w.state(i, "", events.MemoryStored{Memory: id, Caller: caller, Type: "note", Key: "k", Value: `"v"`, Origin: "api"})
		case 2:
			w.state(i, "", events.CallerCorrected{Caller: caller, Field: "personal.name", Value: "Bob", By: "staff:1", Nth: id})
		case 3:
			w.state(i, "", events.LeadStaged{Caller: caller, Stage: "Follow-up", By: "staff:1", Nth: id})
		case 4:
			w.state(i, "", events.SMSOptedOut{Number: caller})
		}
	}
	w.calls += calls
}

// tenantOf is the customer who is called.
func tenantOf(i int) events.Tenant { return events.Tenant(i%customers + 1) }

func (w *town) state(i int, call string, f events.Fact) {
	w.t.Helper()
	if _, err := w.bus.Publish(w.t.Context(), events.New(tenantOf(i), call, callTime(i), f)); err != nil {
		w.t.Fatal(err)
	}
}

// follow writes all rows as things happen, in both databases.
func (w *town) follow() {
	w.t.Helper()
	models, err := readmodel.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, db := range []*testenv.Database{w.rough, w.calm} {
		for id := range events.Tenant(customers) {
			rows, err := db.Store.For(id + 1)
			if err != nil {
				w.t.Fatal(err)
			}
			err = w.bus.Replay(w.t.Context(), 1, 0, readmodel.FiltersOf(id+1), 50, func(ctx context.Context, some []events.Event, _ uint64) error {
				return rows.Project(ctx, projection, time.Unix(1, 0), func(p *store.Projection) error {
					if len(some) > 0 {
						p.SetApplied(some[len(some)-1].Seq, some[len(some)-1].ID)
					}
					touched, err := models.Apply(p, some)
					return errors.Join(err, models.Fold(p, touched))
				})
			})
			if err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// rows are all rows in use.
func rows(t *testing.T, db *testenv.Database) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for id := range events.Tenant(customers) {
		for table, all := range db.Rows(t, id+1) {
			out[fmt.Sprint(id+1, " ", table)] = all
		}
	}
	return out
}

// replay is one that nothing happens to.
func (w *town) replay(t *testing.T, db *testenv.Database, o replay.Options) replay.Report {
	t.Helper()
	r, err := replay.Run(t.Context(), w.bus, db.Store, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A barrier is where a replay is killed: at a row it comes to, in the middle of
// a transaction, or as it begins with a customer.
type barrier struct {
	table, row string
	stage      string
}

// kill starts a process that replays and kills it at the barrier.
func (w *town) kill(t *testing.T, c child, at barrier) {
	t.Helper()
	waited, release := func() {}, func() {}
	if at.table != "" {
		waited, release = w.rough.Hold(t, `INSERT INTO `+at.table+` VALUES (`+at.row+`)`)
	}
	c.Task, c.Bus, c.Database, c.HangAt = "replay", w.url, w.rough.URL, at.stage
	cmd, said := c.start(t)
	if waited(); at.stage != "" {
		var here string
		if err := said.Decode(&here); err != nil {
			t.Fatalf("does not come to %s: %v", at.stage, err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if cmd.ProcessState.Exited() {
		t.Fatalf("ended by itself: %v", cmd.ProcessState)
	}
	release()
}

func erasing(call int) barrier {
	return barrier{table: "rebuild.erased_calls", row: fmt.Sprintf("%d, '%s', 0", tenantOf(call), callID(call))}
}

func averages(schema string, call int) barrier {
	return barrier{table: schema + ".personality_averages", row: fmt.Sprintf("%d, '%s', '{}', 0", tenantOf(call), callerOf(call, customers))}
}

// A process that is killed while it reads, folds, compares or puts rows in
// place leaves nothing half done, and the same command, given once more, comes
// to the rows of one that nothing happened to, to the byte, whatever is stated
// between the two.
func TestAReplaySurvivesKill(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	w.follow()
	all, then, one := child{Swap: true}, child{AsOf: callTime(30)}, child{Tenant: 2, Caller: callerOf(13, customers), Swap: true}
	for i, tc := range []struct {
		name string
		child
		barrier
		between []child // what others do before the same is done once more
	}{
		{"reading", all, erasing(15), nil},
		{"folding", all, averages("rebuild", 13), nil},
		{"swapping", all, averages("app", 13), nil},
		{"comparing", child{}, barrier{stage: "comparing 2"}, nil},
		{"reading up to a time", then, erasing(15), nil},
		{"comparing up to a time", then, barrier{stage: "comparing 3"}, nil},
		{"folding one customer's", child{Tenant: 2}, averages("rebuild", 13), nil},
		{"swapping one caller's", one, averages("app", 13), nil},
		{"reading, and others after it", all, erasing(15), []child{then, {Tenant: 2}, {}, one}},
		{"folding up to a time, and others after it", then, averages("rebuild", 13), []child{{Tenant: 3, AsOf: callTime(20)}, {Tenant: 2}, all}},
	} {
		erased := lone(i)
		t.Run(tc.name, func(t *testing.T) {
			for _, db := range []*testenv.Database{w.rough, w.calm} { // what is to be found and put right
				db.Clear(t, 2, "personality_averages", "call_summaries")
				db.Clear(t, 1, "calls")
			}
			before := rows(t, w.rough)
			w.kill(t, tc.child, tc.barrier)
			half := rows(t, w.rough)
			if tc.name == "swapping" { // the first customer's are in place
				for name := range before {
					if name[0] == '1' {
						delete(before, name)
					}
				}
				for name := range half {
					if name[0] == '1' {
						delete(half, name)
					}
				}
			}
			if diff := cmp.Diff(before, half); diff != "" {
				t.Errorf("killed: %s", diff)
			}
			w.goOn(7)
			w.state(erased, callID(erased), events.CallErased{By: "staff:1"})
			for _, c := range append(tc.between, tc.child) {
				got, want := w.replay(t, w.rough, c.options()), w.replay(t, w.calm, c.options())
				if !c.Swap && (got.Rows != want.Rows || got.Different != want.Different || got.Different == 0) {
					t.Errorf("%+v: %+v, undisturbed %+v", c, got, want)
				}
			}
			if diff := cmp.Diff(rows(t, w.calm), rows(t, w.rough)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
