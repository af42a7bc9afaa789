package fsm

import (
	"encoding/binary"

	"go.etcd.io/bbolt"

	"github.com/spire-raft/spire-raft/store"
)

// batch is the state while entries are applied to it, in one database
// transaction. Nothing of it is visible before the transaction commits.
type batch struct {
	tx      *bbolt.Tx
	buckets [bucketConfiguration]bucket
	state   state
	scratch *scratch
}

// scratch is memory that batches use one after the other.
type scratch struct {
	hasher  *hasher
	arena   arena
	writes  []finalWrite
	events  []store.Event
	numbers []counterValue
	ranges  []store.Range
}

// newBatch begins a batch in tx on the state s.
func newBatch(tx *bbolt.Tx, s state, scratch *scratch) (*batch, error) {
	b := &batch{tx: tx, state: s, scratch: scratch}
	for id := range b.buckets {
		var err error
		if b.buckets[id], err = openBucket(tx, bucketID(id)); err != nil {
			return nil, err
		}
	}
	// Revisions only ever go to the end, and split pages need no room for more.
	b.buckets[bucketHistory].bolt.FillPercent = 0.95
	return b, nil
}

// finish stores the state. The transaction can be committed then.
func (b *batch) finish() error {
	body, err := b.state.encode()
	if err != nil {
		return err
	}
	return putMeta(b.tx, keyState, body)
}

// put stores a sealed record in place of old, the body there, nil if there is
// none.
func (b *batch) put(id bucketID, key, old, body []byte) error {
	b.forget(id, key, old)
	d := b.scratch.hasher.record(key, nil, body)
	b.state.sums[id].add(&d)
	record := appendSealed(b.scratch.arena.take(sealBytes+len(body)), id, key, body)
	return b.buckets[id].bolt.Put(key, record)
}

// remove deletes the record of key, whose body is old.
func (b *batch) remove(id bucketID, key, old []byte) error {
	b.forget(id, key, old)
	return b.buckets[id].bolt.Delete(key)
}

func (b *batch) forget(id bucketID, key, old []byte) {
	if old == nil {
		return
	}
	d := b.scratch.hasher.record(key, nil, old)
	b.state.sums[id].sub(&d)
}

// putPair stores a pair and tells whether its key was there. A nil value is an
// empty one.
func (b *batch) putPair(key, value []byte, rev store.Revision) error {
	if _, err := b.forgetPair(key); err != nil {
		return err
	}
	record := appendKV(b.scratch.arena.take(kvHeadBytes+len(value)), key, rev, value)
	d := b.scratch.hasher.record(key, record[sealBytes:12], value)
	b.state.sums[bucketKV].add(&d)
	return b.buckets[bucketKV].bolt.Put(key, record)
}

// removePair deletes a pair and tells whether its key was there.
func (b *batch) removePair(key []byte) (bool, error) {
	found, err := b.forgetPair(key)
	if err != nil || !found {
		return false, err
	}
	return true, b.buckets[bucketKV].bolt.Delete(key)
}

func (b *batch) forgetPair(key []byte) (found bool, err error) {
	record, err := b.buckets[bucketKV].find(key)
	if err != nil || record == nil {
		return false, err
	}
	_, value, err := openKV(key, record)
	if err != nil {
		return false, err
	}
	d := b.scratch.hasher.record(key, record[sealBytes:12], value)
	b.state.sums[bucketKV].sub(&d)
	return true, nil
}

// modRevision returns the revision that put key, 0 if it is absent.
func (b *batch) modRevision(key []byte) (store.Revision, error) {
	record, err := b.buckets[bucketKV].find(key)
	if err != nil || record == nil {
		return 0, err
	}
	return openKVHead(key, record)
}

// configure stores a configuration.
func (b *batch) configure(index uint64, data []byte) error {
	old, err := metaRecord(b.tx, keyConfiguration)
	if err != nil {
		return err
	}
	b.forget(bucketConfiguration, keyConfiguration, old)
	d := b.scratch.hasher.record(keyConfiguration, nil, data)
	b.state.sums[bucketConfiguration].add(&d)
	b.state.configurationIndex = index
	return putMeta(b.tx, keyConfiguration, data)
}

func uint64Bytes(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// arena hands out memory that stays valid until reset: bbolt keeps the values
// it is given until it has written them.
type arena struct {
	chunk []byte
}

const (
	arenaChunkBytes = 1 << 20

	// arenaShareMax is the largest piece that is taken from a chunk.
	arenaShareMax = arenaChunkBytes / 8
)

// take returns an empty slice with room for n bytes.
func (a *arena) take(n int) []byte {
	if n > arenaShareMax {
		return make([]byte, 0, n)
	}
	if n > cap(a.chunk)-len(a.chunk) {
		a.chunk = make([]byte, 0, arenaChunkBytes)
	}
	at := len(a.chunk)
	a.chunk = a.chunk[:at+n]
	return a.chunk[at : at : at+n]
}

// reset takes back what was handed out.
func (a *arena) reset() { a.chunk = a.chunk[:0] }
