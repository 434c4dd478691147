package replay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/bus/embedded"
	"neurosphere.ai/neurosphere/internal/store"
)

// childEnv turns the test binary into a process of its own: what is in it says
// which, as JSON.
const childEnv = "REPLAY_TEST_CHILD"

// child is what such a process is to do.
type child struct {
	Task     string // a name in tasks
	Dir      string // of a bus server
	Bus      string
	Database string
	Last     uint64 // sequence in the log
	Tenant   events.Tenant
	Caller   string
	AsOf     time.Time
	Swap     bool
	HangAt   string // stage and tenant at which it waits to be killed
}

var tasks = map[string]func(context.Context, child) error{"serve": serve, "receive": receive, "measure": measure, "replay": replayUntilKilled}

func TestMain(m *testing.M) {
	raw := os.Getenv(childEnv)
	if raw == "" {
		os.Exit(m.Run())
	}
	var c child
	err := json.Unmarshal([]byte(raw), &c)
	if err == nil {
		err = tasks[c.Task](context.Background(), c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, c.Task+":", err)
		os.Exit(1)
	}
}

// start begins a process, which ends with the test. What it prints is JSON.
func (c child) start(t testing.TB) (*exec.Cmd, *json.Decoder) {
	t.Helper()
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), childEnv+"="+string(raw)), os.Stderr
	in, err := cmd.StdinPipe() // which ends with us, however we end
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
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	return cmd, json.NewDecoder(out)
}

// say tells the parent something.
func say(what any) error { return json.NewEncoder(os.Stdout).Encode(what) }

// serve is a bus server, until the parent ends. It says where it listens.
func serve(_ context.Context, c child) error {
	s, err := embedded.StartWith(c.Dir, zap.NewNop(), embedded.Options{NoSync: true})
	if err != nil {
		return err
	}
	defer s.Stop()
	if err := say(s.URL()); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// reach connects to the bus and the database, as the command does.
func (c child) reach(ctx context.Context) (*bus.Bus, *store.Store, error) {
	b, err := bus.Open(ctx, bus.Options{URL: c.Bus})
	if err != nil {
		return nil, nil, err
	}
	s, err := store.Open(ctx, c.Database, nil)
	return b, s, err
}
