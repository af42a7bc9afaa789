package storetest

import (
	"fmt"

	"pgregory.net/rapid"

	"github.com/spire-raft/spire-raft/store"
)

// The actions of the model: each does one thing on the backend and on the
// reference, and compares what they answer.

func (m *model) begin(t *rapid.T) {
	if len(m.open) == openMax {
		m.txCommit(t)
	}
	c := m.consistency(t)
	readOnly := rapid.IntRange(0, 4).Draw(t, "read-only if 4") == 4
	tx, err := m.handle(t).Begin(m.ctx, store.TxOptions{ReadOnly: readOnly, Consistency: c})
	refTx, refErr := m.ref.Begin(m.ctx, store.TxOptions{ReadOnly: readOnly})
	if m.agree(t, "begin", err, refErr) {
		m.open = append(m.open, &pairedTx{backend: tx, ref: refTx})
	}
}

func (m *model) txGet(t *rapid.T) {
	tx, key := m.tx(t), m.key(t, "key")
	kv, found, err := tx.backend.Get(m.ctx, key)
	refKV, refFound, refErr := tx.ref.Get(m.ctx, key)
	if m.agree(t, "tx get", err, refErr) {
		same(t, "tx get: found", found, refFound)
		m.samePairs(t, "tx get", []store.KeyValue{kv}, []store.KeyValue{refKV})
	}
}

func (m *model) txScan(t *rapid.T) {
	tx, r, limit := m.tx(t), m.span(t), rapid.IntRange(0, 4).Draw(t, "limit")
	// A full page may be followed by the next one, as callers do.
	for range 2 {
		kvs, err := tx.backend.Scan(m.ctx, r, limit)
		refKVs, refErr := tx.ref.Scan(m.ctx, r, limit)
		if !m.agree(t, "tx scan", err, refErr) {
			return
		}
		m.samePairs(t, "tx scan", kvs, refKVs)
		if limit == 0 || len(kvs) < limit || !rapid.Bool().Draw(t, "next page") {
			return
		}
		r = r.After(kvs[len(kvs)-1].Key)
	}
}

func (m *model) txCount(t *rapid.T) {
	tx, r := m.tx(t), m.span(t)
	n, err := tx.backend.Count(m.ctx, r)
	refN, refErr := tx.ref.Count(m.ctx, r)
	if m.agree(t, "tx count", err, refErr) {
		same(t, "tx count", n, refN)
	}
}

func (m *model) txPut(t *rapid.T) {
	tx, key, value := m.tx(t), m.key(t, "key"), m.value(t)
	m.agree(t, "tx put", tx.backend.Put(key, value), tx.ref.Put(key, value))
}

func (m *model) value(t *rapid.T) []byte {
	return []byte(rapid.SampledFrom([]string{"", "1", "2", "3"}).Draw(t, "value"))
}

func (m *model) txDelete(t *rapid.T) {
	tx, key := m.tx(t), m.key(t, "key")
	m.agree(t, "tx delete", tx.backend.Delete(key), tx.ref.Delete(key))
}

func (m *model) txDeleteRange(t *rapid.T) {
	tx, r := m.tx(t), m.span(t)
	n, err := tx.backend.DeleteRange(m.ctx, r)
	refN, refErr := tx.ref.DeleteRange(m.ctx, r)
	if m.agree(t, "tx delete range", err, refErr) {
		same(t, "tx delete range: keys", n, refN)
	}
}

// txSequence takes a number and puts it in a key, in a value or, which makes the
// transaction invalid, nowhere.
func (m *model) txSequence(t *rapid.T) {
	tx := m.tx(t)
	counter := []byte(m.prefix + rapid.SampledFrom([]string{"a", "counter"}).Draw(t, "counter"))
	seq, err := tx.backend.Sequence(counter)
	refSeq, refErr := tx.ref.Sequence(counter)
	if !m.agree(t, "tx sequence", err, refErr) {
		return
	}
	same(t, "tx sequence", seq, refSeq)

	key, value := m.key(t, "key"), make([]byte, store.PatchSize)
	patch := store.Patch{Sequence: seq, Target: store.PatchValue}
	switch rapid.IntRange(0, 9).Draw(t, "patch nothing if 9, a value if more than 4") {
	case 0, 1, 2, 3, 4:
		prefix := []byte(m.prefix + "s/")
		key, patch = withPlaceholder(prefix), patchKeyEnd(prefix, seq)
	case 9:
		return
	}
	m.agree(t, "tx put with a number", tx.backend.Put(key, value, patch), tx.ref.Put(key, value, patch))
}

