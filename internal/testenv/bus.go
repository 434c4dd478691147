package testenv

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/bus/embedded"
)

// startTime bounds how long a part may take to start.
const startTime = 30 * time.Second

// Bus is a new, empty bus for one test, on a server of its own.
func Bus(t testing.TB) *bus.Bus {
	t.Helper()
	return Server(t).Bus(t, bus.Options{Name: "test"})
}

// BusServer is a bus server a test can take away and bring back. It keeps its
// data, address and password.
type BusServer struct {
	t    testing.TB
	dir  string
	opts embedded.Options

	mu     sync.Mutex
	server *embedded.Server // nil while stopped
	url    string
}

// Server starts a bus server for one test. It does not wait for the disk.
func Server(t testing.TB) *BusServer { return server(t, embedded.Options{NoSync: true}) }

// DurableServer is Server, storing as the product does.
func DurableServer(t testing.TB) *BusServer { return server(t, embedded.Options{}) }

// ServerIn is Server with its data in a directory that outlives the test.
func ServerIn(t testing.TB, dir string) *BusServer {
	return serverIn(t, dir, embedded.Options{NoSync: true})
}

func server(t testing.TB, o embedded.Options) *BusServer { return serverIn(t, t.TempDir(), o) }

func serverIn(t testing.TB, dir string, o embedded.Options) *BusServer {
	t.Helper()
	o.Password = rand.Text()
	s := &BusServer{t: t, dir: dir, opts: o}
	s.Restart()
	t.Cleanup(s.Stop)
	return s
}

// Bus connects to the server without a socket. It ends with the test.
func (s *BusServer) Bus(t testing.TB, o bus.Options) *bus.Bus {
	t.Helper()
	o.URL, o.InProcess = s.URL(), s
	return connect(t, o)
}

// Remote connects to the server as another process would. It ends with the test.
func (s *BusServer) Remote(t testing.TB, o bus.Options) *bus.Bus {
	t.Helper()
	o.URL = s.URL()
	return connect(t, o)
}

func connect(t testing.TB, o bus.Options) *bus.Bus {
	t.Helper()
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	b, err := bus.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// Dir is where the server keeps its data.
func (s *BusServer) Dir() string { return s.dir }

// URL is where the server listens, password included; the same after a restart.
func (s *BusServer) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url
}

// InProcessConn fails while the server is stopped.
func (s *BusServer) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		return nil, net.ErrClosed
	}
	return s.server.InProcessConn()
}

// Stop takes the server away. Its data stays.
func (s *BusServer) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		s.server.Stop()
		s.server = nil
	}
}

// Restart brings the server back where it was, stopping it first if it runs.
func (s *BusServer) Restart() {
	s.t.Helper()
	s.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	srv, err := embedded.StartWith(s.dir, zap.NewNop(), s.opts)
	if err != nil {
		s.t.Fatal(err)
	}
	s.server, s.url = srv, srv.URL()
	if s.opts.Port == 0 {
		_, port, err := net.SplitHostPort(s.url[strings.LastIndexByte(s.url, '@')+1:])
		if err != nil {
			s.t.Fatal(err)
		}
		if s.opts.Port, err = strconv.Atoi(port); err != nil {
			s.t.Fatal(err)
		}
	}
}

// Backup copies what the server has stored; restore puts that back in place of
// what it has then, as an operator would. Both restart the server.
func (s *BusServer) Backup() (restore func()) {
	s.t.Helper()
	backup := filepath.Join(s.t.TempDir(), "backup")
	s.Stop()
	if err := os.CopyFS(backup, os.DirFS(s.dir)); err != nil {
		s.t.Fatal(err)
	}
	s.Restart()
	return func() {
		s.t.Helper()
		s.Stop()
		if err := errors.Join(os.RemoveAll(s.dir), os.CopyFS(s.dir, os.DirFS(backup))); err != nil {
			s.t.Fatal(err)
		}
		s.Restart()
	}
}
