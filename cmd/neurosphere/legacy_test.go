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
	"neurosphere.ai/neurosphere/internal/testenv"
)

// output is what a command prints.
func output(t *testing.T, args ...string) (code int, out []byte) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	was := os.Stdout
	os.Stdout = w
	read := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(r)
		read <- all
	}()
	code = run(args, w)
	os.Stdout = was
	w.Close()
	return code, <-read
}

func TestLegacyCommandsTellWrongUsage(t *testing.T) {
	t.Setenv("DATA_DIR", t.TempDir())
	for _, args := range [][]string{
		{"import-legacy"},
		{"import-legacy", "-from", "x", "-customer", "0"},
		{"import-legacy", "-nothing"},
		{"migrate-legacy"},
		{"migrate-legacy", "-dsn", "x", "more"},
	} {
		if code, _ := output(t, args...); code != app.ExitUsage {
			t.Errorf("%v: exit %d", args, code)
		}
	}
	for _, name := range []string{"import-legacy", "migrate-legacy"} {
		if code, _ := output(t, name, "-h"); code != app.ExitOK {
			t.Errorf("%s -h: exit %d", name, code)
		}
	}
}

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
	d.Run(t, admin, `CREATE TABLE memories (id uuid primary key, user_id text not null, type varchar(50), key varchar(255), value text, created_at timestamp);
		CREATE TABLE call_summaries (id uuid primary key, call_id varchar(255) not null, user_id varchar(255) not null, call_date timestamp not null, summary text not null,
			key_topics jsonb, key_variables jsonb, sentiment varchar(50), duration_seconds integer, resolution_status varchar(50), created_at timestamp not null);
		CREATE TABLE caller_profiles (id uuid primary key, user_id varchar(255) not null, first_call_date timestamp not null, last_call_date timestamp not null, total_calls integer,
			preferred_name varchar(255), preferences jsonb, context jsonb, created_at timestamp not null, updated_at timestamp not null);
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
