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
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// ErrNoPostgres means that this machine has no PostgreSQL server to run.
var ErrNoPostgres = errors.New("PostgreSQL is not installed: apt-get install postgresql, or brew install postgresql@17, or set DATABASE_URL")

// errEnded is a server that ended before it was ready.
var errEnded = errors.New("postgres ended at once")

// How long a server may take to be ready, and how long one whose parent was
// killed may take to write down what it has.
const (
	readyWithin = 30 * time.Second
	goneWithin  = 20 * time.Second
)

// Private is a PostgreSQL server of our own: reached by a socket in a private
// folder only, durable, and dead when its parent is.
type Private struct {
	dir, socket string
	cmd         *exec.Cmd
	done        chan error
	lock        *os.File
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
	p := &Private{dir: dir}
	if err := p.prepare(as); err != nil {
		p.unlock()
		return nil, err
	}
	if err := p.initdb(ctx, bin, as, o); err != nil {
		p.unlock()
		return nil, err
	}
	if err := p.run(ctx, bin, as, o); err != nil {
		_ = p.Stop()
		return nil, err
	}
	log.Info("private postgres is up", zap.String("psql", "psql '"+p.AdminDSN()+"'"))
	return p, nil
}

// ConnectPrivate finds the server that another process runs in dir.
func ConnectPrivate(ctx context.Context, dir string) (*Private, bool) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, false
	}
	if raw, err := os.ReadFile(filepath.Join(dir, elsewhere)); err == nil {
		dir = string(raw)
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

// Stop ends the server in good order. It may be called again.
func (p *Private) Stop() error {
	defer p.unlock()
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
func (p *Private) initdb(ctx context.Context, bin string, as *syscall.Credential, o PrivateOptions) error {
	data := filepath.Join(p.dir, "data")
	have, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if err == nil {
		out, err := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--version").Output()
		if err != nil {
			return fmt.Errorf("ask postgres for its version: %w", err)
		}
		if want := strings.TrimSpace(string(have)); !strings.Contains(string(out), " "+want+".") {
			return fmt.Errorf("%s was made by PostgreSQL %s and this is %s: install that version, or choose another DATA_DIR", data, want, strings.TrimSpace(string(out)))
		}
		return nil
	}
	making, err := p.making(as)
	if err != nil {
		return err
	}
	args := []string{"-D", making, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions"}
	if o.Fast {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), args...)
	cmd.Dir = p.socket
	// It has children, which would go on making.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true}
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
func (p *Private) run(ctx context.Context, bin string, as *syscall.Credential, o PrivateOptions) error {
	for limit := time.Now().Add(goneWithin); ; {
		_, err := os.Stat(filepath.Join(p.dir, "data", "postmaster.pid"))
		left := err == nil
		if err := p.start(bin, as, o); err != nil {
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

func (p *Private) start(bin string, as *syscall.Credential, o PrivateOptions) error {
	logf, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logf.Close()
	args := []string{
		"-D", filepath.Join(p.dir, "data"), "-k", p.socket, "-p", "5432", "-c", "listen_addresses=",
		"-c", "max_connections=100", "-c", "timezone=UTC", "-c", "unix_socket_permissions=0700",
	}
	if as != nil {
		// We connect as root to a server that is not: the folder is the gate.
		args = append(args, "-c", "unix_socket_permissions=0777")
	}
	if o.Fast {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	cmd := exec.Command(filepath.Join(bin, "postgres"), args...) //nolint:noctx // it is stopped in good order, not killed
	cmd.Dir = p.socket
	cmd.Stdout, cmd.Stderr = logf, logf
	// Its own process group: Ctrl-C in a terminal is for us, who stop it last.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true}
	watched := o.Watcher || !endWithParent(cmd.SysProcAttr)
	started, done := make(chan error, 1), make(chan error, 1)
	go func() {
		// The kernel's word of a parent's death is of the thread that started the child.
		runtime.LockOSThread()
		err, unwatch := cmd.Start(), func() {}
		if err == nil && watched {
			if unwatch, err = watch(cmd.Process.Pid, as); err != nil {
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
