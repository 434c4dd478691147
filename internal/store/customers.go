package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"neurosphere.ai/neurosphere/events"
)

// CreateCustomer makes a tenant of s, whose Tenant, Version and Status are set
// here, and its first API key, which is shown once. ErrNumberTaken when
// one of its numbers is another's.
func (s *Store) CreateCustomer(ctx context.Context, set events.Settings) (events.Settings, string, error) {
	var key string
	err := s.platform(ctx, func(q pgx.Tx) error {
		var id int32
		if err := q.QueryRow(ctx, `SELECT nextval('customer_ids')::int`).Scan(&id); err != nil {
			return err
		}
		set.Tenant, set.Version, set.Status = events.Tenant(id), 1, "active"
		raw, err := json.Marshal(set)
		if err != nil {
			return err
		}
		_, err = q.Exec(ctx, `INSERT INTO customers (customer_id, settings, version, status) VALUES ($1, $2, $3, $4)`, id, raw, set.Version, set.Status)
		if err != nil {
			return err
		}
		if err := claimNumbers(ctx, q, set.Tenant, set.Numbers); err != nil {
			return err
		}
		_, key, err = newKey(ctx, q, set.Tenant, KeyOptions{Name: "first", PerMinute: DefaultPerMinute})
		return err
	})
	return set, key, err
}

// claimNumbers makes numbers those of a tenant and gives up its others.
func claimNumbers(ctx context.Context, q pgx.Tx, t events.Tenant, numbers []string) error {
	// No list at all is NULL, of which nothing is ever true.
	if _, err := q.Exec(ctx, `DELETE FROM phone_numbers WHERE customer_id = $1 AND NOT number = ANY (coalesce($2::text[], '{}'))`, int32(t), numbers); err != nil {
		return err
	}
	// In one order, so that two who claim the same ones do not wait for each other.
	for _, n := range slices.Sorted(slices.Values(numbers)) {
		_, err := q.Exec(ctx, `
			INSERT INTO phone_numbers (number, customer_id)
			SELECT $2, $1 WHERE NOT EXISTS (SELECT FROM phone_numbers WHERE number = $2 AND customer_id = $1)`, int32(t), n)
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "23505" {
			return ErrNumberTaken
		} else if err != nil {
			return err
		}
	}
	return nil
}

// Settings of a tenant; ErrNotFound when there is none.
func (s *Store) Settings(ctx context.Context, t events.Tenant) (set events.Settings, err error) {
	if !t.Valid() {
		return set, events.ErrNoTenant
	}
	err = s.platform(ctx, func(q pgx.Tx) error {
		set, err = settings(ctx, q, t, "")
		return err
	})
	return set, err
}

func settings(ctx context.Context, q pgx.Tx, t events.Tenant, lock string) (set events.Settings, err error) {
	var raw []byte
	err = q.QueryRow(ctx, `SELECT settings FROM customers WHERE customer_id = $1 `+lock, int32(t)).Scan(&raw)
	if errors.Is(err, pgx.ErrNoRows) {
		return set, fmt.Errorf("customer %s: %w", t, ErrNotFound)
	} else if err != nil {
		return set, err
	}
	return set, json.Unmarshal(raw, &set)
}

// ListCustomers is every tenant, oldest first.
func (s *Store) ListCustomers(ctx context.Context) (all []events.Settings, err error) {
	return s.customers(ctx, `SELECT settings FROM customers ORDER BY customer_id`, nil)
}

// Unpublished are the tenants whose latest settings are not on the bus yet.
func (s *Store) Unpublished(ctx context.Context) ([]events.Settings, error) {
	return s.customers(ctx, `SELECT settings FROM customers WHERE published_version < version ORDER BY customer_id`, nil)
}

// Newer are the tenants whose settings are newer than the version in have, or
// who have none there.
func (s *Store) Newer(ctx context.Context, have map[events.Tenant]int64) ([]events.Settings, error) {
	tenants, versions := make([]int32, 0, len(have)), make([]int64, 0, len(have))
	for t, v := range have {
		tenants, versions = append(tenants, int32(t)), append(versions, v)
	}
	return s.customers(ctx, `SELECT c.settings FROM customers c LEFT JOIN unnest($1::int[], $2::bigint[]) AS h (id, version) ON h.id = c.customer_id
		WHERE h.version IS NULL OR h.version < c.version ORDER BY c.customer_id`, []any{tenants, versions})
}

func (s *Store) customers(ctx context.Context, sql string, args []any) (all []events.Settings, err error) {
	err = s.platform(ctx, func(q pgx.Tx) error {
		rows, err := q.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (set events.Settings, err error) {
			var raw []byte
			if err := r.Scan(&raw); err != nil {
				return set, err
			}
			return set, json.Unmarshal(raw, &set)
		})
		return err
	})
	return all, err
}

// MarkPublished notes that a version of a tenant's settings is on the bus;
// ErrNotFound when there is no such tenant.
func (s *Store) MarkPublished(ctx context.Context, t events.Tenant, version int64) error {
	if !t.Valid() {
		return events.ErrNoTenant
	}
	return s.platform(ctx, func(q pgx.Tx) error {
		tag, err := q.Exec(ctx, `UPDATE customers SET published_version = greatest(published_version, $2) WHERE customer_id = $1`, int32(t), version)
		if err == nil && tag.RowsAffected() == 0 {
			return fmt.Errorf("customer %s: %w", t, ErrNotFound)
		}
		return err
	})
}

// UpdateSettings changes a tenant's settings: change gets them, and what it
// leaves becomes the next version. Concurrent changes come one after the other.
func (s *Store) UpdateSettings(ctx context.Context, t events.Tenant, change func(*events.Settings) error) (before, after events.Settings, err error) {
	if !t.Valid() {
		return before, after, events.ErrNoTenant
	}
	err = s.platform(ctx, func(q pgx.Tx) error {
		if before, err = settings(ctx, q, t, "FOR UPDATE"); err != nil {
			return err
		}
		if after, err = settings(ctx, q, t, ""); err != nil { // a copy that shares nothing
			return err
		}
		if err := change(&after); err != nil {
			return err
		}
		after.Tenant, after.Version = t, before.Version+1
		raw, err := json.Marshal(after)
		if err != nil {
			return err
		}
		_, err = q.Exec(ctx, `UPDATE customers SET settings = $2, version = $3, status = $4 WHERE customer_id = $1`, int32(t), raw, after.Version, after.Status)
		if err != nil {
			return err
		}
		return claimNumbers(ctx, q, t, after.Numbers)
	})
	return before, after, err
}

// Template is one industry template; ErrNotFound when there is none.
func (s *Store) Template(ctx context.Context, id string) (t events.Template, err error) {
	err = s.platform(ctx, func(q pgx.Tx) error {
		var raw []byte
		err := q.QueryRow(ctx, `SELECT template FROM industry_templates WHERE template_id = $1`, id).Scan(&raw)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("template %q: %w", id, ErrNotFound)
		} else if err != nil {
			return err
		}
		return json.Unmarshal(raw, &t)
	})
	return t, err
}

// ListTemplates is every industry template there is, by id.
func (s *Store) ListTemplates(ctx context.Context) (all []events.Template, err error) {
	err = s.platform(ctx, func(q pgx.Tx) error {
		rows, err := q.Query(ctx, `SELECT template FROM industry_templates ORDER BY template_id`)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (t events.Template, err error) {
			var raw []byte
			if err := r.Scan(&raw); err != nil {
				return t, err
			}
			return t, json.Unmarshal(raw, &t)
		})
		return err
	})
	return all, err
}
