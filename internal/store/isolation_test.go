package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

// guarded is every table there is but the platform's own.
func guarded(t *testing.T, su *pgx.Conn) []string {
	t.Helper()
	rows, err := su.Query(t.Context(), `SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname IN ('app', 'rebuild') AND c.relkind = 'r' AND NOT c.relname = ANY ($1) ORDER BY 1`, slices.Collect(maps.Keys(store.PlatformTables())))
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(tables) < 15 {
		t.Fatalf("%d tables, %v", len(tables), err)
	}
	return tables
}

// plant puts a made-up row of tenant into a table, whatever its columns are.
func plant(t *testing.T, su *pgx.Conn, table string, tenant events.Tenant) {
	t.Helper()
	rows, err := su.Query(t.Context(), `SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
		WHERE attrelid = $1::regclass AND attnum > 0 AND attnotnull AND NOT attisdropped AND attname <> 'customer_id'`, table)
	if err != nil {
		t.Fatal(err)
	}
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Name, Type string }])
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]string{
		"text": `'x'`, "integer": "1", "bigint": "1", "boolean": "true", "jsonb": `'{}'`,
		"timestamp with time zone": "now()", "date": "now()",
		"sms_outbox.state": `'sent'`,
	}
	names, values := []string{"customer_id"}, []string{tenant.String()}
	for _, c := range columns {
		v, ok := made[table+"."+c.Name]
		if !ok {
			if v, ok = made[c.Type]; !ok {
				t.Fatalf("%s.%s: no value of type %s", table, c.Name, c.Type)
			}
		}
		names, values = append(names, c.Name), append(values, v)
	}
	if _, err := su.Exec(t.Context(), `INSERT INTO `+table+` (`+strings.Join(names, ",")+`) VALUES (`+strings.Join(values, ",")+`)`); err != nil {
		t.Fatalf("%s: %v", table, err)
	}
}

// Acting as the application's role, without the handle's own filter, every
// tenant table there is shows and yields the bound tenant's rows and no others.
func TestEveryTableIsGuarded(t *testing.T) {
	t.Parallel()
	su, app := admin(t), connect(t, private.DSN()+" search_path=app")
	as := func(t *testing.T, tenant events.Tenant, sql string, args ...any) (tag pgconn.CommandTag, err error) {
		t.Helper()
		return tag, pgx.BeginFunc(t.Context(), app, func(q pgx.Tx) error {
			if _, err := q.Exec(t.Context(), `SELECT set_config('app.customer_id', $1, true)`, tenant.String()); err != nil {
				return err
			}
			tag, err = q.Exec(t.Context(), sql, args...)
			return err
		})
	}
	a, _ := customer(t)
	b, _ := customer(t)
	for _, table := range guarded(t, su) {
		t.Run(table, func(t *testing.T) {
			var others string // columns one can write
			err := su.QueryRow(t.Context(), `SELECT string_agg(quote_ident(attname), ',') FROM pg_attribute
				WHERE attrelid = $1::regclass AND attnum > 0 AND attgenerated = '' AND NOT attisdropped AND attname <> 'customer_id'`, table).Scan(&others)
			if err != nil {
				t.Fatal(err)
			}
			plant(t, su, table, a.Tenant)
			plant(t, su, table, b.Tenant)
			if _, err := app.Exec(t.Context(), `SELECT * FROM `+table); err == nil {
				t.Error("readable without a tenant")
			}
			touched := func(want int64, sql string, args ...any) {
				t.Helper()
				if tag, err := as(t, a.Tenant, sql, args...); err != nil || tag.RowsAffected() != want {
					t.Errorf("%s: %d rows, %v; want %d", sql, tag.RowsAffected(), err, want)
				}
			}
			touched(1, `SELECT * FROM `+table)
			touched(0, `SELECT * FROM `+table+` WHERE customer_id = $1`, int32(b.Tenant))
			touched(1, `UPDATE `+table+` SET customer_id = customer_id`)
			touched(0, `UPDATE `+table+` SET customer_id = customer_id WHERE customer_id = $1`, int32(b.Tenant))
			touched(0, `DELETE FROM `+table+` WHERE customer_id = $1`, int32(b.Tenant))
			var pg *pgconn.PgError
			if _, err := as(t, a.Tenant, `UPDATE `+table+` SET customer_id = $1`, 880001); !errors.As(err, &pg) || pg.Code != "42501" {
				t.Errorf("a row can be given away: %v", err)
			}
			if _, err := as(t, a.Tenant, `INSERT INTO `+table+` (customer_id, `+others+`) SELECT 880001, `+others+` FROM `+table); !errors.As(err, &pg) || pg.Code != "42501" {
				t.Errorf("a row can be planted: %v", err)
			}
			if _, err := as(t, a.Tenant, `TRUNCATE `+table); !errors.As(err, &pg) || pg.Code != "42501" {
				t.Errorf("can be truncated: %v", err)
			}
			touched(1, `DELETE FROM `+table)
			var left int
			if err := su.QueryRow(t.Context(), `SELECT count(*) FROM `+table+` WHERE customer_id = $1`, int32(b.Tenant)).Scan(&left); err != nil || left != 1 {
				t.Errorf("the other tenant has %d rows, %v", left, err)
			}
		})
	}
}

// The platform's tables are reached as the platform and not otherwise, and the
// platform reaches no tenant's.
func TestPlatformAndTenantsDoNotReachEachOther(t *testing.T) {
	t.Parallel()
	su, app := admin(t), connect(t, private.DSN()+" search_path=app")
	platform := func(sql string) error {
		return pgx.BeginFunc(t.Context(), app, func(q pgx.Tx) error {
			if _, err := q.Exec(t.Context(), `SET LOCAL ROLE app_platform; SELECT set_config('app.customer_id', '1', true)`); err != nil {
				return err
			}
			_, err := q.Exec(t.Context(), sql)
			return err
		})
	}
	var pg *pgconn.PgError
	for table, reason := range store.PlatformTables() {
		if reason == "" {
			t.Errorf("%s: why is it the platform's?", table)
		}
		if err := platform(`SELECT FROM ` + table); err != nil {
			t.Errorf("%s: the platform's role cannot read it: %v", table, err)
		}
		if _, err := app.Exec(t.Context(), `SELECT FROM `+table); !errors.As(err, &pg) || pg.Code != "42501" {
			t.Errorf("%s: readable outside the platform's role: %v", table, err)
		}
	}
	for _, table := range guarded(t, su) {
		if err := platform(`SELECT FROM ` + table); !errors.As(err, &pg) || pg.Code != "42501" {
			t.Errorf("%s: readable by the platform: %v", table, err)
		}
	}
}

