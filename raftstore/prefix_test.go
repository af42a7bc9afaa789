package raftstore_test

import (
	"bytes"
	"context"

	"github.com/spire-raft/spire-raft/store"
)

// below is the part of a store below a prefix: its user takes it for a store of
// its own, so that many tests can follow each other on one cluster. Counters
// have the prefix too. It doesn't close the store.
type below struct {
	store.Store
	prefix []byte
}

func (b below) key(key []byte) []byte { return append(bytes.Clone(b.prefix), key...) }

func (b below) span(r store.Range) store.Range {
	end := store.Prefix(b.prefix).End
	if r.End != nil {
		end = b.key(r.End)
	}
	return store.Range{Start: b.key(r.Start), End: end}
}

func (b below) spans(ranges []store.Range) (spans []store.Range) {
	for _, r := range ranges {
		spans = append(spans, b.span(r))
	}
	return spans
}

func (b below) strip(kvs []store.KeyValue) []store.KeyValue {
	for i := range kvs {
		kvs[i].Key = kvs[i].Key[len(b.prefix):]
	}
	return kvs
}

func (b below) Put(ctx context.Context, pairs ...store.Pair) (store.Revision, error) {
	var under []store.Pair
	for _, p := range pairs {
		under = append(under, store.Pair{Key: b.key(p.Key), Value: p.Value})
	}
	return b.Store.Put(ctx, under...)
}

func (b below) Get(ctx context.Context, c store.Consistency, ranges ...store.Range) ([]store.KeyValue, store.Revision, error) {
	kvs, rev, err := b.Store.Get(ctx, c, b.spans(ranges)...)
	return b.strip(kvs), rev, err
}

func (b below) Delete(ctx context.Context, ranges ...store.Range) (int, store.Revision, error) {
	return b.Store.Delete(ctx, b.spans(ranges)...)
}

func (b below) Count(ctx context.Context, c store.Consistency, ranges ...store.Range) (int, store.Revision, error) {
	return b.Store.Count(ctx, c, b.spans(ranges)...)
}

func (b below) Begin(ctx context.Context, opts store.TxOptions) (store.Tx, error) {
	tx, err := b.Store.Begin(ctx, opts)
	if err != nil {
		return nil, err
	}
	return belowTx{tx, b}, nil
}

func (b below) Watch(ctx context.Context, after store.Cursor, prefixes ...[]byte) (store.Watcher, error) {
	under := [][]byte{b.prefix}
	if len(prefixes) > 0 {
		under = nil
	}
	for _, p := range prefixes {
		under = append(under, b.key(p))
	}
	w, err := b.Store.Watch(ctx, after, under...)
	if err != nil {
		return nil, err
	}
	return belowWatcher{w, b}, nil
}

type belowWatcher struct {
	store.Watcher
	below below
}

func (w belowWatcher) Next(ctx context.Context) (store.Batch, error) {
	batch, err := w.Watcher.Next(ctx)
	for i := range batch.Events {
		batch.Events[i].Key = batch.Events[i].Key[len(w.below.prefix):]
	}
	return batch, err
}

type belowTx struct {
	store.Tx
	below below
}

func (t belowTx) Get(ctx context.Context, key []byte) (store.KeyValue, bool, error) {
	kv, found, err := t.Tx.Get(ctx, t.below.key(key))
	if found {
		kv.Key = kv.Key[len(t.below.prefix):]
	}
	return kv, found, err
}

func (t belowTx) Scan(ctx context.Context, r store.Range, limit int) ([]store.KeyValue, error) {
	kvs, err := t.Tx.Scan(ctx, t.below.span(r), limit)
	return t.below.strip(kvs), err
}

func (t belowTx) Count(ctx context.Context, r store.Range) (int, error) {
	return t.Tx.Count(ctx, t.below.span(r))
}

func (t belowTx) Put(key, value []byte, patches ...store.Patch) error {
	var moved []store.Patch
	for _, p := range patches {
		if p.Target == store.PatchKey {
			p.Offset += len(t.below.prefix)
		}
		moved = append(moved, p)
	}
	return t.Tx.Put(t.below.key(key), value, moved...)
}

func (t belowTx) Delete(key []byte) error { return t.Tx.Delete(t.below.key(key)) }

func (t belowTx) DeleteRange(ctx context.Context, r store.Range) (int, error) {
	return t.Tx.DeleteRange(ctx, t.below.span(r))
}

func (t belowTx) Sequence(counter []byte) (store.Sequence, error) {
	return t.Tx.Sequence(t.below.key(counter))
}

func (t belowTx) RaiseSequence(counter []byte, floor uint64) error {
	return t.Tx.RaiseSequence(t.below.key(counter), floor)
}
