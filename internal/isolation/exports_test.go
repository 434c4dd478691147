package isolation_test

import (
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"neurosphere.ai/neurosphere/internal/privacy"
	"neurosphere.ai/neurosphere/internal/readmodel"
)

// files is what exports and erases on an instance.
func (in *instance) files(t *testing.T) *privacy.Service {
	t.Helper()
	return &privacy.Service{
		Bus: in.Bus, Store: in.Store, Vault: in.Vault, Live: readmodel.Projection, Dir: in.Config.DataDir,
		Ledger: privacy.NewLedger(filepath.Join(t.TempDir(), "erasures.jsonl")),
	}
}

// exports: what a business exports has its own words and no other's, of a
// caller whom all have, of one whom only another has, and of all together.
func (p *probe) exports(t *testing.T) {
	s := p.in.files(t)
	for i, me := range p.all {
		text := exported(t, s, me, ann)
		if !strings.Contains(text, me.words[0]) || len(foreign(p.all, me, text)) > 0 {
			t.Errorf("the export of %s has its own words: %v, and %q", me.words[2], strings.Contains(text, me.words[0]), foreign(p.all, me, text))
		}
		for _, nobodys := range []string{p.all[(i+1)%len(p.all)].only, "+13125559998"} {
			if _, err := s.Export(t.Context(), me.id, nobodys); !errors.Is(err, privacy.ErrNothing) {
				t.Errorf("the export of who never called: %v", err)
			}
		}
		everybody := ""
		err := s.ExportAll(t.Context(), me.id, func(d privacy.Document) error {
			raw, err := json.Marshal(d)
			everybody += string(raw)
			return err
		})
		if err != nil || !strings.Contains(everybody, me.only) || len(foreign(p.all, me, everybody)) > 0 {
			t.Errorf("everything of %s: %v, with %q", me.words[2], err, foreign(p.all, me, everybody))
		}
	}
}

func exported(t *testing.T, s *privacy.Service, b *business, caller string) string {
	t.Helper()
	d, err := s.Export(t.Context(), b.id, caller)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// erased: a caller whom one business erases stays with the others.
func (p *probe) erased(t *testing.T) {
	s := p.in.files(t)
	const caller = bob
	before := map[string]string{}
	for _, b := range p.all[1:] {
		before[b.words[2]] = undated(exported(t, s, b, caller))
	}
	if _, err := s.Erase(t.Context(), privacy.Request{Tenant: p.all[0].id, Caller: caller, By: "probe"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Export(t.Context(), p.all[0].id, caller); !errors.Is(err, privacy.ErrNothing) {
		t.Errorf("still there: %v", err)
	}
	after := map[string]string{}
	for _, b := range p.all[1:] {
		after[b.words[2]] = undated(exported(t, s, b, caller))
	}
	if !maps.Equal(before, after) {
		t.Errorf("others' exports were\n%v, and are\n%v", before, after)
	}
}

// undated is an export without when it was made.
func undated(text string) string {
	var d map[string]any
	if json.Unmarshal([]byte(text), &d) == nil {
		delete(d, "exported_at")
	}
	raw, _ := json.Marshal(d)
	return string(raw)
}

// exports reads everything about each caller as an export: of all calls of the
// tenant, and of no other.
func (h *holder) exports(t *testing.T) (reads int) {
	found := map[string]bool{}
	err := h.in.files(t).ExportAll(t.Context(), h.id, func(d privacy.Document) error {
		raw, err := json.Marshal(d)
		maps.Copy(found, h.only(t, "an export", answer{status: 200, body: string(raw)}, h.calls[d.Caller]))
		reads++
		return err
	})
	if err != nil || len(found) != len(h.own()) {
		t.Errorf("the export is of %d calls, want %d: %v", len(found), len(h.own()), err)
	}
	return reads
}
