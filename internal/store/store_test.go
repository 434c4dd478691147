package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

var (
	private *store.Private
	shared  *store.Store
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if dir := os.Getenv(parentOf); dir != "" {
		return parent(dir)
	}
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	private, err = store.StartPrivateWith(context.Background(), dir, nil, store.PrivateOptions{Fast: true})
	if errors.Is(err, store.ErrNoPostgres) && os.Getenv("CI") != "true" {
		fmt.Fprintln(os.Stderr, "skipped:", err)
		return 0
	}
	if err == nil {
		defer private.Stop()
		err = store.Migrate(context.Background(), private.AdminDSN(), "")
	}
	if err == nil {
		shared, err = openFor(os.Getenv(barrier))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer shared.Close()
	return m.Run()
}

func admin(t *testing.T) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), private.AdminDSN()+" search_path=app")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	return c
}

var number atomic.Int64

func customer(t *testing.T) (events.Settings, *store.Tenant) {
	t.Helper()
	s, key, err := shared.CreateCustomer(t.Context(), events.Settings{Name: t.Name(), Numbers: []string{fmt.Sprintf("+1206555%04d", number.Add(1))}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(key, "ns_"+s.Tenant.String()+"_") {
		t.Errorf("key %q", key)
	}
	rows, err := shared.For(s.Tenant)
	if err != nil {
		t.Fatal(err)
	}
	return s, rows
}

var created = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func event(t events.Tenant, call string, seq uint64, f events.Fact) events.Event {
	e := events.New(t, call, created.Add(time.Duration(seq)*time.Second), f)
	e.Seq, e.CallSeq = seq, int(seq)
	return e
}

func project(t *testing.T, id events.Tenant, rows *store.Tenant, call string, seq uint64) {
	t.Helper()
	err := rows.Project(t.Context(), "test", created, func(p *store.Projection) error {
		f := events.CallEnded{From: "+1", StartedAt: created, EndedAt: created, Turns: 3}
		p.Ended(event(id, call, seq, f), f)
		p.SetApplied(seq, "e")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The same call id under two tenants is two calls, and neither sees the other's.
func TestTenantsDoNotSeeEachOther(t *testing.T) {
	sa, a := customer(t)
	sb, b := customer(t)
	project(t, sa.Tenant, a, "CA1", 5)
	if _, err := b.Call(t.Context(), "CA1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another tenant's call: %v", err)
	}
	if c, err := a.Call(t.Context(), "CA1"); err != nil || *c.Turns != 3 {
		t.Errorf("own call: %+v, %v", c, err)
	}
	project(t, sb.Tenant, b, "CA1", 6)
	if all, err := b.Calls(t.Context(), 10); err != nil || len(all) != 1 {
		t.Errorf("%d calls, %v", len(all), err)
	}
	if _, err := shared.For(0); !errors.Is(err, events.ErrNoTenant) {
		t.Errorf("no tenant: %v", err)
	}
}

// Of many that claim at once, one wins.
func TestClaimsAreTakenOnce(t *testing.T) {
	_, rows := customer(t)
	for name, claim := range map[string]func(by string) (store.Claim, error){
		"text": func(by string) (store.Claim, error) { return rows.ClaimText(t.Context(), "m1", "+1", by, time.Hour) },
		"extraction": func(by string) (store.Claim, error) {
			return rows.ClaimExtraction(t.Context(), "CA1", "k", by, time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var won atomic.Int64
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					c, err := claim(fmt.Sprint("w", i))
					if err != nil {
						t.Error(err)
					}
					if c.Ours {
						won.Add(1)
					}
				})
			}
			wg.Wait()
			if won.Load() != 1 {
				t.Errorf("%d won", won.Load())
			}
		})
	}
	if err := rows.SaveExtraction(t.Context(), "CA1", "k", []byte(`{"raw":"x"}`)); err != nil {
		t.Fatal(err)
	}
	if c, err := rows.ClaimExtraction(t.Context(), "CA1", "k", "later", 0); err != nil || c.Ours || !strings.Contains(string(c.Result), "x") {
		t.Errorf("what was paid for is lost: %+v, %v", c, err)
	}
	if c, err := rows.ClaimText(t.Context(), "m1", "+1", "later", 0); err != nil || !c.Ours || c.Attempts != 2 {
		t.Errorf("a claim that came to nothing cannot be taken over: %+v, %v", c, err)
	}
	if err := rows.TextSent(t.Context(), "m1", "SM1"); err != nil {
		t.Fatal(err)
	}
	if c, err := rows.ClaimText(t.Context(), "m1", "+1", "later", 0); err != nil || c.Ours || c.SID != "SM1" {
		t.Errorf("a text sent is claimed again: %+v, %v", c, err)
	}
}

func TestSettingsHaveVersionsAndNumbersOneOwner(t *testing.T) {
	s, _ := customer(t)
	other, _ := customer(t)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			_, _, err := shared.UpdateSettings(t.Context(), s.Tenant, func(set *events.Settings) error {
				set.Greeting = fmt.Sprint(i)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := shared.Settings(t.Context(), s.Tenant)
	if err != nil || got.Version != 11 {
		t.Errorf("version %d, %v; want 11", got.Version, err)
	}
	_, _, err = shared.UpdateSettings(t.Context(), s.Tenant, func(set *events.Settings) error {
		set.Numbers = append(set.Numbers, other.Numbers[0])
		return nil
	})
	if !errors.Is(err, store.ErrNumberTaken) {
		t.Errorf("another's number: %v", err)
	}
	if now, err := shared.Settings(t.Context(), s.Tenant); err != nil || now.Version != 11 {
		t.Errorf("a refused change changed something: %d, %v", now.Version, err)
	}
	if _, err := shared.Settings(t.Context(), 99999); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("nobody's settings: %v", err)
	}
}

func TestProjectionOfAnotherStreamIsRefused(t *testing.T) {
	s, rows := customer(t)
	project(t, s.Tenant, rows, "CA9", 1)
	err := rows.Project(t.Context(), "test", created.Add(time.Second), func(*store.Projection) error { return nil })
	if !errors.Is(err, store.ErrRecreated) {
		t.Errorf("%v", err)
	}
}

func TestTemplatesAreThoseOfTheIndustries(t *testing.T) {
	for id, want := range map[string]string{"insurance_v1": "policies.auto_2.vin", "real_estate_v1": "properties.property_1.status"} {
		tm, err := shared.Template(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range tm.Fields {
			found = found || f.Path == want
			if f.Path == "properties.property_1.status" && (f.Type != "enum" || len(f.Values) != 3) {
				t.Errorf("%+v", f)
			}
		}
		if !found || tm.BioFormat == "" {
			t.Errorf("%s has no %s: %+v", id, want, tm)
		}
	}
}

// A number given up is free for the next, the last one too.
func TestNumbersGivenUpCanBeClaimed(t *testing.T) {
	t.Parallel()
	for name, keep := range map[string]func(numbers []string) []string{
		"all of them":           func([]string) []string { return nil },
		"all, in an empty list": func([]string) []string { return []string{} },
		"one of two":            func(n []string) []string { return n[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := []string{fmt.Sprintf("+1206556%04d", number.Add(1)), fmt.Sprintf("+1206556%04d", number.Add(1))}
			s, _, err := shared.CreateCustomer(t.Context(), events.Settings{Name: name, Numbers: first})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := shared.CreateCustomer(t.Context(), events.Settings{Name: "early", Numbers: first[:1]}); !errors.Is(err, store.ErrNumberTaken) {
				t.Errorf("a number still held: %v", err)
			}
			if _, _, err := shared.UpdateSettings(t.Context(), s.Tenant, func(x *events.Settings) error { x.Numbers = keep(first); return nil }); err != nil {
				t.Fatal(err)
			}
			if _, _, err := shared.CreateCustomer(t.Context(), events.Settings{Name: "next", Numbers: first[:1]}); err != nil {
				t.Errorf("a number given up: %v", err)
			}
			if _, _, err := shared.UpdateSettings(t.Context(), s.Tenant, func(x *events.Settings) error { x.Numbers = first; return nil }); !errors.Is(err, store.ErrNumberTaken) {
				t.Errorf("a number given away: %v", err)
			}
		})
	}
}

// Of two who want the same numbers at once one gets them all, in whatever
// order each names them, and the other hears why not.
func TestNumbersWantedAtOnceGoToOne(t *testing.T) {
	t.Parallel()
	for range 20 {
		first := []string{fmt.Sprintf("+1206557%04d", number.Add(1)), fmt.Sprintf("+1206557%04d", number.Add(1))}
		var wg sync.WaitGroup
		var won, taken atomic.Int64
		for _, numbers := range [][]string{first, {first[1], first[0]}} {
			wg.Go(func() {
				switch _, _, err := shared.CreateCustomer(t.Context(), events.Settings{Name: "both", Numbers: numbers}); {
				case err == nil:
					won.Add(1)
				case errors.Is(err, store.ErrNumberTaken):
					taken.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || taken.Load() != 1 {
			t.Fatalf("%d won, %d were told", won.Load(), taken.Load())
		}
	}
}

func TestSettingsAreUnpublishedUntilMarked(t *testing.T) {
	t.Parallel()
	s, _ := customer(t)
	waiting := func() bool {
		t.Helper()
		all, err := shared.Unpublished(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range all {
			if x.Tenant == s.Tenant {
				return true
			}
		}
		return false
	}
	mark := func(version int64, want bool) {
		t.Helper()
		if err := shared.MarkPublished(t.Context(), s.Tenant, version); err != nil {
			t.Fatal(err)
		}
		if waiting() != want {
			t.Errorf("unpublished after version %d: %v", version, !want)
		}
	}
	if !waiting() {
		t.Error("new settings count as published")
	}
	mark(1, false)
	if _, _, err := shared.UpdateSettings(t.Context(), s.Tenant, func(x *events.Settings) error { x.Greeting = "hi"; return nil }); err != nil {
		t.Fatal(err)
	}
	mark(1, true)
	mark(2, false)
	mark(1, false) // a late word of an earlier version
	all, err := shared.ListCustomers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range all {
		if x.Tenant == s.Tenant && x.Greeting != "hi" {
			t.Errorf("listed as %+v", x)
		}
	}
}

func TestRefusedChangeOfSettingsChangesNothing(t *testing.T) {
	t.Parallel()
	s, _ := customer(t)
	no := errors.New("no")
	if _, _, err := shared.UpdateSettings(t.Context(), s.Tenant, func(x *events.Settings) error { x.Name = "other"; x.Numbers = nil; return no }); !errors.Is(err, no) {
		t.Errorf("%v", err)
	}
	if now, err := shared.Settings(t.Context(), s.Tenant); err != nil || now.Name != s.Name || now.Version != 1 {
		t.Errorf("%+v, %v", now, err)
	}
	before, after, err := shared.UpdateSettings(t.Context(), s.Tenant, func(x *events.Settings) error { x.Numbers[0] = "+12065579999"; return nil })
	if err != nil || before.Numbers[0] != s.Numbers[0] || after.Numbers[0] != "+12065579999" {
		t.Errorf("the change shows in what was before: %v, %v, %v", before.Numbers, after.Numbers, err)
	}
}

func TestUnknownTemplateIsNotFound(t *testing.T) {
	t.Parallel()
	if _, err := shared.Template(t.Context(), "nothing_v1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

func TestUnknownStatusIsRefused(t *testing.T) {
	t.Parallel()
	s, _ := customer(t)
	for status, ok := range map[string]bool{"suspended": true, "asleep": false} {
		_, _, err := shared.UpdateSettings(t.Context(), s.Tenant, func(x *events.Settings) error { x.Status = status; return nil })
		if (err == nil) != ok {
			t.Errorf("%s: %v", status, err)
		}
	}
}
