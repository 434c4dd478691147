package bus

import (
	"slices"
	"testing"

	"github.com/nats-io/nats.go"

	"neurosphere.ai/neurosphere/events"
)

// What the server is asked for covers what is wanted, and only what is wanted
// goes through.
func TestPickWantsWhatTheFiltersSay(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		filters, ask, yes, no []string
	}{
		"everything":         {nil, nil, []string{"tenant.1.call.ended"}, nil},
		"some facts of all":  {[]string{events.Filter("call.ended"), events.Filter("sms.sent")}, nil, []string{"tenant.1.call.ended", "tenant.22.sms.sent"}, []string{"tenant.1.turn.heard", "call.ended"}},
		"some facts of one":  {[]string{"tenant.1.call.ended", "tenant.1.sms.sent"}, []string{"tenant.1.>"}, []string{"tenant.1.call.ended"}, []string{"tenant.1.turn.heard", "tenant.11.call.ended"}},
		"facts of a pattern": {[]string{"tenant.1.call.*"}, []string{"tenant.1.call.*"}, []string{"tenant.1.call.ended"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPick(tc.filters)
			if !slices.Equal(p.ask, tc.ask) {
				t.Errorf("asks for %v", p.ask)
			}
			for _, s := range tc.yes {
				if !p.wants(s) {
					t.Errorf("%s is left out", s)
				}
			}
			for _, s := range tc.no {
				if p.wants(s) {
					t.Errorf("%s goes through", s)
				}
			}
		})
	}
}

// Both forms a delivery can come in say the same; others are refused.
func TestDeliveryIsReadFromItsReply(t *testing.T) {
	t.Parallel()
	for reply, ok := range map[string]bool{
		"$JS.ACK.EVENTS.c.3.17.5.1700000000000000000.9":           true,
		"$JS.ACK._.acc.EVENTS.c.3.17.5.1700000000000000000.9.rnd": true,
		"$JS.ACK.EVENTS.c.3.17.5.17":                              false,
		"$JS.ACK.EVENTS.c.3.17.x":                                 false,
		"_INBOX.1":                                                false,
		"":                                                        false,
	} {
		m, err := readDelivery(&nats.Msg{Reply: reply, Sub: &nats.Subscription{}})
		if (err == nil) != ok {
			t.Errorf("%s: %v", reply, err)
		}
		if ok && (m.tries != 3 || m.seq != 17 || m.nth != 5 || m.pending != 9) {
			t.Errorf("%s: %+v", reply, m)
		}
	}
}
