package records

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spire-raft/spire-raft/keys"
	recordsv1 "github.com/spire-raft/spire-raft/proto/records/v1"
)

// Stream describes a sequence of events. The key of an event is that of an index
// record without field and value, its number is its id.
type Stream struct{ typ string }

// The two streams: changes of entries, and changes of nodes and their selectors.
var (
	EntryEvents = &Stream{typ: "entry-event"}
	NodeEvents  = &Stream{typ: "node-event"}
)

// Event says that an object changed.
type Event struct {
	Number    uint64
	CreatedAt time.Time // UTC
	ObjectID  string
}

// Type returns the type of the stream's records.
func (s *Stream) Type() string { return s.typ }

// Counter returns the name of the counter that numbers the events.
func (s *Stream) Counter() []byte { return keys.AppendCounter(nil, s.typ) }

// Key returns the key of the event with the given number.
func (s *Stream) Key(number uint64) []byte {
	return keys.AppendIndex(nil, s.typ, "", "", number)
}

// UnnumberedKey returns the key of an event whose number isn't known yet, and
// the offset of the number's 8 bytes in it.
func (s *Stream) UnnumberedKey() (key []byte, offset int) {
	return keys.AppendIndexUnnumbered(nil, s.typ, "", "")
}

// Prefix returns what the keys of all events begin with, and no other key.
func (s *Stream) Prefix() []byte { return keys.AppendValuePrefix(nil, s.typ, "", "") }

// After returns the bounds of the events with a number greater than number, in
// the order of their numbers: start <= key < end.
func (s *Stream) After(number uint64) (start, end []byte) {
	return keys.IndexAfter(s.typ, "", "", number)
}

// Encode returns the value of an event; its number is not in it. The error is
// [ErrInvalid].
func (s *Stream) Encode(e Event) ([]byte, error) {
	m := &recordsv1.Event{CreatedAt: e.CreatedAt.UnixNano(), ObjectId: e.ObjectID}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, s.typ, err)
	}
	return value, nil
}

// DecodePair reads an event from its key and value. The error is a
// [MalformedError].
func (s *Stream) DecodePair(key, value []byte) (Event, error) {
	index, err := keys.ParseIndex(key)
	if err != nil || string(index.Type) != s.typ || len(index.Field)+len(index.Value) > 0 {
		return Event{}, malformedEvent(key, errors.New("not the key of an event of "+s.typ))
	}
	m, err := unmarshal[recordsv1.Event](value)
	if err != nil {
		return Event{}, malformedEvent(key, err)
	}
	created := time.Unix(0, m.CreatedAt).UTC()
	return Event{Number: index.Sequence, CreatedAt: created, ObjectID: m.ObjectId}, nil
}

func malformedEvent(key []byte, reason error) error {
	return &MalformedError{Key: bytes.Clone(key), Reason: reason}
}
