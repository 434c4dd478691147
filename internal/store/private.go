package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// ErrNoPostgres means that this machine has no PostgreSQL server to run.
var ErrNoPostgres = errors.New("PostgreSQL is not installed: apt-get install postgresql, or brew install postgresql@17, or set DATABASE_URL")

// ErrPrivateInUse means that another process has the folder. Its server may be
// on its way up: ConnectPrivate finds it then.
var ErrPrivateInUse = errors.New("another process uses the database")

// errEnded is a server that ended before it was ready.
var errEnded = errors.New("postgres ended at once")

// How long a server may take to be ready, how long one whose parent was killed
// may take to write down what it has, and how long to wait before one that
// ended by itself is started again: doubled each time, up to a limit, until it
// has run for so long.
const (
	readyWithin  = 30 * time.Second
	goneWithin   = 20 * time.Second
	againFirst   = 100 * time.Millisecond
	againLimit   = 5 * time.Second
	steadyWithin = time.Minute
)

// Private is a PostgreSQL server of our own: reached by a socket in a private
// folder only, durable, started again when it dies, and dead when its parent
// is.
type Private struct {
	dir, socket string
	log         *zap.Logger
	bin         string
	as          *syscall.Credential
	options     PrivateOptions
	lock        *os.File
	up          atomic.Bool

	// Of whoever starts the server, and once it is up of supervise alone.
	cmd  *exec.Cmd // nil while no process runs
	done chan error

	stop    context.CancelFunc // nil until it is supervised
	stopped chan error         // how the server ended in the end
}

// PrivateOptions are for tests.
type PrivateOptions struct {
	Fast    bool // trade durability for speed
	Watcher bool // do as on a system where the kernel does not end a child with its parent
}

// StartPrivate starts the server kept in dir, making it first if need be. log
// may be nil.
func StartPrivate(ctx context.Context, dir string, log *zap.Logger) (*Private, error) {
	return StartPrivateWith(ctx, dir, log, PrivateOptions{})
}

// StartPrivateWith is StartPrivate with options.
func StartPrivateWith(ctx context.Context, dir string, log *zap.Logger, o PrivateOptions) (*Private, error) {
	if log == nil {
		log = zap.NewNop()
	}
	bin, err := findPostgres(ctx)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	as, err := serverUser()
	if err != nil {
		return nil, err
	}
	if dir, err = reachable(dir, as); err != nil {
		return nil, err
	}
	p := &Private{dir: dir, log: log, bin: bin, as: as, options: o}
	if err := p.prepare(as); err != nil {
		p.unlock()
		return nil, err
	}
	if err := p.initdb(ctx); err != nil {
		p.unlock()
		return nil, err
	}
	if err := p.run(ctx); err != nil {
		_ = p.Stop()
		return nil, err
	}
	supervised, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.stop, p.stopped = stop, make(chan error, 1)
	p.up.Store(true)
	go p.supervise(supervised)
	log.Info("private postgres is up", zap.String("psql", "psql '"+p.AdminDSN()+"'"))
	return p, nil
}

// ConnectPrivate finds the server that another process runs in dir.
func ConnectPrivate(ctx context.Context, dir string) (*Private, bool) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, false
	}
	if other, ok := noted(dir, elsewhere); ok {
		dir = other
	}
	p := &Private{dir: dir, socket: readSocketDir(dir)}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", filepath.Join(p.socket, ".s.PGSQL.5432"))
	if err != nil {
		return nil, false
	}
	_ = conn.Close()
	return p, true
}

// DSN logs in as the application's role.
func (p *Private) DSN() string { return p.dsn("app_rw", "neurosphere") }

// AdminDSN logs in as the superuser, for migrations.
func (p *Private) AdminDSN() string { return p.dsn("postgres", "neurosphere") }

func (p *Private) dsn(role, database string) string {
	return "host=" + p.socket + " port=5432 user=" + role + " dbname=" + database + " sslmode=disable"
}

// Up reports whether the server takes statements, as far as is known: it does
// not from when it died until it has been started again.
func (p *Private) Up() bool { return p.up.Load() }

// Stop ends the server in good order. It may be called again.
func (p *Private) Stop() error {
	defer p.unlock()
	if p.stop == nil {
		return p.end()
	}
	p.stop()
	return <-p.stopped
}

// supervise starts the server again whenever it dies, until ctx ends; then it
// ends the server.
func (p *Private) supervise(ctx context.Context) {
	defer close(p.stopped)
	wait := againFirst
	for began := time.Now(); ; {
		select {
		case <-ctx.Done():
			p.stopped <- p.end()
			return
		case err := <-p.done:
			p.cmd = nil
			p.up.Store(false)
			died := time.Now()
			if died.Sub(began) > steadyWithin {
				wait = againFirst
			}
			p.log.Error("private postgres died and is started again", zap.Error(err), zap.String("see", filepath.Join(p.dir, "log")))
			if wait = p.again(ctx, wait); ctx.Err() != nil {
				p.stopped <- p.end()
				return
			}
			began = time.Now()
			p.up.Store(true)
			p.log.Info("private postgres is up again", zap.Duration("after", began.Sub(died)))
		}
	}
}

// again starts the server until it is ready or ctx ends, and returns how long
// to wait when it dies once more. PostgreSQL itself sees to it that no second
// server works in the folder: what is left of the last one, which may be in the
// middle of a statement, is waited for.
func (p *Private) again(ctx context.Context, wait time.Duration) time.Duration {
	for {
		select {
		case <-ctx.Done():
			return wait
		case <-time.After(wait):
		}
		wait = min(2*wait, againLimit)
		var err error
		if p.cmd == nil {
			err = p.run(ctx)
		} else { // it recovers, which may take its time
			err = p.ready(ctx)
		}
		if err == nil || ctx.Err() != nil {
			return wait
		}
		p.log.Warn("private postgres is not up yet", zap.Error(err))
	}
}

