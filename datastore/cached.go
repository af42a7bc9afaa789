package datastore

import (
	"context"
	"time"

	"github.com/spire-raft/spire-raft/cache"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// How long a read waits for a cache that is behind its transaction. One object
// costs less than a wait. Counts and lists cost more, and a cache that is alive
// has caught up sooner.
const (
	pointWait = time.Duration(0)
	rangeWait = 5 * time.Millisecond
)

// cachedView is [view] for a read that a cache may answer. The transaction begins
// as without a cache, which settles how fresh the answer must be and which errors
// there are. Where the cache has reached the snapshot, and cached returns true,
// that is the answer, else fn's, which is the same but slower. What cached returns
// must share nothing with the cache that the caller could change. A nil cached is
// for what no cache knows.
func cachedView[R any](ctx context.Context, d *DataStore, c store.Consistency, wait time.Duration,
	cached func(cache.View) (R, bool), fn func(store.Tx) (R, error)) (R, error) {
	if d.cache == nil || cached == nil {
		return view(ctx, d, c, fn)
	}
	return view(ctx, d, c, func(tx store.Tx) (R, error) {
		if v, ok := d.reached(ctx, tx, wait); ok {
			if result, ok := cached(v); ok {
				return result, nil
			}
		}
		return fn(tx)
	})
}

// reached returns the content of the cache, if that has all that tx sees.
func (d *DataStore) reached(ctx context.Context, tx store.Tx, wait time.Duration) (cache.View, bool) {
	at, err := tx.Cursor(ctx)
	if err != nil {
		return cache.View{}, false // which the next read of tx will say too
	}
	// A cache that didn't move while someone waited isn't waited for again until
	// it does: it may have lost its watch, or nothing that it holds has changed.
	if wait > 0 && d.stuck.Load() == uint64(d.cache.Revision())+1 {
		wait = 0
	}
	v, ok := d.cache.Reached(ctx, at, wait)
	if !ok && wait > 0 && ctx.Err() == nil {
		d.stuck.Store(uint64(d.cache.Revision()) + 1)
	}
	return v, ok
}

// fetched returns what a lookup in the cache found: a copy of its own, or none for
// a record that doesn't decode, whose error the store gives.
func fetched[T any](found T, err error, clone func(T) T) (T, bool) {
	if err != nil {
		var none T
		return none, false
	}
	return clone(found), true
}

// cachedSize returns how many objects of a kind there are, unless some don't
// decode.
func cachedSize(k cache.Kind) func(cache.View) (int, bool) {
	return func(v cache.View) (int, bool) { return v.Size(k), v.Unread(k) == 0 }
}

// cachedEntries returns the entries that exist of the given ids, by id.
func cachedEntries(v cache.View, ids []string) (map[string]*spirev1.RegistrationEntry, bool) {
	found := make(map[string]*spirev1.RegistrationEntry, len(ids))
	for _, id := range ids {
		e, err := v.Entry(id)
		if err != nil {
			return nil, false
		}
		if e != nil && found[id] == nil {
			found[id] = records.CloneEntry(e)
		}
	}
	return found, true
}

// cachedPage returns the entries of a page, and the number of the last, or 0. It
// gives up where the order is not that of the store, or when ctx ends.
func cachedPage(ctx context.Context, v cache.View, p page) ([]*spirev1.RegistrationEntry, uint64, bool) {
	if v.Unread(cache.KindEntry) > 0 {
		return nil, 0, false
	}
	size := v.Size(cache.KindEntry)
	if p.limit > 0 {
		size = min(size, p.limit)
	}
	found, last, ended := make([]*spirev1.RegistrationEntry, 0, size), uint64(0), false
	ordered := v.VisitEntries(p.after, func(number uint64, e *spirev1.RegistrationEntry) bool {
		if len(found)%scanPage == 0 {
			ended = ctx.Err() != nil
		}
		found, last = append(found, records.CloneEntry(e)), number
		return len(found) != p.limit && !ended
	})
	return found, last, ordered && !ended
}
