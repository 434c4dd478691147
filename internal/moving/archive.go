// Package moving carries one tenant, and nothing of any other, from one
// instance of the program to another: its facts, what they led to as digests to
// compare with, and the rows no fact leads to. What it writes is one file, of
// which nothing is believed before all of it has been read.
package moving

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

// ErrArchive is said of a file that is no archive, or not one as it was written.
var ErrArchive = errors.New("archive cannot be used")

// The members of an archive: a gzipped tar. The manifest comes last.
const (
	memberFacts    = "facts.jsonl"    // CloudEvents in structured mode, in the order of the stream
	memberCustomer = "customer.json"  // a store.Resident
	memberProfiles = "profiles.jsonl" // a store.ProfileHash each
	memberTables   = "tables/"        // <name>.jsonl, a row each
	memberManifest = "manifest.json"  // a Manifest

	format  = "neurosphere tenant"
	version = 1

	maxLine     = 4 << 20 // bytes
	maxManifest = 1 << 20
)

// Manifest says what an archive holds.
type Manifest struct {
	Format   string           `json:"format"`
	Version  int              `json:"version"`
	Tenant   events.Tenant    `json:"customer_id"`
	Name     string           `json:"name"`
	MadeAt   time.Time        `json:"made_at"`
	Facts    Sum              `json:"facts"`
	Through  uint64           `json:"through"` // sequence up to which the stream was read
	LeftOut  int              `json:"facts_left_out"`
	Profiles Sum              `json:"profiles"`
	Rows     map[string]int64 `json:"rows"`   // of the read models, by table
	Tables   map[string]int64 `json:"tables"` // rows that are in the archive, by table
	Sealed   SealedValues     `json:"sealed"`
	Open     Open             `json:"open"`
	Members  []Member         `json:"members"`
}

// Sum is how many there are of something, and a digest of all.
type Sum struct {
	Count  int    `json:"count"`
	SHA256 string `json:"sha256"`
}

// SealedValues is what became of what only the instance's key opens.
type SealedValues struct {
	Carried int    `json:"carried"`        // under the passphrase
	LeftOut int    `json:"left_out"`       // no passphrase was given, or no key opened them
	Salt    string `json:"salt,omitempty"` // of the passphrase; hex
}

// Open is what was under way when the archive was made: what comes of it is in
// a later one.
type Open struct {
	Calls int `json:"calls"` // not ended, or not summarized
	Texts int `json:"texts"` // asked for, without an outcome
}

// Member is one part of an archive.
type Member struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	Lines  int    `json:"lines"`
	SHA256 string `json:"sha256"`
}

func badf(text string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrArchive, fmt.Errorf(text, args...))
}

// profilesSum is the digest of all profiles, sorted by caller.
func profilesSum(all []store.ProfileHash) Sum {
	h := sha256.New()
	for _, p := range all {
		fmt.Fprintf(h, "%d:%s %s\n", len(p.User), p.User, p.SHA)
	}
	return Sum{len(all), hex.EncodeToString(h.Sum(nil))}
}

// Hash is the digest of a tenant's profiles as they are in use. It is the same
// in each instance that holds the same facts.
func Hash(ctx context.Context, s *store.Store, t events.Tenant, projection string) (Sum, error) {
	if _, err := s.Settings(ctx, t); err != nil {
		return Sum{}, err
	}
	rows, err := s.For(t)
	if err != nil {
		return Sum{}, err
	}
	snap, err := rows.Snapshot(ctx, projection)
	return profilesSum(snap.Profiles), err
}

// packer gathers members in files beside the archive, since a tar tells how
// long each is before it begins.
type packer struct {
	dir     string
	members []*packed
}

type packed struct {
	Member
	f *os.File
	w *bufio.Writer
	h hash.Hash
}

func (p *packer) member(name string) (*packed, error) {
	f, err := os.CreateTemp(p.dir, ".moving-*") // only the owner may read it
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil { // by its name: whatever ends us ends it
		return nil, errors.Join(err, f.Close())
	}
	m := &packed{Member: Member{Name: name}, f: f, w: bufio.NewWriterSize(f, 1<<16), h: sha256.New()}
	p.members = append(p.members, m)
	return m, nil
}

func (m *packed) line(raw []byte) error {
	if len(raw) > maxLine {
		return fmt.Errorf("a line of %s has %d bytes, %d at most", m.Name, len(raw), maxLine)
	}
	m.Lines++
	m.Bytes += int64(len(raw)) + 1
	m.h.Write(raw)
	m.h.Write([]byte{'\n'})
	if _, err := m.w.Write(raw); err != nil {
		return err
	}
	return m.w.WriteByte('\n')
}

func (m *packed) json(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return m.line(raw)
}

// discard lets go of what was gathered.
func (p *packer) discard() {
	for _, m := range p.members {
		_ = m.f.Close()
	}
}