// A database that does not keep tenants apart keeps the program from starting,
// whoever put what is wrong there.
func TestUnsafeDatabaseIsRefused(t *testing.T) {
	const guard = `(customer_id = current_setting('app.customer_id')::int)`
	su := admin(t)
	var said []string // by the rules, of all that is planted
	for name, tc := range map[string]struct{ plant, undo, says string }{
		"row security off":               {`ALTER TABLE calls DISABLE ROW LEVEL SECURITY`, `ALTER TABLE calls ENABLE ROW LEVEL SECURITY`, "calls: row security is off"},
		"row security not forced":        {`ALTER TABLE messages_taken NO FORCE ROW LEVEL SECURITY`, `ALTER TABLE messages_taken FORCE ROW LEVEL SECURITY`, "messages_taken: row security is not forced"},
		"no guard":                       {`DROP POLICY tenant_guard ON leads`, `CREATE POLICY tenant_guard ON leads AS RESTRICTIVE TO app_rw USING ` + guard, "leads: no restrictive tenant guard"},
		"guard of reading alone":         {`ALTER POLICY tenant_guard ON leads WITH CHECK (true)`, `DROP POLICY tenant_guard ON leads; CREATE POLICY tenant_guard ON leads AS RESTRICTIVE TO app_rw USING ` + guard, "leads: no restrictive tenant guard"},
		"guard that lets all through":    {`ALTER POLICY tenant_guard ON leads USING (true)`, `ALTER POLICY tenant_guard ON leads USING ` + guard, "leads: no restrictive tenant guard"},
		"guard of another role":          {`ALTER POLICY tenant_guard ON leads TO app_platform`, `ALTER POLICY tenant_guard ON leads TO app_rw`, "leads: no restrictive tenant guard"},
		"no way to one's own":            {`DROP POLICY tenant_allow ON leads`, `CREATE POLICY tenant_allow ON leads TO app_rw USING ` + guard + ` WITH CHECK ` + guard, "leads: no policy that lets a tenant to its own rows"},
		"policy that lets more through":  {`CREATE POLICY oops ON leads USING (true)`, `DROP POLICY oops ON leads`, "leads: policy with another condition: oops"},
		"policy of writing what one may": {`CREATE POLICY oops ON rebuild.leads FOR INSERT WITH CHECK (true)`, `DROP POLICY oops ON rebuild.leads`, "rebuild.leads: policy with another condition: oops"},
		"partition within reach":         {`CREATE TABLE oops (customer_id int NOT NULL) PARTITION BY LIST (customer_id); CREATE TABLE oops_1 PARTITION OF oops FOR VALUES IN (1); GRANT SELECT ON oops_1 TO app_rw`, `DROP TABLE oops`, "oops_1: app_rw may select past the table it is a part of"},
		"new table without tenant":       {`CREATE TABLE oops (id int PRIMARY KEY)`, `DROP TABLE oops`, "oops: no customer_id"},
		"new table without row security": {`CREATE TABLE oops (customer_id int PRIMARY KEY); GRANT SELECT ON oops TO app_rw`, `DROP TABLE oops`, "oops: row security is off"},
		"tenant may be null":             {`CREATE TABLE oops (customer_id int)`, `DROP TABLE oops`, "oops: customer_id may be null"},
		"default tenant":                 {`ALTER TABLE memories ALTER customer_id SET DEFAULT 1`, `ALTER TABLE memories ALTER customer_id DROP DEFAULT`, "memories: customer_id has a default"},
		"key across tenants":             {`CREATE UNIQUE INDEX oops ON texts (sid)`, `DROP INDEX oops`, "texts: unique key does not begin with customer_id: oops"},
		"index across tenants":           {`CREATE INDEX oops ON texts (sid)`, `DROP INDEX oops`, "texts: index does not begin with customer_id: oops"},
		"reference across tenants":       {`CREATE UNIQUE INDEX oops ON calls (call_id); ALTER TABLE messages_taken ADD CONSTRAINT oops FOREIGN KEY (call_id) REFERENCES calls (call_id) NOT VALID`, `ALTER TABLE messages_taken DROP CONSTRAINT oops; DROP INDEX oops`, "messages_taken: foreign key without the customer_id pair: oops"},
		"constraint not validated":       {`ALTER TABLE messages_taken ADD CONSTRAINT oops CHECK (seq >= 0) NOT VALID`, `ALTER TABLE messages_taken DROP CONSTRAINT oops`, "messages_taken: constraint is not validated: oops"},
		"view of its owner":              {`CREATE VIEW everything AS SELECT * FROM calls`, `DROP VIEW everything`, "everything: view without security_invoker"},
		"materialized view":              {`CREATE MATERIALIZED VIEW everything AS SELECT * FROM calls; GRANT SELECT ON everything TO app_rw`, `DROP MATERIALIZED VIEW everything`, "everything: materialized view readable by app_rw"},
		"function of its owner":          {`CREATE FUNCTION oops() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'`, `DROP FUNCTION oops`, "oops(): function that runs as its owner, for app_rw"},
		"function of its owner, outside": {`CREATE FUNCTION public.oops() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'`, `DROP FUNCTION public.oops`, "public.oops(): function that runs as its owner, for app_rw"},
		"application may truncate":       {`GRANT TRUNCATE ON calls TO app_rw`, `REVOKE TRUNCATE ON calls FROM app_rw`, "calls: app_rw may truncate"},
		"platform may read":              {`GRANT SELECT ON calls TO app_platform`, `REVOKE SELECT ON calls FROM app_platform`, "calls: app_platform may select"},
		"platform may delete":            {`GRANT DELETE ON calls TO app_platform`, `REVOKE DELETE ON calls FROM app_platform`, "calls: app_platform may delete"},
		"platform may read a column":     {`GRANT SELECT (user_id) ON calls TO app_platform`, `REVOKE SELECT (user_id) ON calls FROM app_platform`, "calls: app_platform may select"},
		"everybody may read":             {`GRANT SELECT ON calls TO PUBLIC`, `REVOKE SELECT ON calls FROM PUBLIC`, "calls: app_platform may select"},
		"application reads customers":    {`ALTER TABLE customers DISABLE ROW LEVEL SECURITY; GRANT SELECT ON customers TO app_rw`, `ALTER TABLE customers ENABLE ROW LEVEL SECURITY; REVOKE SELECT ON customers FROM app_rw`, "customers: app_rw may select without being the platform"},
		"application reads numbers":      {`GRANT SELECT ON phone_numbers TO app_rw`, `REVOKE SELECT ON phone_numbers FROM app_rw`, "phone_numbers: app_rw may select without being the platform"},
		"application changes templates":  {`GRANT UPDATE (template) ON industry_templates TO app_rw`, `REVOKE UPDATE (template) ON industry_templates FROM app_rw`, "industry_templates: app_rw may update without being the platform"},
		"platform's rights inherited":    {`ALTER ROLE app_rw INHERIT; REVOKE app_platform FROM app_rw; GRANT app_platform TO app_rw`, `ALTER ROLE app_rw NOINHERIT; REVOKE app_platform FROM app_rw; GRANT app_platform TO app_rw`, "api_keys: app_rw may select without being the platform"},
		"table outside the schema":       {`CREATE TABLE public.leak (id int); GRANT SELECT ON public.leak TO app_rw`, `DROP TABLE public.leak`, "public.leak: app_rw may select outside the schema"},
		"table in a schema of its own":   {`CREATE SCHEMA side; CREATE TABLE side.leak (id int); GRANT USAGE ON SCHEMA side TO app_platform; GRANT INSERT ON side.leak TO app_platform`, `DROP SCHEMA side CASCADE`, "side.leak: app_platform may insert outside the schema"},
		"migrations may be changed":      {`GRANT UPDATE ON public.neurosphere_migrations TO app_rw`, `REVOKE UPDATE ON public.neurosphere_migrations FROM app_rw`, "public.neurosphere_migrations: app_rw may update outside the schema"},
		"table of the application's":     {`ALTER TABLE calls OWNER TO app_rw`, `ALTER TABLE calls OWNER TO app_owner; GRANT SELECT, INSERT, UPDATE, DELETE ON calls TO app_rw`, "calls: owned by app_rw"},
		"member of the owner":            {`GRANT app_owner TO app_platform`, `REVOKE app_owner FROM app_platform`, "calls: owned by app_rw"},
		"member of a superuser":          {`CREATE ROLE oops SUPERUSER; GRANT oops TO app_rw`, `DROP ROLE oops`, "oops: app_rw may become this role"},
		"member of who reads everything": {`GRANT pg_read_all_data TO app_platform`, `REVOKE pg_read_all_data FROM app_platform`, "pg_read_all_data: app_platform may become this role"},
		"platform above row security":    {`ALTER ROLE app_platform BYPASSRLS`, `ALTER ROLE app_platform NOBYPASSRLS`, "app_platform: role is superuser, bypasses row security"},
		"application makes roles":        {`ALTER ROLE app_rw CREATEROLE`, `ALTER ROLE app_rw NOCREATEROLE`, "app_rw: role is superuser, bypasses row security, replicates or may create"},
		"application above row security": {`ALTER ROLE app_rw BYPASSRLS`, `ALTER ROLE app_rw NOBYPASSRLS`, "role app_rw is above row security"},
		"tables may be made":             {`GRANT CREATE ON SCHEMA app TO app_rw`, `REVOKE CREATE ON SCHEMA app FROM app_rw`, "app: app_rw may create in the schema"},
		"tables may be made by anybody":  {`GRANT CREATE ON SCHEMA public TO PUBLIC`, `REVOKE CREATE ON SCHEMA public FROM PUBLIC`, "public: app_rw may create in the schema"},
		"temporary tables":               {`GRANT TEMPORARY ON DATABASE neurosphere TO PUBLIC`, `REVOKE TEMPORARY ON DATABASE neurosphere FROM PUBLIC`, "neurosphere: app_rw may make temporary tables"},
		"schemas may be made":            {`GRANT CREATE ON DATABASE neurosphere TO app_rw`, `REVOKE CREATE ON DATABASE neurosphere FROM app_rw`, "neurosphere: app_rw may create schemas"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := su.Exec(t.Context(), tc.plant); err != nil {
				t.Fatal(err)
			}
			_, err := open(t, private.DSN())
			if !errors.Is(err, store.ErrUnsafe) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, want %q", err, tc.says)
			} else {
				said = append(said, strings.Split(err.Error(), "\n  ")...)
			}
			if _, err := su.Exec(t.Context(), tc.undo); err != nil {
				t.Fatal(err)
			}
			// What is refused is what was planted, and nothing else.
			if _, err := open(t, private.DSN()); err != nil {
				t.Fatalf("the database as migrated is refused: %v", err)
			}
		})
	}
	t.Run("logged in as superuser", func(t *testing.T) {
		if _, err := open(t, private.AdminDSN()); !errors.Is(err, store.ErrUnsafe) {
			t.Errorf("%v", err)
		}
	})
	t.Run("superuser in the application's clothes", func(t *testing.T) {
		_, err := open(t, private.AdminDSN()+" options='-c role=app_rw'")
		if !errors.Is(err, store.ErrUnsafe) || !strings.Contains(err.Error(), "logged in as another role") {
			t.Errorf("%v", err)
		} else {
			said = append(said, strings.Split(err.Error(), "\n  ")...)
		}
	})
	t.Run("each rule has found something", func(t *testing.T) {
		for _, rule := range rules(t) {
			if !slices.ContainsFunc(said, regexp.MustCompile(`: `+rule+`$`).MatchString) {
				t.Errorf("nothing planted is against %q", rule)
			}
		}
	})
	t.Run("what an extension brings is let be", func(t *testing.T) {
		if _, err := su.Exec(t.Context(), `CREATE EXTENSION pg_stat_statements SCHEMA public`); err != nil {
			t.Skip("this PostgreSQL comes without extensions:", err)
		}
		if _, err := open(t, private.DSN()); err != nil {
			t.Errorf("%v", err)
		}
		if _, err := su.Exec(t.Context(), `DROP EXTENSION pg_stat_statements`); err != nil {
			t.Error(err)
		}
	})
}

