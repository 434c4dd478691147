// Package embedded runs the bus inside this process, for one machine: a NATS
// server with JetStream that keeps its data in a directory. The process talks
// to it without a socket; commands on the same machine find it through a file
// in that directory that only the directory's owner can read.
package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
)

const (
	user      = "neurosphere"
	readyTime = 30 * time.Second // recovery of a large stream included
	lookEvery = time.Second
	illLooks  = 2       // in a row: a stream that is just being made looks ill
	room      = 1 << 20 // bytes that the disk must take before storage is opened again
	lockTime  = time.Second
	urlFile   = "client.url"
)

// ErrInUse is returned when another process serves the directory.
var ErrInUse = errors.New("directory is in use by another process")

// Options are for tests; the zero value is what Start uses.
type Options struct {
	Port     int    // on loopback; 0: any
	Password string // empty: random
	NoSync   bool   // do not wait for the disk: a power cut then loses facts
}

// Server is a running bus. It satisfies nats.InProcessConnProvider.
type Server struct {
	dir    string
	url    string
	log    *zap.Logger
	lock   *os.File
	server *server.Server
	once   sync.Once
	config server.JetStreamConfig
	up     atomic.Bool
	ctx    context.Context // ends with Stop
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// Start serves dir, creating it if need be, until Stop. What is stored is on
// disk before it is acknowledged. ErrInUse when another process serves dir.
func Start(dir string, log *zap.Logger) (*Server, error) { return StartWith(dir, log, Options{}) }

// StartWith is Start with options.
func StartWith(dir string, log *zap.Logger, o Options) (*Server, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start bus: %w", err)
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, fmt.Errorf("start bus: %w", err)
	}
	s := &Server{dir: dir, log: log, lock: lock}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.start(log, o); err != nil {
		s.Stop()
		return nil, fmt.Errorf("start bus: %w", err)
	}
	s.up.Store(true)
	s.tasks.Go(s.supervise)
	return s, nil
}

func (s *Server) start(log *zap.Logger, o Options) error {
	if o.Password == "" {
		o.Password = rand.Text()
	}
	port := o.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	ns, err := server.NewServer(&server.Options{
		ServerName: "embedded", Host: "127.0.0.1", Port: port,
		Username: user, Password: o.Password,
		JetStream: true, StoreDir: s.dir, SyncAlways: !o.NoSync,
		MaxPayload: 1 << 20, NoSigs: true,
	})
	if err != nil {
		return err
	}
	s.server = ns
	ns.SetLoggerV2(logger{log.WithOptions(zap.AddCallerSkip(1)).Named("nats")}, false, false, false)
	ns.Start()
	if !ns.ReadyForConnections(readyTime) {
		return fmt.Errorf("not ready after %v", readyTime)
	}
	u := url.URL{Scheme: "nats", User: url.UserPassword(user, o.Password), Host: ns.Addr().String()}
	s.url = u.String()
	s.config = *ns.JetStreamConfig()
	s.config.StoreDir = s.dir // it adds a folder of its own
	return s.publishURL()
}

// publishURL writes the file whole, so that no reader sees half of it.
func (s *Server) publishURL() error {
	path := filepath.Join(s.dir, urlFile)
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(tmp, []byte(s.url), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// InProcessConn is a connection without a socket. It signs in like any other.
func (s *Server) InProcessConn() (net.Conn, error) { return s.server.InProcessConn() }

// URL is how processes of this machine reach the server. It holds a password.
func (s *Server) URL() string { return s.url }

// Stop ends the server once what it holds is written.
func (s *Server) Stop() { s.once.Do(s.stop) }

func (s *Server) stop() {
	s.cancel()
	s.tasks.Wait()
	s.up.Store(false)
	if s.server != nil {
		_ = os.Remove(filepath.Join(s.dir, urlFile)) // Running goes by the lock
		s.server.Shutdown()
		s.server.WaitForShutdown()
	}
	s.lock.Close()
}

// Up reports whether the server stores what it is given, as far as is known.
func (s *Server) Up() bool { return s.up.Load() }

// supervise opens the server's storage again when that has failed. On its own
// it never does: a stream that once could not be written refuses every fact
// from then on, however much room there is again.
func (s *Server) supervise() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for ill := 0; ; {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		what := s.illness()
		if what == "" {
			ill = 0
			continue
		}
		if ill++; ill < illLooks {
			continue
		}
		if s.up.Swap(false) {
			s.log.Error("bus storage has failed and is opened again once the disk takes it", zap.String("what", what))
		}
		if s.hasRoom() != nil {
			continue
		}
		if err := s.reopen(); err != nil {
			s.log.Warn("bus storage is not open yet", zap.Error(err))
			continue
		}
		ill = 0
		s.up.Store(true)
		s.log.Info("bus storage is open again")
	}
}

// illness is what keeps the server from storing, empty when nothing does.
func (s *Server) illness() string {
	h := s.server.Healthz(&server.HealthzOptions{Details: true})
	if len(h.Errors) > 0 {
		return h.Errors[0].Error
	}
	return h.Error
}

// hasRoom is nil when the disk takes a file of some size.
func (s *Server) hasRoom() error {
	path := filepath.Join(s.dir, "room")
	defer os.Remove(path)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, room)); err != nil {
		return err
	}
	return f.Sync()
}

// reopen reads the storage anew. The server goes on passing on words of live
// calls meanwhile; afterwards its clients connect again, as they would to one
// that was started anew: what they had asked of the storage is forgotten.
func (s *Server) reopen() error {
	if err := s.server.ShutdownJetStream(); err != nil {
		return err
	}
	cfg := s.config
	if err := s.server.EnableJetStream(&cfg); err != nil {
		return err
	}
	if what := s.illness(); what != "" {
		return errors.New(what)
	}
	all, err := s.server.Connz(&server.ConnzOptions{Limit: math.MaxInt32})
	if err != nil {
		return err
	}
	for _, c := range all.Conns {
		_ = s.server.DisconnectClientByID(c.Cid) // fails where it is gone already
	}
	return nil
}

// Running returns the URL of the server that serves dir now, if one does.
func Running(dir string) (string, bool) {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return "", false
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return "", false // nobody holds it: what else is in dir is of the dead
	}
	b, err := os.ReadFile(filepath.Join(dir, urlFile))
	if err != nil || len(b) == 0 {
		return "", false
	}
	return string(b), true
}

// takeLock makes this process the only one that serves dir, until the file
// returned is closed or the process ends in any way.
func takeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	// Running holds the lock for an instant when it looks.
	for end := time.Now().Add(lockTime); ; time.Sleep(20 * time.Millisecond) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(end) {
			break
		}
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, ErrInUse
	}
	return nil, err
}

// logger passes on what an operator should know.
type logger struct{ *zap.Logger }

func (l logger) Warnf(format string, v ...any)  { l.Warn(line(format, v)) }
func (l logger) Errorf(format string, v ...any) { l.Error(line(format, v)) }

// Fatalf does not end the process: ReadyForConnections then fails.
func (l logger) Fatalf(format string, v ...any) { l.Error(line(format, v)) }
func (l logger) Noticef(string, ...any)         {}
func (l logger) Debugf(string, ...any)          {}
func (l logger) Tracef(string, ...any)          {}

func line(format string, v []any) string { return strings.TrimSpace(fmt.Sprintf(format, v...)) }
