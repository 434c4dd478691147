package memory

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"

	"neurosphere.ai/neurosphere/events"
)

// stateAs is state, and stateOnce with an idempotency key.
func (s *service) stateAs(ctx context.Context, who asker, key, caller string, e events.Event) error {
	if key == "" {
		return s.state(ctx, who, e)
	}
	return s.stateOnce(ctx, who, caller, e)
}

// stateOnce is state for a fact about a caller whose id comes of an idempotency
// key: many may state it, be it at once, and the log holds what one of them
// said. The others said the same, or that is a mistake.
func (s *service) stateOnce(ctx context.Context, who asker, caller string, e events.Event) error {
	raw, err := who.rows.Stated(ctx, caller, e.ID)
	if err == nil {
		before := reflect.New(reflect.TypeOf(e.Fact))
		if err := json.Unmarshal(raw, before.Interface()); err != nil {
			return err
		}
		return agree(before.Elem().Interface(), e.Fact)
	} else if !absent(err) {
		return err
	}
	seq, err := s.bus.Publish(ctx, e)
	if err != nil {
		return err
	}
	first, there, err := s.bus.StoredAt(ctx, who.tenant, seq)
	if err != nil || !there {
		return err
	}
	s.write(ctx, who, []events.Event{first})
	return agree(first.Fact, e.Fact)
}

// agree refuses what says something else than was said with the same key.
func agree(before any, now events.Fact) error {
	if what(before) != what(now) {
		return fail(http.StatusConflict, "something else was said with this Idempotency-Key")
	}
	return nil
}

// what a fact says, whoever says so and why.
func what(f any) any {
	switch f := f.(type) {
	case events.MemoryStored:
		f.By, f.Expires = "", nil // which counts from when it is asked
		return f
	case events.CallerCorrected:
		f.By, f.Reason = "", ""
		return f
	case events.LeadStaged:
		f.By, f.Reason = "", ""
		return f
	}
	return f
}
