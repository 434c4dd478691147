package legacy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/internal/testenv"
)

// oldDDL is how the old service made its tables; in older installations without
// the constraints that $U stands for.
const oldDDL = `
create table memories (
  id uuid primary key, user_id text not null, type varchar(50), key varchar(255), value text, created_at timestamp);
create table call_summaries (
  id uuid primary key, call_id varchar(255) not null $U, user_id varchar(255) not null, call_date timestamp not null,
  summary text not null, key_topics jsonb, key_variables jsonb, sentiment varchar(50), duration_seconds integer,
  resolution_status varchar(50), created_at timestamp not null, embedding float[]);
create table caller_profiles (
  id uuid primary key, user_id varchar(255) not null $U, first_call_date timestamp not null, last_call_date timestamp not null,
  total_calls integer, preferred_name varchar(255), preferences jsonb, context jsonb,
  created_at timestamp not null, updated_at timestamp not null);
create table personality_metrics (
  id uuid primary key, user_id varchar(255) not null, call_id varchar(255) not null, measured_at timestamp not null,
  openness float, conscientiousness float, extraversion float, agreeableness float, neuroticism float,
  formality float, directness float, detail_orientation float, patience float, technical_comfort float,
  frustration_level float, satisfaction_level float, urgency_level float, created_at timestamp not null);
create table personality_averages (
  user_id varchar(255) not null $U, call_count integer, last_updated timestamp not null,
  avg_openness float, avg_conscientiousness float, avg_extraversion float, avg_agreeableness float, avg_neuroticism float,
  avg_formality float, avg_directness float, avg_detail_orientation float, avg_patience float, avg_technical_comfort float,
  recent_frustration float, recent_satisfaction float, recent_urgency float,
  satisfaction_trend varchar(20), frustration_trend varchar(20));
-- Made up, the same every time.
create function pg_temp.h(what text, i bigint) returns bigint language sql immutable as $$ select ('x' || substr(md5(what || i), 1, 12))::bit(48)::bigint $$;
create function pg_temp.id(what text, i bigint) returns uuid language sql immutable as $$ select md5(what || i)::uuid $$;
create function pg_temp.day(i bigint) returns timestamp language sql immutable as $$ select timestamp '2024-01-01' + (i % 500) * interval '1 day' + (i % 86399) * interval '1 second' $$;
-- Every tenth row spells its number in full, a few callers are no number.
create function pg_temp.who(i bigint, nth bigint, callers bigint) returns text language sql immutable as $$
  select case when i % 1000 = 7 then (array['admin', 'unknown', 'shared', 'guest 7'])[1 + i / 1000 % 4]
    when nth % 10 = 3 and $4 then '+1' || (2065000000 + i) else (2065000000 + i)::text end $$;
`

// old says how large the generated database is. A third of the profiles are
// duplicates unless the constraints are there.
type old struct {
	memories, profiles int
	unique             bool
}

// callers are those with a number, or a few words in the place of one.
func (o old) callers() int { return o.profiles * 2 / 3 }

