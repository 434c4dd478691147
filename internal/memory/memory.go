// Package memory is the AI-Memory API: everything known about a tenant's
// callers, over HTTP. What is written here is stated as a fact, and whoever
// stated it reads it at once. One place, guard.go, decides whose data a request
// may see; routes get a handle of that tenant and nothing else.
package memory

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/privacy"
	"neurosphere.ai/neurosphere/internal/readmodel"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/vault"
)

// prefixes are where the API's routes lie; what is not a route there is not
// found, in JSON.
var prefixes = []string{"/v1/", "/v2/", "/memory/", "/caller/"}

// Serves reports whether a path is the API's.
func Serves(path string) bool {
	return path == document || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(path, p) })
}

// document is where the OpenAPI document lies.
const document = "/openapi.json"

// Run serves the API until ctx ends.
func Run(ctx context.Context, p *app.Platform) error {
	if p.Store == nil {
		return app.Wrong(errors.New("memory: DATABASE_URL is needed"))
	}
	if p.Vault == nil {
		return app.Wrong(errors.New("memory: MASTER_KEY is needed, to seal the cursors of lists"))
	}
	s, err := newService(p)
	if err != nil {
		return err
	}
	s.running = ctx
	h, err := s.handler(p.Metrics)
	if err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	for _, prefix := range prefixes {
		p.Mux.Handle(prefix, h)
	}
	p.Mux.Handle("GET "+document, h)
	p.Ready("memory")
	s.noteKeys(ctx)
	return nil
}

// service is what the routes share. It holds no tenant's data.
type service struct {
	log     *zap.Logger
	store   *store.Store
	bus     *bus.Bus
	vault   *vault.Vault
	models  readmodel.Models
	privacy *privacy.Service // which asks, and has no ledger
	now     func() time.Time
	running context.Context //nolint:containedctx // ends what would go on for ever: feeds that are followed

	guard    *guard
	created  created
	calls    keyed // being taken in
	feeds    counted
	searches *searches
	turns    chan struct{} // to look callers up
	beat     time.Duration // of feeds that are followed
}

func newService(p *app.Platform) (*service, error) {
	models, err := readmodel.New(p.Vault.Callers)
	if err != nil {
		return nil, err
	}
	s := &service{
		log: p.Log.Named("memory"), store: p.Store, bus: p.Bus, vault: p.Vault, models: models, now: time.Now, running: context.Background(), beat: feedBeat,
		turns: make(chan struct{}, 2*runtime.NumCPU()), searches: newSearches(),
	}
	s.privacy = &privacy.Service{Bus: s.bus, Store: s.store, Vault: s.vault, Live: readmodel.Projection}
	s.guard = newGuard(s.store, s.log, func() time.Time { return s.now() })
	return s, nil
}

// handler is the whole API.
func (s *service) handler(metrics prometheus.Registerer) (http.Handler, error) {
	if err := s.guard.measure(metrics); err != nil {
		return nil, err
	}
	a := newAPI(s)
	s.routes(a)
	spec, err := a.document()
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == document {
			w.Header().Set("Content-Type", "application/openapi+json")
			_, _ = w.Write(spec)
			return
		}
		a.serve(w, r)
	}), nil
}

// routes registers them all.
func (s *service) routes(a *api) {
	s.memoryRoutes(a)
	s.contextRoutes(a)
	s.summaryRoutes(a)
	s.callerRoutes(a)
	s.callRoutes(a)
	s.feedRoutes(a)
	s.privacyRoutes(a)
}

// created is when the stream came to be, asked for once.
type created struct {
	mu sync.Mutex
	at time.Time
}

func (s *service) streamCreated(ctx context.Context) (time.Time, error) {
	s.created.mu.Lock()
	defer s.created.mu.Unlock()
	if s.created.at.IsZero() {
		at, err := s.bus.StreamCreated(ctx)
		if err != nil {
			return at, err
		}
		s.created.at = at
	}
	return s.created.at, nil
}

// state publishes a fact and writes the rows it leads to, so that whoever stated
// it reads it at once.
func (s *service) state(ctx context.Context, who asker, e events.Event) (err error) {
	if e.Seq, err = s.bus.Publish(ctx, e); err != nil {
		return err
	}
	s.write(ctx, who, []events.Event{e})
	return nil
}

// write writes the rows facts lead to ahead of the profiler, with the same
// code. Published, they are true: rows that cannot be written now are written
// by the profiler.
func (s *service) write(ctx context.Context, who asker, facts []events.Event) {
	created, err := s.streamCreated(ctx)
	if err == nil {
		err = who.rows.Project(ctx, readmodel.Projection, created, func(p *store.Projection) error {
			touched, err := s.models.Apply(p, facts)
			if err != nil {
				return err
			}
			return s.models.Fold(p, touched)
		})
	}
	if err != nil {
		s.log.Warn("rows of what was stated wait for the profiler", zap.Stringer("tenant", who.tenant), zap.Error(err))
	}
}

// plain is text as it comes back from the log: PostgreSQL has no NUL.
func plain(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}
