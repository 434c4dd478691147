package bus

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// Kinds of record; they are on disk.
const (
	kindFact   = 'f' // publish to the stream of facts
	kindPut    = 'p' // write an entry of the call registry
	kindDelete = 'd' // remove an entry of the call registry
)

// record is one thing the outbox has promised to do.
type record struct {
	kind byte
	lane string // what is done in order: "<tenant>.<call>"; empty: in no order
	msg  *nats.Msg

	number uint64 // among those of its outbox
	at     place  // zero: the spool could not take it
	stored func(seq uint64)

	// Guarded by Outbox.mu.
	state state
	tries int
	sent  time.Time // when in flight
	due   time.Time // when waiting: not before
}

type state byte

const (
	queued   state = iota // behind others of its lane
	ready                 // to be sent now
	inFlight              // sent, not yet confirmed
	waiting               // refused or not sent; again when due
	done                  // nothing is left to do
)

// marshal is the record as the spool keeps it: a kind, then strings each led
// by its length, the header's names sorted.
func (r *record) marshal() []byte {
	b := append(make([]byte, 0, 512+len(r.msg.Data)), r.kind)
	str := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	str(r.lane)
	str(r.msg.Subject)
	b = binary.AppendUvarint(b, uint64(len(r.msg.Header)))
	for _, name := range slices.Sorted(maps.Keys(r.msg.Header)) {
		str(name)
		str(r.msg.Header[name][0]) // we never give a name twice
	}
	str(string(r.msg.Data))
	return b
}

var errRecord = errors.New("spool holds a record this program cannot read")

func unmarshalRecord(b []byte) (*record, error) {
	bad := len(b) == 0
	count := func() uint64 {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			bad, b = true, nil
			return 0
		}
		b = b[size:]
		return n
	}
	str := func() string {
		n := count()
		if n > uint64(len(b)) {
			bad, b = true, nil
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	if bad {
		return nil, errRecord
	}
	r := &record{kind: b[0], msg: &nats.Msg{Header: nats.Header{}}}
	b = b[1:]
	r.lane, r.msg.Subject = str(), str()
	for n := count(); n > 0 && !bad; n-- {
		name := str()
		r.msg.Header[name] = []string{str()}
	}
	r.msg.Data = []byte(str())
	if bad || len(b) > 0 || r.kind != kindFact && r.kind != kindPut && r.kind != kindDelete {
		return nil, errRecord
	}
	return r, nil
}
