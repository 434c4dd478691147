package bus_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/testenv"
)

func openOutbox(t testing.TB, b *bus.Bus) *bus.Outbox {
	t.Helper()
	o := must[*bus.Outbox](t)(b.OpenOutbox(t.TempDir()))
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = o.Close(ctx) // what is left is the test's business
	})
	return o
}

func readCall(t testing.TB, b *bus.Bus, tenant events.Tenant, call string) []events.Event {
	t.Helper()
	ctx := within(t, 20*time.Second)
	last := must[uint64](t)(b.LastSeq(ctx))
	return must[[]events.Event](t)(b.ReadCall(ctx, tenant, call, bus.Span{First: 1, Last: last}))
}

// bySeq is one "name callseq" per event, in the order of the stream.
func bySeq(t testing.TB, all []events.Event) []string {
	t.Helper()
	out := make([]string, len(all))
	for i, e := range all {
		if i > 0 && e.Seq <= all[i-1].Seq {
			t.Errorf("%s %d is stored before %s %d", e.Fact.Name(), e.CallSeq, all[i-1].Fact.Name(), all[i-1].CallSeq)
		}
		out[i] = e.Fact.Name() + " " + strconv.Itoa(e.CallSeq)
	}
	return out
}

func wantCall(turns int) []string {
	var out []string
	for i := range turns {
		out = append(out, "turn.heard "+strconv.Itoa(i+1))
	}
	return append(out, "call.ended "+strconv.Itoa(turns+1))
}

func TestOutboxStores(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	o := openOutbox(t, b)
	stored := make(chan uint64, 10)
	for i := range 3 {
		if err := o.Put(heard(1, "CA1", i+1), func(seq uint64) { stored <- seq }); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		if seq := recv(t, stored, "acknowledgement"); seq != uint64(i+1) {
			t.Errorf("fact %d has sequence %d", i+1, seq)
		}
	}
	if err := o.Close(within(t, 5*time.Second)); err != nil {
		t.Error(err)
	}
	if o.Depth() != 0 {
		t.Errorf("depth %d", o.Depth())
	}
	if err := o.Put(heard(1, "CA1", 4), nil); !errors.Is(err, bus.ErrOutboxClosed) {
		t.Errorf("put after close: %v", err)
	}
}

