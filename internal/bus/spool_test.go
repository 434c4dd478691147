package bus

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
)

func mustOpenSpool(t *testing.T, dir string, limit int64) (*spool, []spooled) {
	t.Helper()
	s, left, err := openSpool(dir, limit)
	if err != nil {
		t.Fatal(err)
	}
	return s, left
}

func mustAppend(t *testing.T, s *spool, payload string) place {
	t.Helper()
	at, err := s.append([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// die lets go of the spool as a killed process does.
func die(s *spool) { s.lock.Close() }

func payloads(left []spooled) []string {
	var out []string
	for _, l := range left {
		out = append(out, string(l.payload))
	}
	return out
}

func TestSpoolKeepsWhatIsNotDone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := mustOpenSpool(t, dir, 1<<20)
	var at []place
	for i := range 5 {
		at = append(at, mustAppend(t, s, fmt.Sprint("r", i)))
	}
	for _, i := range []int{0, 3} {
		if err := s.done(at[i]); err != nil {
			t.Fatal(err)
		}
	}
	die(s)

	s, left := mustOpenSpool(t, dir, 1<<20)
	if diff := cmp.Diff([]string{"r1", "r2", "r4"}, payloads(left)); diff != "" {
		t.Error(diff)
	}
	for _, l := range left {
		if err := s.done(l.at); err != nil {
			t.Fatal(err)
		}
	}
	if s.size != 0 {
		t.Errorf("%d bytes left", s.size)
	}
	s.close(nil)
	if logs, _ := filepath.Glob(filepath.Join(dir, "*.log")); len(logs) > 0 {
		t.Errorf("left behind: %v", logs)
	}
}

func TestSpoolToleratesTornTail(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(b []byte) []byte{
		"cut in the body":   func(b []byte) []byte { return b[:len(b)-3] },
		"cut in the length": func(b []byte) []byte { return b[:len(b)-frameHead-8] },
		"zeros":             func(b []byte) []byte { return append(b[:len(b)-frameHead-10], make([]byte, 50)...) },
		"a flipped bit":     func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, _ := mustOpenSpool(t, dir, 1<<20)
			mustAppend(t, s, "whole")
			last := mustAppend(t, s, "torn away ")
			die(s)
			path := s.path(last.seg, ".log")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			s, left := mustOpenSpool(t, dir, 1<<20)
			if diff := cmp.Diff([]string{"whole"}, payloads(left)); diff != "" {
				t.Error(diff)
			}
			// Later records go to a file of their own and are not lost behind it.
			mustAppend(t, s, "next")
			die(s)
			_, left = mustOpenSpool(t, dir, 1<<20)
			if got := payloads(left); got[len(got)-1] != "next" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// A damaged record costs none beside it, is kept, and hides no mark: what was
// done may be done again, what was not is.
func TestSpoolReadsOnAfterDamage(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		damage func(second []byte) // frame of r1, of r0 … r5; r2 and r4 are done
		want   []string
		kept   bool
	}{
		"nothing":               {func([]byte) {}, []string{"r0", "r1", "r3", "r5"}, false},
		"a bit of the payload":  {func(b []byte) { b[frameHead] ^= 1 }, []string{"r0", "r3", "r5"}, true},
		"a bit of the checksum": {func(b []byte) { b[5] ^= 1 }, []string{"r0", "r3", "r5"}, true},
		"a bit of the length":   {func(b []byte) { b[0] ^= 1 }, []string{"r0", "r2", "r3", "r4", "r5"}, true},
		"a length of nothing":   {func(b []byte) { b[0] = 0 }, []string{"r0", "r2", "r3", "r4", "r5"}, true},
		"a length beyond all":   {func(b []byte) { b[3] = 0xff }, []string{"r0", "r2", "r3", "r4", "r5"}, true},
		"all of it":             {func(b []byte) { copy(b, "##########") }, []string{"r0", "r2", "r3", "r4", "r5"}, true},
		"one that was done":     {func(b []byte) { b[2*(frameHead+2)-1] ^= 1 }, []string{"r0", "r1", "r3", "r5"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s, _ := mustOpenSpool(t, dir, 1<<20)
			var at []place
			for i := range 6 {
				at = append(at, mustAppend(t, s, fmt.Sprint("r", i)))
			}
			for _, i := range []int{2, 4} {
				if err := s.done(at[i]); err != nil {
					t.Fatal(err)
				}
			}
			die(s)
			path := s.path(at[0].seg, ".log")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			tc.damage(b[frameHead+2:])
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time finds what the first left
				s, left := mustOpenSpool(t, dir, 1<<20)
				if diff := cmp.Diff(tc.want, payloads(left)); diff != "" {
					t.Error(diff)
				}
				kept, err := filepath.Glob(filepath.Join(dir, "*.damaged"))
				if err != nil || len(kept) > 1 || (len(kept) == 1) != tc.kept || (s.damaged > 0) != tc.kept {
					t.Errorf("kept %v of %d bytes, %v", kept, s.damaged, err)
				}
				die(s)
			}
			s, left := mustOpenSpool(t, dir, 1<<20)
			for _, l := range left {
				if err := s.done(l.at); err != nil {
					t.Fatal(err)
				}
			}
			if logs, _ := filepath.Glob(filepath.Join(dir, "*.log")); len(logs) > 0 {
				t.Errorf("left behind: %v", logs)
			}
			die(s)
		})
	}
}

// A crash between deleting a segment and its marks must not hide new records.
func TestSpoolIgnoresStaleMarks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := mustOpenSpool(t, dir, 1<<20)
	at := mustAppend(t, s, "old")
	if err := s.done(at); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.path(at.seg, ".log")); err != nil {
		t.Fatal(err)
	}
	die(s)

	s, _ = mustOpenSpool(t, dir, 1<<20)
	mustAppend(t, s, "new")
	die(s)
	_, left := mustOpenSpool(t, dir, 1<<20)
	if diff := cmp.Diff([]string{"new"}, payloads(left)); diff != "" {
		t.Error(diff)
	}
}

