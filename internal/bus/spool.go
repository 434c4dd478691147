package bus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const (
	segmentBytes = 1 << 20  // a segment this long takes no more records
	idleBytes    = 64 << 10 // nor does one this long that is done to the end
	frameHead    = 8        // length and checksum, 4 bytes each
	markBytes    = 8        // index and checksum, 4 bytes each
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// spool is an append-only log of records in segment files, and beside each
// segment the marks of those of its records that are done. One write(2) makes
// a record survive the death of the process; a segment whose records are all
// done is deleted. It is not safe for concurrent use.
type spool struct {
	dir   string
	lock  *os.File
	limit int64
	size  int64 // of all segments on disk
	next  uint64
	live  *segment // takes new records; nil before the first

	damaged int64 // bytes found unreadable when it was opened, and kept aside
}

// segment is one file of records numbered first, first+1, ….
type segment struct {
	first   uint64
	records uint32
	open    uint32 // records not done
	size    int64
	log     *os.File // nil once it takes no more records
	marks   *os.File // nil until the first is done
}

// spooled is one record that was not done when the spool was opened.
type spooled struct {
	at      place
	payload []byte
}

// place is where in the spool a record lies.
type place struct {
	seg *segment
	idx uint32
}

func (p place) number() uint64 { return p.seg.first + uint64(p.idx) }

// openSpool takes the spool in dir, creating it if need be, and returns what
// is not done in the order it was written. Bytes that cannot be read, as a
// crash or a bad disk leave, cost no record beside them: they go to files that
// end in .damaged.
func openSpool(dir string, limit int64) (*spool, []spooled, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("open spool: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open spool: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, nil, ErrOutboxInUse
		}
		return nil, nil, fmt.Errorf("lock spool: %w", err)
	}
	s := &spool{dir: dir, lock: lock, limit: limit, next: 1}
	todo, err := s.load()
	if err != nil {
		lock.Close()
		return nil, nil, fmt.Errorf("read spool: %w", err)
	}
	return s, todo, nil
}

func (s *spool) load() ([]spooled, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var firsts []uint64
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".log"); ok {
			if n, err := strconv.ParseUint(name, 16, 64); err == nil {
				firsts = append(firsts, n)
			}
		}
	}
	slices.Sort(firsts)
	var todo []spooled
	for _, first := range firsts {
		seg := &segment{first: first}
		left, err := s.loadSegment(seg)
		if err != nil {
			return nil, err
		}
		s.next = max(s.next, first+uint64(seg.records))
		if seg.open == 0 {
			s.remove(seg)
			continue
		}
		todo = append(todo, left...)
	}
	return todo, nil
}

func (s *spool) loadSegment(seg *segment) ([]spooled, error) {
	log, err := os.ReadFile(s.path(seg, ".log"))
	if err != nil {
		return nil, err
	}
	marks, err := os.ReadFile(s.path(seg, ".done"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	done := map[uint32]bool{}
	for ; len(marks) >= markBytes; marks = marks[markBytes:] {
		if crc32.Checksum(marks[:4], castagnoli) == binary.LittleEndian.Uint32(marks[4:]) {
			done[binary.LittleEndian.Uint32(marks)] = true
		}
	}
	seg.size = int64(len(log))
	s.size += seg.size
	var todo []spooled
	for len(log) > 0 {
		payload, rest := cutFrame(log)
		if payload == nil {
			n, counted := damage(log)
			if counted && done[seg.records] {
				seg.records++ // nothing is lost
			} else if err := s.keepAside(seg, log[:n], counted); err != nil {
				return nil, err
			}
			if !counted {
				clear(done) // how many records lay there is not known: repeat, rather than leave out
			}
			log = log[n:]
			continue
		}
		if !done[seg.records] {
			todo = append(todo, spooled{place{seg, seg.records}, payload})
			seg.open++
		}
		seg.records++
		log = rest
	}
	return todo, nil
}

// cutFrame is the record b begins with, nil where it begins with none.
func cutFrame(b []byte) (payload, rest []byte) {
	if len(b) < frameHead {
		return nil, nil
	}
	n := uint64(binary.LittleEndian.Uint32(b))
	if n == 0 || n > uint64(len(b)-frameHead) { // zeros are what a power cut leaves
		return nil, nil
	}
	payload = b[frameHead : frameHead+n]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, nil
	}
	return payload, b[frameHead+n:]
}

// damage is how many bytes b, which begins with no whole record, has before the
// next one or its end. counted is true where they are one record for sure: what
// it says of its length leads to another.
func damage(b []byte) (n int, counted bool) {
	if len(b) >= frameHead {
		end := uint64(binary.LittleEndian.Uint32(b)) + frameHead
		if end < uint64(len(b)) {
			if next, _ := cutFrame(b[end:]); next != nil {
				return int(end), true
			}
		}
	}
	for n = 1; n < len(b); n++ {
		if next, _ := cutFrame(b[n:]); next != nil {
			return n, false
		}
	}
	return len(b), false
}

// keepAside saves bytes that cannot be read in a file of their own, under the
// same name each time the segment is read.
func (s *spool) keepAside(seg *segment, b []byte, counted bool) error {
	if counted {
		seg.records++
	}
	if len(bytes.Trim(b, "\x00")) == 0 {
		return nil
	}
	s.damaged += int64(len(b))
	path := s.path(seg, fmt.Sprintf("-%08x.damaged", crc32.Checksum(b, castagnoli)))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("keep damaged records: %w", err)
	}
	return nil
}

