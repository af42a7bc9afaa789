package txn

import (
	"context"

	"github.com/spire-raft/spire-raft/store"
)

// Snapshot is one state of a backend, unchanging until Close. Slices that it
// hands out are valid until Close, those of Scan until fn returns. One
// goroutine uses it at a time.
type Snapshot interface {
	// Cursor is the snapshot's place in the history.
	Cursor() store.Cursor

	// Get returns the pair of key, and whether there is one.
	Get(key []byte) (store.KeyValue, bool, error)

	// Scan calls fn for each pair in r in key order until fn returns false.
	Scan(r store.Range, fn func(store.KeyValue) bool) error

	// Close releases the snapshot. It is called once.
	Close()
}

// Intent is what a transaction asks its backend to commit: all of it or
// nothing. The committer must not change it, nor keep it after it returns.
type Intent struct {
	// ReadRevision is the revision of the snapshot that Points and Ranges were
	// read from. It means nothing where both are empty.
	ReadRevision store.Revision
	Points       []Point
	Ranges       []store.Range

	// Raises are done first, then Counters get their numbers, then Writes.
	Raises []Raise

	// Counters names the counter of each sequence number taken, in order.
	Counters [][]byte

	// Writes are in key order, each key once, but for those with a patched key,
	// which come last in the order of their calls. Two writes with one key after
	// patching, whatever they do to it, make the intent invalid.
	Writes []Write
}

// Point is a key that was read, with the ModRevision found, 0 if it was absent.
type Point struct {
	Key         []byte
	ModRevision store.Revision
}

// Raise makes Counter at least Floor.
type Raise struct {
	Counter []byte
	Floor   uint64
}

// Write is a put or a delete.
type Write struct {
	Kind    store.EventKind
	Key     []byte
	Value   []byte
	Patches []store.Patch
}

// Patched returns the key and value with their patches filled from numbers.
// Where there is nothing to patch it returns the write's own slices.
func (w *Write) Patched(numbers []uint64) (key, value []byte) {
	key, value = w.Key, w.Value
	for _, target := range []store.PatchTarget{store.PatchKey, store.PatchValue} {
		var patched []byte
		for _, p := range w.Patches {
			if p.Target != target {
				continue
			}
			if patched == nil {
				patched = append([]byte(nil), pick(target, w.Key, w.Value)...)
			}
			putNumber(patched[p.Offset:], numbers[p.Sequence.Nth])
		}
		if patched == nil {
			continue
		}
		if target == store.PatchKey {
			key = patched
		} else {
			value = patched
		}
	}
	return key, value
}

// CommitFunc commits an intent that has something to write. Its errors are
// those of [store.Tx.Commit].
type CommitFunc func(ctx context.Context, in *Intent) (store.Result, error)

// SnapshotFunc returns a snapshot as fresh as c demands.
type SnapshotFunc func(ctx context.Context, c store.Consistency) (Snapshot, error)
