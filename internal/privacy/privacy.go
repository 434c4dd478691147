// Package privacy gives people what is kept about them, and takes it away:
// from the rows, from the log, and from the files both lie in. What was erased
// is written down in a ledger that names nobody, so that a backup does not
// bring it back.
package privacy

import (
	"context"
	"errors"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/vault"
)

// What callers may ask errors.Is for.
var (
	// ErrNothing is returned where nothing is kept about whom was asked for.
	ErrNothing = errors.New("nothing is kept")

	// ErrBusy is returned while a call is live or being summarized: what it will
	// have stated cannot be erased yet. Asking again goes on where it was.
	ErrBusy = errors.New("a call of theirs is still under way")

	// ErrHeld is returned for a tenant whose data is on hold.
	ErrHeld = errors.New("the tenant's data is on hold: nothing is removed")
)

// Service exports and erases. Bus, Store, Vault and Live are needed; the Ledger
// is by whoever erases.
type Service struct {
	Bus    *bus.Bus
	Store  *store.Store
	Vault  *vault.Vault
	Live   string // name of the projection in use
	Ledger Ledger
	// Housekeep makes deleted bytes go from the files of the database; nil:
	// somebody else does, and the certificate says so.
	Housekeep Housekeeper
	// ForgetTexts has the carrier forget texts by its ids; nil: people are to.
	ForgetTexts func(sids []string) error
	Dir         string // everything this installation keeps on disk; for Request.Verify
}

// Housekeeping cleans the files of a database as its administrator. Without a
// DSN, or where the server does not let us, people are told what to do.
func Housekeeping(adminDSN func(context.Context) string) Housekeeper {
	return func(ctx context.Context, told func(string)) ([]string, error) {
		dsn := adminDSN(ctx)
		if dsn == "" {
			return []string{ByHand}, nil
		}
		if err := store.Housekeep(ctx, dsn, told); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			return []string{ByHand + " (" + err.Error() + ")"}, nil
		}
		return nil, nil
	}
}

// Request is what to erase: everything about a caller, one call, or a tenant.
type Request struct {
	Tenant events.Tenant
	Caller string // E.164, or what stands in the place of a number
	Call   string
	All    bool
	By     string
	Verify []string      // words to look for afterwards, in every file
	Wait   time.Duration // for calls under way
	Files  bool          // also make the bytes go from the files, which takes a while

	Progress func(step string, done, of int)

	entry *Entry // of the ledger, when it is done once more
}

// Kinds of erasure.
const (
	KindCaller = "caller"
	KindCall   = "call"
	KindTenant = "tenant"
)

func (r Request) kind() string {
	switch {
	case r.All:
		return KindTenant
	case r.Call != "":
		return KindCall
	}
	return KindCaller
}

// check refuses what does not say clearly what to erase.
func (r Request) check() error {
	n := 0
	for _, given := range []bool{r.All, r.Call != "", r.Caller != ""} {
		if given {
			n++
		}
	}
	switch {
	case !r.Tenant.Valid():
		return events.ErrNoTenant
	case n != 1:
		return errors.New("say a caller, a call, or everything: one of them")
	case r.Caller != "" && !events.Identified(r.Caller):
		return errors.New("a caller is a number, as in +12065550142, or legacy:… where the old service had none")
	case r.By == "":
		return errors.New("say who asks for it")
	}
	return nil
}

func (r Request) tell(step string, done, of int) {
	if r.Progress != nil {
		r.Progress(step, done, of)
	}
}

// until is the time after which things became true that are not meant.
func (r Request) until() time.Time {
	if r.entry != nil {
		return r.entry.At
	}
	return time.Time{}
}

// Plan is what there is to erase.
type Plan struct {
	Kind  string           `json:"kind"`
	Rows  map[string]int64 `json:"rows"`
	Facts map[string]int64 `json:"facts"`
	Calls []string         `json:"calls"`
}

// Empty reports whether that is nothing.
func (p Plan) Empty() bool { return len(p.Rows) == 0 && len(p.Facts) == 0 }
