package legacy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// What tells the policies of tenants from that of the old service.
const (
	appRole      = "app_rw"
	legacyPolicy = "legacy_service"
)

const ofTenant = `customer_id = current_setting('app.customer_id')::int`

// security has row security on and forced. The old service's roles, which own
// the tables or were granted them, get a policy of their own in the same
// transaction: they go on seeing and writing what is customer 1's.
func (m *migration) security(ctx context.Context) error {
	for _, name := range tables {
		var done bool
		err := m.conn.QueryRow(ctx, `
			SELECT c.relrowsecurity AND c.relforcerowsecurity AND (SELECT count(*) = 2 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname IN ('tenant_guard', 'tenant_allow'))
			FROM pg_class c WHERE c.oid = $1`, m.tables[name].oid).Scan(&done)
		if err != nil {
			return err
		}
		if done {
			continue
		}
		roles, err := m.oldRoles(ctx, name)
		if err != nil {
			return err
		}
		err = m.step(ctx, name, "keep customers' rows apart", m.ddl(
			`GRANT SELECT, INSERT, UPDATE, DELETE ON `+name+` TO `+appRole,
			`DROP POLICY IF EXISTS tenant_guard ON `+name, `DROP POLICY IF EXISTS tenant_allow ON `+name, `DROP POLICY IF EXISTS `+legacyPolicy+` ON `+name,
			`CREATE POLICY tenant_guard ON `+name+` AS RESTRICTIVE TO `+appRole+` USING (`+ofTenant+`)`,
			`CREATE POLICY tenant_allow ON `+name+` TO `+appRole+` USING (`+ofTenant+`) WITH CHECK (`+ofTenant+`)`,
			`CREATE POLICY `+legacyPolicy+` ON `+name+` TO `+strings.Join(roles, ", ")+` USING (customer_id = 1) WITH CHECK (customer_id = 1)`,
			`ALTER TABLE `+name+` ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`))
		if err != nil {
			return err
		}
	}
	return nil
}

// role makes the role tenants' programs connect as, where it is missing.
func (m *migration) role(ctx context.Context) error {
	var there bool
	if err := m.conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, appRole).Scan(&there); err != nil || there {
		return err
	}
	err := m.step(ctx, "roles", "make "+appRole, m.ddl(`CREATE ROLE `+appRole+` LOGIN NOINHERIT`))
	if state(err) == "42501" {
		return errors.New("the role " + appRole + " is missing and this one may not make it: have an administrator CREATE ROLE " + appRole + " LOGIN NOINHERIT")
	}
	return err
}

// oldRoles are, quoted, the owner of a table and all who were granted it.
func (m *migration) oldRoles(ctx context.Context, name string) ([]string, error) {
	rows, err := m.conn.Query(ctx, `
		SELECT DISTINCT CASE WHEN r.oid = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r.oid)) END FROM (
			SELECT c.relowner AS oid FROM pg_class c WHERE c.oid = $1
			UNION ALL SELECT a.grantee FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = $1) r
		WHERE r.oid NOT IN (SELECT oid FROM pg_roles WHERE rolname = $2) ORDER BY 1`, m.tables[name].oid, appRole)
	if err != nil {
		return nil, err
	}
	roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err == nil && slices.Contains(roles, "PUBLIC") {
		return nil, fmt.Errorf("everybody was granted %s: name the old service's role instead (REVOKE … FROM PUBLIC), or customers could not be kept apart", name)
	}
	return roles, err
}

// finish takes away what the old service needs and tenants must not have: the
// default that makes every row customer 1's, its policy, and keys under which
// two customers could not know the same caller. Before -finish it only says so.
func (m *migration) finish(ctx context.Context) error {
	for _, name := range tables {
		t := m.tables[name]
		if t.columns["customer_id"].hasDefault {
			if !m.Finish {
				m.report.Kept = append(m.report.Kept, name+": default customer_id 1")
			} else if err := m.step(ctx, name, "drop the default customer", m.ddl(`ALTER TABLE `+name+` ALTER COLUMN customer_id DROP DEFAULT`)); err != nil {
				return err
			}
		}
		var policy bool
		if err := m.conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_policy WHERE polrelid = $1 AND polname = $2)`, t.oid, legacyPolicy).Scan(&policy); err != nil {
			return err
		}
		if policy && !m.Finish {
			m.report.Kept = append(m.report.Kept, name+": policy "+legacyPolicy)
		} else if policy {
			if err := m.step(ctx, name, "drop the old service's policy", m.ddl(`DROP POLICY `+legacyPolicy+` ON `+name)); err != nil {
				return err
			}
		}
		if err := m.oldKeys(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// oldKeys are unique constraints and indexes that do not begin with the
// customer. The old service may write ON CONFLICT to them.
func (m *migration) oldKeys(ctx context.Context, t table) error {
	rows, err := m.conn.Query(ctx, `
		SELECT quote_ident(x.relname), coalesce(quote_ident(c.conname), '') FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
		LEFT JOIN pg_constraint c ON c.conindid = x.oid AND c.conrelid = i.indrelid AND c.contype IN ('u', 'p')
		WHERE i.indrelid = $1 AND i.indisunique
			AND i.indkey[0] IS DISTINCT FROM (SELECT attnum FROM pg_attribute WHERE attrelid = $1 AND attname = 'customer_id') ORDER BY 1`, t.oid)
	if err != nil {
		return err
	}
	type key struct{ Index, Constraint string }
	keys, err := pgx.CollectRows(rows, pgx.RowToStructByPos[key])
	if err != nil {
		return err
	}
	for _, k := range keys {
		if !m.Finish {
			m.report.Kept = append(m.report.Kept, t.name+": unique "+k.Index)
			continue
		}
		drop := `DROP INDEX ` + t.schema + `.` + k.Index
		if k.Constraint != "" {
			drop = `ALTER TABLE ` + t.name + ` DROP CONSTRAINT ` + k.Constraint
		}
		if err := m.step(ctx, t.name, "drop unique "+k.Index, m.ddl(drop)); err != nil {
			return err
		}
	}
	return nil
}
