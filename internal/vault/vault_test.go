package vault_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/vault"
)

func TestSealedIsOfOneTenantAndPurpose(t *testing.T) {
	v, err := vault.New(strings.Repeat("ab", 32))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := v.Seal(7, "turn", "PVX 752197308")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(sealed), "752197308") {
		t.Error("sealed text can be read")
	}
	if got, err := v.Open(7, "turn", sealed); err != nil || got != "PVX 752197308" {
		t.Errorf("opened %q, %v", got, err)
	}
	if again, err := v.Seal(7, "turn", "PVX 752197308"); err != nil || string(again) == string(sealed) {
		t.Errorf("that two are of the same text can be seen, %v", err)
	}
	changed := append([]byte{}, sealed...)
	changed[len(changed)-1] ^= 1
	other, err := vault.New(strings.Repeat("cd", 32))
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() (string, error){
		"another tenant":  func() (string, error) { return v.Open(8, "turn", sealed) },
		"another purpose": func() (string, error) { return v.Open(7, "key", sealed) },
		"another key":     func() (string, error) { return other.Open(7, "turn", sealed) },
		"changed":         func() (string, error) { return v.Open(7, "turn", changed) },
		"cut short":       func() (string, error) { return v.Open(7, "turn", sealed[:3]) },
		"nothing":         func() (string, error) { return v.Open(7, "turn", nil) },
	} {
		if got, err := open(); !errors.Is(err, vault.ErrSealed) || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := v.Seal(0, "turn", "x"); !errors.Is(err, events.ErrNoTenant) {
		t.Errorf("no tenant: %v", err)
	}
}

func TestRefsAreTheSameAndTellNothing(t *testing.T) {
	v, err := vault.New(strings.Repeat("ab", 32))
	if err != nil {
		t.Fatal(err)
	}
	ref := func(tenant events.Tenant, purpose, text string) string {
		r, err := v.Ref(tenant, purpose, text)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	one := ref(7, "caller", "+12065550142")
	if one != ref(7, "caller", "+12065550142") || len(one) != 32 {
		t.Errorf("ref is %q, and not always", one)
	}
	for _, other := range []string{ref(8, "caller", "+12065550142"), ref(7, "call", "+12065550142"), ref(7, "caller", "+12065550143")} {
		if one == other {
			t.Error("two things have one ref")
		}
	}
}

func TestMasterKeyIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	refs := make([]string, 8)
	var g sync.WaitGroup
	for i := range refs {
		g.Go(func() {
			v, err := vault.InDir(dir)
			if err == nil {
				refs[i], err = v.Ref(1, "x", "y")
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	for _, r := range refs {
		if r != refs[0] {
			t.Error("processes that start at once have different keys")
		}
	}
	info, err := os.Stat(filepath.Join(dir, "master.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "master.key.*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.WriteFile(filepath.Join(dir, "master.key"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.InDir(dir); err == nil {
		t.Error("a damaged key passes")
	}
}

// A key that was lost is not replaced by another one, which opens nothing.
func TestNoNewKeyBesideOldData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	made, err := vault.InDir(dir, "postgres", "nats")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "nats"), 0o700); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "master.key")
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.InDir(dir, "postgres", "nats"); !errors.Is(err, vault.ErrKeyGone) {
		t.Errorf("err = %v", err)
	}
	if _, err := os.Stat(key); err == nil {
		t.Error("there is another key")
	}
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
	back, err := vault.InDir(dir, "postgres", "nats")
	if err != nil {
		t.Fatal(err)
	}
	a, errA := made.Ref(1, "x", "y")
	b, errB := back.Ref(1, "x", "y")
	if errors.Join(errA, errB) != nil || a != b {
		t.Errorf("put back, it is another key: %v, %v", errA, errB)
	}
}