// rules are what the rules of the catalogue say, as regular expressions: what
// they name themselves, in the place of which a word may stand.
func rules(t *testing.T) (all []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^(?:UNION ALL )?SELECT (?:DISTINCT )?((?:[\w.:]+ \|\| )?'[^\n]*?)(?: AS rule)?, (?:name|p\.oid|r\.rolname|x\.rolname|s\.nspname|session_user|current_database)`).FindAllStringSubmatch(store.LintSQL, -1) {
		rule := ""
		for _, part := range strings.Split(m[1], " || ") {
			if text, quoted := strings.CutPrefix(part, "'"); quoted {
				rule += regexp.QuoteMeta(strings.TrimSuffix(text, "'"))
			} else {
				rule += `\S+`
			}
		}
		all = append(all, rule)
	}
	if want := 1 + strings.Count(store.LintSQL, "UNION ALL"); len(all) != want {
		t.Fatalf("%d rules read of %d: %q", len(all), want, all)
	}
	return all
}

// open is Open for the length of a test.
func open(t *testing.T, dsn string) (*store.Store, error) {
	t.Helper()
	s, err := store.Open(t.Context(), dsn, nil)
	if err == nil {
		t.Cleanup(s.Close)
	}
	return s, err
}

var (
	received   = events.CallReceived{From: "+12065550100", To: "+12065550101"}
	ended      = events.CallEnded{From: "+12065550100", To: "+12065550101", StartedAt: created, EndedAt: created.Add(time.Minute), Seconds: 60, Turns: 3}
	summarized = events.CallSummarized{Caller: "+12065550100", StartedAt: created, Summary: "asked for a quote", Topics: []string{"auto"}, Sentiment: "positive", Resolution: "pending", Style: []events.Measure{{Metric: "warmth", Micros: 70_000_000}}}
	staged     = events.LeadStaged{Caller: "+12065550100", Stage: "Lost", By: "staff:1", Nth: "1"}
	optedOut   = events.SMSOptedOut{Number: "+12065550100", Source: "SM1"}
	message    = events.MessageTaken{For: "Ann", Text: "call me"}
)

