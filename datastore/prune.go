package datastore

import (
	"context"
	"errors"

	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// pruneChunk is how many objects are pruned in one transaction.
const pruneChunk = 1000

// ids returns the ids of the objects that pass all filters, at most limit of
// them; 0 is no limit. It decodes none. What is found in a transaction of its
// own must be looked at again where it is changed, but there it is read by its
// id, which conflicts with changes of that object alone.
func (c collection[T]) ids(ctx context.Context, tx store.Tx, limit int, filters ...filter) ([]string, error) {
	var ids []string
	err := c.each(ctx, tx, query[T]{filters: filters}, func(p records.Posting) (bool, error) {
		ids = append(ids, p.ID)
		return len(ids) != limit, nil
	})
	return ids, err
}

// inChunks calls fn in one transaction for each chunk of all, of at most
// pruneChunk elements. One that is too large for a transaction is halved. It
// returns what fn returned for the chunks that are committed, also on error.
func inChunks[E, R any](ctx context.Context, d *DataStore, all []E, fn func(store.Tx, []E) ([]R, error)) ([]R, error) {
	var done []R
	for size := pruneChunk; len(all) > 0; {
		chunk := all[:min(size, len(all))]
		results, err := update(ctx, d, func(tx store.Tx) ([]R, error) { return fn(tx, chunk) })
		if errors.Is(err, store.ErrTooLarge) && len(chunk) > 1 {
			size = len(chunk) / 2
			continue
		}
		if err != nil {
			return done, err
		}
		done, all = append(done, results...), all[len(chunk):]
	}
	return done, nil
}
