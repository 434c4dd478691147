package store_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"neurosphere.ai/neurosphere/internal/store"
)

// Every table of tenants says which of its rows are about whom, and no other
// name is on that list but of one that is still to come.
func TestEveryTableSaysWhoseRowsItHolds(t *testing.T) {
	t.Parallel()
	said, none := store.Subjects(), store.Subjects()
	for _, table := range guarded(t, admin(t)) {
		name := strings.TrimPrefix(strings.TrimPrefix(table, "app."), "rebuild.")
		if _, ok := said[name]; !ok {
			t.Errorf("%s is not among the subjects", table)
		}
		delete(none, name)
	}
	if delete(none, "erased_calls"); len(none) > 0 {
		t.Errorf("no such tables: %v", slices.Sorted(maps.Keys(none)))
	}
}

// What is read about a subject is what the columns say, without what is made
// of others.
func TestRowsAboutASubject(t *testing.T) {
	t.Parallel()
	_, rows := seeded(t, "Ann")
	all, err := rows.RowsAbout(t.Context(), store.Subject{Caller: received.From})
	if err != nil || len(all["caller_facts"]) == 0 {
		t.Fatalf("%v, %v", all, err)
	}
	for _, row := range all["memories"] {
		if strings.Contains(string(row), "customer_id") || strings.Contains(string(row), `"search"`) {
			t.Errorf("row %s", row)
		}
	}
}

// Erased is what is about the subject, in use and being rebuilt, and nothing
// beside it.
func TestErasedIsWhatIsAboutTheSubject(t *testing.T) {
	t.Parallel()
	su := admin(t)
	a, _ := seeded(t, "Ann")
	others := dump(t, su, a)
	b, rows := seeded(t, "Ben")
	var counts map[string]int64
	erase := func(s store.Subject) (left string) {
		t.Helper()
		err := rows.Project(t.Context(), "p", created, func(p *store.Projection) (err error) {
			counts, err = p.Erase(s)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return dump(t, su, b)
	}
	before := dump(t, su, b)
	if after := erase(store.Subject{Caller: "+19", Calls: []string{"CA9"}, Texts: []string{"m9"}, Events: []string{"e9"}}); after != before || len(counts) > 0 {
		t.Errorf("erased about nobody: %v", counts)
	}
	after := erase(store.Subject{Caller: received.From, Calls: []string{"CA1"}})
	for _, table := range guarded(t, su) {
		name := strings.TrimPrefix(strings.TrimPrefix(table, "app."), "rebuild.")
		if name == "sms_opt_outs" || store.Subjects()[name] == "" {
			continue
		}
		if !strings.Contains(after, table+" []\n") {
			t.Errorf("rows are left in %s", table)
		}
	}
	if counts["calls"] != 1 || counts["rebuild.calls"] != 1 || counts["sms_outbox"] != 1 || counts["extractions"] != 1 {
		t.Errorf("counts %v", counts)
	}
	if after := erase(store.Subject{Caller: optedOut.Number}); !strings.Contains(after, "sms_opt_outs []\n") {
		t.Error("the opt-out of a number is left")
	}
	if dump(t, su, a) != others {
		t.Error("another tenant's rows have changed")
	}
}

// A business that leaves takes everything but the record of what was erased.
func TestDropCustomer(t *testing.T) {
	t.Parallel()
	su := admin(t)
	a, _ := seeded(t, "Ann")
	others := dump(t, su, a)
	b, rows := seeded(t, "Ben")
	if _, err := rows.EraseAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for want := range int64(2) { // it can be repeated
		n, err := shared.DropCustomer(t.Context(), b)
		if err != nil || n["customers"] != 1-want || n["phone_numbers"] != 1-want || n["api_keys"] != 1-want {
			t.Errorf("dropped %v, %v", n, err)
		}
	}
	for line := range strings.Lines(dump(t, su, b)) {
		if !strings.HasSuffix(line, " []\n") && !strings.HasPrefix(line, "erasures ") {
			t.Errorf("left: %s", line)
		}
	}
	if dump(t, su, a) != others {
		t.Error("another tenant's rows have changed")
	}
}