// write makes the archive of what was gathered; it appears under its name when
// it is whole.
func (p *packer) write(path string, man *Manifest) (err error) {
	out, err := os.CreateTemp(p.dir, ".moving-*")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer func() { err = errors.Join(err, out.Close()) }()
	gz := gzip.NewWriter(out)
	t := tar.NewWriter(gz)
	for _, m := range p.members {
		m.SHA256 = hex.EncodeToString(m.h.Sum(nil))
		if err := m.w.Flush(); err != nil {
			return err
		}
		if _, err := m.f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := add(t, m.Name, m.Bytes, man.MadeAt, m.f); err != nil {
			return err
		}
		man.Members = append(man.Members, m.Member)
	}
	raw, err := json.MarshalIndent(man, "", "  ")
	if err != nil {
		return err
	}
	if err := add(t, memberManifest, int64(len(raw)), man.MadeAt, bytes.NewReader(raw)); err != nil {
		return err
	}
	if err := errors.Join(t.Close(), gz.Close(), out.Sync()); err != nil {
		return err
	}
	return os.Link(out.Name(), path) // never over another file
}

func add(t *tar.Writer, name string, size int64, at time.Time, r io.Reader) error {
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: at, Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := io.Copy(t, r)
	return err
}

// known reports whether an archive may have a member of that name. Nothing is
// ever written where a name says.
func known(name string) bool {
	if table, ok := strings.CutPrefix(name, memberTables); ok {
		table, ok = strings.CutSuffix(table, ".jsonl")
		return ok && table != "" && strings.Trim(table, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
	}
	return slices.Contains([]string{memberFacts, memberCustomer, memberProfiles, memberManifest}, name)
}

// walk hands over each line of each member of an archive, in their order, and
// returns the manifest once everything has turned out to be as it says.
func walk(f io.ReadSeeker, each func(member string, line []byte) error) (man Manifest, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return man, err
	}
	gz, err := gzip.NewReader(bufio.NewReaderSize(f, 1<<16))
	if err != nil {
		return man, badf("it is not compressed as an archive is: %w", err)
	}
	defer gz.Close()
	var found []Member
	for t, last := tar.NewReader(gz), false; ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		switch {
		case err != nil:
			return man, badf("it ends early or is damaged: %w", err)
		case last:
			return man, badf("something follows its manifest")
		case h.Typeflag != tar.TypeReg || !known(h.Name):
			return man, badf("%q is no member of an archive", h.Name)
		case slices.ContainsFunc(found, func(m Member) bool { return m.Name == h.Name }):
			return man, badf("%s comes twice", h.Name)
		}
		if last = h.Name == memberManifest; last {
			if man, err = readManifest(t, h.Size); err != nil {
				return man, err
			}
			continue
		}
		m, err := readMember(t, h.Name, each)
		if err != nil {
			return man, err
		}
		found = append(found, m)
	}
	if rest, err := io.Copy(io.Discard, io.LimitReader(gz, maxManifest)); err != nil || rest == maxManifest {
		return man, badf("it is damaged at its end")
	}
	return man, man.check(found)
}

func readManifest(r io.Reader, size int64) (man Manifest, err error) {
	if size > maxManifest {
		return man, badf("its manifest has %d bytes, %d at most", size, maxManifest)
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		return man, badf("it ends early or is damaged: %w", err)
	}
	if err := json.Unmarshal(raw, &man); err != nil || man.Format != format {
		return man, badf("its manifest is not one of a tenant")
	}
	if man.Version != version {
		return man, badf("it is of version %d, this program reads %d", man.Version, version)
	}
	return man, nil
}

func readMember(r io.Reader, name string, each func(member string, line []byte) error) (Member, error) {
	m, h := Member{Name: name}, sha256.New()
	lines := bufio.NewScanner(io.TeeReader(r, h))
	lines.Buffer(make([]byte, 0, 1<<16), maxLine+1)
	for lines.Scan() {
		m.Lines++
		m.Bytes += int64(len(lines.Bytes())) + 1
		if err := each(name, lines.Bytes()); err != nil {
			return m, err
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return m, badf("%s has a line of more than %d bytes", name, maxLine)
	} else if lines.Err() != nil {
		return m, badf("%s ends early or is damaged: %w", name, lines.Err())
	}
	m.SHA256 = hex.EncodeToString(h.Sum(nil))
	return m, nil
}

// check compares the manifest with what was found.
func (man Manifest) check(found []Member) error {
	if man.Format == "" {
		return badf("it has no manifest")
	}
	if !man.Tenant.Valid() {
		return badf("its manifest names no tenant")
	}
	if !slices.Equal(found, man.Members) {
		for i, m := range man.Members {
			if i >= len(found) || found[i] != m {
				return badf("%s is not as its manifest says", m.Name)
			}
		}
		return badf("it holds more than its manifest says")
	}
	for _, name := range []string{memberFacts, memberCustomer, memberProfiles} {
		if !slices.ContainsFunc(found, func(m Member) bool { return m.Name == name }) {
			return badf("it has no %s", name)
		}
	}
	return nil
}

// beside is the directory a file is to be in, which must not be there yet.
func beside(path string) (dir string, err error) {
	if _, err := os.Lstat(path); err == nil {
		return "", fmt.Errorf("%s is there already", path)
	}
	return filepath.Dir(path), nil
}
