package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/memory"
	"neurosphere.ai/neurosphere/internal/store"
)

// apart runs the platform as separate processes on this machine, as compose.yaml
// does on many: NATS from nats.conf, PostgreSQL, the simulated vendors, two of
// each worker, and a proxy in front of the two ingresses. A process that dies
// is started again, so killing them is what this is for.
func apart(ctx context.Context, fs *flag.FlagSet, args []string) error {
	dir := fs.String("dir", "data/apart", "where everything is kept")
	bin := fs.String("bin", "bin", "where the programs and nats-server are")
	conf := fs.String("conf", "nats.conf", "configuration of NATS")
	addr := fs.String("listen", "127.0.0.1:8080", "address of the proxy in front of the ingresses")
	first := fs.Duration("first", 0, "what the simulated model takes to begin")
	chunk := fs.Duration("chunk", 0, "what it takes between words")
	if err := parse(fs, args); err != nil {
		return err
	}
	if err := address(fs, "listen", *addr); err != nil {
		return err
	}
	a := &apartment{dir: *dir, bin: *bin, conf: *conf, addr: *addr, first: *first, chunk: *chunk, out: os.Stdout}
	return a.run(ctx)
}

// An apartment is everything apart has started.
type apartment struct {
	dir, bin, conf, addr string
	first, chunk         time.Duration // of the simulated model
	up                   func()        // told once everything is started; may be nil
	pg                   *store.Private
	out                  io.Writer
	env                  []string
	wg                   sync.WaitGroup
	stopping             atomic.Bool
}

// perWorker is how many processes of each worker run.
const perWorker = 2

func (a *apartment) run(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(a.dir, "pids"), 0o700); err != nil {
		return err
	}
	pg, err := store.StartPrivate(ctx, filepath.Join(a.dir, "postgres"), nil)
	if err != nil {
		return err
	}
	a.pg = pg
	defer func() { _ = pg.Stop() }()
	if err := store.Migrate(ctx, pg.AdminDSN(), ""); err != nil {
		return err
	}
	acct, err := app.Simulated(a.dir)
	if err != nil {
		return err
	}
	ports, err := freePorts(4 + perWorker*len(workers()))
	if err != nil {
		return err
	}
	nats, openai, twilio, monitor := ports[0], ports[1], ports[2], ports[3]
	secret := "ns" + acct.AuthToken[:16] // starts with a letter: nats.conf types bare numbers
	a.env = append(os.Environ(),
		"NATS_LISTEN=127.0.0.1:"+nats, "NATS_MONITOR=127.0.0.1:"+monitor, "NATS_STORE_DIR="+filepath.Join(a.dir, "nats"),
		"NATS_PASSWORD="+secret, "NATS_SYS_PASSWORD=sys"+secret,
		"NATS_URL=nats://platform:"+secret+"@127.0.0.1:"+nats,
		"DATABASE_URL="+pg.DSN(), "PUBLIC_URL=http://"+a.addr,
		"TWILIO_ACCOUNT_SID="+acct.AccountSID, "TWILIO_AUTH_TOKEN="+acct.AuthToken, "TWILIO_API_URL=http://127.0.0.1:"+twilio,
		"MASTER_KEY="+masterKey(acct.AuthToken),
		"DATA_DIR="+a.dir, "OPENAI_API_KEY=simulated", "OPENAI_BASE_URL=http://127.0.0.1:"+openai+"/v1",
	)
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	a.keep(life, "nats", a.program("nats-server"), "-c", a.conf)
	a.keep(life, "simulate", a.program("neurosphere"), "simulate", "-openai", "127.0.0.1:"+openai, "-twilio", "127.0.0.1:"+twilio,
		"-first", a.first.String(), "-chunk", a.chunk.String())
	edges := map[string][]string{} // addresses by worker
	next := 4
	for _, w := range workers() {
		for i := 1; i <= perWorker; i++ {
			listen := "127.0.0.1:" + ports[next]
			next++
			edges[w.Name] = append(edges[w.Name], listen)
			name := fmt.Sprintf("%s-%d", w.Name, i)
			a.keep(life, name, "env", "LISTEN_ADDR="+listen, "DATA_DIR="+filepath.Join(a.dir, name), a.program(w.Name))
		}
	}
	proxy, err := a.proxy(edges)
	if err != nil {
		return err
	}
	defer proxy.Close()
	if err := a.env2file(); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "\nRunning apart: %d programs behind http://%s\n  pids   %s\n  logs   %s\n  env    %s (source it to use neurosphere tenant and call against this)\n\n",
		2+perWorker*len(workers()), a.addr, filepath.Join(a.dir, "pids"), a.dir, filepath.Join(a.dir, "env"))
	if a.up != nil {
		a.up()
	}
	<-ctx.Done()
	fmt.Fprintln(a.out, "stopping")
	a.stopping.Store(true)
	stop()
	a.wg.Wait()
	return nil
}

