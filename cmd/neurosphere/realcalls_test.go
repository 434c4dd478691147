package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/profiler"
	"neurosphere.ai/neurosphere/internal/readmodel"
	"neurosphere.ai/neurosphere/internal/replay"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// fullEnv, set to anything, has all real conversations replayed, in the place of
// some of each tenant's.
const fullEnv = "FULL_SIZE"

// spoken is one real conversation.
type spoken struct {
	Call   string  `json:"call_id"`
	Tenant int     `json:"tenant"`
	Caller *string `json:"caller"`
	Turns  []struct {
		Role string `json:"role"`
		Text string `json:"text"`
		At   int64  `json:"at"`
	} `json:"turns"`
	from string
}

// spokenCalls are real conversations; one name has one number everywhere.
func spokenCalls(t *testing.T) (out []spoken) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "service-dialogues.jsonl"))
	if err != nil {
		t.Skipf("no real conversations: %v", err)
	}
	numbers, of := map[string]string{}, map[int]int{}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var c spoken
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		name := "nobody of " + c.Call
		if c.Caller != nil {
			name = *c.Caller
		}
		if numbers[name] == "" {
			numbers[name] = fmt.Sprintf("+1425555%04d", len(numbers))
		}
		c.from = numbers[name]
		if of[c.Tenant]++; os.Getenv(fullEnv) != "" || c.Tenant <= 30 && of[c.Tenant] <= 15 {
			out = append(out, c)
		}
	}
	return out
}

// facts are those of one conversation, up to its end.
func (c spoken) facts(tenant events.Tenant) (all []events.Event) {
	at, to := time.Unix(c.Turns[0].At, 0).UTC(), "+12065550100"
	began, turn := at, 0
	say := func(f events.Fact) {
		e := events.New(tenant, c.Call, at, f)
		e.CallSeq = len(all) + 1
		all = append(all, e)
	}
	say(events.CallReceived{From: c.from, To: to})
	say(events.CallAnswered{Session: "s"})
	for _, l := range c.Turns {
		if at = time.Unix(l.At, 0).UTC(); l.Role == events.RoleCaller {
			turn++
			say(events.TurnHeard{Turn: turn, Text: l.Text})
		} else {
			say(events.TurnSpoken{Turn: max(turn, 1), Text: l.Text})
		}
	}
	say(events.CallEnded{
		From: c.from, To: to, StartedAt: began, EndedAt: at, Seconds: int(at.Sub(began).Seconds()),
		Reason: events.EndCaller, Turns: turn, Answered: true,
	})
	return all
}

// told is the log of real conversations, each summarized, in the rows of an
// instance that a replay finds nothing wrong with.
func told(t *testing.T) (log []events.Event, customers []events.Settings) {
	t.Helper()
	calls, s := spokenCalls(t), serveAll(t, nil)
	tpl, err := s.Store.Template(t.Context(), "insurance_v1")
	if err != nil {
		t.Fatal(err)
	}
	tenants := map[int]events.Tenant{}
	for _, c := range calls {
		if tenants[c.Tenant] == 0 {
			set := settings.Default(fmt.Sprint("Holder ", c.Tenant), tpl)
			set.Numbers = []string{fmt.Sprintf("+1425556%04d", c.Tenant)}
			if set, _, err = s.Store.CreateCustomer(t.Context(), set); err != nil {
				t.Fatal(err)
			}
			tenants[c.Tenant], customers = set.Tenant, append(customers, set)
		}
	}
	if err := settings.Publish(t.Context(), s.Store, s.Bus); err != nil {
		t.Fatal(err)
	}
	stated := uint64(0)
	for _, c := range calls {
		all := c.facts(tenants[c.Tenant])
		put(t, s.Bus, all)
		stated += uint64(len(all))
	}
	s.until("every call is summarized", func() bool {
		last, err := s.Bus.LastSeq(t.Context())
		if err != nil || last < stated+uint64(len(calls)) {
			return false
		}
		n := 0
		for _, e := range s.log() {
			if e.Fact.Name() == (events.CallSummarized{}).Name() {
				n++
			}
		}
		return n == len(calls)
	})
	r, err := replay.Run(t.Context(), s.Bus, s.Store, replay.Options{Live: profiler.Projection, Found: func(_ events.Tenant, d store.Difference) { t.Errorf("%+v", d) }})
	if err != nil || r.Different != 0 || r.Rows < int64(4*len(calls)) {
		t.Errorf("the rows in use: %+v, %v", r, err)
	}
	return s.log(), customers
}

