package txn

import (
	"context"
	"fmt"

	"github.com/spire-raft/spire-raft/store"
)

// Put implements [store.Store].
func (r *Runner) Put(ctx context.Context, pairs ...store.Pair) (store.Revision, error) {
	tx, err := r.Begin(ctx, store.TxOptions{Consistency: store.AtLeast(0)})
	if err != nil {
		return 0, err
	}
	defer tx.Abort()
	for _, p := range pairs {
		if err := tx.Put(p.Key, p.Value); err != nil {
			return 0, err
		}
	}
	res, err := tx.Commit(ctx)
	return res.Revision, err
}

// Get implements [store.Store].
func (r *Runner) Get(ctx context.Context, c store.Consistency, ranges ...store.Range) ([]store.KeyValue, store.Revision, error) {
	var out []store.KeyValue
	size := 0
	rev, err := r.view(ctx, c, func(tx store.Tx) error {
		for _, rg := range ranges {
			kvs, err := read(ctx, tx, rg)
			if err != nil {
				return err
			}
			for _, kv := range kvs {
				size += len(kv.Key) + len(kv.Value)
			}
			if size > store.ScanBytesMax {
				return fmt.Errorf("%w: result exceeds ScanBytesMax %d, read it in pages", store.ErrTooLarge, store.ScanBytesMax)
			}
			out = append(out, kvs...)
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return out, rev, nil
}

// Delete implements [store.Store].
func (r *Runner) Delete(ctx context.Context, ranges ...store.Range) (int, store.Revision, error) {
	total := 0
	res, err := store.Update(ctx, r, func(tx store.Tx) error {
		total = 0
		for _, rg := range ranges {
			n, err := remove(ctx, tx, rg)
			if err != nil {
				return err
			}
			total += n
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	return total, res.Revision, nil
}

// Count implements [store.Store].
func (r *Runner) Count(ctx context.Context, c store.Consistency, ranges ...store.Range) (int, store.Revision, error) {
	total := 0
	rev, err := r.view(ctx, c, func(tx store.Tx) error {
		for _, rg := range ranges {
			n, err := tx.Count(ctx, rg)
			if err != nil {
				return err
			}
			total += n
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	return total, rev, nil
}

// view runs fn on one snapshot and returns the snapshot's revision.
func (r *Runner) view(ctx context.Context, c store.Consistency, fn func(store.Tx) error) (store.Revision, error) {
	tx, err := r.Begin(ctx, store.TxOptions{ReadOnly: true, Consistency: c})
	if err != nil {
		return 0, err
	}
	defer tx.Abort()
	if err := fn(tx); err != nil {
		return 0, err
	}
	cursor, err := tx.Cursor(ctx)
	return cursor.Revision, err
}

// remove deletes what is in rg, which may be a single key, and returns how
// many keys that were.
func remove(ctx context.Context, tx store.Tx, rg store.Range) (int, error) {
	key, point := rg.Point()
	if !point {
		return tx.DeleteRange(ctx, rg)
	}
	_, found, err := tx.Get(ctx, key)
	if err != nil || !found {
		return 0, err
	}
	return 1, tx.Delete(key)
}

// read returns the pairs in rg, which may be a single key.
func read(ctx context.Context, tx store.Tx, rg store.Range) ([]store.KeyValue, error) {
	key, point := rg.Point()
	if !point {
		return tx.Scan(ctx, rg, 0)
	}
	kv, found, err := tx.Get(ctx, key)
	if err != nil || !found {
		return nil, err
	}
	return []store.KeyValue{kv}, nil
}
