// Package isolation_test proves that no tenant sees another's data: it calls
// everything as everybody, and takes each barrier away to see that it is missed.
package isolation_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// work is a folder for the length of the tests.
var work string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "isolation")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	work, report.Began = dir, time.Now()
	code := m.Run()
	if path := os.Getenv(pageEnv); path != "" {
		if err := report.write(path, code); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// chosen are which of n mutants to try: some, spread over all, unless the
// environment says otherwise.
func chosen(t *testing.T, n int) (out []int) {
	t.Helper()
	want := min(n, sample)
	switch v := os.Getenv(mutantsEnv); {
	case v == "all" || v == "" && thorough():
		want = n
	case v == "":
	default:
		k, err := strconv.Atoi(v)
		if err != nil || k < 1 {
			t.Fatalf("%s: want a number or all, got %q", mutantsEnv, v)
		}
		want = min(n, k)
	}
	for i := range want {
		out = append(out, i*n/want)
	}
	return out
}

// results are what came of mutants that were tried.
type results struct {
	mu   sync.Mutex
	file string
	Sum  string            `json:"sum"` // of the code they were tried on
	Done map[string]mutant `json:"done"`
}

// resume reads what an earlier run found out about the same code.
func resume(t *testing.T, sum string) *results {
	t.Helper()
	r := &results{file: os.Getenv(resultsEnv), Sum: sum, Done: map[string]mutant{}}
	if r.file == "" {
		return r
	}
	var before results
	if raw, err := os.ReadFile(r.file); err == nil && json.Unmarshal(raw, &before) == nil && before.Sum == sum {
		r.Done = before.Done
	}
	return r
}

func (r *results) get(where string) (mutant, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.Done[where]
	return m, ok
}

func (r *results) put(t *testing.T, m mutant) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Done[m.Where] = m
	if r.file == "" {
		return
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.WriteFile(r.file, raw, 0o600)
	}
	if err != nil {
		t.Error(err)
	}
}

// allEnv, set to anything, has everything tried, in the place of a part of it.
const allEnv = "ISOLATION_ALL"

func thorough() bool { return os.Getenv(allEnv) != "" }
