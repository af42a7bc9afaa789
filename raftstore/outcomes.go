package raftstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"sync"

	"github.com/spire-raft/spire-raft/fsm"
)

// outcomes knows the writes of this node that are under way, and what becomes of
// them where the answer is lost: each command carries the session of this node
// and the number of the attempt, and this node applies it as all others do, if it
// comes to that.
type outcomes struct {
	run     uint64 // random: this run of the node
	session uint64

	mu    sync.Mutex // guards the fields below
	last  uint64     // the number of the last attempt
	open  map[uint64]*attempt
	seen  uint64        // every entry up to it was looked at, or hidden
	moved chan struct{} // closed when seen rises; nil while nobody waits
	doubt fence         // what reads have to wait for
}

// attempt is one try to have a command proposed. It is sent once: another try is
// another attempt.
type attempt struct {
	number uint64
	term   uint64 // that it is for; its owner sets it before the command leaves

	// The fields below are guarded by outcomes.mu.
	applied bool
	result  fsm.Result // of a command that was applied
	hidden  bool       // an entry that this node did not look at may have it
}

// fence stands for all attempts of one session for one term up to a number.
type fence struct{ term, number uint64 }

// passed tells whether f stands for no less than other, and all of its terms.
func (f fence) passed(other fence) bool {
	return f.term > other.term || f.term == other.term && f.number >= other.number
}

// newOutcomes is for a node whose state is at index.
func newOutcomes(node string, index uint64) *outcomes {
	run := max(rand.Uint64(), 1)
	return &outcomes{run: run, session: sessionOf(node, run), open: make(map[uint64]*attempt), seen: index}
}

// sessionOf is what stands for one run of one node in the log. The leader takes
// the node from its certificate, so that no node can speak in the session of
// another. 56 bits make it a byte shorter than 64 would.
func sessionOf(node string, run uint64) uint64 {
	h := sha256.Sum256(append(binary.BigEndian.AppendUint64(nil, run), node...))
	return max(binary.BigEndian.Uint64(h[:])>>8, 1)
}

// begin returns a new attempt; end forgets it.
func (o *outcomes) begin() *attempt {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last++
	a := &attempt{number: o.last}
	o.open[a.number] = a
	return a
}

func (o *outcomes) end(a *attempt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.open, a.number)
}

// origin is what the command of an attempt carries.
func (o *outcomes) origin(a *attempt) fsm.Origin {
	return fsm.Origin{Term: a.term, Session: o.session, Request: a.number}
}

// look notes the results of entries, the last of which is at index.
func (o *outcomes) look(index uint64, results [][]fsm.Result) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, entry := range results {
		for i := range entry {
			if entry[i].Session != o.session {
				continue
			}
			if a := o.open[entry[i].Request]; a != nil {
				a.applied, a.result = true, entry[i]
			}
		}
	}
	o.reached(index)
}

// hide notes that this node's state has gone on to index by entries that it did
// not apply: it has got the state as a whole.
func (o *outcomes) hide(index uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.open {
		a.hidden = true
	}
	o.reached(index)
}

// reached is called under mu.
func (o *outcomes) reached(index uint64) {
	o.seen = index
	if o.moved != nil {
		close(o.moved)
		o.moved = nil
	}
}

// wait returns when all entries up to index have been looked at.
func (o *outcomes) wait(ctx context.Context, index uint64) error {
	for {
		o.mu.Lock()
		if o.seen >= index {
			o.mu.Unlock()
			return nil
		}
		if o.moved == nil {
			o.moved = make(chan struct{})
		}
		moved := o.moved
		o.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// of tells what has become of an attempt in the entries that were looked at.
func (o *outcomes) of(a *attempt) (result fsm.Result, applied, hidden bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return a.result, a.applied, a.hidden
}

// suspect notes that the answer to an attempt was lost. From here on reads have
// to wait until it is settled.
func (o *outcomes) suspect(a *attempt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f := (fence{a.term, a.number}); !o.doubt.passed(f) {
		o.doubt = f
	}
}

// suspects is what a read index has to settle; zero where that is nothing.
func (o *outcomes) suspects() fence {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.doubt
}

// settled notes that a read index was taken that settles f.
func (o *outcomes) settled(f fence) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.doubt == f {
		o.doubt = fence{}
	}
}
