package datastore

import (
	"context"
	"errors"

	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// pruneChunk is how many objects are pruned in one transaction.
const pruneChunk = 1000

// ids returns the ids of the objects that pass all filters. It decodes none.
// What is found in a transaction of its own must be looked at again where it is
// changed, but there it is read by its id, which conflicts with changes of that
// object alone.
func (c collection[T]) ids(ctx context.Context, tx store.Tx, bad *MalformedRecordsError, filters ...filter) ([]string, error) {
	var ids []string
	err := c.each(ctx, tx, query{filters: filters}, bad, func(p records.Posting) (bool, error) {
		ids = append(ids, string(p.ID))
		return true, nil
	})
	return ids, err
}

// prune calls find in a transaction of its own, and then fn with each id that it
// returned, in transactions of at most pruneChunk of them. It returns what fn
// returned with true for those that are committed, also on error.
//
// What can't be decoded, found by find or fn, is left and named in the
// [MalformedRecordsError] at the end. fn must not write before it has read all
// that it needs.
func prune[R any](ctx context.Context, d *DataStore, find func(tx store.Tx, bad *MalformedRecordsError) ([]string, error),
	fn func(tx store.Tx, id string) (R, bool, error),
) ([]R, error) {
	var bad MalformedRecordsError
	ids, err := view(ctx, d, store.Linearizable(), func(tx store.Tx) ([]string, error) {
		return find(tx, &bad)
	})
	var done []R
	for size := pruneChunk; err == nil && len(ids) > 0; {
		chunk := ids[:min(size, len(ids))]
		var part pruned[R]
		part, err = update(ctx, d, func(tx store.Tx) (pruned[R], error) { return pruneEach(tx, chunk, fn) })
		if errors.Is(err, store.ErrTooLarge) && len(chunk) > 1 {
			size, err = len(chunk)/2, nil
			continue
		}
		done, ids = append(done, part.done...), ids[len(chunk):]
		bad.add(part.bad)
	}
	if err == nil {
		err = translate(bad.errOrNil())
	}
	return done, err
}

// pruned is what became of some objects to prune.
type pruned[R any] struct {
	done []R
	bad  MalformedRecordsError
}

func pruneEach[R any](tx store.Tx, ids []string, fn func(store.Tx, string) (R, bool, error)) (pruned[R], error) {
	var p pruned[R]
	for _, id := range ids {
		result, ok, err := fn(tx, id)
		switch {
		case err == nil && ok:
			p.done = append(p.done, result)
		case err != nil && !p.bad.collect(err):
			return p, err
		}
	}
	return p, nil
}
