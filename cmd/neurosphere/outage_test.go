package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"neurosphere.ai/neurosphere/internal/simulated"
)

// waitsFor is what /readyz says is missing.
func (s *served) waitsFor() (ready bool, what []string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.Addr+"/readyz", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var state struct {
		Ready   bool     `json:"ready"`
		Waiting []string `json:"waiting_for"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&state); err != nil {
		s.t.Fatal(err)
	}
	if state.Ready != (resp.StatusCode == http.StatusOK) {
		s.t.Errorf("ready is %t with status %d", state.Ready, resp.StatusCode)
	}
	return state.Ready, state.Waiting
}

// The database of the process dies and cannot come back for a while: callers
// are answered, operators are told, and what was said meanwhile is worked off
// by itself.
func TestPostgresIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serveIn(t, dir, nil)
	a := s.tenant("Tenant Alpha", "+12065550110", map[string]string{"sms_to": "+12065550101"})
	home := filepath.Join(dir, "postgres")
	if other, err := os.ReadFile(filepath.Join(home, "elsewhere")); err == nil {
		home, _, _ = strings.Cut(string(other), "\n")
	}
	data, hidden := filepath.Join(home, "data"), filepath.Join(home, "hidden")
	raw, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.SplitN(string(raw), "\n", 2)[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(data, hidden); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.until("it says what it waits for", func() bool {
		ready, what := s.waitsFor()
		return !ready && slices.Contains(what, "postgres")
	})
	r := s.play(simulated.CallOptions{From: "+12065550142", To: a.Numbers[0], Turns: []string{"Hello, my name is Ann Lee."}})
	if r.Err != nil || r.Refused != "" || len(r.Turns) != 1 || !r.Turns[0].Answered {
		t.Errorf("a call without the database: %+v", r)
	}
	if err := os.Rename(hidden, data); err != nil {
		t.Fatal(err)
	}
	s.until("it is ready again", func() bool { ready, _ := s.waitsFor(); return ready })
	rows, err := s.Store.For(a.Tenant)
	if err != nil {
		t.Fatal(err)
	}
	s.until("the call is summarized and told", func() bool {
		call, err := rows.Call(t.Context(), r.CallSID)
		return err == nil && call.Summary != nil && byCall(s.log())[r.CallSID]["sms.sent"] == 1
	})
}
