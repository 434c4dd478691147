package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/bus/embedded"
	"neurosphere.ai/neurosphere/internal/store"
)

// reach is how an operator's command gets at the database and the bus: those
// of the environment, those a running process serves in DATA_DIR, or, where
// none is running, ones of its own for as long as it takes.
type reach struct {
	cfg   app.Config
	stops []func()
}

func newReach() (*reach, error) {
	cfg, err := app.LoadConfig(os.Getenv)
	if err != nil {
		return nil, app.Wrong(err)
	}
	return &reach{cfg: cfg}, nil
}

func (r *reach) close() {
	for i := len(r.stops) - 1; i >= 0; i-- {
		r.stops[i]()
	}
}

func (r *reach) store(ctx context.Context) (*store.Store, error) {
	dsn := r.cfg.DatabaseURL
	if dsn == "" {
		dir := filepath.Join(r.cfg.DataDir, "postgres")
		private, running := store.ConnectPrivate(ctx, dir)
		if !running {
			var err error
			if private, err = store.StartPrivate(ctx, dir, nil); err != nil {
				return nil, err
			}
			r.stops = append(r.stops, func() { _ = private.Stop() })
			if err := store.Migrate(ctx, private.AdminDSN(), ""); err != nil {
				return nil, err
			}
		}
		dsn = private.DSN()
	}
	s, err := store.Open(ctx, dsn, nil)
	if err != nil {
		return nil, err
	}
	r.stops = append(r.stops, s.Close)
	return s, nil
}

func (r *reach) bus(ctx context.Context) (*bus.Bus, error) {
	o := bus.Options{URL: r.cfg.NATSURL, Name: "operator", Replicas: r.cfg.Replicas}
	if o.URL == "" {
		dir := filepath.Join(r.cfg.DataDir, "nats")
		url, running := embedded.Running(dir)
		if !running {
			own, stop, err := startBus(dir, zap.NewNop())
			if err != nil {
				return nil, fmt.Errorf("start embedded bus: %w", err)
			}
			r.stops = append(r.stops, stop)
			url, o.InProcess = own.URL, own.InProcess
		}
		o.URL = url
	}
	b, err := bus.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	r.stops = append(r.stops, b.Close)
	return b, nil
}

// errNotLive is said when a change is saved and no bus could be told.
var errNotLive = errors.New("saved; it goes live as soon as a profiler runs")
