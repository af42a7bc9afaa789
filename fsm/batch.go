package fsm

import (
	"bytes"
	"encoding/binary"

	"go.etcd.io/bbolt"

	"github.com/spire-raft/spire-raft/store"
)

// batch is the state while entries are applied to it. What it changes goes to
// the newest layer, of which views have copies, so nothing of it is visible
// before it is published.
type batch struct {
	buckets [bucketConfiguration]bucket
	layer   *layer
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

// newBatch begins a batch on the state s, of which tx has what the layers have
// not. The first layer takes the changes.
func newBatch(tx *bbolt.Tx, layers [layersMax]*layer, s state, scratch *scratch) (*batch, error) {
	b := &batch{layer: layers[0], state: s, scratch: scratch}
	for id := range b.buckets {
		var err error
		if b.buckets[id], err = openBucket(tx, bucketID(id), layers); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// put stores a sealed record in place of old, the body there, nil if there is
// none. It keeps key.
func (b *batch) put(id bucketID, key, old, body []byte) {
	b.forget(id, key, old)
	d := b.scratch.hasher.record(key, nil, body)
	b.state.sums[id].add(&d)
	b.layer.put(id, key, appendSealed(b.scratch.arena.take(sealBytes+len(body)), id, key, body))
}

// remove deletes the record of key, whose body is old. It keeps key.
func (b *batch) remove(id bucketID, key, old []byte) {
	b.forget(id, key, old)
	b.layer.put(id, key, nil)
}

func (b *batch) forget(id bucketID, key, old []byte) {
	if old == nil {
		return
	}
	d := b.scratch.hasher.record(key, nil, old)
	b.state.sums[id].sub(&d)
}

// putPair stores a pair. A nil value is an empty one. It keeps key.
func (b *batch) putPair(key, value []byte, rev store.Revision) error {
	old, err := b.forgetPair(key)
	if err != nil {
		return err
	}
	record := appendKV(b.scratch.arena.take(kvHeadBytes+len(value)), key, rev, value)
	d := b.scratch.hasher.record(key, record[sealBytes:12], value)
	b.state.sums[bucketKV].add(&d)
	b.layer.replace(bucketKV, key, record, len(old))
	return nil
}

// removePair deletes a pair and tells whether its key was there. It keeps key.
func (b *batch) removePair(key []byte) (bool, error) {
	old, err := b.forgetPair(key)
	if err != nil || old == nil {
		return false, err
	}
	b.layer.replace(bucketKV, key, nil, len(old))
	return true, nil
}

// forgetPair takes a pair off the sums, and returns its record, nil where there
// is none.
func (b *batch) forgetPair(key []byte) (record []byte, err error) {
	record, err = b.buckets[bucketKV].find(key)
	if err != nil || record == nil {
		return nil, err
	}
	_, value, err := openKV(key, record)
	if err != nil {
		return nil, err
	}
	d := b.scratch.hasher.record(key, record[sealBytes:12], value)
	b.state.sums[bucketKV].sub(&d)
	return record, nil
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
func (b *batch) configure(index uint64, data []byte) {
	b.forget(bucketConfiguration, keyConfiguration, b.state.configuration)
	d := b.scratch.hasher.record(keyConfiguration, nil, data)
	b.state.sums[bucketConfiguration].add(&d)
	b.state.configurationIndex = index
	b.state.configuration = bytes.Clone(data)
}

func uint64Bytes(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// arena hands out memory in pieces of large chunks. A chunk lives as long as
// any of its pieces.
type arena struct {
	chunk []byte
}

const (
	arenaChunkBytes = 256 << 10

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
