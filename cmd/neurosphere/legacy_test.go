package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"testing"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/legacy"
	"neurosphere.ai/neurosphere/internal/privacy"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// output is what a command prints.
func output(t *testing.T, args ...string) (code int, out []byte) {
	t.Helper()
	return captured(t, &os.Stdout, args...)
}

// captured is what a command writes to one of the standard files.
func captured(t *testing.T, file **os.File, args ...string) (code int, out []byte) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	was := *file
	*file = w
	read := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(r)
		read <- all
	}()
	code = run(args, w)
	*file = was
	w.Close()
	return code, <-read
}

const oldTables = `CREATE TABLE memories (id uuid primary key, user_id text not null, type varchar(50), key varchar(255), value text, created_at timestamp);
		CREATE TABLE call_summaries (id uuid primary key, call_id varchar(255) not null, user_id varchar(255) not null, call_date timestamp not null, summary text not null,
			key_topics jsonb, key_variables jsonb, sentiment varchar(50), duration_seconds integer, resolution_status varchar(50), created_at timestamp not null);
		CREATE TABLE caller_profiles (id uuid primary key, user_id varchar(255) not null, first_call_date timestamp not null, last_call_date timestamp not null, total_calls integer,
			preferred_name varchar(255), preferences jsonb, context jsonb, created_at timestamp not null, updated_at timestamp not null);`

func TestLegacyCommands(t *testing.T) {
	d, s := testenv.Postgres(t), testenv.Server(t)
	t.Setenv("DATABASE_URL", d.URL)
	t.Setenv("NATS_URL", s.URL())
	t.Setenv("DATA_DIR", t.TempDir())
	tenant := d.Customer(t, events.Settings{}).Tenant
	admin, _ := d.Empty(t, "old_service")
	if code, _ := output(t, "import-legacy", "-from", admin, "-customer", tenant.String()); code != app.ExitFailed {
		t.Errorf("an empty database: exit %d", code)
	}
	d.Run(t, admin, oldTables+`
		INSERT INTO memories SELECT md5(i::text)::uuid, '206555' || lpad((i % 9)::text, 4, '0'), 'fact', 'k', 'v' || i, '2024-01-01' FROM generate_series(1, 40) i`)
	if code, _ := output(t, "import-legacy", "-from", admin, "-customer", "999"); code != app.ExitUsage {
		t.Errorf("a customer there is not: exit %d", code)
	}
	for stated := 40; stated >= 0; stated -= 40 { // the second time nothing is new
		code, out := output(t, "import-legacy", "-from", admin, "-customer", tenant.String(), "-wait", "0", "-json")
		var said struct{ Import legacy.ImportReport }
		if err := json.Unmarshal(out, &said); err != nil || code != app.ExitOK || said.Import.Stated != stated || said.Import.Expected.Memories != 40 {
			t.Fatalf("exit %d, %v, want %d stated:\n%s", code, err, stated, out)
		}
	}
	if code, out := output(t, "import-legacy", "-from", admin, "-customer", tenant.String(), "-wait", "1ms"); code != app.ExitFailed || !bytes.Contains(out, []byte("9 have less: memories of 9")) {
		t.Errorf("nobody wrote rows: exit %d\n%s", code, out)
	}
	if code, _ := output(t, "migrate-legacy", "-dsn", admin); code != app.ExitFailed {
		t.Errorf("two tables are missing: exit %d", code)
	}
}

// Once its rows are there, an import says how much of it is too old to stay, and
// what keeps it; nothing where it stays.
func TestImportSaysWhatDoesNotStay(t *testing.T) {
	d, s := testenv.Postgres(t), testenv.Server(t)
	t.Setenv("DATABASE_URL", d.URL)
	t.Setenv("NATS_URL", s.URL())
	t.Setenv("DATA_DIR", t.TempDir())
	all, err := store.Templates()
	if err != nil {
		t.Fatal(err)
	}
	customer := d.Customer(t, settings.Default("Acme", all[0])).Tenant.String()
	old, _ := d.Empty(t, "very_old_service")
	d.Run(t, old, oldTables+`
		INSERT INTO memories SELECT md5(i::text)::uuid, '206555' || lpad((i % 9)::text, 4, '0'), 'fact', 'k', 'v' || i,
			CASE WHEN i % 9 < 4 THEN now() - interval '5 days' ELSE '2019-01-01' END FROM generate_series(1, 40) i`)
	imported := []string{"import-legacy", "-from", old, "-customer", customer, "-wait", "1ms"}
	if code, out := output(t, append(imported, "-json")...); code != app.ExitFailed {
		t.Fatalf("exit %d\n%s", code, out)
	}
	if code, out := output(t, "replay", "-tenant", customer, "-swap"); code != app.ExitOK {
		t.Fatalf("exit %d\n%s", code, out)
	}
	const note = "note: 5 callers have nothing newer than retention.caller_days (730) and go from the next sweep on"
	code, out := output(t, imported...)
	if want := "neurosphere tenant set " + customer + " retention.caller_days=N"; code != app.ExitOK || !bytes.Contains(out, []byte(note)) || !bytes.Contains(out, []byte(want)) {
		t.Errorf("exit %d\n%s", code, out)
	}
	var said struct{ Expiring *privacy.Expiring }
	code, out = output(t, append(imported, "-json")...)
	if err := json.Unmarshal(out, &said); err != nil || code != app.ExitOK || said.Expiring == nil || *said.Expiring != (privacy.Expiring{Callers: 5, Days: 730}) {
		t.Errorf("exit %d, %v\n%s", code, err, out)
	}
	_, out = output(t, "retention", "-tenant", customer, "-dry-run")
	if !bytes.Contains(out, []byte("5 callers and 0 calls of nobody known (730)")) {
		t.Errorf("retention says something else: %s", out)
	}
	if code, out := output(t, "tenant", "set", customer, "retention.hold=true"); code != app.ExitOK {
		t.Fatalf("exit %d\n%s", code, out)
	}
	if code, out := output(t, imported...); code != app.ExitOK || bytes.Contains(out, []byte("note: ")) {
		t.Errorf("exit %d\n%s", code, out)
	}
	if code, out := output(t, append(imported, "-json")...); code != app.ExitOK || bytes.Contains(out, []byte(`"expiring"`)) {
		t.Errorf("exit %d\n%s", code, out)
	}
}