// known is a caller as folded from calls.
func known(name string) store.CallerRows {
	return store.CallerRows{
		Profile:  store.ProfileRow{User: received.From, Name: name, Profile: []byte(`{"personal.name":{"value":"` + name + `"}}`), QuickBio: "bio of " + name, First: &created, Last: &created, Calls: 1},
		Memories: []store.MemoryRow{{ID: "m", Type: "preference", Key: "dog", Value: name + "'s", Origin: "call", At: created, Last: created, Times: 1}},
		Averages: map[string]store.Average{"warmth": {N: 2, Sum: 140_000_000}},
		Lead:     store.LeadRow{Stage: "Follow-up", Since: created, First: created, History: []byte("[]")},
	}
}

// writes are all that a projection can write, each as it would for a tenant.
func writes(id events.Tenant, name string) map[string]func(*store.Projection) error {
	at := created
	plain := func(f func(*store.Projection)) func(*store.Projection) error {
		return func(p *store.Projection) error { f(p); return nil }
	}
	return map[string]func(*store.Projection) error{
		"Received":     plain(func(p *store.Projection) { p.Received(event(id, "CA1", 1, received), received) }),
		"Answered":     plain(func(p *store.Projection) { p.Answered(event(id, "CA1", 2, events.CallAnswered{})) }),
		"Ended":        plain(func(p *store.Projection) { p.Ended(event(id, "CA1", 3, ended), ended) }),
		"MessageTaken": plain(func(p *store.Projection) { p.MessageTaken(event(id, "CA1", 5, message), message) }),
		"Summarized": func(p *store.Projection) error {
			f := summarized
			f.Summary = "about " + name
			return p.Summarized(event(id, "CA1", 6, f), f)
		},
		"Stated": func(p *store.Projection) error {
			e := event(id, "", 7, staged)
			e.ID = "stated" // of every tenant's
			return p.Stated(e, staged.Caller, staged)
		},
		"Transferred": plain(func(p *store.Projection) {
			f := events.CallTransferred{To: "claims", Number: "+1", Nth: 1}
			p.Transferred(event(id, "CA1", 11, f), f)
		}),
		"Recorded": plain(func(p *store.Projection) {
			f := events.CallRecorded{Recording: "RE1", URL: "https://" + name}
			p.Recorded(event(id, "CA1", 12, f), f)
		}),
		"TemplateSet": func(p *store.Projection) error {
			return p.TemplateSet(event(id, "", 13, optedOut), 1, events.Template{ID: "t", Name: name})
		},
		"Template": func(p *store.Projection) error {
			if err := p.TemplateSet(event(id, "", 14, optedOut), 2, events.Template{ID: "own"}); err != nil {
				return err
			}
			tpl, ok, err := p.Template()
			if err == nil && (!ok || tpl.ID != "own") {
				err = fmt.Errorf("template %+v, %v", tpl, ok)
			}
			return err
		},
		"Refold": func(p *store.Projection) error {
			if err := p.TemplateSet(event(id, "", 15, optedOut), 3, events.Template{ID: "new"}); err != nil {
				return err
			}
			after, pending, err := p.Refold()
			if err == nil && (!pending || after != "") {
				err = fmt.Errorf("refold after %q, %v", after, pending)
			}
			return err
		},
		"Refolded": func(p *store.Projection) error {
			after := "+1"
			p.Refolded(&after)
			return p.TemplateSet(event(id, "", 16, optedOut), 4, events.Template{ID: "t"})
		},
		"CallersAfter": func(p *store.Projection) error {
			if err := p.Stated(event(id, "", 17, staged), staged.Caller, staged); err != nil {
				return err
			}
			users, err := p.CallersAfter("", 10)
			if err == nil && !slices.Equal(users, []string{staged.Caller}) {
				err = fmt.Errorf("callers %v", users)
			}
			return err
		},
		"Erase": func(p *store.Projection) error {
			p.SetApplied(1, "e")
			n, err := p.Erase(store.Subject{Caller: received.From, Calls: []string{"CA1"}, Texts: []string{"m1"}})
			if err == nil && len(n) > 0 {
				err = fmt.Errorf("erased %v of nothing", n)
			}
			return err
		},
		"DropCaller": plain(func(p *store.Projection) { p.SetApplied(1, "e"); p.DropCaller("+19") }),
		"Text": plain(func(p *store.Projection) {
			p.Text(event(id, "CA1", 18, message), store.TextChange{Message: "m1", Call: "CA1", Recipient: "+1", Body: "for " + name, Sent: &at})
		}),
		"EraseCalls": func(p *store.Projection) error {
			p.Received(event(id, "CA9", 19, received), received)
			users, err := p.EraseCalls(event(id, "CA9", 20, events.CallErased{}), []string{"CA9"})
			if err == nil && !slices.Equal(users, []string{received.From}) {
				err = fmt.Errorf("callers %v", users)
			}
			return err
		},
		"Erased": func(p *store.Projection) error {
			if _, err := p.EraseCalls(event(id, "CA8", 21, events.CallErased{}), []string{"CA8"}); err != nil {
				return err
			}
			erased, err := p.Erased([]string{"CA1", "CA8"})
			if err == nil && (len(erased) != 1 || !erased["CA8"]) {
				err = fmt.Errorf("erased %v", erased)
			}
			return err
		},
		"CallersErased": func(p *store.Projection) error {
			p.SetApplied(1, "e")
			if p.CallersErased() {
				return errors.New("somebody was erased")
			}
			return nil
		},
		"Unerase": func(p *store.Projection) error {
			erased := event(id, "CA5", 31, events.CallErased{})
			if _, err := p.EraseCalls(erased, []string{"CA4", "CA5"}); err != nil {
				return err
			}
			if err := p.Unerase([]string{"CA5"}, []string{"nobody"}); err != nil {
				return err
			}
			left, err := p.Erased([]string{"CA4", "CA5"})
			if err == nil && (len(left) != 1 || !left["CA4"]) {
				err = fmt.Errorf("erased %v", left)
			}
			return err
		},
		"EraseCaller": func(p *store.Projection) error {
			return p.EraseCaller(event(id, "", 22, events.CallerErased{Ref: "ref"}), "ref")
		},
		"ErasedUntil": func(p *store.Projection) error {
			if err := p.EraseCaller(event(id, "", 23, events.CallerErased{Ref: "another"}), "another"); err != nil {
				return err
			}
			until, err := p.ErasedUntil([]string{"another", "nobody"})
			if err == nil && (len(until) != 1 || until["another"].IsZero()) {
				err = fmt.Errorf("erased %v", until)
			}
			return err
		},
		"EraseText": func(p *store.Projection) error {
			p.Text(event(id, "", 32, message), store.TextChange{Message: "m7", Recipient: "+17", Sent: &at})
			return p.EraseText(event(id, "", 34, events.SMSErased{Ref: "text"}), "text", "m7")
		},
		"Texts": func(p *store.Projection) error {
			p.Text(event(id, "CA1", 35, message), store.TextChange{Message: "m1", Call: "CA1", Recipient: "+1", Sent: &at})
			all, err := p.Texts()
			if err == nil && !slices.Equal(all, []string{"m1"}) {
				err = fmt.Errorf("texts %v", all)
			}
			return err
		},
		"Numbers": func(p *store.Projection) error {
			if err := p.Stated(event(id, "", 24, staged), staged.Caller, staged); err != nil {
				return err
			}
			p.Received(event(id, "CA7", 25, received), received)
			all, err := p.Numbers()
			if err == nil && (!slices.Contains(all, staged.Caller) || !slices.Contains(all, received.From)) {
				err = fmt.Errorf("numbers %v", all)
			}
			return err
		},
		"Forget": func(p *store.Projection) error {
			const number = "+16"
			p.Received(event(id, "CA6", 26, received), events.CallReceived{From: number, To: "+1"})
			p.Text(event(id, "", 27, message), store.TextChange{Message: "m6", Recipient: number, Sent: &at})
			p.OptOut(event(id, "", 28, optedOut), number, true)
			if err := p.Stated(event(id, "", 29, staged), number, staged); err != nil {
				return err
			}
			users, texts, err := p.Forget(event(id, "", 30, events.CallerErased{}), number, at.Add(time.Hour))
			if err == nil && (!slices.Equal(users, []string{number}) || !slices.Equal(texts, []string{"m6"})) {
				err = fmt.Errorf("callers %v, texts %v", users, texts)
			}
			if err == nil {
				err = p.EraseText(event(id, "", 30, events.CallerErased{}), "", texts[0])
			}
			left, err1 := p.Numbers()
			if err == nil && err1 == nil && slices.Contains(left, number) {
				err1 = fmt.Errorf("numbers %v", left)
			}
			return errors.Join(err, err1)
		},
		"OptOut":     plain(func(p *store.Projection) { p.OptOut(event(id, "", 8, optedOut), optedOut.Number, true) }),
		"SaveCaller": plain(func(p *store.Projection) { p.SaveCaller(known(name)) }),
		"SetApplied": plain(func(p *store.Projection) { p.SetApplied(9, "e") }),
		"CallerFacts": func(p *store.Projection) error {
			if err := p.Stated(event(id, "", 10, staged), staged.Caller, staged); err != nil {
				return err
			}
			facts, err := p.CallerFacts([]string{received.From, "+19"})
			if err == nil && (len(facts) != 1 || len(facts[received.From]) > 2) {
				err = fmt.Errorf("facts %+v", facts)
			}
			return err
		},
	}
}

