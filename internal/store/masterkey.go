package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// ErrOtherKey is said of a master key that is not the one this database's
// secrets are sealed with.
var ErrOtherKey = errors.New("this master key is not the one that secrets in the database are sealed with: put back MASTER_KEY or master.key as it was")

// CheckKey notes which master key is used, by its fingerprint, and refuses any
// other from then on with ErrOtherKey.
func (s *Store) CheckKey(ctx context.Context, fingerprint string) error {
	var first string
	err := s.platform(ctx, func(q pgx.Tx) error {
		if _, err := q.Exec(ctx, `INSERT INTO master_key (fingerprint) VALUES ($1) ON CONFLICT DO NOTHING`, fingerprint); err != nil {
			return err
		}
		return q.QueryRow(ctx, `SELECT fingerprint FROM master_key`).Scan(&first)
	})
	if err == nil && first != fingerprint {
		err = ErrOtherKey
	}
	return err
}
