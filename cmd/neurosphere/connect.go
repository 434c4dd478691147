package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/bus/embedded"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/vault"
)

// reach is how an operator's command gets at the database and the bus: those
// of the environment, those a running process serves in DATA_DIR, or, where
// none is running, ones of its own for as long as it takes.
type reach struct {
	cfg   app.Config
	vault *vault.Vault // nil where there is no key
	stops []func()
	found bool // where servers are, has been looked for
}

func newReach() (*reach, error) {
	cfg, err := app.LoadConfig(os.Getenv)
	if err != nil {
		return nil, app.Wrong(err)
	}
	v, err := app.OpenVault(cfg)
	if err != nil {
		return nil, app.Wrong(err)
	}
	return &reach{cfg: cfg, vault: v}, nil
}

// onStore runs f on the database, with how it was reached.
func onStore(ctx context.Context, f func(r *reach, s *store.Store) error) error {
	r, err := newReach()
	if err != nil {
		return err
	}
	defer r.close()
	s, err := r.store(ctx)
	if err != nil {
		return err
	}
	return f(r, s)
}

// onTenant is onStore for what is about one customer; 0 is all of them.
func onTenant(ctx context.Context, t events.Tenant, f func(r *reach, s *store.Store) error) error {
	return onStore(ctx, func(r *reach, s *store.Store) error {
		if err := known(ctx, s, t); err != nil {
			return err
		}
		return f(r, s)
	})
}

// known refuses a customer there is not; 0 is all of them.
func known(ctx context.Context, s *store.Store, t events.Tenant) error {
	if t == 0 {
		return nil
	}
	_, err := s.Settings(ctx, t)
	if errors.Is(err, store.ErrNotFound) {
		return wrongf("there is no customer %s; see neurosphere tenant list", t)
	}
	return err
}

func (r *reach) close() {
	for i := len(r.stops) - 1; i >= 0; i-- {
		r.stops[i]()
	}
}

// turn waits until no other command has servers of its own in DATA_DIR: they end
// with it. Servers of a process that runs can be used at any time.
func (r *reach) turn(ctx context.Context) error {
	if r.found {
		return nil
	}
	if err := os.MkdirAll(r.cfg.DataDir, 0o711); err != nil { //nolint:gosec // the server's user passes through
		return err
	}
	f, err := os.OpenFile(filepath.Join(r.cfg.DataDir, "command.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return errors.Join(fmt.Errorf("lock DATA_DIR: %w", err), f.Close())
		}
		if first {
			fmt.Fprintln(os.Stderr, "waiting for another command to end")
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), f.Close())
		case <-time.After(100 * time.Millisecond):
		}
	}
	r.found = true
	_, database := store.ConnectPrivate(ctx, filepath.Join(r.cfg.DataDir, "postgres"))
	if _, nats := embedded.Running(filepath.Join(r.cfg.DataDir, "nats")); nats || database {
		return f.Close()
	}
	r.stops = append([]func(){func() { _ = f.Close() }}, r.stops...) // the last to go
	return nil
}

func (r *reach) store(ctx context.Context) (s *store.Store, err error) {
	if r.cfg.DatabaseURL != "" {
		s, err = store.Open(ctx, r.cfg.DatabaseURL, nil)
	} else if err = r.turn(ctx); err == nil {
		s, err = r.privateStore(ctx)
	}
	if err != nil {
		return nil, err
	}
	r.stops = append(r.stops, s.Close)
	return s, app.CheckKey(ctx, s, r.vault)
}

// privateStore opens the database of DATA_DIR. The server of a process that was
// killed can be found until it is down; then one of our own takes its place.
func (r *reach) privateStore(ctx context.Context) (*store.Store, error) {
	dir := filepath.Join(r.cfg.DataDir, "postgres")
	for end := time.Now().Add(startWait); ; {
		private, running, err := findPrivate(ctx, dir)
		if err != nil {
			return nil, err
		}
		if !running {
			r.stops = append(r.stops, func() { _ = private.Stop() })
			if err := store.Migrate(ctx, private.AdminDSN(), ""); err != nil {
				return nil, err
			}
		}
		s, err := store.Open(ctx, private.DSN(), nil)
		if err != nil {
			return nil, err
		}
		if _, err = s.Tenants(ctx); err == nil {
			return s, nil
		}
		s.Close()
		if !errors.Is(err, store.ErrUnavailable) || time.Now().After(end) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// startWait is how long a command waits for a server that another process is
// just starting.
const startWait = 30 * time.Second

// findPrivate is the server a running process has in dir, or one of our own.
func findPrivate(ctx context.Context, dir string) (p *store.Private, running bool, err error) {
	for end := time.Now().Add(startWait); ; {
		if p, running = store.ConnectPrivate(ctx, dir); running {
			return p, true, nil
		}
		p, err = store.StartPrivate(ctx, dir, nil)
		if !errors.Is(err, store.ErrPrivateInUse) || time.Now().After(end) {
			return p, false, err
		}
		select {
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (r *reach) bus(ctx context.Context) (*bus.Bus, error) {
	o := bus.Options{URL: r.cfg.NATSURL, Name: "operator", Replicas: r.cfg.Replicas}
	if o.URL == "" {
		if err := r.turn(ctx); err != nil {
			return nil, err
		}
		url, own, err := r.findBus(ctx, filepath.Join(r.cfg.DataDir, "nats"))
		if err != nil {
			return nil, fmt.Errorf("start embedded bus: %w", err)
		}
		o.InProcess = own.InProcess
		o.URL = url
	}
	waiting, cancel := context.WithTimeout(ctx, startWait) // a process waits for the bus; somebody who sits there is told
	defer cancel()
	b, err := bus.Open(waiting, o)
	if err != nil {
		return nil, err
	}
	r.stops = append(r.stops, b.Close)
	return b, nil
}

// findBus is the server a running process has in dir, or one of our own, whose
// options say how to reach it from within.
func (r *reach) findBus(ctx context.Context, dir string) (url string, own bus.Options, err error) {
	for end := time.Now().Add(startWait); ; {
		if url, running := embedded.Running(dir); running {
			return url, own, nil
		}
		own, _, stop, err := startBus(dir, zap.NewNop())
		if err == nil {
			r.stops = append(r.stops, stop)
			return own.URL, own, nil
		}
		if !errors.Is(err, embedded.ErrInUse) || time.Now().After(end) {
			return "", bus.Options{}, err
		}
		select {
		case <-ctx.Done():
			return "", bus.Options{}, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// errNotLive is said when a change is saved and no bus could be told.
var errNotLive = errors.New("saved; it goes live as soon as a profiler runs")
