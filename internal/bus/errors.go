package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
)

var (
	// ErrAway is returned when the bus cannot be reached now.
	ErrAway = errors.New("bus is away")

	// ErrOutboxFull is returned when the spool has reached its bound, and what
	// is kept in memory instead has too.
	ErrOutboxFull = errors.New("outbox is full")

	// ErrNotSafe is returned for what the outbox keeps in memory only, because
	// the disk does not take it: it is published all the same, unless the
	// process ends before there is room again or the bus has it.
	ErrNotSafe = errors.New("kept in memory only")

	// ErrOutboxClosed is returned for what is put into a closed outbox.
	ErrOutboxClosed = errors.New("outbox is closed")

	// ErrOutboxInUse is returned when another process has the spool open.
	ErrOutboxInUse = errors.New("outbox is in use by another process")

	// ErrBadToken is returned for a call or instance that cannot stand in a subject.
	ErrBadToken = errors.New("not a subject token")

	// ErrNobody is returned when no worker is there to answer a request.
	ErrNobody = errors.New("nobody answers")

	// ErrNoCall is returned for a call the registry does not hold.
	ErrNoCall = errors.New("no such call")

	// ErrCallOver is an ErrNoCall, for a call the registry did hold.
	ErrCallOver = fmt.Errorf("%w: it is over", ErrNoCall)

	// ErrNoLetter is returned for a dead letter that is not there (any more).
	ErrNoLetter = errors.New("no such dead letter")

	// ErrUnsettled is returned while it cannot be told who is alive.
	ErrUnsettled = errors.New("instances have not reported yet")

	// ErrCutShort is returned when the stream of facts has lost its end, and
	// with it facts that were read already.
	ErrCutShort = errors.New("stream has lost facts that were read")

	// errMisfit: what exists in the bus contradicts what this program needs.
	errMisfit = errors.New("bus holds something else")
)

// Permanent marks an error of a handler that no retry will cure: the event
// becomes a dead letter. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// IsPermanent reports whether err was marked with Permanent.
func IsPermanent(err error) bool {
	var p permanent
	return errors.As(err, &p)
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// away turns the client's many ways to say "not connected" into ErrAway.
func away(err error) error {
	for _, e := range []error{
		nats.ErrReconnectBufExceeded, nats.ErrConnectionClosed, nats.ErrConnectionReconnecting,
		nats.ErrConnectionDraining, nats.ErrDisconnected, nats.ErrNoServers, nats.ErrStaleConnection,
	} {
		if errors.Is(err, e) {
			return ErrAway
		}
	}
	return err
}

// doubled is first·2^n, at most limit.
func doubled(first, limit time.Duration, n int) time.Duration {
	d := first
	for ; n > 0 && d < limit; n-- {
		d *= 2
	}
	return min(d, limit)
}

// jitter is between half of d and d, so that many who wait do not act at once.
func jitter(d time.Duration) time.Duration {
	if d < 2 {
		return d
	}
	return d/2 + rand.N(d/2) //nolint:gosec // spreads retries; nothing to guess
}

// requestLimit bounds one request to the server: an answer can be lost with the
// connection it was to come over, however long its caller would wait.
const requestLimit = 5 * time.Second

// call makes one request to the server. It is given up as ErrAway when a new
// connection is made, since the answer would have come over the last one.
func (b *Bus) call(ctx context.Context, request func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	lost, lose := context.WithCancel(limited)
	defer lose()
	defer b.onConnect(lose)()
	err := request(lost)
	if err != nil && lost.Err() != nil && ctx.Err() == nil {
		return ErrAway
	}
	return away(err)
}

// sleep reports whether d went by before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