func (s *spool) path(seg *segment, ext string) string {
	return filepath.Join(s.dir, fmt.Sprintf("%016x%s", seg.first, ext))
}

// append writes one record. On error nothing of it is left.
func (s *spool) append(payload []byte) (place, error) {
	size := int64(frameHead + len(payload))
	if err := s.rotate(size); err != nil {
		return place{}, err
	}
	frame := make([]byte, frameHead, size)
	binary.LittleEndian.PutUint32(frame, uint32(len(payload)))
	binary.LittleEndian.PutUint32(frame[4:], crc32.Checksum(payload, castagnoli))
	frame = append(frame, payload...)
	seg := s.live
	if _, err := seg.log.Write(frame); err != nil {
		// A torn record would hide those after it: take it back, or write no
		// more to this file.
		if seg.log.Truncate(seg.size) != nil {
			s.seal()
		}
		return place{}, fmt.Errorf("write spool: %w", err)
	}
	at := place{seg, seg.records}
	seg.records++
	seg.open++
	seg.size += size
	s.size += size
	s.next++
	return at, nil
}

// rotate makes sure there is a segment that takes size more bytes.
func (s *spool) rotate(size int64) error {
	full := s.size+size > s.limit
	if seg := s.live; seg != nil && (seg.size >= min(segmentBytes, s.limit/8) || seg.open == 0 && (full || seg.size >= idleBytes)) {
		s.seal()
	}
	if s.size+size > s.limit {
		return ErrOutboxFull
	}
	if s.live != nil {
		return nil
	}
	seg := &segment{first: s.next}
	// Marks left by a crash while their segment was being deleted would hide
	// new records of the same numbers.
	if err := os.Remove(s.path(seg, ".done")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("write spool: %w", err)
	}
	f, err := os.OpenFile(s.path(seg, ".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write spool: %w", err)
	}
	seg.log, s.live = f, seg
	return nil
}

// seal ends the live segment.
func (s *spool) seal() {
	seg := s.live
	if seg == nil {
		return
	}
	seg.log.Close()
	seg.log, s.live = nil, nil
	if seg.open == 0 {
		s.remove(seg)
	}
}

// done marks the record at p. A mark that cannot be written only means the
// record is done once more after a restart.
func (s *spool) done(p place) error {
	p.seg.open--
	if p.seg.open == 0 && p.seg != s.live {
		s.remove(p.seg)
		return nil
	}
	if p.seg.marks == nil {
		f, err := os.OpenFile(s.path(p.seg, ".done"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return fmt.Errorf("mark spool: %w", err)
		}
		p.seg.marks = f
	}
	var mark [markBytes]byte
	binary.LittleEndian.PutUint32(mark[:], p.idx)
	binary.LittleEndian.PutUint32(mark[4:], crc32.Checksum(mark[:4], castagnoli))
	if n, err := p.seg.marks.Write(mark[:]); err != nil {
		// Half a mark would garble those after it.
		if end, at := p.seg.marks.Seek(0, io.SeekEnd); at == nil && n > 0 {
			_ = p.seg.marks.Truncate(end - int64(n))
		}
		return fmt.Errorf("mark spool: %w", err)
	}
	return nil
}

// remove deletes the files of a segment none of whose records is open. The
// records go first: marks without records mean nothing, records without
// marks would be done again.
func (s *spool) remove(seg *segment) {
	s.closeFiles(seg)
	os.Remove(s.path(seg, ".log"))
	os.Remove(s.path(seg, ".done"))
	s.size -= seg.size
}

func (s *spool) closeFiles(seg *segment) {
	if seg.log != nil {
		seg.log.Close()
	}
	if seg.marks != nil {
		seg.marks.Close()
	}
}

// close lets go of the spool. Segments must not be used afterwards.
func (s *spool) close(segments []*segment) {
	s.seal()
	for _, seg := range segments {
		s.closeFiles(seg)
	}
	s.lock.Close()
}