// load fills an empty database.
func (o old) load(t testing.TB, dsn string) {
	t.Helper()
	c := dial(t, dsn)
	callers, constraint, mixed := o.callers(), "", "true"
	if o.unique {
		o.profiles, constraint, mixed = callers, "unique", "false"
	}
	ddl := strings.ReplaceAll(strings.ReplaceAll(oldDDL, "$U", constraint), "$4", mixed)
	where := func(sql string) string {
		return strings.NewReplacer("$N", fmt.Sprint(o.memories), "$P", fmt.Sprint(o.profiles), "$C", fmt.Sprint(callers)).Replace(sql)
	}
	for _, sql := range []string{ddl, `
		insert into memories select pg_temp.id('m', i), pg_temp.who(pg_temp.h('mc', i) % $C, i, $C), (array['person','preference','project','rule','moment','fact',null])[1 + i % 7],
			case when i % 50 <> 9 then 'key ' || i % 40 end,
			case i % 4 when 0 then '{"n":' || i || ',"said":"something"}' when 1 then 'drives a car number ' || i when 2 then to_json('word ' || i)::text when 3 then nullif((i % 300)::text, '3') end,
			case when i % 97 <> 5 then pg_temp.day(pg_temp.h('md', i)) end
		from generate_series(1, $N) i`, `
		insert into call_summaries select pg_temp.id('s', i), 'CA' || md5('call' || i), pg_temp.who(i % $C, i, $C), pg_temp.day(pg_temp.h('sd', i)), 'Caller asked about matter ' || i,
			case when i % 5 <> 2 then '["matter", "number"]'::jsonb end, case i % 3 when 0 then jsonb_build_object('matter', i, 'car', 'Camry') when 1 then '[]' end,
			(array['positive','neutral','Frustrated','odd',null])[1 + i % 5], case when i % 6 <> 1 then i % 900 end, (array['resolved','pending','escalated','unknown',null,'half'])[1 + i % 6], pg_temp.day(pg_temp.h('sd', i)) + interval '10 minutes'
		from generate_series(1, 2 * $C) i`, `
		insert into caller_profiles select pg_temp.id('p', i), pg_temp.who(i % $C, i, $C), pg_temp.day(i % 200), pg_temp.day(200 + pg_temp.h('pl', i) % 200), nullif(i % 9, 8),
			case when i % 3 <> 0 then 'Name ' || i end, case i % 4 when 0 then null when 1 then '{}' else jsonb_build_object('contact', 'by ' || (array['phone','text','post'])[1 + i % 3], 'p' || i % 5, i) end,
			case when i % 2 = 0 then jsonb_build_object('last', i, 'nested', jsonb_build_object('a', i % 7)) end, pg_temp.day(i), pg_temp.day(i) + i * interval '1 microsecond'
		from generate_series(1, $P) i`, `
		insert into personality_metrics select pg_temp.id('x', i), pg_temp.who(i % $C, i, $C), case when i % 8 = 1 then '' else 'CA' || md5('call' || i) end, pg_temp.day(pg_temp.h('sd', i)),
			` + traitValues() + `, pg_temp.day(pg_temp.h('sd', i))
		from generate_series(1, 2 * $C) i where i % 4 <> 3`, `
		insert into personality_averages select pg_temp.who(i % $C, i, $C), i % 7, pg_temp.day(i) + i * interval '1 microsecond', ` + averageValues() + `, 20.5, 60, 10,
			(array['improving','declining','stable',null])[1 + i % 4], 'stable'
		from generate_series(1, $P) i`} {
		if o.unique && strings.Contains(sql, "insert into caller_profiles") || o.unique && strings.Contains(sql, "insert into personality_averages") {
			sql += ` on conflict do nothing`
		}
		if _, err := c.Exec(t.Context(), where(sql)); err != nil {
			t.Fatalf("%v in %.80s", err, sql)
		}
	}
	if _, err := c.Exec(t.Context(), `create index on memories (user_id); create index on call_summaries (user_id); create index on caller_profiles (user_id); create index on personality_metrics (user_id); create index on personality_averages (user_id); analyze`); err != nil {
		t.Fatal(err)
	}
}

func traitValues() string {
	var out []string
	for k := range 13 {
		out = append(out, fmt.Sprintf("case when i %% 31 <> %d then (pg_temp.h('t%d', i) %% 10000) / 100.0 end", k, k))
	}
	return strings.Join(out, ", ")
}

func averageValues() string {
	var out []string
	for k := range 10 {
		out = append(out, fmt.Sprintf("(pg_temp.h('a%d', i) %% 100)", k))
	}
	return strings.Join(out, ", ")
}

// shared adds what older installations have besides: calls noted twice, calls
// of two callers under one id, and none at all.
func shared(t testing.TB, dsn string) {
	t.Helper()
	run(t, dsn, `insert into call_summaries (id, call_id, user_id, call_date, summary, created_at)
			select md5('again' || call_id)::uuid, call_id, case when user_id ~ '^[0-9]' then '+1' || user_id else user_id end, call_date, 'Noted again', created_at + interval '1 hour' from call_summaries order by id limit 12`,
		`insert into call_summaries (id, call_id, user_id, call_date, summary, created_at) values
			(md5('u1')::uuid, 'same', '2065000001', '2024-03-01', 'One', '2024-03-01'), (md5('u2')::uuid, 'same', '2065000002', '2024-03-02', 'Other', '2024-03-02'),
			(md5('u5')::uuid, 'same', '+12065000001', '2024-03-05', 'One again', '2024-03-05'), (md5('u3')::uuid, '', '2065000001', '2024-03-03', 'None', '2024-03-03'), (md5('u4')::uuid, '', '2065000001', '2024-03-04', 'None', '2024-03-04')`)
}

