// Package vault seals what must not be read from a disk, and names callers
// where their numbers must not stand. Everything it makes is bound to a tenant
// and to what it is for: moved elsewhere, it does not open.
package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"neurosphere.ai/neurosphere/events"
)

// ErrSealed is said of what was sealed with another key, for another tenant or
// purpose, or changed since.
var ErrSealed = errors.New("cannot be opened")

const keySize = 32

// Vault holds the master key. It is safe for concurrent use.
type Vault struct{ master []byte }

// New is a vault of a master key of 64 hex digits.
func New(master string) (*Vault, error) {
	key, err := hex.DecodeString(master)
	if err != nil || len(key) != keySize {
		return nil, errors.New("MASTER_KEY: want 64 hex digits")
	}
	return &Vault{key}, nil
}

// ErrKeyGone is said of a directory with data and without the key to it.
var ErrKeyGone = errors.New("the master key is gone")

// InDir is a vault of the master key kept in a directory, which is made on
// first use, before any of data, which are names in the directory. Processes
// that start at once get the same.
func InDir(dir string, data ...string) (*Vault, error) {
	path := filepath.Join(dir, "master.key")
	used := slices.ContainsFunc(data, func(name string) bool { // looked at first: another process may be making both
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	})
	for range 2 {
		raw, err := os.ReadFile(path)
		if err == nil {
			return New(strings.TrimSpace(string(raw)))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read master key: %w", err)
		}
		if used {
			return nil, fmt.Errorf("%w: put %s back, or set MASTER_KEY to what is in it; with another key, nothing sealed can be read again", ErrKeyGone, path)
		}
		if err := os.MkdirAll(dir, 0o711); err != nil { //nolint:gosec // the database's user passes through
			return nil, err
		}
		if err := makeKey(dir, path); err != nil {
			return nil, fmt.Errorf("make master key: %w", err)
		}
	}
	return nil, errors.New("master key is gone again")
}

// makeKey writes a new key to path unless there is one; never half a key.
func makeKey(dir, path string) error {
	f, err := os.CreateTemp(dir, "master.key.*") // only the owner may read it
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails
	_, err = f.WriteString(hex.EncodeToString(key) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (v *Vault) key(t events.Tenant, purpose string) ([]byte, error) {
	if !t.Valid() {
		return nil, events.ErrNoTenant
	}
	return hkdf.Key(sha256.New, v.master, nil, "neurosphere/"+t.String()+"/"+purpose, keySize)
}

func (v *Vault) aead(t events.Tenant, purpose string) (cipher.AEAD, error) {
	key, err := v.key(t, purpose)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Seal encrypts a text of a tenant's for a purpose, such as "turn": AES-256-GCM.
func (v *Vault) Seal(t events.Tenant, purpose, text string) ([]byte, error) {
	a, err := v.aead(t, purpose)
	if err != nil {
		return nil, err
	}
	return a.Seal(nil, nil, []byte(text), nil), nil //nolint:gosec // G407: the nonce is random, and made by Seal
}

// Open is the inverse of Seal; ErrSealed for anything else.
func (v *Vault) Open(t events.Tenant, purpose string, sealed []byte) (string, error) {
	a, err := v.aead(t, purpose)
	if err != nil {
		return "", err
	}
	text, err := a.Open(nil, nil, sealed, nil)
	if err != nil {
		return "", ErrSealed
	}
	return string(text), nil
}

// Fingerprint tells the master key from others, and nothing else of it.
func (v *Vault) Fingerprint() (string, error) {
	sum, err := hkdf.Key(sha256.New, v.master, nil, "neurosphere/fingerprint", 16)
	return hex.EncodeToString(sum), err
}

// Ref names what must not be written down, a caller's number for one, always
// the same way: 32 hex digits of HMAC-SHA256. Nobody without the key can tell
// whose it is, nor compare it with another tenant's.
func (v *Vault) Ref(t events.Tenant, purpose, text string) (string, error) {
	ref, err := v.refs(t, purpose)
	if err != nil {
		return "", err
	}
	return ref(text), nil
}

func (v *Vault) refs(t events.Tenant, purpose string) (func(text string) string, error) {
	key, err := v.key(t, "ref/"+purpose)
	if err != nil {
		return nil, err
	}
	h := hmac.New(sha256.New, key)
	return func(text string) string {
		h.Reset()
		h.Write([]byte(text))
		return hex.EncodeToString(h.Sum(nil)[:16])
	}, nil
}

// Caller is the purpose of refs of callers, for all who name one.
const Caller = "caller"

// Callers names many of a tenant's callers, for one goroutine, as Ref does for
// Caller. No vault names each of them by the empty text.
func (v *Vault) Callers(t events.Tenant) (ref func(number string) string, err error) {
	if v == nil {
		return func(string) string { return "" }, nil
	}
	return v.refs(t, Caller)
}
