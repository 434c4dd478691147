package main

import (
	"context"
	"flag"
	"os"
	"strings"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/bus/embedded"
	"neurosphere.ai/neurosphere/internal/conversation"
	"neurosphere.ai/neurosphere/internal/ingress"
	"neurosphere.ai/neurosphere/internal/memory"
	"neurosphere.ai/neurosphere/internal/notifier"
	"neurosphere.ai/neurosphere/internal/profiler"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/summarizer"
)

// workers are the pipeline, in the order in which they are stopped.
func workers() []app.Named {
	return []app.Named{
		{Name: "ingress", Run: ingress.Run},
		{Name: "conversation", Run: conversation.Run},
		{Name: "summarizer", Run: summarizer.Run},
		{Name: "profiler", Run: profiler.Run},
		{Name: "notifier", Run: notifier.Run},
		{Name: "memory", Run: memory.Run},
	}
}

func serve(ctx context.Context, fs *flag.FlagSet, args []string) error {
	names := fs.String("workers", "", "comma-separated names; empty: all of them")
	if err := parse(fs, args); err != nil {
		return err
	}
	chosen, err := choose(*names)
	if err != nil {
		return err
	}
	return app.Run(ctx, options(chosen))
}

func options(ws []app.Named) app.Options {
	return app.Options{Workers: ws, Getenv: os.Getenv, StartBus: startBus, StartStore: store.StartPrivate}
}

func startBus(dir string, log *zap.Logger) (o bus.Options, up func() bool, stop func(), err error) {
	srv, err := embedded.Start(dir, log)
	if err != nil {
		return bus.Options{}, nil, nil, err
	}
	return bus.Options{URL: srv.URL(), InProcess: srv}, srv.Up, srv.Stop, nil
}

func choose(names string) (chosen []app.Named, err error) {
	all := workers()
	if names == "" {
		return all, nil
	}
	for _, name := range strings.Split(names, ",") {
		found := false
		for _, w := range all {
			if w.Name == strings.TrimSpace(name) {
				chosen, found = append(chosen, w), true
			}
		}
		if !found {
			return nil, wrongf("neurosphere serve: -workers: there is no %q", name)
		}
	}
	return chosen, nil
}
