package fsm

import (
	"sync"

	"github.com/spire-raft/spire-raft/store"
)

// Position tells how far a machine is, and what goes with that.
type Position struct {
	// Index and Term are those of the last entry applied.
	Index uint64
	Term  uint64

	// Cursor is the newest revision.
	Cursor store.Cursor

	// Compact is the newest revision that the history no longer holds.
	Compact store.Revision

	// Hash is the state hash at Index.
	Hash StateHash

	// FeatureLevel is the replicated level of commands.
	FeatureLevel uint32

	// TermStartIndex and TermStartTerm are those of the last TermStart entry. A
	// leader of term T whose position has TermStartTerm T knows all that was
	// committed in earlier terms.
	TermStartIndex uint64
	TermStartTerm  uint64

	// ConfigurationIndex is that of the last configuration entry, 0 if there
	// was none.
	ConfigurationIndex uint64

	// Instance tells one life of a cluster from another of the same name. It is
	// random, and empty before InitCluster.
	Instance string

	// HistoryBytes of HistoryBudget are in use.
	HistoryBytes  uint64
	HistoryBudget uint64
}

func (s *state) position() Position {
	return Position{
		Index: s.index, Term: s.term,
		Cursor:  store.Cursor{Epoch: s.epoch, Revision: s.revision},
		Compact: s.compact, Hash: s.hash(), FeatureLevel: s.level,
		TermStartIndex: s.termStartIndex, TermStartTerm: s.termStartTerm,
		ConfigurationIndex: s.configurationIndex, Instance: s.instance,
		HistoryBytes: s.sums[bucketHistory].bytes, HistoryBudget: s.historyBudget,
	}
}

// Position returns the position of what is applied. It costs next to nothing,
// and works after a failure and after Close.
func (m *Machine) Position() Position { return m.version.Load().position }

// DurableIndex returns the applied index of what is on disk: where a machine that
// is opened after a crash begins.
func (m *Machine) DurableIndex() uint64 { return m.durable.Load() }

// HashesMax is how many of the last entries [Machine.HashAt] knows.
const HashesMax = 4096

// HashAt returns the state hash behind the entry at index: what another
// machine that has applied that entry must have had there. It knows the last
// [HashesMax] entries applied since Open or Install; an index between two
// entries, one that did not come to this machine, has the hash of the earlier.
// ok tells whether index is known.
func (m *Machine) HashAt(index uint64) (hash StateHash, ok bool) { return m.hashes.at(index) }

// hashRing remembers the hashes of the last entries.
type hashRing struct {
	mu    sync.Mutex // guards the fields below
	ring  []indexHash
	next  int // of ring, once that is full
	first uint64
	last  uint64
}

type indexHash struct {
	index uint64
	hash  StateHash
}

// reset forgets everything but one entry.
func (r *hashRing) reset(index uint64, hash StateHash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring, r.next = append(r.ring[:0], indexHash{index, hash}), 0
	r.first, r.last = index, index
}

// add appends entries, which follow those known.
func (r *hashRing) add(entries []indexHash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range entries {
		r.last = e.index
		if len(r.ring) < HashesMax {
			r.ring = append(r.ring, e)
			continue
		}
		r.ring[r.next] = e
		r.next = (r.next + 1) % len(r.ring)
		r.first = r.ring[r.next].index
	}
}

func (r *hashRing) at(index uint64) (StateHash, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if index < r.first || index > r.last {
		return StateHash{}, false
	}
	lo, hi := 0, len(r.ring) // the last entry at or below index is in [lo, hi)
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		if r.ring[(r.next+mid)%len(r.ring)].index <= index {
			lo = mid
		} else {
			hi = mid
		}
	}
	return r.ring[(r.next+lo)%len(r.ring)].hash, true
}
