package privacy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/privacy"
	"neurosphere.ai/neurosphere/internal/settings"
)

// names counts a tenant's facts.
func (i *installation) names(t events.Tenant) map[string]int {
	i.t.Helper()
	out := map[string]int{}
	_, err := i.bus.Search(i.t.Context(), t, 1, nil, func(s bus.Stored) error { out[s.Name]++; return nil })
	if err != nil {
		i.t.Fatal(err)
	}
	return out
}

// Each class of data goes when it is as old as its tenant has it kept, and the
// log then leads to the rows there are.
func TestSweep(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(2)
	i.publish(woven(canary, ann, elsa)...)
	nobody := who{"anonymous", "Nemo Nullman", "nameless", 1, 1}
	i.publish(nobody.factsOf(0, began)...)
	i.project()
	i.claims(canary, ann, elsa)
	if _, _, err := i.store.UpdateSettings(t.Context(), 2, func(s *events.Settings) error { s.Retention = &events.Retention{Hold: true}; return nil }); err != nil {
		t.Fatal(err)
	}
	held := i.names(2)
	sweep := func(days int, dry bool) privacy.Swept {
		t.Helper()
		all, err := i.service.Sweep(t.Context(), privacy.SweepOptions{Now: began.AddDate(0, 0, days), Dry: dry})
		if err != nil || len(all) != 2 {
			t.Fatalf("%+v, %v", all, err)
		}
		return all[0]
	}
	callers := []string{canary.number, ann.number}
	calls := append(canary.ids(), ann.ids()...)
	before := i.names(1)
	if w := sweep(60, false); w.Transcripts+w.Texts+w.Callers+w.Calls != 0 {
		t.Errorf("after 60 days: %+v", w)
	}
	if w := sweep(100, true); w.Transcripts != 14 || w.Texts != 0 {
		t.Errorf("dry, after 100 days: %+v", w)
	}
	if now := i.names(1); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Errorf("a dry run removed facts: %v", now)
	}
	rows := i.rows(1, callers, calls...)
	if w := sweep(100, false); w.Transcripts != 14 {
		t.Errorf("after 100 days: %+v", w)
	}
	same(t, "without transcripts", rows, i.rows(1, callers, calls...))
	if now := i.names(1); now["turn.heard"]+now["turn.spoken"] != 0 || now["call.summarized"] != 7 || now["sms.requested"] != 7 {
		t.Errorf("after 100 days: %v", now)
	}
	if w := sweep(190, false); w.Texts != 9 { // 7 sent, 2 received
		t.Errorf("after 190 days: %+v", w)
	}
	rows = i.rows(1, callers, calls...)
	for _, row := range rows["texts"] {
		if !strings.Contains(row, `"body":""`) || strings.Contains(row, `"sid":""`) || !strings.Contains(row, `"delivered_at":"`) {
			t.Errorf("a text after 190 days: %s", row)
		}
	}
	delete(rows, "extractions")
	delete(rows, "sms_outbox")
	i.forget(1)
	i.project()
	same(t, "after a replay", rows, i.rows(1, callers, calls...))
	if _, err := i.service.Sweep(t.Context(), privacy.SweepOptions{Tenant: 3, Now: began}); err == nil {
		t.Error("a business that is not there")
	}
	if w := sweep(740, false); w.Callers != 2 || w.Calls != 1 {
		t.Errorf("after 740 days: %+v", w)
	}
	if got := i.rows(1, callers, calls...); len(got) > 0 {
		t.Errorf("after 740 days: %v", got)
	}
	now := i.names(1)
	delete(now, "caller.erased")
	delete(now, "call.erased")
	if len(now) > 0 {
		t.Errorf("after 740 days: %v", now)
	}
	if got := i.names(2); fmt.Sprint(got) != fmt.Sprint(held) {
		t.Errorf("on hold, %v became %v", held, got)
	}
}