// The same fact, put again after a restart or by another process, is one.
func TestOutboxDuplicateIsStoredOnce(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	o := openOutbox(t, b)
	seqs := make(chan uint64, 2)
	for range 2 {
		if err := o.Put(heard(1, "CA1", 1), func(seq uint64) { seqs <- seq }); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := recv(t, seqs, "first"), recv(t, seqs, "second"); a != b {
		t.Errorf("stored at %d and %d", a, b)
	}
	if last := must[uint64](t)(b.LastSeq(within(t, 5*time.Second))); last != 1 {
		t.Errorf("%d messages", last)
	}
}

// Calls go on while the server is away for a while: nothing is lost, each
// call's facts are stored in order, its end last.
func TestOutboxSurvivesOutage(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Remote(t, bus.Options{Name: "ingress"})
	o := openOutbox(t, b)
	const calls, turns = 20, 25
	var wg sync.WaitGroup
	for c := range calls {
		wg.Go(func() {
			call := "CA" + strconv.Itoa(c)
			for i := range turns {
				if err := o.Put(heard(1, call, i+1), nil); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Millisecond) // callers talk at the pace of talk
				if c == 0 && (i == turns/3 || i == 2*turns/3) {
					s.Stop()
				}
				if c == 0 && i == turns/2 {
					s.Restart()
				}
			}
			if err := o.Put(ended(1, call, turns+1), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if o.Depth() == 0 {
		t.Error("the outage was none")
	}
	s.Restart()
	if err := o.Close(within(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	for c := range calls {
		if diff := cmp.Diff(wantCall(turns), bySeq(t, readCall(t, b, 1, "CA"+strconv.Itoa(c)))); diff != "" {
			t.Fatalf("call %d: %s", c, diff)
		}
	}
	if last := must[uint64](t)(b.LastSeq(within(t, 5*time.Second))); last != calls*(turns+1) {
		t.Errorf("%d messages, want %d", last, calls*(turns+1))
	}
}

// What was on its way when the server went is sent again with the connection,
// not when its acknowledgement is overdue.
func TestOutboxResendsAtOnce(t *testing.T) {
	t.Parallel()
	s := testenv.DurableServer(t)
	b := s.Remote(t, bus.Options{ResendAfter: time.Hour})
	o := openOutbox(t, b)
	for round := range 5 {
		for i := range 300 {
			if err := o.Put(heard(1, fmt.Sprintf("CA%dx%d", round, i), 1), nil); err != nil {
				t.Fatal(err)
			}
		}
		s.Restart()
		eventually(t, "all stored", func() bool { return o.Depth() == 0 })
	}
}

// A process killed while the bus is away loses nothing it had put.
func TestOutboxSurvivesKill(t *testing.T) {
	t.Parallel()
	const facts = 500
	s := testenv.Server(t)
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=none")
	cmd.Env = append(os.Environ(), childEnv+"="+dir, "BUS_TEST_URL="+s.URL(), "BUS_TEST_FACTS="+strconv.Itoa(facts))
	in := must[interface{ Write([]byte) (int, error) }](t)(cmd.StdinPipe())
	out := must[interface{ Read([]byte) (int, error) }](t)(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	expect := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("child says %q, want %q", lines.Text(), want)
		}
	}
	expect("open")
	b := s.Bus(t, bus.Options{Name: "ingress"})
	if _, err := b.OpenOutbox(dir); !errors.Is(err, bus.ErrOutboxInUse) {
		t.Errorf("opened beside the child: %v", err)
	}
	s.Stop()
	fmt.Fprintln(in, "go")
	expect("put")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()

	s.Restart()
	o := must[*bus.Outbox](t)(b.OpenOutbox(dir))
	if o.Depth() == 0 {
		t.Error("nothing was left to publish")
	}
	if err := o.Put(ended(1, "CAkill", facts+1), nil); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(within(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantCall(facts), bySeq(t, readCall(t, b, 1, "CAkill"))); diff != "" {
		t.Error(diff)
	}
}

// What was stored before an orderly end is not published again.
func TestOutboxRestartRepeatsNothing(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Bus(t, bus.Options{})
	dir := t.TempDir()
	o := must[*bus.Outbox](t)(b.OpenOutbox(dir))
	stored := make(chan uint64, 1)
	if err := o.Put(heard(1, "CA1", 1), func(seq uint64) { stored <- seq }); err != nil {
		t.Fatal(err)
	}
	recv(t, stored, "acknowledgement")
	s.Stop()
	if err := o.Put(heard(1, "CA1", 2), nil); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := o.Close(short); err == nil || !strings.Contains(err.Error(), "1 records") {
		t.Errorf("close while away: %v", err)
	}
	o = must[*bus.Outbox](t)(b.OpenOutbox(dir))
	if o.Depth() != 1 {
		t.Errorf("depth %d, want 1", o.Depth())
	}
	s.Restart()
	if err := o.Close(within(t, 20*time.Second)); err != nil {
		t.Error(err)
	}
}

func TestOutboxFull(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Bus(t, bus.Options{OutboxBytes: 20 << 10})
	o := openOutbox(t, b)
	s.Stop()
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		err = o.Put(heard(1, "CA1", n+1), nil)
	}
	if !errors.Is(err, bus.ErrOutboxFull) || n < 5 {
		t.Fatalf("after %d facts: %v", n, err)
	}
	s.Restart()
	eventually(t, "room again", func() bool { return o.Depth() == 0 && o.Put(heard(1, "CA1", n), nil) == nil })
}

// What the disk does not take is published from memory, and goes to the disk,
// in its order, as soon as that takes it.
func TestOutboxHoldsWhatTheDiskRefuses(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Bus(t, bus.Options{})
	refused := func(t *testing.T, err error) {
		t.Helper()
		if !errors.Is(err, bus.ErrNotSafe) {
			t.Errorf("put on a broken disk: %v", err)
		}
	}
	broken := func(t *testing.T) (o *bus.Outbox, dir string) {
		t.Helper()
		dir = filepath.Join(t.TempDir(), "outbox")
		o = must[*bus.Outbox](t)(b.OpenOutbox(dir))
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		return o, dir
	}

	o, _ := broken(t)
	stored := make(chan uint64, 1)
	refused(t, o.Put(heard(1, "CAup", 1), func(seq uint64) { stored <- seq }))
	refused(t, o.Put(ended(1, "CAup", 2), nil))
	recv(t, stored, "acknowledgement")
	if err := o.Close(within(t, 10*time.Second)); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(wantCall(1), bySeq(t, readCall(t, b, 1, "CAup"))); diff != "" {
		t.Error(diff)
	}

	o, dir := broken(t)
	s.Stop()
	refused(t, o.Put(heard(1, "CAaway", 1), nil))
	refused(t, o.Put(heard(1, "CAaway", 2), nil))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := o.Put(ended(1, "CAaway", 3), nil); err != nil {
		t.Errorf("put on a disk that takes it again: %v", err)
	}
	short, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_ = o.Close(short)
	o = must[*bus.Outbox](t)(b.OpenOutbox(dir))
	s.Restart()
	if err := o.Close(within(t, 20*time.Second)); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(wantCall(2), bySeq(t, readCall(t, b, 1, "CAaway"))); diff != "" {
		t.Error(diff)
	}
}

// A disk that stays broken is waited for without anybody putting more.
func TestOutboxSpoolsWhatItHeldByItself(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Bus(t, bus.Options{OutboxBytes: 20 << 10})
	dir := filepath.Join(t.TempDir(), "outbox")
	o := must[*bus.Outbox](t)(b.OpenOutbox(dir))
	s.Stop()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	var err error
	n := 0
	for ; n < 1000 && !errors.Is(err, bus.ErrOutboxFull); n++ {
		err = o.Put(heard(1, "CA1", n+1), nil)
	}
	if n < 3 || n == 1000 || o.Depth() != n-1 {
		t.Fatalf("after %d facts, of which it has %d: %v", n, o.Depth(), err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	eventually(t, "spooled", func() bool {
		logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
		return err == nil && len(logs) > 0
	})
	s.Restart()
	if err := o.Close(within(t, 20*time.Second)); err != nil {
		t.Error(err)
	}
	if got := bySeq(t, readCall(t, b, 1, "CA1")); len(got) != n-1 {
		t.Errorf("%d facts of %d", len(got), n-1)
	}
}

// The registry entry of a call appears before and goes after its facts.
func TestOutboxRegistryFollowsFacts(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Bus(t, bus.Options{})
	o := openOutbox(t, b)
	ctx := within(t, 30*time.Second)
	s.Stop()
	entry := bus.CallEntry{Tenant: 1, Call: "CA1", Owner: "i1", Epoch: 1, From: "+15550001111", To: "+15550002222", StartedAt: at}
	for _, err := range []error{
		o.Put(heard(1, "CA1", 1), nil), o.PutCall(entry), o.Put(ended(1, "CA1", 2), nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.Restart()
	eventually(t, "all stored", func() bool { return o.Depth() == 0 })
	if got := must[bus.CallEntry](t)(b.GetCall(ctx, 1, "CA1")); !cmp.Equal(got, entry) {
		t.Errorf("entry %+v", got)
	}
	if err := o.DeleteCall(1, "CA1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "deleted", func() bool { _, err := b.GetCall(ctx, 1, "CA1"); return errors.Is(err, bus.ErrNoCall) })
	if got := bySeq(t, readCall(t, b, 1, "CA1")); len(got) != 2 {
		t.Errorf("facts %v", got)
	}
	// A write of the past, published again by a restart, does not bring it back.
	if err := o.PutCall(entry); err != nil {
		t.Fatal(err)
	}
	eventually(t, "dropped", func() bool { return o.Depth() == 0 })
	if calls := must[[]bus.CallEntry](t)(b.ListCalls(ctx)); len(calls) != 0 {
		t.Errorf("calls %+v", calls)
	}
}

func TestOutboxRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	o := openOutbox(t, testenv.Bus(t))
	e := heard(1, "CA1", 1)
	e.Tenant = 2
	for what, err := range map[string]error{
		"a fact of another tenant": o.Put(e, nil),
		"a call with a dot":        o.PutCall(bus.CallEntry{Tenant: 1, Call: "a.b", Owner: "i"}),
		"an owner with a star":     o.PutCall(bus.CallEntry{Tenant: 1, Call: "CA1", Owner: "*"}),
		"no tenant":                o.DeleteCall(0, "CA1"),
	} {
		if err == nil {
			t.Errorf("took %s", what)
		}
	}
	if o.Depth() != 0 {
		t.Errorf("depth %d", o.Depth())
	}
}
