package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

// resident is a tenant as it comes from elsewhere: with the key of one that is
// here, as another's.
func resident(t *testing.T, id events.Tenant, numbers ...string) store.Resident {
	t.Helper()
	here, _ := customer(t)
	r, err := shared.Resident(t.Context(), here.Tenant)
	if err != nil {
		t.Fatal(err)
	}
	var key map[string]any
	if err := json.Unmarshal(r.Keys[0], &key); err != nil {
		t.Fatal(err)
	}
	key["hash"] = fmt.Sprint("digest of ", id)
	if r.Keys[0], err = json.Marshal(key); err != nil {
		t.Fatal(err)
	}
	r.Settings = events.Settings{Tenant: id, Version: 4, Status: "active", Name: "Moved", Numbers: numbers}
	r.Since = created
	return r
}

// A tenant that moves in is admitted once, waits, and has its settings when it
// is settled; new tenants get other ids.
func TestATenantMovesIn(t *testing.T) {
	t.Parallel()
	const id = 660001
	number := "+12065559901"
	r := resident(t, id, number)
	for range 2 {
		if err := shared.Admit(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if now, err := shared.Settings(t.Context(), id); err != nil || now.Status != "suspended" || now.Version != 3 {
		t.Errorf("waiting: %+v, %v", now, err)
	}
	if next, _ := customer(t); next.Tenant <= id {
		t.Errorf("a new tenant is %d, which will be taken", next.Tenant)
	}
	for range 2 {
		if now, err := shared.Settle(t.Context(), r.Settings); err != nil || now.Status != "active" {
			t.Fatalf("settled: %+v, %v", now, err)
		}
	}
	got, err := shared.Resident(t.Context(), id)
	if err != nil || got.Settings.Version != 4 || !got.Since.Equal(created) || len(got.Keys) != 1 || !strings.Contains(string(got.Keys[0]), "660001") || !strings.Contains(string(got.Keys[0]), "digest of") {
		t.Errorf("%+v, %v", got, err)
	}
	// What it has here since is not taken back.
	_, changed, err := shared.UpdateSettings(t.Context(), id, func(s *events.Settings) error { s.Agent = "Mia"; s.Numbers = nil; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.Admit(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if now, err := shared.Settle(t.Context(), r.Settings); err != nil || now.Version != changed.Version || now.Agent != "Mia" || len(now.Numbers) > 0 {
		t.Errorf("%+v, %v", now, err)
	}
}

// An id or a number that is another's keeps a tenant out, and nothing of it in.
func TestATenantIsKeptOut(t *testing.T) {
	t.Parallel()
	other, _ := customer(t)
	su := admin(t)
	before := dump(t, su, other.Tenant)
	if err := shared.Admit(t.Context(), resident(t, other.Tenant, "+12065559902")); !errors.Is(err, store.ErrIDTaken) {
		t.Errorf("id of another: %v", err)
	}
	if dump(t, su, other.Tenant) != before {
		t.Error("the other has changed")
	}
	if err := shared.Admit(t.Context(), resident(t, 550002, "+12065559903", other.Numbers[0])); !errors.Is(err, store.ErrNumberTaken) {
		t.Errorf("number of another: %v", err)
	}
	if _, err := shared.Resident(t.Context(), 550002); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("something of it is here: %v", err)
	}
	for name, wrong := range map[string]store.Resident{"no tenant": resident(t, 0), "no version": {Settings: events.Settings{Tenant: 550003}}} {
		if err := shared.Admit(t.Context(), wrong); err == nil {
			t.Errorf("%s is let in", name)
		}
	}
}

// Rows that no event leads to are read and written whole; what is there stays
// unless what comes is newer, and no table of another kind can be named.
func TestKeptRowsAreRestored(t *testing.T) {
	t.Parallel()
	_, from := customer(t)
	set, to := customer(t)
	ctx := t.Context()
	if _, err := from.ClaimExtraction(ctx, "CA1", "k", "w", time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := from.SaveExtraction(ctx, "CA1", "k", []byte(`{"raw":"words"}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := to.ClaimExtraction(ctx, "CA1", "k", "another", time.Hour); err != nil {
		t.Fatal(err)
	}
	var rows [][]byte
	if err := from.Kept(ctx, func(table string, row []byte) error {
		if table == "extractions" {
			rows = append(rows, append([]byte{}, row...))
		}
		return nil
	}); err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	has := func(want bool) {
		t.Helper()
		c, err := to.ClaimExtraction(ctx, "CA1", "k", "third", time.Hour)
		if err != nil || (c.Result != nil) != want {
			t.Errorf("result %s, %v; want %v", c.Result, err, want)
		}
	}
	if err := to.Restore(ctx, "extractions", rows, false); err != nil {
		t.Fatal(err)
	}
	has(false)
	if err := to.Restore(ctx, "extractions", rows, true); err != nil {
		t.Fatal(err)
	}
	has(true)
	for _, table := range []string{"calls", "customers", "projection_offsets", "nothing", `extractions" x; --`} {
		if err := to.Restore(ctx, table, rows, true); err == nil {
			t.Errorf("%s can be restored", table)
		}
	}
	if n := strings.Count(dump(t, admin(t), set.Tenant), "words"); n != 1 {
		t.Errorf("the row is there %d times", n)
	}
}