// dump is every row of a tenant, as the superuser sees them.
func dump(t *testing.T, su *pgx.Conn, id events.Tenant) string {
	t.Helper()
	var out strings.Builder
	for _, table := range append(guarded(t, su), "customers", "phone_numbers", "api_keys") {
		var raw string
		err := su.QueryRow(t.Context(), `SELECT coalesce(jsonb_agg(to_jsonb(x) ORDER BY x::text), '[]')::text FROM `+table+` x WHERE customer_id = $1`, int32(id)).Scan(&raw)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&out, table, raw)
	}
	return out.String()
}

// seeded is a tenant with a row in every table a projection writes, and claims.
func seeded(t *testing.T, name string) (events.Tenant, *store.Tenant) {
	t.Helper()
	s, rows := customer(t)
	write := func(p *store.Projection) error {
		all := writes(s.Tenant, name)
		for _, control := range []string{"CallerFacts", "CallersAfter", "Template", "Refold", "Refolded", "DropCaller", "Erase", "CallersErased", "Forget", "Numbers"} { // they write nothing but their own control
			delete(all, control)
		}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if err := all[name](p); err != nil {
				return err
			}
		}
		return nil
	}
	err := errors.Join(rows.Project(t.Context(), "p", created, write), rows.Rebuild(t.Context(), "r", created, write))
	_, err1 := rows.ClaimText(t.Context(), "m1", "+1", "w", time.Hour)
	_, err2 := rows.ClaimExtraction(t.Context(), "CA1", "k", "w", time.Hour)
	err3 := rows.SaveErasure(t.Context(), store.Erasure{ID: "e", Kind: "call", By: name, State: "done", Requested: created})
	_, err4 := rows.ClaimCall(t.Context(), "CA1", name)
	if err := errors.Join(err, err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	return s.Tenant, rows
}

// methods is what an outsider can call on v, less those named.
func methods(v any, less ...string) (names []string) {
	for i := range reflect.TypeOf(v).NumMethod() {
		if name := reflect.TypeOf(v).Method(i).Name; !slices.Contains(less, name) {
			names = append(names, name)
		}
	}
	return names
}

// Whatever a projection writes under the same names for one tenant changes
// nothing of another's, and changes its own.
func TestProjectionsWriteTheirOwnTenantOnly(t *testing.T) {
	t.Parallel()
	su := admin(t)
	if got, want := slices.Sorted(maps.Keys(writes(1, ""))), methods(&store.Projection{}); !slices.Equal(got, want) {
		t.Fatalf("tried are %v, of %v", got, want)
	}
	a, _ := seeded(t, "Ann")
	untouched := dump(t, su, a)
	for name := range writes(1, "") {
		t.Run(name, func(t *testing.T) {
			s, rows := customer(t)
			empty := dump(t, su, s.Tenant)
			if err := rows.Project(t.Context(), "p", created, writes(s.Tenant, "Ben")[name]); err != nil {
				t.Fatal(err)
			}
			if dump(t, su, s.Tenant) == empty {
				t.Error("nothing was written")
			}
			if dump(t, su, a) != untouched {
				t.Error("another tenant's rows have changed")
			}
		})
	}
}

