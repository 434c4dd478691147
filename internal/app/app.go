// Package app turns workers into a process: it reads the environment, opens
// what they share, runs them together, says when they are ready and stops them
// in order.
package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/vault"
)

// Exit codes of every command.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2 // wrong usage or configuration
)

// Platform is what a process shares among its workers. Run takes from it what
// its worker needs; nothing keeps the whole.
type Platform struct {
	Config  Config
	Log     *zap.Logger
	Bus     *bus.Bus
	Store   *store.Store   // nil where neither DATABASE_URL nor a private PostgreSQL is given
	Mux     *http.ServeMux // of LISTEN_ADDR
	Addr    string         // host:port it really listens on
	Metrics *prometheus.Registry
	Vault   *vault.Vault // of MASTER_KEY; nil where there is none

	health *health
	began  time.Time
}

// Ready says that a worker can do its work now.
func (p *Platform) Ready(worker string) {
	p.health.ready(worker)
	p.Log.Info("ready", zap.String("worker", worker), zap.Duration("after", time.Since(p.began)))
}

// Worker runs until ctx ends, finishes what it has taken, and returns. An
// error stops the process.
type Worker func(ctx context.Context, p *Platform) error

// Named is a worker with the name it has in configuration and health.
type Named struct {
	Name string
	Run  Worker
}

// Options are what differs between the programs.
type Options struct {
	Workers []Named // stopped in this order: whoever talks to callers first
	Getenv  func(string) string
	// StartBus and StartStore serve NATS_URL and DATABASE_URL when empty; nil
	// makes the variable required. up tells whether the server stores.
	StartBus   func(dir string, log *zap.Logger) (o bus.Options, up func() bool, stop func(), err error)
	StartStore func(ctx context.Context, dir string, log *zap.Logger) (*store.Private, error)
	// Started is told once everything is up.
	Started func(ctx context.Context, p *Platform) error
	Log     *zap.Logger // nil: JSON to standard error
}

// Main runs one worker as a program of its own.
func Main(name string, w Worker) {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintf(fs.Output(), "%s runs the %s worker against NATS_URL and DATABASE_URL until it is told to stop.\n\n%s", name, name, Usage())
	}
	if err := fs.Parse(os.Args[1:]); errors.Is(err, flag.ErrHelp) {
		os.Exit(ExitOK)
	} else if err != nil {
		os.Exit(ExitUsage)
	} else if fs.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "%s: unexpected %q\n", name, fs.Arg(0))
		os.Exit(ExitUsage)
	}
	os.Exit(Exit(Run(Signalled(), Options{Workers: []Named{{name, w}}, Getenv: os.Getenv})))
}

// Exit prints err and says which exit code it calls for.
func Exit(err error) int {
	var usage UsageError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, err)
		return ExitUsage
	default:
		fmt.Fprintln(os.Stderr, err)
		return ExitFailed
	}
}

// UsageError is a mistake of whoever started the program.
type UsageError struct{ error }

// Unwrap is the mistake itself.
func (e UsageError) Unwrap() error { return e.error }

// Wrong makes a UsageError of err; nil stays nil.
func Wrong(err error) error {
	if err == nil {
		return nil
	}
	return UsageError{err}
}

// Signalled ends at the first SIGTERM or SIGINT, which asks the process to
// drain; the second one ends the process at once.
func Signalled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ch
		cancel()
		<-ch
		os.Exit(ExitFailed)
	}()
	return ctx
}

// WaitsForDisk is for whoever syncs files in a process that has more to do: it
// keeps others from waiting with it. The scheduler takes up to 10 ms to notice
// that a goroutine waits for the disk, and to give its processor to another.
func WaitsForDisk() {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) <= runtime.NumCPU() {
		runtime.GOMAXPROCS(4 * runtime.GOMAXPROCS(0))
	}
}

// ballast is address space without memory behind it. The collector counts it,
// so that it does not stop everything every few hundredths of a second because
// a heap of a few megabytes has doubled. In return it lets garbage grow to half
// of what is live, where Go's own measure is as much again.
const (
	ballast = 128 << 20 // bytes
	garbage = 50        // percent, unless GOGC says otherwise
)

func steadyCollector() (stop func()) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	untouched := make([]byte, ballast)
	return func() { runtime.KeepAlive(untouched) }
}

// Run is a process: it returns when ctx has ended and everything is shut down,
// or with the first error.
func Run(ctx context.Context, o Options) error {
	began := time.Now()
	defer steadyCollector()()
	cfg, err := LoadConfig(o.Getenv)
	if err != nil {
		return Wrong(err)
	}
	log := o.Log
	if log == nil {
		log = newLogger(cfg.LogLevel)
	}
	if err := o.needed(cfg); err != nil {
		return Wrong(err)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return Wrong(fmt.Errorf("DATA_DIR: %w", err))
	}
	p := &Platform{
		Config: cfg, Log: log, Mux: http.NewServeMux(), Metrics: prometheus.NewRegistry(),
		health: newHealth(o.Workers), began: began,
	}
	p.Metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// What is opened is closed in reverse, after the workers.
	var closers []func()
	defer func() {
		for i := len(closers) - 1; i >= 0; i-- {
			closers[i]()
		}
	}()
	for _, open := range []func(context.Context, Options, *Platform) (func(), error){openVault, openVendors, openStore, openBus, openHTTP} {
		stop, err := open(ctx, o, p)
		if stop != nil {
			closers = append(closers, stop)
		}
		if err != nil {
			return err
		}
	}
	return runWorkers(ctx, o, p)
}

