package openai

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// attempt makes one request. again: nobody has seen anything of it yet. It may
// tell done how the server does before it returns.
type attempt func(done func(error)) (again bool, err error)

// retry makes attempts until one succeeds, fails for good, or has been seen.
// It waits as long as the server asks, but no longer than longest, and not at
// all when ctx would end first.
func (c *Client) retry(ctx context.Context, longest time.Duration, f attempt) error {
	wait := &patience{ctx: ctx, longest: longest, ExponentialBackOff: backoff.NewExponentialBackOff()}
	wait.InitialInterval, wait.MaxInterval = 100*time.Millisecond, time.Second
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		again, err := c.try(f)
		last = err
		var e *Error
		if err != nil && (!again || !errors.As(err, &e) || !e.Retryable()) {
			return struct{}{}, backoff.Permanent(err)
		}
		wait.asked = 0
		if e != nil {
			wait.asked = e.RetryAfter
		}
		return struct{}{}, err
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(c.o.Tries))
	if err == nil {
		return nil
	}
	return last // and not that ctx ended while waiting to try again
}

// try makes one attempt, if the breaker lets it.
func (c *Client) try(f attempt) (again bool, err error) {
	tell, err := c.breaker.Allow()
	if err != nil {
		return true, &Error{Kind: Down}
	}
	told := false
	done := func(err error) {
		if !told {
			told = true
			tell(err)
		}
	}
	again, err = f(done)
	done(err)
	return again, err
}

// patience is a backoff that knows what the server asked for and how much time
// is left.
type patience struct {
	*backoff.ExponentialBackOff
	ctx     context.Context
	longest time.Duration
	asked   time.Duration
}

func (p *patience) NextBackOff() time.Duration {
	d := max(p.ExponentialBackOff.NextBackOff(), p.asked)
	if end, ok := p.ctx.Deadline(); d > p.longest || ok && time.Until(end) < d {
		return backoff.Stop
	}
	return d
}
