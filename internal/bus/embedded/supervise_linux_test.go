package embedded

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// A storage that failed is open again as soon as the disk allows, with all that
// was acknowledged, and those who use it need not be started anew.
func TestStorageIsOpenedAgain(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(t *testing.T, s *Server, publish func() error) (mend func()){
		"the server gave it up": func(t *testing.T, s *Server, _ func() error) func() {
			t.Helper()
			if err := s.server.ShutdownJetStream(); err != nil {
				t.Fatal(err)
			}
			return func() {}
		},
		"the disk was full": func(t *testing.T, s *Server, publish func() error) func() {
			t.Helper()
			filler, err := os.Create(filepath.Join(s.dir, "filler"))
			if err != nil {
				t.Fatal(err)
			}
			for err == nil {
				_, err = filler.Write(make([]byte, 4096))
			}
			for range 100 {
				if err = publish(); err != nil {
					break
				}
			}
			if err == nil {
				t.Fatal("a full disk takes everything")
			}
			return func() { _ = filler.Close(); _ = os.Remove(filler.Name()) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil && name == "the disk was full" {
				t.Skipf("needs to mount a small disk: %v", err)
			} else if err == nil {
				t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
			}
			s, err := Start(dir, zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Stop)
			nc, err := nats.Connect(s.URL(), nats.InProcessServer(s), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Storage: jetstream.FileStorage})
			if err != nil {
				t.Fatal(err)
			}
			var acked uint64
			publish := func() error {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := js.Publish(ctx, "s", []byte(rand.Text()), jetstream.WithRetryAttempts(0))
				if err == nil {
					acked++
				}
				return err
			}
			for range 10 {
				if err := publish(); err != nil {
					t.Fatal(err)
				}
			}
			if !s.Up() {
				t.Error("not up")
			}
			mend := fail(t, s, publish)
			until(t, "it says so", func() bool { return !s.Up() })
			mend()
			until(t, "it is open again", s.Up)
			until(t, "it takes facts again", func() bool { return publish() == nil })
			info, err := stream.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if info.State.Msgs < acked {
				t.Errorf("%d of %d facts", info.State.Msgs, acked)
			}
			if !s.server.JetStreamConfig().SyncAlways {
				t.Error("it no longer waits for the disk")
			}
		})
	}
}
