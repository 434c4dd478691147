package simulated

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Fault is something that goes wrong on purpose.
type Fault struct {
	Kind        string  `json:"kind"`        // see the server's own list
	Probability float64 `json:"probability"` // 0: always
	Times       int     `json:"times"`       // 0: for ever
	AfterChunks int     `json:"after_chunks"`
	DelayMS     int     `json:"delay_ms"`
}

// faults are those ordered from one server. POST /_simulated/faults with a JSON
// list replaces them.
type faults struct {
	mu  sync.Mutex
	all []Fault
}

func (f *faults) set(list []Fault) {
	f.mu.Lock()
	f.all = append([]Fault(nil), list...)
	f.mu.Unlock()
}

// next is the fault the present request meets; ok is false for none.
func (f *faults) next(kinds ...string) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.all {
		c := &f.all[i]
		if !has(kinds, c.Kind) || c.Times < 0 || c.Probability > 0 && rand.Float64() >= c.Probability { //nolint:gosec // chance, not a secret
			continue
		}
		if c.Times > 0 {
			if c.Times--; c.Times == 0 {
				c.Times = -1
			}
		}
		return *c, true
	}
	return Fault{}, false
}

func has(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

func (f *faults) serve(w http.ResponseWriter, r *http.Request) {
	var list []Fault
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&list); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.set(list)
	w.WriteHeader(http.StatusNoContent)
}

// pause waits, or until the client has gone.
func pause(r *http.Request, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-r.Context().Done():
	case <-time.After(d):
	}
}

// reset ends the connection as a crash would.
func reset(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if c, ok := conn.(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(0)
	}
	_ = conn.Close()
}
