package simtest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// Op is an operation of a client, from its call to its return.
type Op struct {
	ID   string // what its values begin with, see Value
	Node string
	Kind string

	// Process is the run of the node that was asked, anything that can be
	// compared. See CheckSettled.
	Process any

	// Freshness of a read. Writes are linearizable whatever it says.
	Freshness store.Consistency

	// Reads are the ranges that were read, in the last attempt of a
	// transaction that was run again. Puts and Deletes are what it wrote.
	Reads   []Read
	Puts    []store.Pair
	Deletes [][]byte

	// Counter is the prefix of the keys that were put under a sequence number
	// behind it, with Numbered as their value; empty if there was none.
	Counter  string
	Numbered []byte

	// The fields below are set by Recorder.End. Err is nil where Revision and
	// Number count.
	Revision store.Revision
	Number   uint64
	Err      error

	begin, end   uint64 // places in the order of all begins and ends
	begun, ended time.Time
}

// Read is a range and what was found in it.
type Read struct {
	Range store.Range
	Pairs []store.KeyValue
}

// Value returns a value for an operation to write.
func Value(id string, payload any) []byte { return fmt.Appendf(nil, "%s %v", id, payload) }

// Payload returns what Value was given, as text.
func Payload(value []byte) string {
	_, payload, _ := bytes.Cut(value, []byte(" "))
	return string(payload)
}

func idOf(value []byte) string {
	id, _, _ := bytes.Cut(value, []byte(" "))
	return string(id)
}

func (o *Op) writes() bool { return len(o.Puts)+len(o.Deletes) > 0 || o.Counter != "" }

// unknown tells that the operation may have taken effect, and may not.
func (o *Op) unknown() bool { return errors.Is(o.Err, store.ErrUnknownOutcome) }

func (o *Op) String() string {
	return fmt.Sprintf("%s %s on %s (revision %d, error %v)", o.Kind, o.ID, o.Node, o.Revision, o.Err)
}

// Recorder collects operations. Its methods may be called concurrently.
type Recorder struct {
	clock atomic.Uint64

	mu  sync.Mutex // guards ops
	ops []*Op
}

// Begin notes that op is about to be called. Its caller owns op until End.
func (r *Recorder) Begin(op *Op) {
	op.begun = time.Now()
	op.begin = r.clock.Add(1)
}

// End notes that op has returned.
func (r *Recorder) End(op *Op, revision store.Revision, err error) {
	op.end = r.clock.Add(1)
	op.ended = time.Now()
	op.Revision, op.Err = revision, err
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, op)
}

// Ops returns the operations that have ended.
func (r *Recorder) Ops() []*Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ops[:len(r.ops):len(r.ops)]
}

// Acknowledged counts the writes that were.
func (r *Recorder) Acknowledged() int {
	n := 0
	for _, o := range r.Ops() {
		if o.writes() && o.Err == nil {
			n++
		}
	}
	return n
}
