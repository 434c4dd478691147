package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// ErrNoPostgres means that this machine has no PostgreSQL server to run.
var ErrNoPostgres = errors.New("PostgreSQL is not installed: apt-get install postgresql, or brew install postgresql@17, or set DATABASE_URL")

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
	Fast bool // trade durability for speed
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
	p := &Private{dir: dir, done: make(chan error, 1)}
	if err := p.prepare(as); err != nil {
		return nil, err
	}
	if err := p.initdb(ctx, bin, as); err != nil {
		p.unlock()
		return nil, err
	}
	if err := p.start(bin, as, o); err != nil {
		p.unlock()
		return nil, err
	}
	if err := p.ready(ctx); err != nil {
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
func (p *Private) DSN() string {
	return "host=" + p.socket + " user=app_rw dbname=neurosphere sslmode=disable"
}

// AdminDSN logs in as the superuser, for migrations.
func (p *Private) AdminDSN() string {
	return "host=" + p.socket + " user=postgres dbname=neurosphere sslmode=disable"
}

// Stop ends the server in good order.
func (p *Private) Stop() error {
	if p.cmd == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGINT) // fast shutdown
	var err error
	select {
	case err = <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		err = errors.New("private postgres did not stop in 20 s")
	}
	p.cmd = nil
	p.unlock()
	return err
}

func (p *Private) unlock() {
	if p.lock != nil {
		_ = p.lock.Close()
		p.lock = nil
	}
}

// findPostgres is the folder with the newest initdb and postgres there are.
func findPostgres(ctx context.Context) (string, error) {
	dirs := []string{os.Getenv("PG_BIN_DIR")}
	if dirs[0] == "" {
		dirs = nil
		for _, glob := range []string{"/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin", "/usr/pgsql-*/bin", "/Applications/Postgres.app/Contents/Versions/*/bin"} {
			found, _ := filepath.Glob(glob)
			slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
			dirs = append(dirs, found...)
		}
		if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
			dirs = append(dirs, strings.TrimSpace(string(out)))
		}
		if path, err := exec.LookPath("postgres"); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	for _, d := range dirs {
		if executable(filepath.Join(d, "initdb")) && executable(filepath.Join(d, "postgres")) {
			return d, nil
		}
	}
	return "", ErrNoPostgres
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}

// version is the last number in a path.
func version(path string) int {
	n := 0
	for _, part := range strings.FieldsFunc(path, func(r rune) bool { return r < '0' || r > '9' }) {
		n, _ = strconv.Atoi(part)
	}
	return n
}

// serverUser is who the server runs as: PostgreSQL refuses to be root.
func serverUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nobody else: run as we are
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody")
}

func readSocketDir(dir string) string {
	if raw, err := os.ReadFile(filepath.Join(dir, "socket-dir")); err == nil {
		return strings.TrimSpace(string(raw))
	}
	return filepath.Join(dir, "run")
}

// prepare makes and locks the folders.
func (p *Private) prepare(as *syscall.Credential) error {
	if err := os.MkdirAll(p.dir, 0o711); err != nil { //nolint:gosec // the server, another user, has to pass through
		return err
	}
	f, err := os.OpenFile(filepath.Join(p.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return fmt.Errorf("another process uses the database in %s", p.dir)
	}
	p.lock = f
	p.socket = filepath.Join(p.dir, "run")
	if len(p.socket) > 90 {
		// A socket's path is at most 107 bytes.
		if p.socket, err = os.MkdirTemp("", "nspg"); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(p.dir, "socket-dir"), []byte(p.socket), 0o600); err != nil {
		return err
	}
	for _, d := range []string{p.socket, filepath.Join(p.dir, "data")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
		if as != nil {
			if err := os.Chown(d, int(as.Uid), int(as.Gid)); err != nil {
				return err
			}
		}
	}
	return nil
}

// elsewhere is the file that says where the cluster of a folder really is.
const elsewhere = "elsewhere"

// reachable is dir, or, where the server's user cannot enter it (root's home),
// a folder it can, which is the same one every time.
func reachable(dir string, as *syscall.Credential) (string, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil { //nolint:gosec // the server, another user, has to pass through
		return "", err
	}
	if as == nil || traversable(dir, as) {
		return dir, nil
	}
	sum := sha256.Sum256([]byte(dir))
	other := filepath.Join("/var/tmp", "neurosphere-"+hex.EncodeToString(sum[:6]))
	if err := os.Mkdir(other, 0o711); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // as above
		return "", err
	}
	info, err := os.Lstat(other)
	if err != nil {
		return "", err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 || !info.IsDir() {
		return "", fmt.Errorf("%s is not ours: choose another DATA_DIR", other)
	}
	return other, os.WriteFile(filepath.Join(dir, elsewhere), []byte(other), 0o600)
}

// traversable reports whether as can enter dir and every folder above it, and
// opens those that are ours alone to make.
func traversable(dir string, as *syscall.Credential) bool {
	for d := dir; ; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err != nil {
			return false
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		own := ok && (st.Uid == as.Uid && info.Mode()&0o100 != 0 || st.Gid == as.Gid && info.Mode()&0o010 != 0)
		if !own && info.Mode()&0o001 == 0 {
			// Entering is not reading: the folders inside stay closed.
			if d == "/root" || os.Chmod(d, info.Mode().Perm()|0o001) != nil {
				return false
			}
		}
		if d == filepath.Dir(d) {
			return true
		}
	}
}

func (p *Private) initdb(ctx context.Context, bin string, as *syscall.Credential) error {
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
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust",
		"-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	cmd.Dir = p.socket
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

func (p *Private) start(bin string, as *syscall.Credential, o PrivateOptions) error {
	logf, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logf.Close()
	args := []string{"-D", filepath.Join(p.dir, "data"), "-k", p.socket, "-c", "listen_addresses=", "-c", "max_connections=100", "-c", "timezone=UTC", "-c", "unix_socket_permissions=0700"}
	if as != nil {
		// We connect as root to a server that is not: the folder is the gate.
		args = append(args, "-c", "unix_socket_permissions=0777")
	}
	if o.Fast {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	p.cmd = exec.Command(filepath.Join(bin, "postgres"), args...) //nolint:noctx // it is stopped in good order, not killed
	p.cmd.Dir = p.socket
	p.cmd.Stdout, p.cmd.Stderr = logf, logf
	// Our own process group: Ctrl-C in a terminal is for us, who stop it last.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true, Pdeathsig: syscall.SIGINT}
	started := make(chan error, 1)
	go func() {
		// The death signal follows the thread that started the child.
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.done <- p.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	return nil
}

// ready waits for the server and makes its database.
func (p *Private) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, "host="+p.socket+" user=postgres dbname=postgres sslmode=disable")
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
			p.done <- err
			return fmt.Errorf("postgres ended at once (%w): see %s", err, filepath.Join(p.dir, "log"))
		case <-ctx.Done():
			return fmt.Errorf("postgres is not ready after 30 s: see %s", filepath.Join(p.dir, "log"))
		case <-tick.C:
		}
	}
}