func TestRawAnswersExpire(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(1)
	i.claims(ann)
	for days, want := range []int64{0, 3, 0} {
		all, err := i.service.Sweep(t.Context(), privacy.SweepOptions{Now: time.Now().AddDate(0, 0, 40*days)})
		if err != nil || len(all) != 1 || all[0].Raw != want {
			t.Errorf("after %d days: %+v, %v", 40*days, all, err)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	var s events.Settings
	if got := privacy.LimitsOf(s); got != privacy.Defaults || got.Transcripts <= 0 || got.Raw <= 0 || got.Texts <= 0 || got.Callers <= 0 || got.Hold {
		t.Errorf("defaults %+v", got)
	}
	for key, value := range map[string]string{"retention.transcript_days": "30", "retention.caller_days": "365", "retention.hold": "true"} {
		if err := settings.Set(&s, key, value); err != nil {
			t.Error(err)
		}
	}
	want := privacy.Defaults
	want.Transcripts, want.Callers, want.Hold = 30, 365, true
	if got := privacy.LimitsOf(s); got != want {
		t.Errorf("own %+v", got)
	}
	for key, value := range map[string]string{"retention.transcript_days": "-1", "retention.raw_days": "1000000", "retention.text_days": "x", "retention.hold": "maybe", "retention.pictures": "1"} {
		if err := settings.Set(&s, key, value); err == nil {
			t.Errorf("%s=%s is taken", key, value)
		}
	}
}

// The ledger only grows; what others did to it is noticed, what a crash did is
// not in the way.
func TestLedger(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "below", "ledger.jsonl")
	l := privacy.NewLedger(path)
	if all, err := l.Entries(); err != nil || len(all) > 0 {
		t.Errorf("before: %v, %v", all, err)
	}
	for n := range 3 {
		if _, err := l.Add(privacy.Entry{ID: fmt.Sprint(n), Tenant: 1, Kind: "caller", State: "done", At: began}); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(raw []byte) {
		t.Helper()
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(append(bytes.Clone(whole), []byte(`{"id":"half`)...))
	if all, err := l.Entries(); err != nil || len(all) != 3 {
		t.Errorf("cut off: %v, %v", all, err)
	}
	if e, err := l.Add(privacy.Entry{ID: "3", Tenant: 1}); err != nil || e.Before == "" {
		t.Errorf("after that: %+v, %v", e, err)
	}
	if all, err := l.Entries(); err != nil || len(all) != 4 || all[3].ID != "3" {
		t.Errorf("after that: %v, %v", all, err)
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	for name, raw := range map[string][]byte{
		"a line less":    append(bytes.Clone(lines[0]), lines[2]...),
		"another tenant": bytes.Replace(whole, []byte(`"customer_id":1`), []byte(`"customer_id":2`), 1),
		"no JSON":        append([]byte("x\n"), whole...),
	} {
		write(raw)
		if _, err := l.Entries(); err == nil {
			t.Errorf("%s: not noticed", name)
		}
		if _, err := l.Add(privacy.Entry{ID: "4"}); err == nil {
			t.Errorf("%s: more is added", name)
		}
	}
}

// A word is found in whatever form it lies in a file, across the pieces in
// which files are read.
func TestScanFindsWordsInEveryForm(t *testing.T) {
	t.Parallel()
	const word = "Zoë Quagmire+Sons"
	escaped, err := json.Marshal(map[string]string{"x": word})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"plain":      word,
		"lower":      strings.ToLower(word),
		"json":       string(escaped),
		"json ascii": `"Zo\u00eb Quagmire+Sons"`,
		"url":        "Zo%C3%AB+Quagmire%2BSons",
		"base64 0":   "Wm/DqyBRdWFnbWlyZStTb25z",
		"base64 1":   "eFpvw6sgUXVhZ21pcmUrU29ucw==",
		"far in":     strings.Repeat("x", 1<<20-5) + word,
		"farther":    strings.Repeat("x", 3<<20) + word,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte("before "+text+" after"), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := privacy.Scan(t.Context(), dir, []string{"absent", word})
		if err != nil || len(s.Found) != 1 || s.Found[0] != (privacy.Hit{File: "file", Word: 2}) || s.Files != 1 {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("12065550142"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := privacy.Scan(t.Context(), dir, []string{"+12065550142"}); err != nil || len(s.Found) != 1 {
		t.Errorf("digits of a number: %+v, %v", s, err)
	}
}
