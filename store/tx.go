package store

import "context"

// TxOptions shape a transaction. The zero value is a linearizable transaction
// that may write.
type TxOptions struct {
	// ReadOnly transactions refuse writes. They never conflict, and their
	// Commit is as good as Abort.
	ReadOnly bool

	// Consistency says how fresh the snapshot must be that the transaction
	// reads. A commit that writes is checked against the newest state whatever
	// the snapshot was, so a stale snapshot costs retries, never correctness.
	Consistency Consistency
}

// Tx is a transaction. All its reads come from one snapshot and from its own
// writes before them. Its writes take effect at Commit, all or none.
//
// Isolation is serializable: Commit succeeds only if nothing the transaction
// has read has changed since its snapshot. That holds for keys, whether found
// or not, and for scanned ranges, where keys that appear or disappear count. A
// transaction that only writes never conflicts.
//
// A Tx may be used by one goroutine at a time. After Commit or Abort its
// methods return ErrTxDone, after [TxDurationMax] ErrTxExpired.
type Tx interface {
	// Cursor is the place of the snapshot: a watch from it brings what the
	// transaction did not see. It doesn't count as a read.
	Cursor(ctx context.Context) (Cursor, error)

	// Get returns the pair of key, and whether there is one.
	Get(ctx context.Context, key []byte) (KeyValue, bool, error)

	// Scan returns the pairs in r in key order: at most limit of them, or all
	// where limit is 0. A full page ends the scanned range at its last key, as
	// far as conflicts go; r.After(that key) is the rest.
	Scan(ctx context.Context, r Range, limit int) ([]KeyValue, error)

	// Count returns how many keys lie in r.
	Count(ctx context.Context, r Range) (int, error)

	// Put stores value under key. Patches name the places in key and value
	// that Commit fills with sequence numbers; a pair whose key is patched
	// can't be read back before Commit.
	Put(key, value []byte, patches ...Patch) error

	// Delete removes key, if it is there. It doesn't count as a read.
	Delete(key []byte) error

	// DeleteRange removes every key in r and returns how many there were. It
	// counts as a scan of r.
	DeleteRange(ctx context.Context, r Range) (int, error)

	// Sequence takes the next number of a counter. The number is known when
	// the transaction commits: concurrent transactions get adjacent numbers in
	// commit order and don't conflict, and a transaction that fails uses none
	// up. Counters start at 1 and have a key space of their own. A patch must
	// use every number taken.
	Sequence(counter []byte) (Sequence, error)

	// RaiseSequence makes counter at least floor, before the transaction takes
	// numbers from it: for imports that bring numbers of their own. Alone it
	// makes no revision.
	RaiseSequence(counter []byte, floor uint64) error

	// Commit makes the writes durable on a quorum and visible, or fails
	// with an error that says that it did not (ErrConflict, ErrNoLeader,
	// ErrNoSpace, ErrTooLarge ...) or with ErrUnknownOutcome. Where nothing
	// was written it succeeds, with the snapshot's revision.
	Commit(ctx context.Context) (Result, error)

	// Abort drops the transaction. After Commit or Abort it does nothing, so
	// it can be deferred.
	Abort()
}

// Sequence is a number that a transaction has taken and will know when it
// commits.
type Sequence struct {
	// Nth counts the transaction's sequences from 0.
	Nth int
}

// PatchSize is the size of a number in a patched key or value: 8 bytes,
// big-endian, so that numbers sort as bytes.
const PatchSize = 8

// Patch says where Commit writes a sequence number: over the [PatchSize] bytes
// at Offset of the key or the value.
type Patch struct {
	Sequence Sequence
	Target   PatchTarget
	Offset   int
}

// PatchTarget is the part of a pair that a patch changes.
type PatchTarget uint8

// The targets of a patch.
const (
	PatchKey PatchTarget = iota + 1
	PatchValue
)

// Result is the outcome of a committed transaction.
type Result struct {
	// Revision is the revision of the transaction or, where it changed
	// nothing, one at which that was true.
	Revision Revision

	// Written tells that there was something to commit. Where it is false,
	// Revision is the snapshot's.
	Written bool

	// Numbers holds the numbers taken, in the order of the Sequence calls.
	Numbers []uint64
}

// Number returns the number that s became.
func (r Result) Number(s Sequence) uint64 { return r.Numbers[s.Nth] }
