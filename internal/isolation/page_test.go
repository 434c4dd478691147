package isolation_test

import "sync"

// report collects what the page shows.
var report results_

type results_ struct {
	mu     sync.Mutex
	routes []mutant
}

func (r *results_) routeMutants(m []mutant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.routes = m
}

func (r *results_) checked(p *probe) {}

func (r *results_) read(calls, tenants, callers, reads int) {}
