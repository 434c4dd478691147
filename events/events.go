// Package events is the contract between workers: every fact that crosses the
// bus, the subject it travels on and the words exchanged during a live call.
// It does no I/O and imports nothing but the standard library.
package events

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrNoTenant is returned wherever a tenant is required and none, or an
// impossible one, was given.
var ErrNoTenant = errors.New("no tenant")

// Tenant is a paying business: customer_id in SQL, JSON and URLs, token two of
// every subject on the bus. The zero value is no tenant and is refused
// everywhere.
type Tenant int32

// Valid reports whether t can be a tenant.
func (t Tenant) Valid() bool { return t > 0 }

// String is the subject token and the SQL setting of t.
func (t Tenant) String() string { return strconv.FormatInt(int64(t), 10) }

// ParseTenant reads a decimal customer_id written the one way it is printed;
// anything else is ErrNoTenant.
func ParseTenant(s string) (Tenant, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n <= 0 || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("%q: %w", s, ErrNoTenant)
	}
	return Tenant(n), nil
}

// Fact is the data of one event: what became true, named in the past tense.
type Fact interface {
	// Name is "<noun>.<past participle>", as in "call.ended". It is the tail
	// of the subject and the stem of the schema and golden files. Names are
	// data: renaming one loses the past.
	Name() string

	// identity lists what, beside the tenant and the call, makes this fact
	// that fact and no other. Publishing it twice yields the same event ID.
	identity() []string
}

// Head says whose fact it is, where it belongs and what led to it. It travels
// as CloudEvents attributes, outside the data, and therefore carries neither
// names nor numbers nor words of a caller.
type Head struct {
	ID      string    // derived from what the fact states
	Tenant  Tenant    // extension tenantid, and token two of the subject
	Call    string    // Twilio CallSid; empty where the fact is not of a call
	CallSeq int       // 1,2,3… among the facts the call's owner wrote; else 0
	Cause   string    // ID of the event that led to this one; may be empty
	Time    time.Time // when it became true; UTC, microseconds
	Trace   string    // W3C traceparent; may be empty
	// History marks a fact carried over from elsewhere or long past: rows are
	// made of it, and no worker acts on it.
	History bool

	// Set on delivery, not sent.
	Seq      uint64 // stream sequence
	Delivery int    // 1 on first delivery to this consumer
}

// Event is a fact with its head.
type Event struct {
	Head
	Fact Fact
}

// New is the event that states f at time at. call is empty for facts that
// belong to no call. Set CallSeq, Cause and Trace on the result as needed; the
// ID does not depend on them, nor on at.
func New(t Tenant, call string, at time.Time, f Fact) Event {
	return Event{
		Head: Head{ID: id(t, call, f), Tenant: t, Call: call, Time: at.UTC().Truncate(time.Microsecond)},
		Fact: f,
	}
}

func id(t Tenant, call string, f Fact) string {
	return Derive(append([]string{f.Name(), t.String(), call}, f.identity()...)...)
}

// Derive makes an ID (32 hex digits) out of what it names: the same parts,
// the same ID, in every process and for ever.
func Derive(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s,", len(p), p) // lengths keep ("ab","c") from ("a","bc")
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Check reports what makes e unfit to be published: no tenant, no time, or an
// ID that is not the one its fact derives.
func (e Event) Check() error {
	switch {
	case !e.Tenant.Valid():
		return ErrNoTenant
	case e.Fact == nil:
		return errors.New("no fact")
	case e.Time.IsZero():
		return fmt.Errorf("%s: no time", e.Fact.Name())
	case e.ID != id(e.Tenant, e.Call, e.Fact):
		return fmt.Errorf("%s: id %q does not derive from what it states", e.Fact.Name(), e.ID)
	}
	return nil
}

// Subject is where e travels: tenant.<customer_id>.<noun>.<past participle>.
func (e Event) Subject() string { return Subject(e.Tenant, e.Fact.Name()) }

// Subject of the facts called name of one tenant.
func Subject(t Tenant, name string) string { return "tenant." + t.String() + "." + name }

// Filter matches the facts called name of every tenant.
func Filter(name string) string { return "tenant.*." + name }

// Type is the CloudEvents type of the facts called name.
func Type(name string) string { return "ai.neurosphere." + name + ".v1" }

// NameOfType is the inverse of Type; ok is false for any other type.
func NameOfType(typ string) (name string, ok bool) {
	name, ok = strings.CutPrefix(typ, "ai.neurosphere.")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(name, ".v1")
}

// TenantOfSubject is token two of a subject "tenant.<id>.…".
func TenantOfSubject(subject string) (Tenant, error) {
	tok := strings.SplitN(subject, ".", 3)
	if len(tok) < 3 || tok[0] != "tenant" {
		return 0, fmt.Errorf("subject %q: %w", subject, ErrNoTenant)
	}
	return ParseTenant(tok[1])
}