func (m *model) txRaise(t *rapid.T) {
	tx := m.tx(t)
	counter := []byte(m.prefix + "counter")
	floor := rapid.Uint64Range(0, 5).Draw(t, "floor")
	m.agree(t, "tx raise", tx.backend.RaiseSequence(counter, floor), tx.ref.RaiseSequence(counter, floor))
}

func (m *model) txCursor(t *rapid.T) {
	tx := m.tx(t)
	c, err := tx.backend.Cursor(m.ctx)
	refC, refErr := tx.ref.Cursor(m.ctx)
	if m.agree(t, "tx cursor", err, refErr) {
		m.sameRevision(t, "tx cursor", c.Revision, refC.Revision)
	}
}

func (m *model) txCommit(t *rapid.T) {
	tx := m.tx(t)
	m.forget(tx)
	res, err := tx.backend.Commit(m.ctx)
	refRes, refErr := tx.ref.Commit(m.ctx)
	if m.agree(t, "commit", err, refErr) {
		m.sameRevision(t, "commit", res.Revision, refRes.Revision)
		same(t, "commit: written", res.Written, refRes.Written)
		same(t, "commit: numbers", fmt.Sprint(res.Numbers), fmt.Sprint(refRes.Numbers))
	}
}

func (m *model) txAbort(t *rapid.T) {
	tx := m.tx(t)
	m.forget(tx)
	tx.backend.Abort()
	tx.ref.Abort()
}

func (m *model) put(t *rapid.T) {
	pairs := make([]store.Pair, rapid.IntRange(0, 3).Draw(t, "pairs"))
	for i := range pairs {
		pairs[i] = store.Pair{Key: m.key(t, "key"), Value: m.value(t)}
	}
	s := m.handle(t)
	rev, err := s.Put(m.ctx, pairs...)
	refRev, refErr := m.ref.Put(m.ctx, pairs...)
	if m.agree(t, "put", err, refErr) && len(pairs) > 0 { // no pairs may read an older revision
		m.sameRevision(t, "put", rev, refRev)
	}
}

func (m *model) spans(t *rapid.T) []store.Range {
	out := make([]store.Range, rapid.IntRange(0, 3).Draw(t, "ranges"))
	for i := range out {
		out[i] = m.span(t)
	}
	return out
}

func (m *model) get(t *rapid.T) {
	s, ranges := m.handle(t), m.spans(t)
	c := m.consistency(t)
	kvs, rev, err := s.Get(m.ctx, c, ranges...)
	refKVs, refRev, refErr := m.ref.Get(m.ctx, store.Linearizable(), ranges...)
	if m.agree(t, "get", err, refErr) {
		m.sameRevision(t, "get", rev, refRev)
		m.samePairs(t, "get", kvs, refKVs)
	}
}

func (m *model) delete(t *rapid.T) {
	s, ranges := m.handle(t), m.spans(t)
	n, rev, err := s.Delete(m.ctx, ranges...)
	refN, refRev, refErr := m.ref.Delete(m.ctx, ranges...)
	if m.agree(t, "delete", err, refErr) {
		same(t, "delete: keys", n, refN)
		m.sameRevision(t, "delete", rev, refRev)
	}
}

func (m *model) count(t *rapid.T) {
	s, ranges := m.handle(t), m.spans(t)
	c := m.consistency(t)
	n, rev, err := s.Count(m.ctx, c, ranges...)
	refN, refRev, refErr := m.ref.Count(m.ctx, store.Linearizable(), ranges...)
	if m.agree(t, "count", err, refErr) {
		same(t, "count", n, refN)
		m.sameRevision(t, "count", rev, refRev)
	}
}