func (a *apartment) program(name string) string {
	path := filepath.Join(a.bin, name)
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// env2file leaves what the operator's commands need to reach this.
func (a *apartment) env2file() error {
	var b strings.Builder
	for _, kv := range a.env {
		name, v, _ := strings.Cut(kv, "=")
		for _, want := range app.Names() {
			if name == want {
				fmt.Fprintf(&b, "export %s='%s'\n", name, strings.ReplaceAll(v, "'", `'\''`))
			}
		}
	}
	return os.WriteFile(filepath.Join(a.dir, "env"), []byte(b.String()), 0o600)
}

// keep runs a program until ctx ends, and again whenever it dies.
func (a *apartment) keep(ctx context.Context, name, path string, args ...string) {
	a.wg.Add(1)
	go func() {
		defer a.wg.Done()
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(a.dir, "pids", name+".hold")); err == nil {
				time.Sleep(50 * time.Millisecond) // somebody wants it to stay down
				continue
			}
			err := a.once(ctx, name, path, args)
			if ctx.Err() != nil {
				return
			}
			fmt.Fprintf(a.out, "%s ended (%v): starting it again\n", name, err)
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
}

func (a *apartment) once(ctx context.Context, name, path string, args []string) error {
	logf, err := os.OpenFile(filepath.Join(a.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logf.Close()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = a.env, logf, logf
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := filepath.Join(a.dir, "pids", name)
	if err := os.WriteFile(pid, fmt.Appendln(nil, cmd.Process.Pid), 0o600); err != nil {
		return err
	}
	return cmd.Wait()
}

// masterKey is the one all processes of this account share.
func masterKey(of string) string {
	sum := sha256.Sum256([]byte("master key " + of))
	return hex.EncodeToString(sum[:])
}

// spread is a transport that takes turns among the addresses that answer.
func spread(edges []string) http.RoundTripper {
	var turn atomic.Uint64
	dial := &net.Dialer{Timeout: time.Second}
	return &http.Transport{MaxIdleConnsPerHost: 64, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var errs []error
		first := turn.Add(1)
		for i := range edges {
			conn, err := dial.DialContext(ctx, network, edges[(first+uint64(i))%uint64(len(edges))])
			if err == nil {
				return conn, nil
			}
			errs = append(errs, err)
		}
		return nil, errors.Join(errs...)
	}}
}

// byPath sends what is the API's to where that is served.
type byPath struct{ api, rest http.RoundTripper }

// RoundTrip makes one request.
func (b byPath) RoundTrip(r *http.Request) (*http.Response, error) {
	if memory.Serves(r.URL.Path) {
		return b.api.RoundTrip(r)
	}
	return b.rest.RoundTrip(r)
}

// proxy spreads what comes in over the processes that answer.
func (a *apartment) proxy(edges map[string][]string) (io.Closer, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", a.addr)
	if err != nil {
		return nil, app.Wrong(fmt.Errorf("-listen: %w", err))
	}
	target := &url.URL{Scheme: "http", Host: a.addr}
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: &httputil.ReverseProxy{
		Transport: byPath{spread(edges["memory"]), spread(edges["ingress"])},
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			http.Error(w, "nobody answers", http.StatusBadGateway)
		},
	}}
	go func() { _ = srv.Serve(l) }()
	return srv, nil
}

// freePorts are n ports nobody listens on.
func freePorts(n int) (ports []string, err error) {
	for range n {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at once, so that none is given twice
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}