// end ends the process there is, if any.
func (p *Private) end() error {
	p.up.Store(false)
	if p.cmd == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGINT) // fast shutdown
	var err error
	select {
	case err = <-p.done:
	case <-time.After(goneWithin):
		_ = p.cmd.Process.Kill()
		err = fmt.Errorf("private postgres did not stop in %v", goneWithin)
	}
	p.cmd = nil
	return err
}

// initdb makes the cluster beside where it belongs and moves it there when it
// is whole: one that was cut off is made again, not started.
func (p *Private) initdb(ctx context.Context) error {
	data := filepath.Join(p.dir, "data")
	have, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if err == nil {
		out, err := exec.CommandContext(ctx, filepath.Join(p.bin, "postgres"), "--version").Output()
		if err != nil {
			return fmt.Errorf("ask postgres for its version: %w", err)
		}
		if want := strings.TrimSpace(string(have)); !strings.Contains(string(out), " "+want+".") {
			return fmt.Errorf("%s was made by PostgreSQL %s and this is %s: install that version, or choose another DATA_DIR", data, want, strings.TrimSpace(string(out)))
		}
		return nil
	}
	making, err := p.making(p.as)
	if err != nil {
		return err
	}
	args := []string{"-D", making, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions"}
	if p.options.Fast {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "initdb"), args...)
	cmd.Dir = p.socket
	// It has children, which would go on making.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("initdb: %w", ctx.Err())
		}
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	if err := os.Rename(making, data); err != nil {
		return err
	}
	return syncDir(p.dir)
}

// run starts the server until it is ready. One whose parent was killed may
// still be on its way out of the folder: then it is waited for.
func (p *Private) run(ctx context.Context) error {
	for limit := time.Now().Add(goneWithin); ; {
		_, err := os.Stat(filepath.Join(p.dir, "data", "postmaster.pid"))
		left := err == nil
		if err := p.start(); err != nil {
			return err
		}
		err = p.ready(ctx)
		if !left || !errors.Is(err, errEnded) || time.Now().After(limit) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (p *Private) start() error {
	logf, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logf.Close()
	args := []string{
		"-D", filepath.Join(p.dir, "data"), "-k", p.socket, "-p", "5432", "-c", "listen_addresses=",
		"-c", "max_connections=100", "-c", "timezone=UTC", "-c", "unix_socket_permissions=0700",
		// What was erased is to be gone: segments of the log are removed, not
		// renamed for reuse with what they hold, and the server's own log quotes no row.
		"-c", "wal_recycle=off", "-c", "min_wal_size=32MB", "-c", "log_error_verbosity=terse",
	}
	if p.as != nil {
		// We connect as root to a server that is not: the folder is the gate.
		args = append(args, "-c", "unix_socket_permissions=0777")
	}
	if p.options.Fast {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	cmd := exec.Command(filepath.Join(p.bin, "postgres"), args...) //nolint:noctx // it is stopped in good order, not killed
	cmd.Dir = p.socket
	cmd.Stdout, cmd.Stderr = logf, logf
	// Its own process group: Ctrl-C in a terminal is for us, who stop it last.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as, Setpgid: true}
	watched := p.options.Watcher || !endWithParent(cmd.SysProcAttr)
	started, done := make(chan error, 1), make(chan error, 1)
	go func() {
		// The kernel's word of a parent's death is of the thread that started the child.
		runtime.LockOSThread()
		err, unwatch := cmd.Start(), func() {}
		if err == nil && watched {
			if unwatch, err = watch(cmd.Process.Pid, p.as); err != nil {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
		}
		started <- err
		if err == nil {
			err = cmd.Wait()
			unwatch()
			done <- err
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	p.cmd, p.done = cmd, done
	return nil
}

// watch ends the process pid in good order when we are gone, however we go,
// for systems where the kernel does not. A shell waits for the end of a pipe
// whose other end is ours alone. Who kills the shell too is not covered: then
// the server stays until it is stopped by hand, and a next start says so. To be
// undone as soon as pid has ended, before another process gets its number.
func watch(pid int, as *syscall.Credential) (undo func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", "-c", `read -r line; kill -INT "$0"`, fmt.Sprint(pid)) //nolint:noctx // it outlives us
	cmd.Dir = "/"
	cmd.Stdin = r
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true}
	if err := cmd.Start(); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("watch: %w", err)
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = w.Close()
	}, nil
}

// ready waits for the server and makes its database.
func (p *Private) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("postgres is not ready after %v", readyWithin))
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, p.dsn("postgres", "postgres"))
		if err == nil {
			defer conn.Close(ctx)
			var there bool
			if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'neurosphere')`).Scan(&there); err != nil || there {
				return err
			}
			_, err = conn.Exec(ctx, `CREATE DATABASE neurosphere`)
			return err
		}
		select {
		case err := <-p.done:
			p.cmd = nil
			return fmt.Errorf("%w (%w): see %s", errEnded, cmp.Or(err, errors.New("exit status 0")), filepath.Join(p.dir, "log"))
		case <-ctx.Done():
			return fmt.Errorf("%w: see %s", context.Cause(ctx), filepath.Join(p.dir, "log"))
		case <-tick.C:
		}
	}
}
