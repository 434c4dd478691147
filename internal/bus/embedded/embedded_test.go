package embedded_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/internal/bus/embedded"
)

const childEnv = "EMBEDDED_TEST_DIR"

// TestMain also is the process that serves a directory until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if _, err := embedded.Start(dir, zap.NewNop()); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("serving")
		select {}
	}
	goleak.VerifyTestMain(m)
}

func TestServer(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "bus")
	if _, ok := embedded.Running(dir); ok {
		t.Error("running before it was started")
	}
	s, err := embedded.Start(dir, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()

	t.Run("is found by other processes", func(t *testing.T) {
		url, ok := embedded.Running(dir)
		if !ok || url != s.URL() {
			t.Fatalf("running: %v %v", url, ok)
		}
		nc, err := nats.Connect(url)
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
	})
	t.Run("is reached without a socket, signed in", func(t *testing.T) {
		nc, err := nats.Connect(s.URL(), nats.InProcessServer(s))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := nc.JetStream(); err != nil {
			t.Error(err)
		}
		nc.Close()
	})
	t.Run("lets in nobody without the password", func(t *testing.T) {
		for name, opts := range map[string][]nats.Option{"none": nil, "a guess": {nats.UserInfo("neurosphere", "x")}} {
			_, addr, _ := strings.Cut(s.URL(), "@")
			if nc, err := nats.Connect("nats://"+addr, opts...); err == nil {
				nc.Close()
				t.Errorf("%s: let in", name)
			}
		}
	})
	t.Run("keeps its address to its owner", func(t *testing.T) {
		info, err := os.Stat(filepath.Join(dir, "client.url"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	})
	t.Run("serves its directory alone", func(t *testing.T) {
		if _, err := embedded.Start(dir, zap.NewNop()); !errors.Is(err, embedded.ErrInUse) {
			t.Errorf("second server: %v", err)
		}
	})
	s.Stop()
	if url, ok := embedded.Running(dir); ok {
		t.Errorf("running after stop: %s", url)
	}
	again, err := embedded.Start(dir, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	again.Stop()
}

// What a killed server leaves behind neither looks alive nor blocks the next.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) || line != "serving\n" {
		t.Fatalf("child: %q, %v", line, err)
	}
	if _, ok := embedded.Running(dir); !ok {
		t.Error("not found while it runs")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if url, ok := embedded.Running(dir); ok {
		t.Errorf("found after its death: %s", url)
	}
	s, err := embedded.Start(dir, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
}