func TestSpoolIsBounded(t *testing.T) {
	t.Parallel()
	s, _ := mustOpenSpool(t, t.TempDir(), 3*segmentBytes)
	big := string(bytes.Repeat([]byte("x"), segmentBytes/4))
	var at []place
	for {
		p, err := s.append([]byte(big))
		if errors.Is(err, ErrOutboxFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		at = append(at, p)
	}
	if len(at) < 10 || s.size > 3*segmentBytes {
		t.Fatalf("full after %d records, %d bytes", len(at), s.size)
	}
	for _, p := range at {
		if err := s.done(p); err != nil {
			t.Fatal(err)
		}
	}
	mustAppend(t, s, big) // there is room again
	if s.size > segmentBytes {
		t.Errorf("%d bytes on disk for one record", s.size)
	}
}

func TestSpoolHasOneOwner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := mustOpenSpool(t, dir, 1<<20)
	if _, _, err := openSpool(dir, 1<<20); !errors.Is(err, ErrOutboxInUse) {
		t.Errorf("second owner: %v", err)
	}
	die(s)
	mustOpenSpool(t, dir, 1<<20)
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	r := &record{kind: kindFact, lane: "1.CA1", msg: &nats.Msg{
		Subject: "tenant.1.turn.heard", Header: nats.Header{"ce-id": {"x"}, "Nats-Msg-Id": {"1:x"}}, Data: []byte("{}"),
	}}
	got, err := unmarshalRecord(r.marshal())
	if err != nil {
		t.Fatal(err)
	}
	if got.kind != r.kind || got.lane != r.lane || got.msg.Subject != r.msg.Subject || !cmp.Equal(got.msg.Header, r.msg.Header) || !bytes.Equal(got.msg.Data, r.msg.Data) {
		t.Errorf("got %+v", got)
	}
}

func FuzzRecord(f *testing.F) {
	r := &record{kind: kindPut, lane: "1.CA1", msg: &nats.Msg{Subject: "s", Data: []byte("{}")}}
	f.Add(r.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := unmarshalRecord(b)
		if err != nil {
			return
		}
		if _, err := unmarshalRecord(r.marshal()); err != nil {
			t.Fatalf("cannot read again: %v", err)
		}
	})
}
