package check_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	password    = "p7f3a9c"
	sysPassword = "s81d20e"
)

// natsVariables are the names nats.conf reads from the environment, sorted.
func natsVariables(t *testing.T) []string {
	t.Helper()
	var names []string
	for line := range strings.Lines(read(t, "nats.conf")) {
		setting, _, _ := strings.Cut(line, "#")
		for _, m := range regexp.MustCompile(`\$([A-Z_]+)`).FindAllStringSubmatch(setting, -1) {
			names = append(names, m[1])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// setenv is everything nats.conf wants, on ports of the system's choice.
func setenv(t *testing.T) {
	t.Helper()
	for name, v := range map[string]string{
		"NATS_LISTEN": "127.0.0.1:-1", "NATS_MONITOR": "127.0.0.1:-1", "NATS_STORE_DIR": t.TempDir(),
		"NATS_PASSWORD": password, "NATS_SYS_PASSWORD": sysPassword,
	} {
		t.Setenv(name, v)
	}
}

func parse(t *testing.T) (*server.Options, error) {
	t.Helper()
	return server.ProcessConfigFile(filepath.Join(root, "nats.conf"))
}

// start runs the server of nats.conf.
func start(t *testing.T) *server.Server {
	t.Helper()
	setenv(t)
	opts, err := parse(t)
	if err != nil {
		t.Fatal(err)
	}
	opts.NoSigs, opts.NoLog = true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server of nats.conf does not get ready")
	}
	return s
}

func connect(t *testing.T, s *server.Server, user, pass string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL(), nats.UserInfo(user, pass))
	if err != nil {
		t.Fatalf("connect as %s: %v", user, err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func facts(ctx context.Context, nc *nats.Conn) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "EVENTS", Subjects: []string{"tenant.*.call.*"}, Duplicates: 10 * time.Minute, MaxConsumers: 1000,
	})
	if err != nil {
		return err
	}
	_, err = js.Publish(ctx, "tenant.1.call.ended", []byte("{}"), jetstream.WithMsgID("1:a"))
	return err
}

func TestThePlatformStoresFacts(t *testing.T) {
	s := start(t)
	if err := facts(t.Context(), connect(t, s, "platform", password)); err != nil {
		t.Error(err)
	}
}

func TestSysStoresAndSeesNothing(t *testing.T) {
	s := start(t)
	platform, sys := connect(t, s, "platform", password), connect(t, s, "sys", sysPassword)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := facts(ctx, sys); !errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) && !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("sys created a stream: %v", err)
	}
	all, err := sys.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := sys.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := facts(ctx, platform); err != nil {
		t.Fatal(err)
	}
	// The server has routed the fact by now; what sys gets before its own mark is all it ever gets of it.
	if err := sys.Publish("mark", nil); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := all.NextMsgWithContext(ctx)
		if err != nil {
			t.Fatalf("sys does not even see its own: %v", err)
		}
		if strings.HasPrefix(m.Subject, "tenant.") {
			t.Errorf("sys saw %s", m.Subject)
		}
		if m.Subject == "mark" {
			return
		}
	}
}

func TestNobodyElseConnects(t *testing.T) {
	s := start(t)
	for name, opts := range map[string][]nats.Option{
		"without a name":                nil,
		"with a wrong password":         {nats.UserInfo("platform", "wrong")},
		"with no password":              {nats.UserInfo("platform", "")},
		"with the name of a variable":   {nats.UserInfo("platform", "$NATS_PASSWORD")},
		"as sys, with another's":        {nats.UserInfo("sys", password)},
		"as platform, with that of sys": {nats.UserInfo("platform", sysPassword)},
		"as a tenant":                   {nats.UserInfo("tenant1", password)},
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := nats.Connect(s.ClientURL(), opts...)
			if err == nil {
				nc.Close()
			}
			if !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("got %v, want %v", err, nats.ErrAuthorization)
			}
		})
	}
}

func TestStoredMeansOnDisk(t *testing.T) {
	setenv(t)
	opts, err := parse(t)
	if err != nil {
		t.Fatal(err)
	}
	if !opts.SyncAlways {
		t.Error("sync_interval is not always")
	}
	if opts.NoAuthUser != "" || opts.SystemAccount != "SYS" {
		t.Errorf("no_auth_user is %q, system_account %q", opts.NoAuthUser, opts.SystemAccount)
	}
}

func TestALargestFactAndItsDeadLetterFit(t *testing.T) {
	s := start(t)
	nc := connect(t, s, "platform", password)
	const fact, story = 256 << 10, 8 << 10
	if got := nc.MaxPayload(); got < fact+story || got > 1<<20 {
		t.Errorf("max_payload is %d, want room for %d and not much more", got, fact+story)
	}
}

func TestMonitoringAnswers(t *testing.T) {
	s := start(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.MonitorAddr().String()+"/healthz?js-enabled-only=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%s %s %v", resp.Status, body, err)
	}
}

func TestWhatIsMissingOrMistypedIsRefused(t *testing.T) {
	for _, name := range natsVariables(t) {
		t.Run("without "+name, func(t *testing.T) {
			setenv(t)
			if err := os.Unsetenv(name); err != nil { // setenv has arranged for it to come back
				t.Fatal(err)
			}
			if _, err := parse(t); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v", err)
			}
		})
	}
	for name, bad := range map[string]string{"of digits only": "123456", "that reads as yes": "yes"} {
		t.Run("a password "+name, func(t *testing.T) {
			setenv(t)
			t.Setenv("NATS_PASSWORD", bad)
			if _, err := parse(t); err == nil {
				t.Error("was taken")
			}
		})
	}
}
