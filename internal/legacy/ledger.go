package legacy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
)

// ledger is what the log says was imported before. The log is the only memory
// an import has: of each thing a few bytes are kept while it runs.
type ledger struct {
	have   map[uint64]word
	closed map[uint64]bool // erased or forgotten by others since: not to be stated again
}

// word is the newest word on a thing.
type word struct {
	digest uint64
	nth    uint32 // 0 is the first
	own    bool   // stated under the id the old service had, though it is no UUID
}

// thing is a call, memory or caller in few bytes: among a billion, two are
// taken for one with a chance of one in forty.
func thing(kind, id string) uint64 { return short(kind + "\x00" + id) }

func short(s string) uint64 {
	h := sha256.Sum256([]byte(s))
	return binary.BigEndian.Uint64(h[:8])
}

// digestOf is what a fact states, apart from how many times it was stated.
func digestOf(f events.Fact, at time.Time) uint64 {
	switch v := f.(type) {
	case events.CallSummarized:
		v.Revision = 0
		f = v
	case events.CallerImported:
		v.Digest = ""
		f = v
	}
	raw, err := json.Marshal(f)
	if err != nil {
		return 0 // then the bus refuses it
	}
	return short(fmt.Sprintf("%d %s", at.UnixMicro(), raw))
}

// readLedger reads the tenant's log.
func readLedger(ctx context.Context, b *bus.Bus, t events.Tenant, progress func(string, int)) (*ledger, error) {
	l := &ledger{have: map[uint64]word{}, closed: map[uint64]bool{}}
	var filters []string
	for _, f := range []events.Fact{events.CallSummarized{}, events.CallErased{}, events.MemoryStored{}, events.MemoryForgotten{}, events.CallerImported{}, events.CallerErased{}} {
		filters = append(filters, events.Subject(t, f.Name()))
	}
	said, n := time.Now(), 0
	err := b.Replay(ctx, 1, 0, filters, 1000, func(_ context.Context, batch []events.Event, _ uint64) error {
		for _, e := range batch {
			l.read(e)
		}
		if n += len(batch); time.Since(said) > progressEvery {
			said = time.Now()
			progress("facts of the log read", n)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what was imported before: %w", err)
	}
	return l, nil
}

func (l *ledger) read(e events.Event) {
	switch f := e.Fact.(type) {
	case events.CallSummarized:
		// A later derivation of an imported call by a model is not ours.
		if f.Via == events.ViaImport && f.Producer.Model == "legacy" {
			l.newest(thing("a call", e.Call), word{digest: digestOf(f, e.Time), nth: uint32(f.Revision)})
		} else {
			l.closed[thing("a call", e.Call)] = true
		}
	case events.CallErased:
		l.closed[thing("a call", e.Call)] = true
	case events.CallerErased:
		for _, c := range f.Calls {
			l.closed[thing("a call", c)] = true
		}
	case events.MemoryStored:
		if f.By == importSource && f.Origin == "import" {
			id, nth := version(f.Memory)
			f.Memory = memoryID(id)
			l.newest(thing("a memory", f.Memory), word{digestOf(f, e.Time), nth, id != f.Memory})
		}
	case events.MemoryForgotten:
		if f.By != importSource {
			id, _ := version(f.Memory)
			l.closed[thing("a memory", memoryID(id))] = true
		}
	case events.CallerImported:
		if f.Source == importSource {
			nth, _, _ := strings.Cut(f.Digest, "-")
			n, _ := strconv.ParseUint(nth, 10, 32)
			l.newest(thing("a caller", f.Caller), word{digest: digestOf(f, time.Time{}), nth: uint32(n)})
		}
	}
}

func (l *ledger) newest(at uint64, w word) {
	if had, ok := l.have[at]; !ok || had.nth <= w.nth {
		l.have[at] = w
	}
}

// uuid is the form of a UUID, and of what is derived.
var uuid = regexp.MustCompile(`^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-f]{32})$`)

// memoryID is what a memory of the old service is called here: its id where that
// is a UUID, else one made of it, as another could be taken for a later word on
// some memory.
func memoryID(old string) string {
	if uuid.MatchString(old) {
		return old
	}
	return events.Derive("legacy", old)
}

// version is the id of a memory, and which word on it this is.
func version(memory string) (id string, nth uint32) {
	id, n, ok := strings.Cut(memory, ".")
	if !ok || !uuid.MatchString(id) {
		return memory, 0
	}
	v, err := strconv.ParseUint(n, 10, 32)
	if err != nil {
		return memory, 0
	}
	return id, uint32(v)
}
