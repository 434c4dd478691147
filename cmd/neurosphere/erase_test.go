package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/privacy"
	"neurosphere.ai/neurosphere/internal/simulated"
	"neurosphere.ai/neurosphere/internal/store"
)

// While everything runs, a caller is exported and erased from another process:
// afterwards no file under DATA_DIR holds any of their words, the stand-in for
// Twilio's included, and the other caller is as before. What is asked for
// wrongly changes nothing.
func TestACallerIsErasedWhileEverythingRuns(t *testing.T) { //nolint:paralleltest // it sets the environment
	dir := t.TempDir()
	s := serveIn(t, dir, nil)
	fig := s.tenant("Fig & Sons", "+12065550140", map[string]string{"sms_to": "+12065550141"})
	const zoe, bob = "+12065550666", "+12065550777"
	words := []string{"Quagmire", "Zanzibar", "aubergine"}
	s.play(simulated.CallOptions{From: zoe, To: fig.Numbers[0], Turns: []string{"Hello, my name is Zelda Quagmire.", "I live at 12 Zanzibar Street.", "Please tell Paula that my car is aubergine."}})
	s.play(simulated.CallOptions{From: bob, To: fig.Numbers[0], Turns: []string{"Hello, my name is Robert Okafor.", "I drive a 2021 Subaru Outback."}})
	rows, err := s.Store.For(fig.Tenant)
	if err != nil {
		t.Fatal(err)
	}
	s.until("both are known and the texts about them sent", func() bool {
		known := 0
		for _, who := range []string{zoe, bob} {
			c, err := rows.CallerContext(t.Context(), who, 5)
			if err == nil && c.Known && len(c.Summaries) == 1 {
				known++
			}
		}
		raw, err := os.ReadFile(filepath.Join(dir, "simulated", "texts.jsonl"))
		return known == 2 && err == nil && bytes.Count(raw, []byte("\n")) >= 2
	})
	found := func(words ...string) []privacy.Hit {
		t.Helper()
		got, err := privacy.Scan(t.Context(), dir, words)
		if err != nil {
			t.Fatal(err)
		}
		return got.Found
	}
	if len(found(words...)) < len(words) {
		t.Fatalf("the words are not there: %v", found(words...))
	}
	t.Setenv("DATA_DIR", dir)
	id := fig.Tenant.String()
	out := t.TempDir()
	for name, args := range map[string][]string{
		"nobody":        {"erase", "-tenant", id},
		"two at once":   {"erase", "-tenant", id, "-caller", zoe, "-all"},
		"no number":     {"erase", "-tenant", id, "-caller", "Zelda"},
		"all the same":  {"erase", "-reapply", "-tenant", id},
		"no business":   {"export"},
		"not so":        {"retention", "now"},
		"json of whom":  {"export", "-tenant", id, "-json"},
		"a word beside": {"erase", "-tenant", id, "-caller", zoe, "now"},
	} {
		if got := run(args, os.Stderr); got != app.ExitUsage {
			t.Errorf("%s: exit %d", name, got)
		}
	}
	if got := run([]string{"erase", "-tenant", id, "-call", "CA404", "-yes"}, os.Stderr); got != app.ExitFailed {
		t.Errorf("an unknown call: exit %d", got)
	}
	if got := run([]string{"export", "-tenant", id, "-out", out}, os.Stderr); got != app.ExitOK {
		t.Fatalf("export: exit %d", got)
	}
	var index struct{ Callers []indexed }
	raw, err := os.ReadFile(filepath.Join(out, "index.json"))
	if err == nil {
		err = json.Unmarshal(raw, &index)
	}
	at := slices.IndexFunc(index.Callers, func(c indexed) bool { return c.Caller == zoe })
	if err != nil || at < 0 {
		t.Fatalf("index %s, %v", raw, err)
	}
	var d privacy.Document
	if raw, err = os.ReadFile(filepath.Join(out, index.Callers[at].File+".json")); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &d); err != nil || len(d.Calls) == 0 || len(d.Calls[0].Transcript) < 4 {
		t.Errorf("document %s, %v", raw, err)
	}
	if got := run([]string{"erase", "-tenant", id, "-caller", zoe, "-yes", "-json"}, os.Stderr); got != app.ExitOK {
		t.Fatalf("erase: exit %d", got)
	}
	s.until("the outbox has let go of what is stored", func() bool {
		left, err := filepath.Glob(filepath.Join(dir, "outbox", "*.log"))
		return err == nil && len(left) == 0
	})
	if hits := found(append(words, zoe)...); len(hits) > 0 {
		t.Errorf("found afterwards: %+v", hits)
	}
	if c, err := rows.CallerContext(t.Context(), zoe, 5); err != nil || c.Known {
		t.Errorf("still known: %+v, %v", c, err)
	}
	if c, err := rows.CallerContext(t.Context(), bob, 5); err != nil || !strings.Contains(c.Name, "Robert") {
		t.Errorf("the other is not known: %+v, %v", c, err)
	}
	if got := run([]string{"export", "-tenant", id, "-out", out}, os.Stderr); got != app.ExitOK {
		t.Fatalf("export to the same place: exit %d", got)
	}
	if left, err := privacy.Scan(t.Context(), out, append(words, zoe)); err != nil || len(left.Found) > 0 {
		t.Errorf("pages of an earlier export are left: %+v, %v", left.Found, err)
	}
	const old = events.Legacy + "Ferris/Wheeler & ../Söhne\u202e" // in the place of a number
	when := time.Now().AddDate(0, 0, -1)
	_, err = s.Bus.Publish(t.Context(), events.New(fig.Tenant, "old-1", when, events.CallSummarized{
		Caller: old, StartedAt: when, EndedAt: when, Summary: "Wanted a wheelbarrow insured.", Topics: []string{}, Sentiment: "neutral", Resolution: "resolved",
		Findings: []events.Finding{}, Rejected: []events.Reject{}, Messages: []events.Message{}, Via: events.ViaImport, Producer: events.Producer{Model: "legacy"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	s.until("who was imported is known", func() bool {
		c, err := rows.CallerContext(t.Context(), old, 5)
		return err == nil && c.Known
	})
	out = filepath.Join(t.TempDir(), "a", "b")
	for _, args := range [][]string{{"replay", "-tenant", id, "-caller", old}, {"export", "-tenant", id, "-caller", old, "-out", out}, {"export", "-tenant", id, "-out", out}} {
		if got := run(args, os.Stderr); got != app.ExitOK {
			t.Errorf("%v: exit %d", args, got)
		}
	}
	for _, pattern := range []string{"caller.json", "caller.html", "callers/*.json", "callers/*.html"} {
		if there, err := filepath.Glob(filepath.Join(out, pattern)); err != nil || !slices.ContainsFunc(there, func(path string) bool {
			raw, err := os.ReadFile(path)
			return err == nil && bytes.Contains(raw, []byte("Wanted a wheelbarrow insured."))
		}) {
			t.Errorf("%s: not in any of %v, %v", pattern, there, err)
		}
	}
	if raw, err := os.ReadFile(filepath.Join(out, "index.html")); err != nil || !bytes.Contains(raw, []byte("Söhne[U+202E]</td>")) {
		t.Errorf("index %s, %v", raw, err)
	}
	if beside, err := os.ReadDir(filepath.Join(out, "..")); err != nil || len(beside) != 1 {
		t.Errorf("written beside: %v, %v", beside, err)
	}
	if got := run([]string{"erase", "-tenant", id, "-caller", old, "-yes"}, os.Stderr); got != app.ExitOK {
		t.Errorf("erase: exit %d", got)
	}
	if hits := found("wheelbarrow", "Wheeler"); len(hits) > 0 {
		t.Errorf("found afterwards: %+v", hits)
	}
	for _, args := range [][]string{{"replay"}, {"erase", "-reapply"}, {"erase", "-housekeeping"}, {"retention", "-dry-run"}, {"retention", "-json"}} {
		if got := run(args, os.Stderr); got != app.ExitOK {
			t.Errorf("%v: exit %d", args, got)
		}
	}
	if len(found("Okafor")) == 0 {
		t.Error("the other's words are gone")
	}
	_, key, err := s.Store.NewAPIKey(t.Context(), fig.Tenant, store.KeyOptions{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	path := "/v1/callers/" + url.PathEscape(bob)
	asked := s.erasing(http.MethodDelete, path, fig.Tenant, key)
	var last erasing
	s.until("what was asked for over the API is erased, for good", func() bool {
		last = s.erasing(http.MethodGet, "/v1/erasures/"+asked.Erasure.ID, fig.Tenant, key)
		return last.Erasure.State == privacy.StateDone
	})
	if c := last.Erasure.Certificate; !c.Genuine() || len(c.Calls) != 1 || c.Facts["turn.heard"] != 2 || len(c.Files) < 2 {
		t.Errorf("certificate %+v", c)
	}
	s.until("the outbox has let go of what is stored", func() bool {
		left, err := filepath.Glob(filepath.Join(dir, "outbox", "*.log"))
		return err == nil && len(left) == 0
	})
	if hits := found("Okafor", "Subaru", bob); len(hits) > 0 {
		t.Errorf("found afterwards: %+v", hits)
	}
	if got := s.erasing(http.MethodGet, path+"/export", fig.Tenant, key); got.Code != http.StatusNotFound {
		t.Errorf("%+v", got)
	}
}

// erasing is what the API says of an erasure, or why not.
type erasing struct {
	Code    int
	Erasure struct {
		ID          string `json:"erasure_id"`
		State       string
		Certificate privacy.Certificate
	}
}

func (s *served) erasing(method, path string, t events.Tenant, key string) (out erasing) {
	s.t.Helper()
	_, got := s.api(key, method, path+"?customer_id="+t.String(), nil)
	raw, err := json.Marshal(got)
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// What a process that was killed left in its outbox is erased with the rest,
// whether the log had it or not.
func TestErasingTakesWhatAKilledProcessLeft(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DATA_DIR", dir)
	const zoe = "+12065550666"
	r, err := newReach()
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	s, err := r.store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fig, _, err := createTenant(t.Context(), s, "Fig", "insurance_v1", map[string]string{"numbers": "+12065550140"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.bus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	box := filepath.Join(dir, "outbox")
	o, err := b.OpenOutbox(box)
	if err != nil {
		t.Fatal(err)
	}
	stored := make(chan struct{})
	fact := events.MemoryStored{Memory: "M1", Caller: zoe, Type: "fact", Key: "home", Value: `"12 Zanzibar Street"`, Origin: "api"}
	if err := o.Put(events.New(fig.Tenant, "", time.Now(), fact), func(uint64) { close(stored) }); err != nil {
		t.Fatal(err)
	}
	left := t.TempDir()
	if err := os.CopyFS(left, os.DirFS(box)); err != nil {
		t.Fatal(err)
	}
	<-stored
	if err := o.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(box); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(box, os.DirFS(left)); err != nil {
		t.Fatal(err)
	}
	if got, err := privacy.Scan(t.Context(), box, []string{"Zanzibar"}); err != nil || len(got.Found) == 0 {
		t.Fatalf("nothing was left: %+v, %v", got, err)
	}
	r.close()
	if got := run([]string{"erase", "-tenant", fig.Tenant.String(), "-caller", zoe, "-yes"}, os.Stderr); got != app.ExitOK {
		t.Fatalf("erase: exit %d", got)
	}
	if got, err := privacy.Scan(t.Context(), dir, []string{"Zanzibar", zoe}); err != nil || len(got.Found) > 0 {
		t.Errorf("found afterwards: %+v, %v", got.Found, err)
	}
}