// An event of one tenant cannot be written into another's rows: not it, and
// nothing beside it.
func TestEventsOfOthersAreRefused(t *testing.T) {
	t.Parallel()
	su := admin(t)
	a, _ := customer(t)
	b, rows := customer(t)
	empty := dump(t, su, b.Tenant)
	all := writes(a.Tenant, "Ann")
	for _, name := range []string{"SaveCaller", "SetApplied", "DropCaller", "Erase", "CallersErased"} {
		delete(all, name) // they take no event
	}
	for name, write := range all {
		t.Run(name, func(t *testing.T) {
			err := rows.Project(t.Context(), "p", created, func(p *store.Projection) error {
				p.SetApplied(3, "e")
				return write(p)
			})
			if !errors.Is(err, store.ErrWrongTenant) {
				t.Errorf("%v", err)
			}
			if dump(t, su, b.Tenant) != empty {
				t.Error("something was written")
			}
		})
	}
}

// outcome is what comes of one method of a tenant's handle.
type outcome struct {
	do         func(context.Context, *store.Tenant) (string, error)
	own, other string // what comes back
	changes    bool
}

// handles are the methods of a tenant's handle, each as it would be called for
// what seeded has written. A second case of a method has a name after a comma.
func handles(t *testing.T) map[string]outcome {
	t.Helper()
	show := func(v any, err error) (string, error) { return fmt.Sprintf("%v", v), err }
	claim := func(c store.Claim, err error) (string, error) { return fmt.Sprint(c.Ours, c.Attempts), err }
	return map[string]outcome{
		"Call": {func(ctx context.Context, r *store.Tenant) (string, error) {
			c, err := r.Call(ctx, "CA1")
			return c.ID, err
		}, "CA1", "not found", false},
		"Calls": {func(ctx context.Context, r *store.Tenant) (string, error) {
			c, err := r.Calls(ctx, 10)
			return show(len(c), err)
		}, "1", "0", false},
		"CallerContext": {func(ctx context.Context, r *store.Tenant) (string, error) {
			c, err := r.CallerContext(ctx, received.From, 5)
			return show([]any{c.Known, c.Name, c.QuickBio, c.Stage, len(c.Summaries), c.Style, c.Memories}, err)
		}, "[true Ann bio of Ann Follow-up 1 map[warmth:70] map[dog:Ann's]]", "[false    0 map[] map[]]", false},
		"CallersKnown": {func(ctx context.Context, r *store.Tenant) (string, error) {
			c, err := r.CallersKnown(ctx, []string{received.From})
			k := c[received.From]
			return show([]any{len(c), k.Name, k.Calls, k.Summaries, k.Memories, len(k.Averages)}, err)
		}, "[1 Ann 1 1 1 1]", "[0  0 0 0 0]", false},
		"Texts": {func(ctx context.Context, r *store.Tenant) (string, error) {
			c, err := r.Texts(ctx, "CA1")
			return show(len(c), err)
		}, "1", "0", false},
		"OtherTexts": {func(ctx context.Context, r *store.Tenant) (string, error) {
			if err := r.TextSent(ctx, "m1", "SM1"); err != nil && !errors.Is(err, store.ErrNotFound) {
				return "", err
			}
			sids, err := r.OtherTexts(ctx, "m9", "+1")
			return show(len(sids), err)
		}, "1", "0", true},
		"OptedOut": {func(ctx context.Context, r *store.Tenant) (string, error) {
			return show(r.OptedOut(ctx, optedOut.Number))
		}, "true", "false", false},
		"ClaimText": {func(ctx context.Context, r *store.Tenant) (string, error) {
			return claim(r.ClaimText(ctx, "m1", "+1", "x", 0))
		}, "true 2", "true 1", true},
		"ClaimExtraction": {func(ctx context.Context, r *store.Tenant) (string, error) {
			return claim(r.ClaimExtraction(ctx, "CA1", "k", "w", 0))
		}, "true 2", "true 1", true},
		"ClaimCall": {func(ctx context.Context, r *store.Tenant) (string, error) {
			return r.ClaimCall(ctx, "CA1", "x")
		}, "Ann", "x", false},
		"SaveExtraction": {func(ctx context.Context, r *store.Tenant) (string, error) {
			return "", r.SaveExtraction(ctx, "CA1", "k", []byte("{}"))
		}, "", "not found", true},
		"ReleaseExtraction": {func(ctx context.Context, r *store.Tenant) (string, error) {
			return "", r.ReleaseExtraction(ctx, "CA1", "k", "w")
		}, "", "", true},
		"UnclaimText": {func(ctx context.Context, r *store.Tenant) (string, error) { return "", r.UnclaimText(ctx, "m1", "w") }, "", "", true},
		"TextSent":    {func(ctx context.Context, r *store.Tenant) (string, error) { return "", r.TextSent(ctx, "m1", "SM1") }, "", "not found", true},
		"TextFailed": {func(ctx context.Context, r *store.Tenant) (string, error) {
			return "", r.TextFailed(ctx, "m1", "30003")
		}, "", "not found", true},
		"RowsAbout": {func(ctx context.Context, r *store.Tenant) (string, error) {
			rows, err := r.RowsAbout(ctx, store.Subject{Caller: received.From, Calls: []string{"CA1"}, Texts: []string{"m1"}})
			return show([]any{len(rows) >= 14, len(rows["calls"])}, err)
		}, "[true 1]", "[false 0]", false},
		"EraseAll": {func(ctx context.Context, r *store.Tenant) (string, error) {
			n, err := r.EraseAll(ctx)
			return show([]any{n["calls"], n["rebuild.calls"], n["extractions"]}, err)
		}, "[1 1 1]", "[0 0 0]", true},
		"Callers": {func(ctx context.Context, r *store.Tenant) (string, error) {
			all, err := r.Callers(ctx, "+", 10)
			return show(slices.Contains(all, received.From), err)
		}, "true", "false", false},
		"Expired": {func(ctx context.Context, r *store.Tenant) (string, error) {
			callers, calls, err := r.Expired(ctx, created.Add(24*365*time.Hour), 10)
			return show([]any{slices.Contains(callers, received.From), len(calls)}, err)
		}, "[true 0]", "[false 0]", false},
		"CallsOfNobody": {func(ctx context.Context, r *store.Tenant) (string, error) {
			err := r.Project(ctx, "p", created, func(p *store.Projection) error {
				p.Received(event(store.IDOf(r), "CAnobody", 30, received), events.CallReceived{From: "anonymous", To: "+1"})
				return nil
			})
			if err != nil {
				return "", err
			}
			return show(r.CallsOfNobody(ctx))
		}, "[CAnobody]", "[CAnobody]", true},
		"ExpireRaw": {func(ctx context.Context, r *store.Tenant) (string, error) {
			return show(r.ExpireRaw(ctx, time.Now().Add(2*time.Hour), false))
		}, "1", "0", true},
		"SaveErasure": {func(ctx context.Context, r *store.Tenant) (string, error) {
			return "", r.SaveErasure(ctx, store.Erasure{ID: "e", Kind: "call", By: "x", State: "begun", Requested: created})
		}, "", "", true},
		"AskErasure": {func(ctx context.Context, r *store.Tenant) (string, error) {
			if err := r.AskErasure(ctx, store.Erasure{ID: "e", Kind: "call", By: "x", State: "asked", Requested: created}); err != nil {
				return "", err
			}
			e, err := r.Erasure(ctx, "e")
			return e.State, err
		}, "done", "asked", false},
		"Erasures": {func(ctx context.Context, r *store.Tenant) (string, error) {
			all, err := r.Erasures(ctx)
			if err != nil {
				return "", err
			}
			some, err := r.Erasures(ctx, "begun", "done")
			none, err1 := r.Erasures(ctx, "begun")
			return show([]int{len(all), len(some), len(none)}, errors.Join(err, err1))
		}, "[1 1 0]", "[0 0 0]", false},
		"ErasedUntil": {func(ctx context.Context, r *store.Tenant) (string, error) {
			until, err := r.ErasedUntil(ctx, "ref")
			return show(until.IsZero(), err)
		}, "false", "true", false},
		"Erasure": {func(ctx context.Context, r *store.Tenant) (string, error) {
			e, err := r.Erasure(ctx, "e")
			return e.By, err
		}, "Ann", "not found", false},
		"Project": {func(ctx context.Context, r *store.Tenant) (string, error) {
			var applied uint64
			err := r.Project(ctx, "p", created, func(p *store.Projection) error {
				applied = p.Applied
				p.SetApplied(10, "e")
				return nil
			})
			return show(applied, err)
		}, "9", "0", true},
		"Rebuild": {func(ctx context.Context, r *store.Tenant) (string, error) {
			var applied uint64
			err := r.Rebuild(ctx, "r", created, func(p *store.Projection) error {
				applied = p.Applied
				p.SetApplied(10, "e")
				return nil
			})
			return show(applied, err)
		}, "9", "0", true},
		"Positions": {func(ctx context.Context, r *store.Tenant) (string, error) { return show(r.Positions(ctx, "p", "r")) }, "{9 9}", "{0 0}", false},
		"ClearRebuilt": {func(ctx context.Context, r *store.Tenant) (string, error) {
			if err := r.ClearRebuilt(ctx, "another"); err != nil {
				return "", err
			}
			return show(r.Positions(ctx, "p", "r"))
		}, "{9 0}", "{0 0}", true},
		"Snapshot": {func(ctx context.Context, r *store.Tenant) (string, error) {
			s, err := r.Snapshot(ctx, "p")
			return show([]any{s.Applied, len(s.Profiles), s.Rows["calls"], s.Rows["memories"]}, err)
		}, "[9 1 1 1]", "[0 0 0 0]", false},
		"Kept": {func(ctx context.Context, r *store.Tenant) (string, error) {
			n := map[string]int{}
			err := r.Kept(ctx, func(table string, _ []byte) error { n[table]++; return nil })
			return show(n, err)
		}, "map[erasures:1 extractions:1 sms_outbox:1]", "map[]", false},
		"KeptTables": {func(ctx context.Context, r *store.Tenant) (string, error) {
			names, err := r.KeptTables(ctx)
			return show(slices.Contains(names, "extractions") && slices.Contains(names, "sms_outbox") && !slices.Contains(names, "calls"), err)
		}, "true", "true", false},
		"Restore": {func(ctx context.Context, r *store.Tenant) (string, error) {
			row := `{"customer_id":1,"call_id":"CA1","key":"k","claimed_by":"w","lease_until":"2026-01-01T00:00:00Z","attempts":7,"result":{}}`
			if err := r.Restore(ctx, "extractions", [][]byte{[]byte(row)}, true); err != nil {
				return "", err
			}
			return claim(r.ClaimExtraction(ctx, "CA1", "k", "w", 0))
		}, "false 7", "false 7", true},
		"Compare": {func(ctx context.Context, r *store.Tenant) (string, error) {
			c, _, ok, err := r.Compare(ctx, "p", "r", "", false, func(store.Difference) {})
			return show([]any{c.Rows >= 10, c.Different, ok}, err)
		}, "[true 0 true]", "[false 0 true]", false},
		"Swap": {func(ctx context.Context, r *store.Tenant) (string, error) {
			c, err := r.Swap(ctx, "p", "r", "", func(context.Context) error { return nil }, func(store.Difference) {})
			return show([]any{c.Rows >= 10, c.Different}, err)
		}, "[true 0]", "[false 0]", true},
		"Memories": {func(ctx context.Context, r *store.Tenant) (string, error) {
			m, err := r.Memories(ctx, store.MemoriesAsked{User: received.From, Type: "preference", Key: "dog", After: &store.Place{At: created.Add(time.Hour)}, Limit: 10})
			return show(len(m), err)
		}, "1", "0", false},
		"Memory": {func(ctx context.Context, r *store.Tenant) (string, error) {
			m, err := r.Memory(ctx, "m")
			return m.Value, err
		}, "Ann's", "not found", false},
		"SearchMemories": {func(ctx context.Context, r *store.Tenant) (string, error) {
			m, err := r.SearchMemories(ctx, store.MemoriesAsked{User: received.From, Limit: 10}, "which dog?")
			return show(len(m), err)
		}, "1", "0", false},
		"Summaries": {func(ctx context.Context, r *store.Tenant) (string, error) {
			s, total, err := r.Summaries(ctx, received.From, &store.Place{At: created.Add(time.Hour)}, 10)
			return show([]int{len(s), total}, err)
		}, "[1 1]", "[0 0]", false},
		"SearchSummaries": {func(ctx context.Context, r *store.Tenant) (string, error) {
			s, err := r.SearchSummaries(ctx, received.From, "Ann", 10)
			return show(len(s), err)
		}, "1", "0", false},
		"Profile": {func(ctx context.Context, r *store.Tenant) (string, error) {
			p, err := r.Profile(ctx, received.From)
			return p.Name + string(p.Preferences), err
		}, `Ann{"dog": "Ann's"}`, "not found", false},
		"Profiles": {func(ctx context.Context, r *store.Tenant) (string, error) {
			p, total, err := r.Profiles(ctx, "", 10)
			return show([]int{len(p), total}, err)
		}, "[1 1]", "[0 0]", false},
		"Sentiments": {func(ctx context.Context, r *store.Tenant) (string, error) {
			return show(r.Sentiments(ctx, received.From))
		}, "[positive]", "not found", false},
		"Enriched": {func(ctx context.Context, r *store.Tenant) (string, error) {
			e, err := r.Enriched(ctx, received.From, 5)
			return show([]any{e.Known, e.Name, e.Stage != nil, len(e.Summaries), len(e.Memories), e.Averages != nil}, err)
		}, "[true Ann true 1 1 true]", "[false  false 0 0 false]", false},
		"CallRow": {func(ctx context.Context, r *store.Tenant) (string, error) {
			c, err := r.CallRow(ctx, "CA1")
			return c.ID, err
		}, "CA1", "not found", false},
		"Erased": {func(ctx context.Context, r *store.Tenant) (string, error) { return show(r.Erased(ctx, "CA9")) }, "true", "false", false},
		"Stated": {func(ctx context.Context, r *store.Tenant) (string, error) {
			raw, err := r.Stated(ctx, staged.Caller, "stated")
			return show(len(raw) > 0, err)
		}, "true", "not found", false},
	}
}

