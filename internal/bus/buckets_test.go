package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/testenv"
)

func settings(t events.Tenant, version int64) events.Settings {
	return events.Settings{Tenant: t, Version: version, Status: "active", Name: fmt.Sprint("v", version)}
}

func watchSettings(t testing.TB, b *bus.Bus) (changes chan string) {
	t.Helper()
	changes = make(chan string, 100)
	run(t, func(ctx context.Context) error {
		return b.WatchSettings(ctx, func(s events.Settings, deleted bool) {
			changes <- fmt.Sprint(s.Tenant, " ", s.Name, " ", deleted)
		}, func() { changes <- "ready" })
	})
	return changes
}

func TestSettings(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Bus(t, bus.Options{})
	ctx := within(t, 30*time.Second)
	put := func(s events.Settings) {
		t.Helper()
		if err := b.PutSettings(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	early := watchSettings(t, b)
	if c := recv(t, early, "ready"); c != "ready" {
		t.Fatalf("got %s first", c)
	}
	for _, step := range []struct {
		put  events.Settings
		want string
	}{{settings(1, 1), "1 v1 false"}, {settings(1, 3), "1 v3 false"}, {settings(2, 1), "2 v1 false"}} {
		put(step.put)
		if c := recv(t, early, step.want); c != step.want {
			t.Errorf("got %s, want %s", c, step.want)
		}
		put(settings(1, 1)) // late: stays out
	}
	late := watchSettings(t, b)
	for _, want := range []string{"1 v3 false", "2 v1 false", "ready"} {
		if c := recv(t, late, want); c != want {
			t.Errorf("late joiner got %s, want %s", c, want)
		}
	}
	if err := b.DeleteSettings(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if c := recv(t, late, "deletion"); c != "2  true" {
		t.Errorf("got %s", c)
	}
	// What changes across an outage is seen, and ready is not said again.
	s.Restart()
	eventually(t, "put after outage", func() bool { return b.PutSettings(ctx, settings(1, 4)) == nil })
	for {
		c := recv(t, late, "change after outage")
		if c == "1 v4 false" {
			break
		} else if c != "1 v3 false" && c != "2  true" {
			t.Errorf("got %s", c)
		}
	}
}

// A bucket that somebody deleted is made again, and who watches it goes on.
func TestSettingsBucketIsMadeAgain(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Bus(t, bus.Options{})
	ctx := within(t, 30*time.Second)
	changes := watchSettings(t, b)
	recv(t, changes, "ready")
	for version := range int64(2) {
		eventually(t, "put", func() bool { return b.PutSettings(ctx, settings(1, version+1)) == nil })
		if c, want := recv(t, changes, "change"), fmt.Sprintf("1 v%d false", version+1); c != want {
			t.Errorf("got %s, want %s", c, want)
		}
		have := must[map[events.Tenant]int64](t)(b.SettingsVersions(ctx))
		if diff := cmp.Diff(map[events.Tenant]int64{1: version + 1}, have); diff != "" {
			t.Error(diff)
		}
		_, js := raw(t, s)
		if err := js.DeleteStream(ctx, "KV_settings"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is empty", func() bool {
			have, err := b.SettingsVersions(ctx)
			return err == nil && len(have) == 0
		})
	}
}

func TestSettingsNewestVersionWins(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	ctx := within(t, 30*time.Second)
	var wg sync.WaitGroup
	for v := range 20 {
		wg.Go(func() {
			if err := b.PutSettings(ctx, settings(1, int64(v+1))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if c := recv(t, watchSettings(t, b), "settings"); c != "1 v20 false" {
		t.Errorf("kept %s", c)
	}
	if err := b.PutSettings(ctx, events.Settings{Version: 1}); !errors.Is(err, events.ErrNoTenant) {
		t.Errorf("no tenant: %v", err)
	}
}

func entry(call, owner string, epoch int64) bus.CallEntry {
	return bus.CallEntry{Tenant: 1, Call: call, Owner: owner, Epoch: epoch, FirstSeq: 7, From: "+15550001111", To: "+15550002222", StartedAt: at}
}

func TestRegistryOwnership(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	a, b := s.Bus(t, bus.Options{Name: "a"}), s.Bus(t, bus.Options{Name: "b"})
	oa, ob := openOutbox(t, a), openOutbox(t, b)
	ctx := within(t, 30*time.Second)
	settled := func(o *bus.Outbox) {
		t.Helper()
		eventually(t, "written", func() bool { return o.Depth() == 0 })
	}
	if _, err := b.ClaimCall(ctx, 1, "CA1", "ib"); !errors.Is(err, bus.ErrNoCall) {
		t.Errorf("claim of nothing: %v", err)
	}
	if err := oa.PutCall(entry("CA1", "ia", 1)); err != nil {
		t.Fatal(err)
	}
	settled(oa)
	took := must[bus.CallEntry](t)(b.ClaimCall(ctx, 1, "CA1", "ib"))
	if took.Epoch != 2 || took.Owner != "ib" || took.FirstSeq != 7 {
		t.Errorf("took %+v", took)
	}
	// The old owner, not dead but slow, neither overwrites nor deletes.
	late := entry("CA1", "ia", 1)
	late.Turn = 9
	if err := errors.Join(oa.PutCall(late), oa.DeleteCall(1, "CA1")); err != nil {
		t.Fatal(err)
	}
	settled(oa)
	if got := must[bus.CallEntry](t)(a.GetCall(ctx, 1, "CA1")); !cmp.Equal(got, took) {
		t.Errorf("now %+v", got)
	}
	took.Turn = 3
	if err := ob.PutCall(took); err != nil {
		t.Fatal(err)
	}
	settled(ob)
	if got := must[[]bus.CallEntry](t)(a.ListCalls(ctx)); !cmp.Equal(got, []bus.CallEntry{took}) {
		t.Errorf("list %+v", got)
	}
	if err := ob.DeleteCall(1, "CA1"); err != nil {
		t.Fatal(err)
	}
	settled(ob)
	if _, err := a.GetCall(ctx, 1, "CA1"); !errors.Is(err, bus.ErrNoCall) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := a.ClaimCall(ctx, 1, "CA1", "ia"); !errors.Is(err, bus.ErrNoCall) {
		t.Errorf("claim after the end: %v", err)
	}
}

func TestRegistryClaimsAreDistinct(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	o := openOutbox(t, b)
	ctx := within(t, 30*time.Second)
	if err := o.PutCall(entry("CA1", "i0", 1)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "written", func() bool { return o.Depth() == 0 })
	var wg sync.WaitGroup
	epochs := make(chan int64, 10)
	for i := range 10 {
		wg.Go(func() { epochs <- must[bus.CallEntry](t)(b.ClaimCall(ctx, 1, "CA1", fmt.Sprint("i", i+1))).Epoch })
	}
	wg.Wait()
	seen := map[int64]bool{}
	for range 10 {
		e := <-epochs
		if seen[e] || e < 2 || e > 11 {
			t.Errorf("epoch %d", e)
		}
		seen[e] = true
	}
}

func TestOwnersComeAndGo(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	a, b := s.Bus(t, bus.Options{}), s.Bus(t, bus.Options{})
	ctx := within(t, 60*time.Second)
	alive := func(name string) bool { return must[map[string]bool](t)(b.AliveOwners(ctx))[name] }
	stop := run(t, func(ctx context.Context) error { return a.KeepAlive(ctx, "ia") })
	eventually(t, "alive", func() bool { return alive("ia") })
	if alive("ib") {
		t.Error("one that never was is alive")
	}
	stop()
	if alive("ia") {
		t.Error("alive after its good-bye")
	}
	if err := a.KeepAlive(ctx, "a.b"); !errors.Is(err, bus.ErrBadToken) {
		t.Errorf("bad name: %v", err)
	}
}

// Nobody is taken for dead because the server has just come back; who really
// died is, seconds later.
func TestOwnersAfterRestart(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	a, b := s.Remote(t, bus.Options{}), s.Remote(t, bus.Options{})
	ctx := within(t, 60*time.Second)
	run(t, func(ctx context.Context) error { return a.KeepAlive(ctx, "ia") })
	eventually(t, "alive", func() bool { return must[map[string]bool](t)(b.AliveOwners(ctx))["ia"] })
	time.Sleep(5100 * time.Millisecond) // a bucket as young as the stream of facts has forgotten nothing
	s.Restart()
	unsettled := false
	eventually(t, "alive again", func() bool {
		alive, err := b.AliveOwners(ctx)
		unsettled = unsettled || errors.Is(err, bus.ErrUnsettled)
		if err == nil && !alive["ia"] {
			t.Error("taken for dead")
		}
		return err == nil
	})
	if !unsettled {
		t.Error("the server's loss of memory went unnoticed")
	}
}
