package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

// parentOf names the folder of the server that a process of this program is to
// be the parent of; watched makes it do without the kernel's help.
const (
	parentOf = "NEUROSPHERE_TEST_PARENT_OF"
	watched  = "NEUROSPHERE_TEST_WATCHED"
)

// parent runs a server until its own input ends.
func parent(dir string) int {
	p, err := store.StartPrivateWith(context.Background(), dir, nil, store.PrivateOptions{Watcher: os.Getenv(watched) != ""})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("up")
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = p.Stop()
	return 0
}

// startParent is such a process, with its server up.
func startParent(t *testing.T, dir string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), parentOf+"="+dir), env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return cmd
}

func pidFile(dir string) string { return filepath.Join(dir, "data", "postmaster.pid") }

func postmaster(t *testing.T, dir string) int {
	t.Helper()
	raw, err := os.ReadFile(pidFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.SplitN(string(raw), "\n", 2)[0])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("still not: %s", what)
		}
	}
}

func exists(pattern string) bool {
	found, _ := filepath.Glob(pattern)
	return len(found) > 0
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	return c
}

// start is a server for one test.
func start(t *testing.T, dir string) *store.Private {
	t.Helper()
	p, err := store.StartPrivateWith(t.Context(), dir, nil, store.PrivateOptions{Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop() })
	return p
}

// Nobody can tidy up when the program is killed; the server ends all the same,
// and in good order, which is when it takes its pid file away.
func TestPrivateServerEndsWithItsParent(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]string{"where the kernel sees to it": nil, "where a watcher sees to it": {watched + "=1"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "pg")
			cmd := startParent(t, dir, env...)
			if err := syscall.Kill(postmaster(t, dir), 0); err != nil {
				t.Fatalf("no server: %v", err)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			until(t, "server gone", func() bool { return !exists(pidFile(dir)) })
		})
	}
}

// A watcher of a server that stopped in good order is gone too, so that it can
// never end whoever gets the server's process number next.
func TestWatcherDoesNotOutliveTheServer(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pg")
	p, err := store.StartPrivateWith(t.Context(), dir, nil, store.PrivateOptions{Fast: true, Watcher: true})
	if err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(postmaster(t, dir))
	watchers := func() (n int) {
		all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range all {
			raw, _ := os.ReadFile(f)
			if args := strings.Split(string(raw), "\x00"); len(args) > 3 && args[0] == "/bin/sh" && args[3] == pid {
				n++
			}
		}
		return n
	}
	if !exists("/proc/self/cmdline") {
		t.Skip("this system does not show its processes as files")
	}
	if watchers() != 1 {
		t.Fatalf("%d watchers", watchers())
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if watchers() != 0 {
		t.Error("the watcher is still there")
	}
}

// A server that dies under a running program is started again, and again; what
// was committed is there, and whoever held a connection gets another.
func TestPrivateServerIsStartedAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pg")
	p, err := store.StartPrivate(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop() })
	if err := store.Migrate(t.Context(), p.AdminDSN(), ""); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), p.DSN(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	made := 0
	for _, who := range []string{"the server", "a backend", "the server"} {
		// A backend that was killed takes the others with it a moment later.
		var set events.Settings
		until(t, "a customer is made", func() (ok bool) {
			var err error
			made++ // even one that failed may be there
			set, _, err = s.CreateCustomer(t.Context(), events.Settings{Name: who, Numbers: []string{fmt.Sprint("+120655507", 10+made)}})
			if err != nil && !errors.Is(err, store.ErrUnavailable) {
				t.Fatal(err)
			}
			return err == nil
		})
		if who == "the server" {
			var busy *pgx.Conn
			until(t, "somebody connects", func() (ok bool) {
				var err error
				busy, err = pgx.Connect(t.Context(), p.AdminDSN())
				return err == nil
			})
			t.Cleanup(func() { _ = busy.Close(context.WithoutCancel(t.Context())) })
			// In the middle of a statement, it outlives its server for a moment.
			go func() { _, _ = busy.Exec(context.WithoutCancel(t.Context()), `SELECT pg_sleep(1)`) }()
			before := postmaster(t, dir)
			if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			until(t, "the death is noticed", func() bool { return !p.Up() })
		} else {
			var pid int
			if err := connect(t, p.AdminDSN()).QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		until(t, "statements are taken again", func() bool {
			got, err := s.Settings(t.Context(), set.Tenant)
			return err == nil && got.Name == who
		})
		until(t, "it says so", p.Up)
	}
	if err := p.Stop(); err != nil || p.Up() || exists(pidFile(dir)) {
		t.Errorf("stopped: %v", err)
	}
}

// Stopping does not wait for a server that cannot come up.
func TestPrivateServerStopsWhileItIsStartedAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pg")
	p := start(t, dir)
	pid := postmaster(t, dir)
	if err := os.Rename(filepath.Join(dir, "data"), filepath.Join(dir, "away")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the death is noticed", func() bool { return !p.Up() })
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if _, running := store.ConnectPrivate(t.Context(), dir); running {
		t.Error("it runs")
	}
}

// The server of a program that was killed is still shutting down, or has left
// its pid file, when the next one starts.
func TestPrivateServerStartsAfterItsParentWasKilled(t *testing.T) {
	t.Parallel()
	for name, both := range map[string]bool{"alone": false, "with the server": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "pg")
			cmd := startParent(t, dir)
			old, ok := store.ConnectPrivate(t.Context(), dir)
			if !ok {
				t.Fatal("the server is not found")
			}
			c := connect(t, old.AdminDSN())
			if _, err := c.Exec(t.Context(), `CREATE TABLE kept AS SELECT 7 AS n`); err != nil {
				t.Fatal(err)
			}
			pid := postmaster(t, dir)
			_ = cmd.Process.Kill()
			if both {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			_ = cmd.Wait() // only now is the folder's lock surely free
			p := start(t, dir)
			var n int
			if err := connect(t, p.AdminDSN()).QueryRow(t.Context(), `SELECT n FROM kept`).Scan(&n); err != nil || n != 7 {
				t.Errorf("what was written is lost: %d, %v", n, err)
			}
		})
	}
}