// tried are the methods that cases are of.
func tried[V any](cases map[string]V) []string {
	var names []string
	for name := range cases {
		method, _, _ := strings.Cut(name, ",")
		names = append(names, method)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Every method of a tenant's handle finds and changes that tenant's rows, and
// for the same names under another tenant finds nothing and changes nothing.
func TestHandlesReachTheirOwnTenantOnly(t *testing.T) {
	t.Parallel()
	all := handles(t)
	if got, want := tried(all), methods(&store.Tenant{}); !slices.Equal(got, want) {
		t.Fatalf("tried are %v, of %v", got, want)
	}
	for name, want := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			su := admin(t)
			a, ann := seeded(t, "Ann")
			_, ben := customer(t)
			before := dump(t, su, a)
			check := func(who string, r *store.Tenant, want string) {
				t.Helper()
				got, err := all[name].do(t.Context(), r)
				if errors.Is(err, store.ErrNotFound) {
					got, err = "not found", nil
				}
				if err != nil || got != want {
					t.Errorf("%s gets %q, %v; want %q", who, got, err, want)
				}
			}
			check("another tenant", ben, want.other)
			if dump(t, su, a) != before {
				t.Error("another tenant has changed these rows")
			}
			check("the tenant", ann, want.own)
			if changed := dump(t, su, a) != before; changed != want.changes {
				t.Errorf("own rows changed: %v", changed)
			}
			for _, nobody := range []*store.Tenant{nil, {}} {
				if _, err := want.do(t.Context(), nobody); !errors.Is(err, events.ErrNoTenant) {
					t.Errorf("nobody gets %v", err)
				}
			}
		})
	}
}