func dial(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func run(t testing.TB, dsn string, statements ...string) {
	t.Helper()
	c := dial(t, dsn)
	for _, sql := range statements {
		if _, err := c.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%v in %.80s", err, sql)
		}
	}
}

func one[T any](t testing.TB, dsn, sql string) (v T) {
	t.Helper()
	c := dial(t, dsn)
	if err := c.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%v in %.80s", err, sql)
	}
	c.Close(t.Context()) // often asked, while others write
	return v
}

// writer is the old service: for each call it notes a memory, the profile, the
// summary, the metrics and the averages, and knows nothing of customers.
type writer struct {
	calls    int64
	total    int64 // added to total_calls
	averaged int64 // added to call_count
	worst    time.Duration
	at       string // what it was doing then
	err      error
}

// live has a writer write until stop is called.
func live(t testing.TB, dsn string, callers int, conflict bool) (stop func() *writer) {
	t.Helper()
	c := dial(t, dsn)
	w := &writer{}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		for n := 0; ctx.Err() == nil && w.err == nil; n++ {
			w.call(ctx, c, n, callers, conflict)
			time.Sleep(time.Millisecond) // a pace, not a wait
		}
	})
	var once sync.Once
	stop = func() *writer {
		once.Do(func() { cancel(); done.Wait() })
		return w
	}
	t.Cleanup(func() { stop() })
	return stop
}

// userOf is whose its nth call is.
func userOf(n, callers int) string { return fmt.Sprint(2065000000 + (n*37)%callers) }

func (w *writer) call(ctx context.Context, c *pgx.Conn, n, callers int, conflict bool) {
	user := userOf(n, callers)
	exec := func(sql string, args ...any) int64 {
		if w.err != nil {
			return 0
		}
		began := time.Now()
		// Not cut off by the end: what was counted is what was written.
		tag, err := c.Exec(context.WithoutCancel(ctx), sql, args...)
		if took := time.Since(began); took > w.worst {
			w.worst, w.at = took, sql[:min(40, len(sql))]
		}
		if err != nil {
			w.err = fmt.Errorf("%.40s: %w", sql, err)
		}
		return tag.RowsAffected()
	}
	call := fmt.Sprintf("live-%d", n)
	exec(`INSERT INTO memories (id, user_id, type, key, value, created_at) VALUES (gen_random_uuid(), $1, 'fact', 'live', 'said something', now())`, user)
	if conflict {
		w.total += exec(`INSERT INTO caller_profiles (id, user_id, first_call_date, last_call_date, total_calls, created_at, updated_at) VALUES (gen_random_uuid(), $1, now(), now(), 1, now(), now())
			ON CONFLICT (user_id) DO UPDATE SET total_calls = coalesce(caller_profiles.total_calls, 0) + 1, updated_at = now()`, user)
	} else if changed := exec(`UPDATE caller_profiles SET total_calls = coalesce(total_calls, 0) + 1, updated_at = now() WHERE user_id = $1`, user); changed > 0 {
		w.total += changed
	} else {
		w.total += exec(`INSERT INTO caller_profiles (id, user_id, first_call_date, last_call_date, total_calls, created_at, updated_at) VALUES (gen_random_uuid(), $1, now(), now(), 1, now(), now())`, user)
	}
	exec(`INSERT INTO call_summaries (id, call_id, user_id, call_date, summary, created_at) VALUES (gen_random_uuid(), $1, $2, now(), 'Asked something', now())`, call, user)
	exec(`INSERT INTO personality_metrics (id, user_id, call_id, measured_at, openness, satisfaction_level, created_at) VALUES (gen_random_uuid(), $1, $2, now(), 50, 75, now())`, user, call)
	w.averaged += exec(`UPDATE personality_averages SET call_count = coalesce(call_count, 0) + 1, last_updated = now() WHERE user_id = $1`, user)
	if w.err == nil {
		w.calls++
	}
	if errors.Is(w.err, context.Canceled) {
		w.err = nil
	}
}

// database is an empty one whose tables are the old service's role's.
func database(t testing.TB, d *testenv.Database) (admin, owner string) {
	t.Helper()
	return d.Empty(t, "old_service")
}