func TestPrivateServerRunsInAnyFolder(t *testing.T) {
	t.Parallel()
	for name, folder := range map[string]string{
		"with a space":                    "with space",
		"with a comma":                    "one,two",
		"with quotes and a pattern":       `it's [a-b] "x" \ *`,
		"too long for a socket":           strings.Repeat("long", 30),
		"with letters that are not ASCII": "Zürich",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), folder)
			p := start(t, dir)
			if err := connect(t, p.AdminDSN()).Ping(t.Context()); err != nil {
				t.Error(err)
			}
			found, ok := store.ConnectPrivate(t.Context(), dir)
			if !ok || found.DSN() != p.DSN() {
				t.Fatal("it is not found by others")
			}
			socket, _, _ := strings.Cut(strings.TrimPrefix(p.DSN(), "host="), " ")
			if !exists(socket) {
				t.Fatalf("no folder %s", socket)
			}
			if err := p.Stop(); err != nil {
				t.Error(err)
			}
			if exists(socket) {
				t.Errorf("%s is left behind", socket)
			}
		})
	}
}

// Being cut off while the cluster is made, at whatever point, costs nothing
// but having to make it again.
func TestClusterCutOffWhileMadeIsMadeAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pg")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); time.Sleep(time.Millisecond) {
			if exists(filepath.Join(dir, "*", "PG_VERSION")) {
				return
			}
		}
	}()
	if _, err := store.StartPrivate(ctx, dir, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("not cut off: %v", err)
	}
	if exists(filepath.Join(dir, "data", "*")) {
		t.Error("half a cluster is where a whole one belongs")
	}
	p := start(t, dir)
	if err := connect(t, p.AdminDSN()).Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if exists(filepath.Join(dir, "making-*")) {
		t.Error("the half is left behind")
	}
}

func TestOneProcessPerFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pg")
	p := start(t, dir)
	if _, err := store.StartPrivate(t.Context(), dir, nil); err == nil || !strings.Contains(err.Error(), "another process uses") {
		t.Errorf("%v", err)
	}
	if err := connect(t, p.AdminDSN()).Ping(t.Context()); err != nil {
		t.Errorf("the first one was disturbed: %v", err)
	}
	if err := errors.Join(p.Stop(), p.Stop()); err != nil {
		t.Error(err)
	}
	if _, ok := store.ConnectPrivate(t.Context(), dir); ok {
		t.Error("a stopped server is found")
	}
	start(t, dir)
}

