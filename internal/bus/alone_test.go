package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// Two tenants whose calls have the same id and whose facts lie between each
// other: whoever reads for one of them reads all of its facts and no others.
// internal/isolation runs this with each of the filters missing.
func TestReadersReachTheirOwnTenantOnly(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	for turn := 1; turn <= 3; turn++ {
		publish(t, b, heard(1, "CA1", turn), heard(2, "CA1", turn))
	}
	publish(t, b, ended(1, "CA1", 4), ended(2, "CA1", 4))
	ctx := within(t, time.Minute)
	for _, tenant := range []events.Tenant{1, 2} {
		own := []uint64{uint64(tenant), uint64(tenant) + 2, uint64(tenant) + 4, uint64(tenant) + 6}
		for name, read := range map[string]func() ([]uint64, error){
			"Feed": func() (seqs []uint64, err error) {
				all, err := b.Feed(ctx, tenant, 0, 100)
				for _, f := range all {
					seqs = append(seqs, f.Seq)
				}
				return seqs, err
			},
			"FollowFeed": func() (seqs []uint64, err error) {
				end := errors.New("end")
				err = b.FollowFeed(ctx, tenant, 0, time.Second, func(f bus.Told) error {
					seqs = append(seqs, f.Seq)
					return nil
				}, func() error { return end })
				if errors.Is(err, end) {
					err = nil
				}
				return seqs, err
			},
			"ReadCall, from a sequence": func() ([]uint64, error) { return call(ctx, b, tenant, bus.Span{First: 1, Last: 8}) },
			"ReadCall, by time":         func() ([]uint64, error) { return call(ctx, b, tenant, bus.Span{Since: at.Add(-time.Hour)}) },
			"ReadCall, by sequences of everybody's": func() ([]uint64, error) {
				return call(ctx, b, tenant, bus.Span{First: 1, Facts: []uint64{1, 2, 3, 4, 5, 6, 7, 8}, Since: at.Add(-time.Hour)})
			},
			"Search": func() ([]uint64, error) { _, seqs := search(t, b, tenant); return seqs, nil },
			"Search, by names": func() ([]uint64, error) {
				_, seqs := search(t, b, tenant, "turn.heard", "call.ended")
				return seqs, nil
			},
			"StoredAt": func() (seqs []uint64, err error) {
				for seq := uint64(1); seq <= 8; seq++ {
					e, there, err := b.StoredAt(ctx, tenant, seq)
					if err != nil {
						return nil, err
					}
					if there {
						seqs = append(seqs, e.Seq)
					}
				}
				return seqs, nil
			},
			"ReadTenant": func() (seqs []uint64, err error) {
				_, err = b.ReadTenant(ctx, tenant, 1, func(m bus.Moved) error {
					seqs = append(seqs, m.Seq)
					return nil
				})
				return seqs, err
			},
		} {
			t.Run(fmt.Sprintf("%s as %s", name, tenant), func(t *testing.T) {
				if seqs, err := read(); err != nil || !slices.Equal(seqs, own) {
					t.Errorf("%v, %v; want %v", seqs, err, own)
				}
			})
		}
	}
	t.Run("Erase", func(t *testing.T) {
		if n, err := b.Erase(ctx, 1, []uint64{2}, nil); err == nil || n != 0 {
			t.Errorf("another's fact: %d erased, %v", n, err)
		}
		if _, seqs := search(t, b, 2); len(seqs) != 4 {
			t.Errorf("another has %v left", seqs)
		}
	})
}

func call(ctx context.Context, b *bus.Bus, tenant events.Tenant, at bus.Span) (seqs []uint64, err error) {
	all, err := b.ReadCall(ctx, tenant, "CA1", at)
	for _, e := range all {
		seqs = append(seqs, e.Seq)
	}
	return seqs, err
}
