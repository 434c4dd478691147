package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/schemas"
)

// health knows which workers can do their work, and whether the servers inside
// this process do theirs.
type health struct {
	mu       sync.Mutex
	servers  map[string]func() bool
	waiting  map[string]bool
	draining bool
	all      chan struct{} // closed once nobody is waited for
}

func newHealth(workers []Named) *health {
	h := &health{servers: map[string]func() bool{}, waiting: map[string]bool{}, all: make(chan struct{})}
	for _, w := range workers {
		h.waiting[w.Name] = true
	}
	return h
}

func (h *health) ready(worker string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.waiting[worker] {
		return
	}
	delete(h.waiting, worker)
	if len(h.waiting) == 0 {
		close(h.all)
	}
}

// watch has state ask whether a server is up.
func (h *health) watch(server string, up func() bool) {
	h.mu.Lock()
	h.servers[server] = up
	h.mu.Unlock()
}

func (h *health) wait(ctx context.Context) error {
	select {
	case <-h.all:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *health) drain() {
	h.mu.Lock()
	h.draining = true
	h.mu.Unlock()
}

// state is what /readyz says.
func (h *health) state(p *Platform) (state map[string]any, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	waiting := make([]string, 0, len(h.waiting))
	for w := range h.waiting {
		waiting = append(waiting, w)
	}
	for name, up := range h.servers {
		if !up() {
			waiting = append(waiting, name)
		}
	}
	slices.Sort(waiting)
	connected := p.Bus != nil && p.Bus.Connected()
	ok = len(waiting) == 0 && !h.draining && connected
	return map[string]any{"ready": ok, "draining": h.draining, "waiting_for": waiting, "bus_connected": connected}, ok
}

// openHTTP serves the mux: what operators ask of every process, and whatever
// its workers add.
func openHTTP(ctx context.Context, _ Options, p *Platform) (func(), error) {
	p.Mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	p.Mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		state, ok := p.health.state(p)
		w.Header().Set("Content-Type", "application/json")
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(state)
	})
	p.Mux.Handle("GET /metrics", promhttp.HandlerFor(p.Metrics, promhttp.HandlerOpts{}))
	p.Mux.Handle("GET /schemas/", http.StripPrefix("/schemas/", http.FileServerFS(schemas.FS)))
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.Config.ListenAddr)
	if err != nil {
		return nil, Wrong(fmt.Errorf("LISTEN_ADDR: %w", err))
	}
	p.Addr = l.Addr().String()
	if p.Config.PublicURL == "http://"+p.Config.ListenAddr {
		p.Config.PublicURL = "http://" + p.Addr // the port may have been left to the system
	}
	srv := &http.Server{Handler: p.Mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10}
	go func() {
		if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			p.Log.Error("http server stopped", zap.Error(err))
		}
	}()
	p.Log.Info("listening", zap.String("addr", l.Addr().String()), zap.String("public_url", p.Config.PublicURL))
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
	}, nil
}