// Only a test gives up what makes a commit last.
func TestPrivateServerIsDurable(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		o    store.PrivateOptions
		want string
	}{"as the product runs it": {want: "on"}, "as tests do": {o: store.PrivateOptions{Fast: true}, want: "off"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := store.StartPrivateWith(t.Context(), filepath.Join(t.TempDir(), "pg"), nil, tc.o)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Stop()
			c := connect(t, p.AdminDSN())
			for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
				var got string
				if err := c.QueryRow(t.Context(), `SELECT current_setting($1)`, setting).Scan(&got); err != nil || got != tc.want {
					t.Errorf("%s is %q, %v", setting, got, err)
				}
			}
		})
	}
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	made := func(t *testing.T) string {
		dir := filepath.Join(t.TempDir(), "pg")
		if err := start(t, dir).Stop(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for name, tc := range map[string]struct{ file, text, says string }{
		"cluster of another version": {"PG_VERSION", "9\n", "was made by PostgreSQL 9"},
		"broken configuration":       {"postgresql.conf", "nonsense", "postgres ended at once (exit status 1): see "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := made(t)
			if err := os.WriteFile(filepath.Join(dir, "data", tc.file), []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := store.StartPrivate(t.Context(), dir, nil)
			if err == nil {
				_ = p.Stop()
			}
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, want %q", err, tc.says)
			}
		})
	}
}

// The environment of whoever starts us does not move the server.
func TestPrivateServerIgnoresTheEnvironment(t *testing.T) {
	t.Setenv("PGPORT", "6543")
	dir := filepath.Join(t.TempDir(), "pg")
	p := start(t, dir)
	if _, ok := store.ConnectPrivate(t.Context(), dir); !ok {
		t.Error("not found by others")
	}
	if err := connect(t, p.AdminDSN()).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNoPostgresIsSaid(t *testing.T) {
	t.Setenv("PG_BIN_DIR", t.TempDir())
	if _, err := store.StartPrivate(t.Context(), t.TempDir(), nil); !errors.Is(err, store.ErrNoPostgres) {
		t.Errorf("%v", err)
	}
}

// As root, what the server's user may not enter and is not ours to open stays
// closed, and the cluster lives elsewhere, the same place every time.
func TestFolderOfSomebodyElseStaysClosed(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	home := filepath.Join(t.TempDir(), "home")
	if err := errors.Join(os.Mkdir(home, 0o700), os.Chown(home, 12345, 12345)); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(home, "data", "pg")
	p := start(t, dir)
	raw, err := os.ReadFile(filepath.Join(dir, "elsewhere"))
	if err != nil {
		t.Fatal(err)
	}
	other, _, _ := strings.Cut(string(raw), "\n")
	defer os.RemoveAll(other)
	if info, err := os.Stat(home); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("somebody's folder is now %v, %v", info.Mode(), err)
	}
	if found, ok := store.ConnectPrivate(t.Context(), dir); !ok || found.DSN() != p.DSN() {
		t.Error("it is not found by others")
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if again := start(t, dir); again.DSN() != p.DSN() {
		t.Errorf("%s, was %s", again.DSN(), p.DSN())
	}
}

// A copy of the folder, as of a backup restored beside the original, is another
// one: it neither finds nor disturbs the original's server.
func TestACopyOfTheFolderIsAnother(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "with a space, and, so, not for a socket") // which is elsewhere then
	p := start(t, dir)
	if _, ok := store.ConnectPrivate(t.Context(), dir); !ok {
		t.Fatal("the original is not found")
	}
	link := filepath.Join(root, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, ok := store.ConnectPrivate(t.Context(), link); !ok {
		t.Error("the original is not found by another name")
	}
	raw, err := os.ReadFile(filepath.Join(dir, "socket-dir"))
	if err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(root, "copy")
	if err := errors.Join(os.Mkdir(theirs, 0o711), os.WriteFile(filepath.Join(theirs, "socket-dir"), raw, 0o600)); err != nil {
		t.Fatal(err)
	}
	if found, ok := store.ConnectPrivate(t.Context(), theirs); ok {
		t.Errorf("the copy leads to %s", found.DSN())
	}
	if other := start(t, theirs); other.DSN() == p.DSN() {
		t.Errorf("both are at %s", p.DSN())
	}
	if _, ok := store.ConnectPrivate(t.Context(), dir); !ok {
		t.Error("the original's socket is gone")
	}
}
