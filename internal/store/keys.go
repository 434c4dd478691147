package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/events"
)

// DefaultPerMinute is how many requests a minute a key may make unless it was
// made with another limit.
const DefaultPerMinute = 6000

// KeyOptions are what a new key is made with.
type KeyOptions struct {
	Name      string     // what it is for
	Expires   *time.Time // nil: never
	PerMinute int        // requests; 0: no limit
}

// Key is an API key as it is listed. The key itself is kept nowhere.
type Key struct {
	ID        string        `json:"key_id"`
	Tenant    events.Tenant `json:"customer_id,omitempty"` // absent: the platform's, which opens any
	Name      string        `json:"name"`
	Created   time.Time     `json:"created_at"`
	Expires   *time.Time    `json:"expires_at"`
	Revoked   *time.Time    `json:"revoked_at"`
	LastUsed  *time.Time    `json:"last_used_at"` // to the minute
	PerMinute int           `json:"per_minute"`
}

// Good reports whether the key opens anything at now.
func (k Key) Good(now time.Time) bool {
	return k.Revoked == nil && (k.Expires == nil || now.Before(*k.Expires))
}

// platformPrefix begins the platform's keys; a tenant's has its number there.
const platformPrefix = "ns_platform_"

func digest(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// newKey makes a key of a tenant, or of the platform where there is none.
func newKey(ctx context.Context, q pgx.Tx, t events.Tenant, o KeyOptions) (k Key, key string, err error) {
	secret := make([]byte, 24)
	_, _ = rand.Read(secret) // never fails
	key = base64.RawURLEncoding.EncodeToString(secret)
	if t.Valid() {
		key = "ns_" + t.String() + "_" + key
	} else {
		key = platformPrefix + key
	}
	hash := digest(key)
	k = Key{ID: hash[:12], Tenant: t, Name: o.Name, Expires: o.Expires, PerMinute: o.PerMinute}
	if t.Valid() {
		err = q.QueryRow(ctx, `INSERT INTO api_keys (hash, key_id, customer_id, name, expires_at, per_minute) VALUES ($1, $2, $3, $4, $5, $6) RETURNING created_at`,
			hash, k.ID, int32(t), o.Name, o.Expires, o.PerMinute).Scan(&k.Created)
	} else {
		err = q.QueryRow(ctx, `INSERT INTO platform_keys (hash, key_id, name, expires_at, per_minute) VALUES ($1, $2, $3, $4, $5) RETURNING created_at`,
			hash, k.ID, o.Name, o.Expires, o.PerMinute).Scan(&k.Created)
	}
	return k, key, err
}

// NewAPIKey makes another key for a tenant; it is shown once. ErrNotFound when
// there is no such tenant.
func (s *Store) NewAPIKey(ctx context.Context, t events.Tenant, o KeyOptions) (k Key, key string, err error) {
	if _, err := s.Settings(ctx, t); err != nil {
		return k, "", err
	}
	err = s.platform(ctx, func(q pgx.Tx) error {
		k, key, err = newKey(ctx, q, t, o)
		return err
	})
	return k, key, err
}

// NewPlatformKey makes a key that opens any tenant, which each request must
// name all the same; it is shown once.
func (s *Store) NewPlatformKey(ctx context.Context, o KeyOptions) (k Key, key string, err error) {
	err = s.platform(ctx, func(q pgx.Tx) error {
		const none = events.Tenant(0)
		k, key, err = newKey(ctx, q, none, o)
		return err
	})
	return k, key, err
}

// APIKeys are a tenant's keys, oldest first, those that open nothing any more
// included. ErrNotFound when there is no such tenant.
func (s *Store) APIKeys(ctx context.Context, t events.Tenant) ([]Key, error) {
	if _, err := s.Settings(ctx, t); err != nil {
		return nil, err
	}
	return s.keys(ctx, `SELECT key_id, customer_id, name, created_at, expires_at, revoked_at, last_used_at, per_minute
		FROM api_keys WHERE customer_id = $1 ORDER BY created_at, key_id`, int32(t))
}

// PlatformKeys are the platform's keys, likewise.
func (s *Store) PlatformKeys(ctx context.Context) ([]Key, error) {
	return s.keys(ctx, `SELECT key_id, 0, name, created_at, expires_at, revoked_at, last_used_at, per_minute FROM platform_keys ORDER BY created_at, key_id`)
}

func (s *Store) keys(ctx context.Context, sql string, args ...any) (all []Key, err error) {
	err = s.platform(ctx, func(q pgx.Tx) error {
		rows, err := q.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Key])
		return err
	})
	return all, err
}

// RevokeAPIKey makes a tenant's key open nothing; done twice, it changes
// nothing. ErrNotFound when the tenant has no such key.
func (s *Store) RevokeAPIKey(ctx context.Context, t events.Tenant, id string) error {
	if !t.Valid() {
		return events.ErrNoTenant
	}
	return s.revoke(ctx, id, `UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE key_id = $1 AND customer_id = $2`, id, int32(t))
}

// RevokePlatformKey is RevokeAPIKey for one of the platform's.
func (s *Store) RevokePlatformKey(ctx context.Context, id string) error {
	return s.revoke(ctx, id, `UPDATE platform_keys SET revoked_at = coalesce(revoked_at, now()) WHERE key_id = $1`, id)
}

func (s *Store) revoke(ctx context.Context, id, sql string, args ...any) error {
	return s.platform(ctx, func(q pgx.Tx) error {
		tag, err := q.Exec(ctx, sql, args...)
		if err == nil && tag.RowsAffected() == 0 {
			return fmt.Errorf("key %q: %w", id, ErrNotFound)
		}
		return err
	})
}

// FindKey is the key someone showed, with the status of its tenant, whether it
// is still good or not; ErrNotFound for anything that never was a key.
func (s *Store) FindKey(ctx context.Context, key string) (k Key, status string, err error) {
	if !strings.HasPrefix(key, "ns_") || len(key) > 100 {
		return k, "", ErrNotFound
	}
	sql := `SELECT k.key_id, k.customer_id, k.name, k.created_at, k.expires_at, k.revoked_at, k.last_used_at, k.per_minute, c.status
		FROM api_keys k JOIN customers c ON c.customer_id = k.customer_id WHERE k.hash = $1`
	if strings.HasPrefix(key, platformPrefix) {
		sql = `SELECT key_id, 0, name, created_at, expires_at, revoked_at, last_used_at, per_minute, '' FROM platform_keys WHERE hash = $1`
	}
	err = s.platform(ctx, func(q pgx.Tx) error {
		err := q.QueryRow(ctx, sql, digest(key)).Scan(&k.ID, &k.Tenant, &k.Name, &k.Created, &k.Expires, &k.Revoked, &k.LastUsed, &k.PerMinute, &status)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNotFound
		}
		return err
	})
	return k, status, err
}

// KeyUsed notes when a key was used last.
func (s *Store) KeyUsed(ctx context.Context, k Key, at time.Time) error {
	return s.platform(ctx, func(q pgx.Tx) error {
		if !k.Tenant.Valid() {
			_, err := q.Exec(ctx, `UPDATE platform_keys SET last_used_at = greatest(last_used_at, $2) WHERE key_id = $1`, k.ID, at)
			return err
		}
		_, err := q.Exec(ctx, `UPDATE api_keys SET last_used_at = greatest(last_used_at, $3) WHERE key_id = $1 AND customer_id = $2`, k.ID, int32(k.Tenant), at)
		return err
	})
}
