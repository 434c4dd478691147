package privacy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"neurosphere.ai/neurosphere/events"
)

// Entry is one line of the ledger: what was erased. It names nobody: a caller
// by a keyed hash, calls by their ids.
type Entry struct {
	ID      string           `json:"id"`
	Tenant  events.Tenant    `json:"customer_id"`
	Kind    string           `json:"kind"` // caller, call, tenant
	Ref     string           `json:"ref,omitempty"`
	Calls   []string         `json:"calls,omitempty"`
	Key     string           `json:"key,omitempty"` // keyed hash of nothing: tells whether Ref was made with the key there is
	By      string           `json:"by"`
	State   string           `json:"state"` // begun, done
	At      time.Time        `json:"at"`    // what became true later is not meant
	Rows    map[string]int64 `json:"rows,omitempty"`
	Facts   map[string]int64 `json:"facts,omitempty"`
	AtLeast bool             `json:"at_least,omitempty"` // as the certificate has it
	Before  string           `json:"before"`             // Hash of the line before; empty: this is the first
	Hash    string           `json:"hash"`               // of this line without it
}

func (e Entry) hash() (string, error) {
	e.Hash = ""
	raw, err := json.Marshal(e)
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), err
}

// ErrLedger is said of a ledger that was changed by other hands: a line is
// missing, or is not what was written.
var ErrLedger = errors.New("the ledger of erasures was changed")

// ErrOtherKey is said of a ledger that names callers by another MASTER_KEY: which
// they are cannot be told, and they must not be taken for nobody.
var ErrOtherKey = errors.New("callers were erased under another MASTER_KEY, and cannot be told from others: give that one")

// Ledger is a file beside bus and database that only grows: what it says was
// erased is erased again after either was restored from a backup.
type Ledger struct{ path string }

// NewLedger is the ledger kept in a file, which need not be there yet.
func NewLedger(path string) Ledger { return Ledger{path} }

// Entries are all lines, oldest first. A last line that was cut off in writing
// is left out.
func (l Ledger) Entries() ([]Entry, error) {
	raw, err := os.ReadFile(l.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	all, _, err := parseLedger(raw)
	return all, err
}

// parseLedger also says how many bytes are whole lines.
func parseLedger(raw []byte) (all []Entry, whole int, err error) {
	before := ""
	for line := range bytes.Lines(raw) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			return all, whole, nil
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, 0, fmt.Errorf("%w: line %d", ErrLedger, len(all)+1)
		}
		if sum, err := e.hash(); err != nil || sum != e.Hash || e.Before != before {
			return nil, 0, fmt.Errorf("%w: line %d", ErrLedger, len(all)+1)
		}
		all, before, whole = append(all, e), e.Hash, whole+len(line)
	}
	return all, whole, nil
}

// Add writes a line and returns it as it is there.
func (l Ledger) Add(e Entry) (Entry, error) {
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return e, fmt.Errorf("write ledger: %w", err)
	}
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return e, fmt.Errorf("write ledger: %w", err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return e, fmt.Errorf("lock ledger: %w", err)
	}
	raw, err := os.ReadFile(l.path)
	if err != nil {
		return e, fmt.Errorf("read ledger: %w", err)
	}
	all, whole, err := parseLedger(raw)
	if err != nil {
		return e, err
	}
	if e.Before = ""; len(all) > 0 {
		e.Before = all[len(all)-1].Hash
	}
	e.At = e.At.UTC()
	if e.Hash, err = e.hash(); err != nil {
		return e, err
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = f.WriteAt(append(line, '\n'), int64(whole))
	}
	if err == nil {
		err = errors.Join(f.Truncate(int64(whole+len(line)+1)), f.Sync())
	}
	if err != nil {
		return e, fmt.Errorf("write ledger: %w", err)
	}
	return e, nil
}
