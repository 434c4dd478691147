package moving

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"reflect"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/vault"
)

// digest is one of a set of facts: the same for the same facts, in whatever
// order and however often they come. Left out of it is what belongs to an
// instance: where facts lie in its stream, and what only its key opens.
type digest struct {
	seen map[string]bool // ids
	sum  [4]uint64       // of the facts' hashes, as one number
}

func newDigest() *digest { return &digest{seen: map[string]bool{}} }

// add reports whether the fact is one it had not seen.
func (d *digest) add(m bus.Moved) (bool, error) {
	if d.seen[m.ID] {
		return false, nil
	}
	f, err := withSealed(m.Fact, func(events.Sealed) (events.Sealed, bool, error) { return events.Sealed{}, false, nil })
	if err != nil {
		return false, err
	}
	if e, ok := f.(events.CallEnded); ok {
		e.FirstSeq, e.Facts = 0, nil
		f = e
	}
	raw, err := json.Marshal([]any{
		m.ID, m.Tenant, m.Call, m.CallSeq, m.Cause, m.Time.UTC().Format(time.RFC3339Nano), m.Trace, m.Source, f.Name(), f,
	})
	if err != nil {
		return false, err
	}
	h, carry := sha256.Sum256(raw), uint64(0)
	for i := range d.sum {
		d.sum[i], carry = bits.Add64(d.sum[i], binary.LittleEndian.Uint64(h[8*i:]), carry)
	}
	d.seen[m.ID] = true
	return true, nil
}

func (d *digest) total() Sum {
	var raw [32]byte
	for i, n := range d.sum {
		binary.LittleEndian.PutUint64(raw[8*i:], n)
	}
	return Sum{len(d.seen), hex.EncodeToString(raw[:])}
}

// purpose is what values in facts are sealed for.
const purpose = "turn"

const (
	saltBytes  = 16
	rounds     = 600_000
	minPhrase  = 12
	keyOfVault = 32
)

// passVault seals with a passphrase.
func passVault(passphrase string, salt []byte) (*vault.Vault, error) {
	if len(passphrase) < minPhrase {
		return nil, fmt.Errorf("the passphrase is too short: %d characters at least", minPhrase)
	}
	key, err := pbkdf2.Key(sha256.New, passphrase, salt, rounds, keyOfVault)
	if err != nil {
		return nil, err
	}
	return vault.New(hex.EncodeToString(key))
}

// reseal opens a value with one vault and seals it with another.
func reseal(t events.Tenant, v events.Sealed, from, to *vault.Vault) (events.Sealed, error) {
	raw, err := unbase(v)
	if err != nil {
		return v, err
	}
	text, err := from.Open(t, purpose, raw)
	if err != nil {
		return v, err
	}
	if raw, err = to.Seal(t, purpose, text); err != nil {
		return v, err
	}
	v.Value = base64.StdEncoding.EncodeToString(raw)
	return v, nil
}

func unbase(v events.Sealed) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(v.Value)
	if err != nil {
		return nil, errors.New("a sealed value is malformed")
	}
	return raw, nil
}

var sealedType = reflect.TypeFor[events.Sealed]()

// withSealed is f with each sealed value changed, or without it where keep is
// false. f itself stays as it is.
func withSealed(f events.Fact, change func(events.Sealed) (v events.Sealed, keep bool, err error)) (events.Fact, error) {
	if !mayHold(reflect.TypeOf(f)) {
		return f, nil
	}
	raw, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	own := reflect.New(reflect.TypeOf(f)) // shares nothing with f
	if err := json.Unmarshal(raw, own.Interface()); err != nil {
		return nil, err
	}
	if err := changeIn(own.Elem(), change); err != nil {
		return nil, err
	}
	return own.Elem().Interface().(events.Fact), nil
}

// mayHold reports whether there can be sealed values in a type.
func mayHold(t reflect.Type) bool {
	switch {
	case t == sealedType:
		return true
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer:
		return mayHold(t.Elem())
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && (mayHold(f.Type) || isSealed(f)) {
				return true
			}
		}
	}
	return false
}

func changeIn(v reflect.Value, change func(events.Sealed) (events.Sealed, bool, error)) error {
	if !mayHold(v.Type()) {
		return nil
	}
	switch v.Kind() {
	case reflect.Slice:
		if v.Type().Elem() == sealedType {
			return changeList(v, change)
		}
		for i := range v.Len() {
			if err := changeIn(v.Index(i), change); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			err := changeIn(v.Field(i), change)
			if isSealed(v.Type().Field(i)) {
				err = changeText(v.Field(i), change)
			}
			if err != nil {
				return err
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			return changeIn(v.Elem(), change)
		}
	}
	return nil
}

// isSealed tells the fields that hold a sealed value by itself.
func isSealed(f reflect.StructField) bool {
	return f.Name == "Sealed" && f.Type.Kind() == reflect.String
}

func changeText(v reflect.Value, change func(events.Sealed) (events.Sealed, bool, error)) error {
	if v.String() == "" {
		return nil
	}
	s, keep, err := change(events.Sealed{Value: v.String()})
	if err != nil {
		return err
	}
	if !keep {
		s.Value = ""
	}
	v.SetString(s.Value)
	return nil
}

func changeList(v reflect.Value, change func(events.Sealed) (events.Sealed, bool, error)) error {
	var out []events.Sealed
	for _, s := range v.Interface().([]events.Sealed) {
		s, keep, err := change(s)
		if err != nil {
			return err
		}
		if keep {
			out = append(out, s)
		}
	}
	v.Set(reflect.ValueOf(out))
	return nil
}
