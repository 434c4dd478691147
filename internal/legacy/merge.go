package legacy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// How many callers or calls are merged in one transaction: what writes to them
// meanwhile waits that long. There are fewer where that takes long, and more
// where it does not.
const (
	sliceFirst = 5
	sliceMost  = 100
	sliceTakes = 8 * time.Millisecond
)

// merger is how rows of one table become one per thing.
type merger struct {
	table string
	by    string // the column that names the thing
	dups  string // SQL: things with more than one row
	one   string // SQL: merges the things in $1; yields how many rows lost
	sums  string // SQL: over the things in $1, must be the same afterwards
	index index  // of which there can then be one
}

// merge leaves one row per caller or call where there are several. A writer may
// add another just before the unique index is there: then it begins again.
func (m *migration) merge(ctx context.Context) error {
	if err := m.ownCalls(ctx); err != nil {
		return err
	}
	for _, g := range []merger{mergeSummaries(), mergeProfiles(), mergeAverages()} {
		if err := m.mergeTable(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

func (m *migration) mergeTable(ctx context.Context, g merger) error {
	_, done, err := m.indexState(ctx, g.index.name)
	if err != nil {
		return err
	}
	if pk, err := m.primaryKey(ctx, g.table); err != nil || done || g.table == tableAverages && len(pk.columns) > 0 && pk.columns[0] == "customer_id" {
		return err
	}
	help := index{g.table + "_merging", g.table, "customer_id, " + g.by, false}
	if err := m.build(ctx, help); err != nil {
		return err
	}
	out := Merged{Table: g.table}
	for try := 0; ; try++ {
		err := m.step(ctx, g.table, "merge rows of the same "+g.by, func(ctx context.Context) error { return m.mergeAll(ctx, g, &out) })
		if err == nil {
			err = m.build(ctx, g.index)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, errDuplicates) || try == 20 {
			return err
		}
	}
	m.report.Merged = append(m.report.Merged, out)
	return m.long(ctx, `DROP INDEX CONCURRENTLY IF EXISTS `+m.tables[g.table].schema+`.`+help.name)
}

// mergeAll merges slice by slice, each in a transaction that asserts its sums.
func (m *migration) mergeAll(ctx context.Context, g merger, out *Merged) error {
	if err := m.mergeLog(ctx, g.table); err != nil {
		return err
	}
	rows, err := m.conn.Query(ctx, g.dups)
	if err != nil {
		return err
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	slice := sliceFirst
	for n, said := 0, time.Now(); n < len(all); {
		things := all[n:min(n+slice, len(all))]
		var lost int
		began := time.Now()
		err := m.short(ctx, "merging in "+g.table, func() error {
			return pgx.BeginFunc(ctx, m.conn, func(tx pgx.Tx) (err error) {
				lost, err = mergeSome(ctx, tx, g, things)
				return err
			})
		})
		if err != nil {
			return err
		}
		out.Things += len(things)
		out.Losers += lost
		n += len(things)
		if took := time.Since(began); took > sliceTakes {
			slice = max(slice/2, 1)
		} else if took < sliceTakes/2 {
			slice = min(slice+5, sliceMost)
		}
		if time.Since(said) > progressEvery {
			said = time.Now()
			m.Progress(g.table, fmt.Sprintf("merged %d of %d", n, len(all)))
		}
	}
	return nil
}

// mergeSome takes every row it needs or gives up: it never holds one while it
// waits for another, so that no writer can be its deadlock.
func mergeSome(ctx context.Context, tx pgx.Tx, g merger, things []string) (lost int, err error) {
	var before, after string
	var b pgx.Batch
	b.Queue(`SELECT FROM `+g.table+` WHERE customer_id = 1 AND `+g.by+` = ANY ($1) FOR UPDATE NOWAIT`, things)
	b.Queue(g.sums, things).QueryRow(func(r pgx.Row) error { return r.Scan(&before) })
	b.Queue(g.one, things).QueryRow(func(r pgx.Row) error { return r.Scan(&lost) })
	b.Queue(g.sums, things).QueryRow(func(r pgx.Row) error { return r.Scan(&after) })
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return 0, err
	}
	if before != after {
		return 0, fmt.Errorf("sums differ: %s before merging, %s after", before, after)
	}
	return lost, nil
}

// mergeLog makes the table that keeps what lost. Only its owner reaches it.
func (m *migration) mergeLog(ctx context.Context, name string) error {
	var there bool
	log := m.tables[name].schema + "." + name + "_merge_log"
	if err := m.conn.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, log).Scan(&there); err != nil || there {
		return err
	}
	return m.ddl(`CREATE TABLE ` + log + ` (customer_id int NOT NULL, kept text NOT NULL, lost jsonb NOT NULL, merged_at timestamptz NOT NULL DEFAULT now())`)(ctx)
}

// ownCalls gives summaries whose call_id names no call, because it is empty or
// several callers have it, one of their own.
func (m *migration) ownCalls(ctx context.Context) error {
	rows, err := m.conn.Query(ctx, sharedCalls)
	if err != nil {
		return err
	}
	shared, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(shared) == 0 {
		return err
	}
	renamed := 0
	err = m.step(ctx, tableSummaries, "tell calls of different callers apart", func(ctx context.Context) error {
		if err := m.mergeLog(ctx, tableSummaries); err != nil {
			return err
		}
		if err := m.build(ctx, index{tableSummaries + "_merging", tableSummaries, "customer_id, call_id", false}); err != nil {
			return err
		}
		for _, id := range shared {
			err := m.short(ctx, "renaming calls", func() error {
				tag, err := m.conn.Exec(ctx, `
					WITH log AS (INSERT INTO call_summaries_merge_log (customer_id, kept, lost)
						SELECT 1, 'legacy:' || id, to_jsonb(s) FROM call_summaries s WHERE customer_id = 1 AND call_id = $1)
					UPDATE call_summaries SET call_id = 'legacy:' || id WHERE customer_id = 1 AND call_id = $1`, id)
				renamed += int(tag.RowsAffected())
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	m.report.Merged = append(m.report.Merged, Merged{Table: tableSummaries, Things: len(shared), Renamed: renamed})
	return err
}

// losing is the part all mergers share: rank the rows of each thing, newest
// first; log and delete all but the first.
func losing(table, by, newest, kept string) string {
	return `WITH ranked AS MATERIALIZED (
			SELECT t.*, t.ctid AS at, row_number() OVER w AS n FROM ` + table + ` t
			WHERE customer_id = 1 AND ` + by + ` = ANY ($1) WINDOW w AS (PARTITION BY ` + by + ` ORDER BY ` + newest + `)),
		log AS (INSERT INTO ` + table + `_merge_log (customer_id, kept, lost)
			SELECT 1, k.` + kept + `, to_jsonb(r) - 'at' - 'n' FROM ranked r JOIN ranked k ON k.` + by + ` = r.` + by + ` AND k.n = 1 WHERE r.n > 1),
		gone AS (DELETE FROM ` + table + ` t USING ranked r WHERE t.customer_id = 1 AND t.` + by + ` = ANY ($1) AND t.ctid = r.at AND r.n > 1 RETURNING 1)`
}

func duplicates(table, by string) string {
	return `SELECT ` + by + ` FROM ` + table + ` WHERE customer_id = 1 GROUP BY ` + by + ` HAVING count(*) > 1 ORDER BY ` + by
}

// mergeSummaries keeps the newest word on each call.
func mergeSummaries() merger {
	return merger{
		table: tableSummaries, by: "call_id", dups: duplicates(tableSummaries, "call_id"),
		one:   losing(tableSummaries, "call_id", "created_at DESC, id DESC", "id") + ` SELECT count(*) FROM gone`,
		sums:  `SELECT count(DISTINCT call_id)::text FROM call_summaries WHERE customer_id = 1 AND call_id = ANY ($1)`,
		index: index{"call_summaries_customer_call", tableSummaries, "customer_id, call_id", true},
	}
}

// mergeProfiles keeps the newest profile, with the calls of all, the first of
// the first and the last of the last; in what they say the newest word wins.
func mergeProfiles() merger {
	folded := func(column string) string {
		return `coalesce((SELECT jsonb_object_agg(e.key, e.value ORDER BY x.updated_at, x.id)
				FROM ranked x, jsonb_each(CASE WHEN jsonb_typeof(x.$C) = 'object' THEN x.$C ELSE '{}' END) e WHERE x.user_id = r.user_id),
			(array_agg($C ORDER BY updated_at DESC, id DESC) FILTER (WHERE $C IS NOT NULL))[1]) AS $C`
	}
	said := func(column string) string { return strings.ReplaceAll(folded(column), "$C", column) }
	return merger{
		table: tableProfiles, by: "user_id", dups: duplicates(tableProfiles, "user_id"),
		one: losing(tableProfiles, "user_id", "updated_at DESC, id DESC", "id") + `,
			merged AS (SELECT user_id, sum(total_calls)::int AS total_calls, min(first_call_date) AS first, max(last_call_date) AS last,
				min(created_at) AS created_at, ` + said("preferences") + `, ` + said("context") + `,
				(array_agg(preferred_name ORDER BY updated_at DESC, id DESC) FILTER (WHERE preferred_name <> ''))[1] AS preferred_name
				FROM ranked r GROUP BY user_id),
			kept AS (UPDATE caller_profiles t SET total_calls = m.total_calls, first_call_date = m.first, last_call_date = m.last,
				created_at = m.created_at, preferences = m.preferences, context = m.context, preferred_name = coalesce(m.preferred_name, t.preferred_name)
				FROM ranked r JOIN merged m USING (user_id) WHERE t.customer_id = 1 AND t.user_id = ANY ($1) AND t.ctid = r.at AND r.n = 1)
			SELECT count(*) FROM gone`,
		sums: `SELECT row(coalesce(sum(total_calls), 0), count(DISTINCT user_id), min(first_call_date), max(last_call_date))::text
			FROM caller_profiles WHERE customer_id = 1 AND user_id = ANY ($1)`,
		index: index{"caller_profiles_customer_user", tableProfiles, "customer_id, user_id", true},
	}
}

// mergeAverages adds the calls up. Averages are made anew of the metrics; where
// there are fewer of those than calls, each counts by its calls, which keeps
// the sums.
func mergeAverages() merger {
	return merger{
		table: tableAverages, by: "user_id", dups: duplicates(tableAverages, "user_id"),
		one: losing(tableAverages, "user_id", "last_updated DESC, md5(t::text)", "user_id") + `,
			measured AS (SELECT user_id, count(*) AS n, ` + forEach(averaged, "avg($T) AS $T") + `
				FROM personality_metrics WHERE customer_id = 1 AND user_id = ANY ($1) GROUP BY user_id),
			merged AS (SELECT user_id, sum(call_count)::int AS n, max(last_updated) AS last, ` +
			forEach(averaged, `sum(avg_$T * call_count) / nullif(sum(call_count) FILTER (WHERE avg_$T IS NOT NULL), 0) AS $T`) + `
				FROM ranked GROUP BY user_id),
			kept AS (UPDATE personality_averages t SET call_count = m.n, last_updated = m.last, ` +
			forEach(averaged, `avg_$T = coalesce(CASE WHEN d.n >= coalesce(m.n, 0) THEN d.$T END, m.$T, t.avg_$T)`) + `
				FROM ranked r JOIN merged m USING (user_id) LEFT JOIN measured d USING (user_id) WHERE t.customer_id = 1 AND t.user_id = ANY ($1) AND t.ctid = r.at AND r.n = 1)
			SELECT count(*) FROM gone`,
		sums: `SELECT row(coalesce(sum(call_count), 0), count(DISTINCT user_id), max(last_updated))::text
			FROM personality_averages WHERE customer_id = 1 AND user_id = ANY ($1)`,
		index: index{keyIndex(tableAverages), tableAverages, "customer_id, user_id", true},
	}
}
