package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/simulated"
	"neurosphere.ai/neurosphere/internal/store"
)

// api makes one request to the AI-Memory API and reads a JSON answer.
func (s *served) api(key, method, path string, body any) (int, map[string]any) {
	s.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.Addr+path, bytes.NewReader(raw))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		s.t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, text)
	}
	return resp.StatusCode, out
}

// A call held elsewhere goes through the whole pipeline as one on the phone
// does, once, and nobody is texted about it.
func TestCallHeldElsewhereIsRemembered(t *testing.T) {
	t.Parallel()
	s := serveAll(t, nil)
	fig := s.tenant("Fig", "+12065550180", map[string]string{"sms_to": "+12065550181"})
	_, key, err := s.Store.NewAPIKey(t.Context(), fig.Tenant, store.KeyOptions{Name: "crm"})
	if err != nil {
		t.Fatal(err)
	}
	const caller = "%2B12065550142"
	call := map[string]any{
		"customer_id": fig.Tenant, "user_id": "+12065550142", "thread_id": "t1", "started_at": "2026-03-04T10:00:00Z",
		"conversation_history": [][2]string{
			{"assistant", "Hello, how can I help?"}, {"user", "Hi, my name is Ann Lee."}, {"assistant", "Hi Ann."}, {"user", "I drive a 2019 Toyota Camry."}, {"assistant", "Thank you."}, {"user", "That is all, bye."},
		},
	}
	status, first := s.api(key, http.MethodPost, "/v2/process-call", call)
	if status != http.StatusAccepted || first["call_id"] == "" {
		t.Fatalf("%d %v", status, first)
	}
	var profile map[string]any
	s.until("the caller is known", func() bool {
		status, profile = s.api(key, http.MethodGet, "/caller/profile/"+caller+"?customer_id="+fig.Tenant.String(), nil)
		return status == http.StatusOK
	})
	if profile["preferred_name"] != "Ann Lee" || profile["first_call_date"] != "2026-03-04T10:00:00Z" || profile["total_calls"] != 1.0 {
		t.Errorf("%v", profile)
	}
	if status, again := s.api(key, http.MethodPost, "/v2/process-call", call); status != http.StatusAccepted || again["call_id"] != first["call_id"] {
		t.Errorf("%d %v", status, again)
	}
	// A call on the phone afterwards shows that everything before it is through.
	phone := s.play(simulated.CallOptions{From: "+12065550143", To: fig.Numbers[0], Turns: []string{"My name is Bo."}})
	if phone.Err != nil {
		t.Fatal(phone.Err)
	}
	s.until("the call on the phone is told", func() bool { return s.count(phone.CallSID, "sms.requested") == 1 })
	counts := map[string]int{}
	for _, e := range s.log() {
		if e.Call == first["call_id"] {
			counts[e.Fact.Name()]++
		}
	}
	if counts["call.ended"] != 1 || counts["call.summarized"] != 1 || counts["turn.heard"] != 3 || counts["sms.requested"] != 0 {
		t.Errorf("%v", counts)
	}
}

// count is how many facts of a name a call has.
func (s *served) count(call, name string) (n int) {
	s.t.Helper()
	for _, e := range s.log() {
		if e.Call == call && e.Fact.Name() == name {
			n++
		}
	}
	return n
}

// Operators make, list and revoke keys.
func TestKeysAreManaged(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DATA_DIR", dir)
	do := func(args ...string) (code int, out string) {
		t.Helper()
		old := os.Stdout
		f, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout = f
		code = run(args, io.Discard)
		os.Stdout = old
		raw, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return code, string(raw)
	}
	serve := serveIn(t, dir, nil)
	made, _, err := createTenant(t.Context(), serve.Store, "Fig", "insurance_v1", map[string]string{"numbers": "+12065550100"})
	if err != nil {
		t.Fatal(err)
	}
	id := made.Tenant.String()
	code, out := do("tenant", "api-key", id, "-name", "crm", "-expires", "90d", "-limit", "600")
	var key struct {
		Tenant  events.Tenant `json:"customer_id"`
		Key     string        `json:"api_key"`
		ID      string        `json:"key_id"`
		Expires time.Time     `json:"expires_at"`
		Limit   int           `json:"per_minute"`
	}
	if err := json.Unmarshal([]byte(out), &key); err != nil || code != 0 || key.Tenant != made.Tenant || !strings.HasPrefix(key.Key, "ns_"+id+"_") || key.Limit != 600 || time.Until(key.Expires) < 89*24*time.Hour {
		t.Fatalf("%d %v %s", code, err, out)
	}
	if code, out := do("tenant", "api-keys", id); code != 0 || !strings.Contains(out, key.ID) || strings.Contains(out, key.Key) {
		t.Errorf("%d %s", code, out)
	}
	if code, _ := do("tenant", "revoke-key", "880001", key.ID); code != 2 {
		t.Errorf("a customer there is not: %d", code)
	}
	if code, out := do("tenant", "revoke-key", id, key.ID); code != 0 {
		t.Errorf("%d %s", code, out)
	}
	if _, out := do("tenant", "api-keys", id); !strings.Contains(out, `"revoked_at": "20`) {
		t.Error(out)
	}
	code, out = do("platform-key", "create", "-name", "support")
	var platform struct {
		ID string `json:"key_id"`
	}
	if err := json.Unmarshal([]byte(out), &platform); err != nil || code != 0 {
		t.Fatalf("%d %v %s", code, err, out)
	}
	if code, out := do("platform-key", "list"); code != 0 || !strings.Contains(out, platform.ID) {
		t.Errorf("%d %s", code, out)
	}
	if code, out := do("platform-key", "revoke", platform.ID); code != 0 {
		t.Errorf("%d %s", code, out)
	}
	for _, wrong := range [][]string{
		{"tenant", "api-key", id, "-expires", "soon"},
		{"tenant", "api-key", id, "-limit", "-1"},
		{"tenant", "api-key", "x"},
		{"tenant", "revoke-key", id},
		{"platform-key"},
		{"platform-key", "nothing"},
		{"platform-key", "revoke"},
	} {
		if code, out := do(wrong...); code != 2 {
			t.Errorf("%v: %d %s", wrong, code, out)
		}
	}
}