func (o Options) needed(cfg Config) error {
	var errs []error
	if cfg.NATSURL == "" && o.StartBus == nil {
		errs = append(errs, errors.New("NATS_URL: needed; only the neurosphere command has a server built in"))
	}
	return errors.Join(errs...)
}

// openVault uses MASTER_KEY, or a key of this directory where bus and database
// are in it too.
func openVault(_ context.Context, _ Options, p *Platform) (stop func(), err error) {
	p.Vault, err = OpenVault(p.Config)
	return nil, Wrong(err)
}

// OpenVault is the vault of a configuration; nil where it has no key. It comes
// before anything that keeps data.
func OpenVault(c Config) (*vault.Vault, error) {
	switch {
	case c.MasterKey != "":
		return vault.New(c.MasterKey)
	case c.DatabaseURL == "" || c.NATSURL == "":
		return vault.InDir(c.DataDir, "postgres", "nats")
	}
	return nil, nil //nolint:nilnil // said above
}

// AdminDSN is how the database's administrator logs in: DATABASE_ADMIN_URL, or
// that of the private server; empty where we are not to know.
func AdminDSN(ctx context.Context, c Config) string {
	if c.DatabaseURL != "" {
		return c.DatabaseAdminURL
	}
	if private, up := store.ConnectPrivate(ctx, filepath.Join(c.DataDir, "postgres")); up {
		return private.AdminDSN()
	}
	return ""
}

func openStore(ctx context.Context, o Options, p *Platform) (func(), error) {
	dsn := p.Config.DatabaseURL
	stop := func() {}
	if dsn == "" {
		if o.StartStore == nil {
			return stop, nil
		}
		private, err := o.StartStore(ctx, filepath.Join(p.Config.DataDir, "postgres"), p.Log)
		if err != nil {
			return stop, err
		}
		p.health.watch("postgres", private.Up)
		stop = func() {
			if err := private.Stop(); err != nil {
				p.Log.Warn("private postgres", zap.Error(err))
			}
		}
		if err := store.Migrate(ctx, private.AdminDSN(), ""); err != nil {
			return stop, err
		}
		dsn = private.DSN()
	}
	s, err := store.Open(ctx, dsn, p.Log)
	if err != nil {
		return stop, fmt.Errorf("open database: %w", err)
	}
	p.Store = s
	return func() { s.Close(); stop() }, CheckKey(ctx, s, p.Vault)
}

// CheckKey refuses a vault of another key than the one a database's secrets are
// sealed with. A database that is away is no error.
func CheckKey(ctx context.Context, s *store.Store, v *vault.Vault) error {
	if v == nil {
		return nil
	}
	fingerprint, err := v.Fingerprint()
	if err == nil {
		err = s.CheckKey(ctx, fingerprint)
	}
	switch {
	case errors.Is(err, store.ErrOtherKey):
		return Wrong(err)
	case errors.Is(err, store.ErrUnavailable):
		return nil
	}
	return err
}

func openBus(ctx context.Context, o Options, p *Platform) (func(), error) {
	opts, stop := bus.Options{URL: p.Config.NATSURL}, func() {}
	if opts.URL == "" {
		var up func() bool
		var err error
		WaitsForDisk()
		if opts, up, stop, err = o.StartBus(filepath.Join(p.Config.DataDir, "nats"), p.Log); err != nil {
			return nil, fmt.Errorf("start embedded bus: %w", err)
		}
		p.health.watch("bus storage", up)
	}
	opts.Replicas, opts.Log = p.Config.Replicas, p.Log
	if len(o.Workers) == 1 {
		opts.Name = o.Workers[0].Name
	}
	b, err := bus.Open(ctx, opts)
	if err != nil {
		return stop, fmt.Errorf("open bus: %w", err)
	}
	p.Bus = b
	return func() { b.Close(); stop() }, nil
}

// runWorkers runs them all. When ctx ends they are stopped one after the
// other, so that callers are served until the last of them has hung up.
func runWorkers(ctx context.Context, o Options, p *Platform) error {
	type running struct {
		stop context.CancelFunc
		done chan struct{}
	}
	failed := make(chan error, len(o.Workers)+1)
	var all []running
	for _, w := range o.Workers {
		wctx, stop := context.WithCancel(context.WithoutCancel(ctx))
		r := running{stop, make(chan struct{})}
		all = append(all, r)
		go func() {
			defer close(r.done)
			if err := w.Run(wctx, p); err != nil {
				failed <- fmt.Errorf("%s: %w", w.Name, err)
			}
		}()
	}
	if o.Started != nil {
		go func() {
			if err := p.health.wait(ctx); err != nil {
				return
			}
			if err := o.Started(ctx, p); err != nil {
				failed <- err
			}
		}()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	p.health.drain()
	began := time.Now()
	for _, r := range all {
		r.stop()
		<-r.done
	}
	p.Log.Info("stopped", zap.Duration("took", time.Since(began)))
	return err
}

func newLogger(level string) *zap.Logger {
	lvl, err := zapcore.ParseLevel(level)
	if err != nil {
		lvl = zapcore.InfoLevel
	}
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.ISO8601TimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(enc), zapcore.Lock(os.Stderr), lvl))
}