// put states facts, where the log says a call lies included.
func put(t *testing.T, b *bus.Bus, all []events.Event) {
	t.Helper()
	first := map[string]uint64{}
	for _, e := range all {
		if f, ok := e.Fact.(events.CallEnded); ok {
			f.FirstSeq = first[e.Call]
			e.Fact = f
		}
		seq, err := b.Publish(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		if e.Call != "" && first[e.Call] == 0 {
			first[e.Call] = seq
		}
	}
}

// shelf is an empty database with the same customers.
func shelf(t *testing.T, customers []events.Settings) *testenv.Database {
	t.Helper()
	db := testenv.Postgres(t)
	for _, c := range customers {
		if got := db.Customer(t, events.Settings{}).Tenant; got != c.Tenant {
			t.Fatalf("customer %s, want %s", got, c.Tenant)
		}
	}
	return db
}

// kept is what one way of replaying comes to: every row without its place in
// the log, and each profile's hash.
type kept struct {
	Rows   map[string][]string
	Hashes map[string]string
}

func rowsOf(t *testing.T, db *testenv.Database, customers []events.Settings) kept {
	t.Helper()
	out := kept{map[string][]string{}, map[string]string{}}
	for _, c := range customers {
		for table, all := range db.Rows(t, c.Tenant) {
			if table == "projection_offsets" {
				continue
			}
			for _, raw := range all {
				var row map[string]any
				if err := json.Unmarshal([]byte(raw), &row); err != nil {
					t.Fatal(err)
				}
				delete(row, "seq")
				delete(row, "refold_after")
				if hash, ok := row["profile_sha256"].(string); ok {
					out.Hashes[fmt.Sprint(c.Tenant, " ", row["user_id"])] = hash
				}
				short, err := json.Marshal(row)
				if err != nil {
					t.Fatal(err)
				}
				out.Rows[table] = append(out.Rows[table], string(short))
			}
		}
	}
	for _, all := range out.Rows {
		slices.Sort(all)
	}
	return out
}

// Real calls, replayed in order, with everything delivered three times, with
// the calls in another order, stopped and killed on the way: each profile is the same
// to the byte, and so is every row.
func TestReplayOfRealCallsIsTheSameHoweverItGoes(t *testing.T) {
	t.Parallel()
	log, customers := told(t)
	inOrder := testenv.Bus(t)
	put(t, inOrder, log)
	swap := replay.Options{Live: profiler.Projection, Swap: true}
	run := func(t *testing.T, b *bus.Bus, db *testenv.Database) replay.Report {
		t.Helper()
		r, err := replay.Run(t.Context(), b, db.Store, swap)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	db := shelf(t, customers)
	run(t, inOrder, db)
	want := rowsOf(t, db, customers)
	if len(want.Hashes) < 10 || len(want.Rows["memories"]) == 0 {
		t.Fatalf("%d profiles, %d memories of %d facts", len(want.Hashes), len(want.Rows["memories"]), len(log))
	}
	of := map[events.Tenant]kept{}
	for _, c := range customers {
		of[c.Tenant] = rowsOf(t, db, []events.Settings{c})
	}
	for name, got := range map[string]func(*testing.T, *testenv.Database){
		"three times": func(t *testing.T, db *testenv.Database) { thrice(t, db, log) },
		"shuffled": func(t *testing.T, db *testenv.Database) {
			b := testenv.Bus(t)
			put(t, b, shuffled(log))
			run(t, b, db)
		},
		"killed": func(t *testing.T, db *testenv.Database) { killedForReal(t, db, log, want, of) },
		"stopped": func(t *testing.T, db *testenv.Database) {
			b := testenv.Bus(t)
			put(t, b, log[:len(log)/2])
			stopped(t, b, db, "folding")
			put(t, b, log[len(log)/2:])
			stopped(t, b, db, "swapping")
			if r := run(t, b, db); !r.Resumed {
				t.Errorf("began anew: %+v", r)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := shelf(t, customers)
			got(t, db)
			if diff := cmp.Diff(want, rowsOf(t, db, customers)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// stopped is a replay that is told to end as a stage begins.
func stopped(t *testing.T, b *bus.Bus, db *testenv.Database, stage string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	_, err := replay.Run(ctx, b, db.Store, replay.Options{Live: profiler.Projection, Swap: true, Progress: func(p replay.Progress) {
		if p.Stage == stage {
			stop()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("stopped while %s: %v", stage, err)
	}
}

// thrice has every fact delivered three times, under sequences of its own each
// time, to the code that makes rows.
func thrice(t *testing.T, db *testenv.Database, log []events.Event) {
	t.Helper()
	models, err := readmodel.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	of, r := map[events.Tenant][]events.Event{}, rand.New(rand.NewPCG(1, 2))
	for i, e := range log {
		for again := range 3 {
			e.Seq = uint64(3*i + again + 1)
			of[e.Tenant] = append(of[e.Tenant], e)
		}
	}
	for id, all := range of {
		rows, err := db.Store.For(id)
		if err != nil {
			t.Fatal(err)
		}
		for len(all) > 0 {
			n := min(len(all), 1+r.IntN(40))
			err := rows.Project(t.Context(), profiler.Projection, time.Unix(1, 0), func(p *store.Projection) error {
				touched, err := models.Apply(p, all[:n])
				return errors.Join(err, models.Fold(p, touched))
			})
			if err != nil {
				t.Fatal(err)
			}
			all = all[n:]
		}
	}
}

// shuffled is a log with its calls in another order; the facts of each come in
// theirs.
func shuffled(log []events.Event) (out []events.Event) {
	of := map[string][]events.Event{}
	for _, e := range log {
		of[e.Call] = append(of[e.Call], e)
	}
	calls, r := slices.Sorted(maps.Keys(of)), rand.New(rand.NewPCG(7, 8))
	r.Shuffle(len(calls), func(i, j int) { calls[i], calls[j] = calls[j], calls[i] })
	for _, c := range calls {
		out = append(out, of[c]...)
	}
	return out
}
