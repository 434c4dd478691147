package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// Two tenants whose calls have the same id and whose facts lie between each
// other: whoever reads for one of them reads all of its facts and no others.
// internal/isolation runs this with each of the filters missing.
func TestReadersReachTheirOwnTenantOnly(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Bus(t, bus.Options{})
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
	t.Run("register", func(t *testing.T) { ownEntriesOnly(t, b) })
	t.Run("live words", func(t *testing.T) { ownWordsOnly(t, b) })
	t.Run("Erase", func(t *testing.T) { ownFactsOnly(t, s, b) })
}

// What is erased for one leaves alone what another has, and what was noted about
// that, even where it names a sequence of the one's.
func ownFactsOnly(t *testing.T, s *testenv.BusServer, b *bus.Bus) {
	if n, err := b.Erase(t.Context(), 1, []uint64{2}, nil); err == nil || n != 0 {
		t.Errorf("another's fact: %d erased, %v", n, err)
	}
	if _, seqs := search(t, b, 2); len(seqs) != 4 {
		t.Errorf("another has %v left", seqs)
	}
	_, js := raw(t, s)
	noted := []string{"dead.w.1", "dead.w.2", "retry.w.tenant.1.turn.heard", "retry.w.tenant.2.turn.heard"}
	for _, subject := range noted {
		m := nats.NewMsg(subject)
		m.Header.Set("Dead-Seq", "1")
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := b.Erase(t.Context(), 1, []uint64{1}, nil); err != nil || n != 1 {
		t.Errorf("%d erased, %v", n, err)
	}
	for i, subject := range noted {
		stream := must[jetstream.Stream](t)(js.Stream(t.Context(), []string{"DEADLETTERS", "RETRY"}[i/2]))
		_, err := stream.GetLastMsgForSubject(t.Context(), subject)
		if theirs := i%2 == 1; theirs != (err == nil) {
			t.Errorf("%s: %v", subject, err)
		}
	}
}

// The register has an entry of the same call of each tenant.
func ownEntriesOnly(t *testing.T, b *bus.Bus) {
	o := openOutbox(t, b)
	for _, tenant := range []events.Tenant{1, 2} {
		if err := o.PutCall(bus.CallEntry{Tenant: tenant, Call: "CA1", Owner: "me", Epoch: 1, Said: "as " + tenant.String()}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the entries are stored", func() bool { return o.Depth() == 0 })
	for _, tenant := range []events.Tenant{1, 2} {
		if e, err := b.GetCall(t.Context(), tenant, "CA1"); err != nil || e.Tenant != tenant || e.Said != "as "+tenant.String() {
			t.Errorf("GetCall as %s: %+v, %v", tenant, e, err)
		}
		if e, err := b.ClaimCall(t.Context(), tenant, "CA1", "other"); err != nil || e.Tenant != tenant || e.Epoch != 2 {
			t.Errorf("ClaimCall as %s: %+v, %v", tenant, e, err)
		}
	}
}

// Both own a call of the same id, and one of them is told something first.
func ownWordsOnly(t *testing.T, b *bus.Bus) {
	for tenant, other := range map[events.Tenant]events.Tenant{1: 2, 2: 1} {
		o, err := b.OwnCall(tenant, "CA1")
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := b.OwnCall(other, "CA1")
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range []events.Tenant{other, tenant} { // each is answered by nobody
			if err := b.Ask(to, events.Ask{Call: "CA1", Turn: 1}); err != nil {
				t.Fatal(err)
			}
		}
		for name, of := range map[string]struct {
			owner *bus.Owned
			by    events.Tenant
		}{"own": {o, tenant}, "other": {theirs, other}} {
			if m := recv(t, of.owner.Messages(), "answer"); m.Subject != events.LiveSubject(of.by, "CA1", events.VerbAnswer) {
				t.Errorf("%s as %s: %s", name, tenant, m.Subject)
			}
		}
		o.Release()
		theirs.Release()
	}
}

func call(ctx context.Context, b *bus.Bus, tenant events.Tenant, at bus.Span) (seqs []uint64, err error) {
	all, err := b.ReadCall(ctx, tenant, "CA1", at)
	for _, e := range all {
		seqs = append(seqs, e.Seq)
	}
	return seqs, err
}
