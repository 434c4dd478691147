package bus_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// mixed are facts of several nouns and two tenants, some nouns dense and some
// rare.
func mixed(n int) (all []events.Event) {
	for i := range n {
		call, tenant := fmt.Sprint("CA", i), events.Tenant(i%3/2+1)
		var f events.Fact = events.TurnHeard{Turn: 1, Text: "words"}
		switch {
		case i%50 == 13:
			f = events.MemoryStored{Memory: events.Derive("mixed", call), Caller: "+1", Type: "note", Key: "k", Value: `"v"`, Origin: "api"}
		case i%7 == 0:
			f = events.SMSDelivered{Message: events.Derive("mixed", call), SID: "SM"}
		case i%3 == 0:
			f = events.CallAnswered{Session: "s"}
		case i%5 == 0:
			f = events.CallErased{By: "staff:1"} // not asked for
		}
		all = append(all, events.New(tenant, call, at, f))
	}
	return all
}

// What is asked for comes once, in the order of the stream, and no batch is
// larger than was asked for, wherever it begins and ends and whether or not the
// server is away meanwhile.
func TestReplayIsInTheOrderOfTheStream(t *testing.T) {
	t.Parallel()
	server := testenv.Server(t)
	b := server.Bus(t, bus.Options{})
	all := mixed(400)
	publish(t, b, all...)
	names := []string{"call.answered", "sms.delivered", "memory.stored", "lead.staged"}
	for _, tc := range []struct {
		tenant   events.Tenant // 0: all
		size     int
		from, to uint64
		away     bool
	}{
		{0, 1, 1, 0, false},
		{0, 3, 1, 0, false},
		{0, 64, 1, 0, false},
		{0, 1000, 1, 0, false},
		{2, 1, 1, 0, false},
		{2, 50, 1, 0, false},
		{2, 1000, 1, 0, false},
		{0, 20, 100, 300, false},
		{1, 20, 100, 300, false},
		{0, 20, 399, 900, false},
		{0, 20, 401, 0, false},
		{0, 20, 1, 0, true},
		{2, 20, 100, 300, true},
	} {
		t.Run(fmt.Sprintf("%+v", tc), func(t *testing.T) {
			var filters, want, got []string
			for _, name := range names {
				if filters = append(filters, events.Filter(name)); tc.tenant != 0 {
					filters[len(filters)-1] = events.Subject(tc.tenant, name)
				}
			}
			for i, e := range all {
				seq, name := uint64(i+1), e.Fact.Name()
				asked := name == names[0] || name == names[1] || name == names[2]
				if asked && seq >= tc.from && (tc.to == 0 || seq <= tc.to) && (tc.tenant == 0 || e.Tenant == tc.tenant) {
					want = append(want, fmt.Sprint(seq, e.ID))
				}
			}
			read := tc.from - 1
			ctx, away := within(t, 60*time.Second), tc.away
			err := b.Replay(ctx, tc.from, tc.to, filters, tc.size, func(_ context.Context, batch []events.Event, now uint64) error {
				if away {
					away = false
					server.Restart()
				}
				if len(batch) > tc.size || now < read {
					t.Errorf("%d facts, read to %d after %d", len(batch), now, read)
				}
				for _, e := range batch {
					if e.Seq <= read || e.Seq > now {
						t.Errorf("%d of what was read from %d to %d", e.Seq, read, now)
					}
					got = append(got, fmt.Sprint(e.Seq, e.ID))
				}
				read = now
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if last := min(tc.to-1, 399) + 1; tc.from <= 400 && read != last {
				t.Errorf("read to %d of %d", read, last)
			}
		})
	}
}
