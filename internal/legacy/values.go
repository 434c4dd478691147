package legacy

import (
	"context"
	"errors"
	"fmt"
)

// maxIndexed is how long, in bytes, what names callers and calls may be to fit
// into an index.
const maxIndexed = 2600

// measurable is, in SQL, whether sums and averages can be made of a number:
// those of others are no number either, or stop the statement.
func measurable(column string) string {
	return `(` + column + ` = 0 OR abs(` + column + `) BETWEEN 1e-100 AND 1e100)` // NaN is beyond all numbers
}

// unfit is what a later step would stop at.
type unfit struct {
	where string // table.column
	count string // SQL
	what  string // is wrong, after the number, and what to do about it
}

// values refuses what rows hold that a later step would stop at, all of it at
// once. What merging alone would stop at may be in rows that stay as they are.
func (m *migration) values(ctx context.Context) error {
	var wrong []error
	for _, u := range m.unfit() {
		var n int64
		if err := m.conn.QueryRow(ctx, u.count).Scan(&n); err != nil {
			return fmt.Errorf("look at %s: %w", u.where, err)
		}
		if n > 0 {
			wrong = append(wrong, fmt.Errorf("%s: %d %s", u.where, n, u.what))
		}
	}
	return errors.Join(wrong...)
}

func (m *migration) unfit() (all []unfit) {
	for _, name := range tables {
		for _, column := range []string{"user_id", "call_id"} {
			if !m.tables[name].has(column) || m.tables[name].has("customer_id") { // begun, and on its way into an index
				continue
			}
			all = append(all, unfit{
				name + "." + column, fmt.Sprintf(`SELECT count(*) FROM %s WHERE pg_column_size(%s) > %d`, name, column, maxIndexed),
				"rows hold more than an index takes: shorten or remove them first",
			})
		}
	}
	for _, name := range []string{tableMemories, tableSummaries, tableProfiles, tableMetrics} {
		key := "id"
		if m.tables[name].has("customer_id") {
			key = "customer_id, id"
		}
		all = append(all, unfit{
			name + ".id", fmt.Sprintf(`SELECT count(*) FROM (SELECT FROM %s WHERE NOT %s GROUP BY %s HAVING count(*) > 1) x`, name, unique(fmt.Sprint(m.tables[name].oid)), key),
			"ids are of several rows each, and are to be part of the primary key: leave one row of each, or give the others ids of their own, first",
		})
	}
	for _, name := range []string{tableProfiles, tableAverages} {
		column := map[string]string{tableProfiles: "total_calls", tableAverages: "call_count"}[name]
		all = append(all, unfit{
			name + "." + column, `SELECT count(*) FROM (` + m.several(name) + ` AND abs(sum(` + column + `)) > 2147483647) x`,
			"callers have several rows that add up to more than the column holds: correct them first",
		})
	}
	for _, name := range []string{tableAverages, tableMetrics} {
		prefix := map[string]string{tableAverages: "avg_"}[name]
		for _, trait := range averaged {
			all = append(all, unfit{
				name + "." + prefix + trait, `SELECT count(*) FROM ` + name + ` WHERE NOT ` + measurable(prefix+trait) + ` AND user_id IN (` + m.several(tableAverages) + `)`,
				"rows that averages are to be made of hold nothing one could be made of: set them to NULL, or to 0 to 100, first",
			})
		}
	}
	return all
}

// several is, in SQL, the callers who have more than one row in a table.
func (m *migration) several(table string) string {
	mine := ""
	if m.tables[table].has("customer_id") {
		mine = ` WHERE customer_id = 1`
	}
	return `SELECT user_id FROM ` + table + mine + ` GROUP BY user_id HAVING count(*) > 1`
}