// platform are the methods of the store that are about one tenant.
func platform() map[string]func(context.Context, events.Tenant) error {
	return map[string]func(context.Context, events.Tenant) error{
		"Settings": func(ctx context.Context, id events.Tenant) error {
			s, err := shared.Settings(ctx, id)
			if err == nil && s.Tenant != id {
				err = fmt.Errorf("settings of %s", s.Tenant)
			}
			return err
		},
		"UpdateSettings": func(ctx context.Context, id events.Tenant) error {
			_, _, err := shared.UpdateSettings(ctx, id, func(s *events.Settings) error { s.Tenant = 1; s.Greeting = "hi"; return nil })
			return err
		},
		"CustomerSince": func(ctx context.Context, id events.Tenant) error {
			at, err := shared.CustomerSince(ctx, id)
			if err == nil && at.IsZero() {
				err = errors.New("since never")
			}
			return err
		},
		"MarkPublished": func(ctx context.Context, id events.Tenant) error { return shared.MarkPublished(ctx, id, 1) },
		"Resident": func(ctx context.Context, id events.Tenant) error {
			r, err := shared.Resident(ctx, id)
			if err == nil && (r.Settings.Tenant != id || len(r.Keys) != 1) {
				err = fmt.Errorf("%d keys of %s", len(r.Keys), r.Settings.Tenant)
			}
			return err
		},
		"Settle": func(ctx context.Context, id events.Tenant) error {
			_, err := shared.Settle(ctx, events.Settings{Tenant: id, Version: 9, Status: "active"})
			return err
		},
		"NewAPIKey": func(ctx context.Context, id events.Tenant) error {
			_, key, err := shared.NewAPIKey(ctx, id, store.KeyOptions{Name: "second"})
			if err == nil && !strings.HasPrefix(key, "ns_"+id.String()+"_") {
				err = fmt.Errorf("key %s", key[:8])
			}
			return err
		},
		"APIKeys": func(ctx context.Context, id events.Tenant) error {
			all, err := shared.APIKeys(ctx, id)
			if err == nil && (len(all) != 1 || all[0].Tenant != id) {
				err = fmt.Errorf("keys %+v", all)
			}
			return err
		},
		"RevokeAPIKey": func(ctx context.Context, id events.Tenant) error {
			if !id.Valid() {
				return shared.RevokeAPIKey(ctx, id, "x")
			}
			all, err := shared.APIKeys(ctx, id)
			if err != nil {
				return err
			}
			if err := shared.RevokeAPIKey(ctx, id+1_000_000, all[0].ID); !errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("another's: %w", err)
			}
			return shared.RevokeAPIKey(ctx, id, all[0].ID)
		},
	}
}

// What the platform does for one tenant it does to that one alone.
func TestPlatformActsOnTheTenantNamed(t *testing.T) {
	t.Parallel()
	su := admin(t)
	for name, do := range platform() {
		t.Run(name, func(t *testing.T) {
			a, _ := customer(t)
			b, _ := customer(t)
			before, own := dump(t, su, a.Tenant), dump(t, su, b.Tenant)
			if err := do(t.Context(), b.Tenant); err != nil {
				t.Error(err)
			}
			if changed := dump(t, su, b.Tenant) != own; changed == slices.Contains([]string{"Settings", "APIKeys", "Resident", "CustomerSince"}, name) {
				t.Errorf("changed: %v", changed)
			}
			if err := do(t.Context(), 880001); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("nobody's: %v", err)
			}
			if err := do(t.Context(), 0); !errors.Is(err, events.ErrNoTenant) {
				t.Errorf("no tenant: %v", err)
			}
			if dump(t, su, a.Tenant) != before {
				t.Error("another tenant's rows have changed")
			}
		})
	}
}
