package datastore

import (
	"context"
	"slices"

	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// filter finds the objects that pass it.
type filter struct {
	// open adds index records that don't decode to bad, now and while they are
	// read.
	open func(ctx context.Context, tx store.Tx, bad *MalformedRecordsError) (postings, error)

	// keys, if it isn't nil, returns a range that has one key for each object
	// that passes, and no other: to count them no record has to be read.
	keys func() store.Range
}

// all passes all objects.
func (c collection[T]) all() filter { return c.equals(records.FieldOrder, "") }

// equals passes the objects that have value in field.
func (c collection[T]) equals(field, value string) filter {
	return filter{
		keys: func() store.Range { return store.Prefix(c.kind.IndexPrefix(field, value)) },
		open: func(_ context.Context, tx store.Tx, bad *MalformedRecordsError) (postings, error) {
			return &indexPostings{tx: tx, kind: c.kind, field: field, value: value, bad: bad}, nil
		},
	}
}

// matches passes the objects whose set in field compares with values as match
// says. Values may repeat. No values match nothing.
func (c collection[T]) matches(field string, values []string, match MatchBehavior) filter {
	values = distinct(values)
	if len(values) == 1 && (match == Superset || match == MatchAny) {
		return c.equals(field, values[0])
	}
	return filter{open: func(_ context.Context, tx store.Tx, bad *MalformedRecordsError) (postings, error) {
		lists := make([]postings, len(values))
		for i, value := range values {
			lists[i] = &indexPostings{tx: tx, kind: c.kind, field: field, value: value, bad: bad}
		}
		switch n := uint64(len(values)); match {
		case Exact:
			return &intersection{lists: lists, keep: func(size uint64) bool { return size == n }}, nil
		case Superset:
			return &intersection{lists: lists}, nil
		case Subset:
			return newUnion(lists, func(hits, size uint64) bool { return hits == size }), nil
		default:
			return newUnion(lists, nil), nil
		}
	}}
}

// expiresBefore passes the objects with an expiry before the Unix second t. It
// reads all of them first, since they are in another order.
func (c collection[T]) expiresBefore(t int64) filter {
	start, end := c.kind.ExpiryBefore(t)
	return c.inRange(store.Range{Start: start, End: end})
}

// expiresFrom is [collection.expiresBefore] for those with an expiry at or after t.
func (c collection[T]) expiresFrom(t int64) filter {
	start, end := c.kind.ExpiryFrom(t)
	return c.inRange(store.Range{Start: start, End: end})
}

// inRange passes the objects with an index record in r, which has at most one
// for each object.
func (c collection[T]) inRange(r store.Range) filter {
	keys := func() store.Range { return r }
	return filter{keys: keys, open: func(ctx context.Context, tx store.Tx, bad *MalformedRecordsError) (postings, error) {
		var found sortedPostings
		err := scanAll(ctx, tx, r, func(kv store.KeyValue) error {
			p, err := c.kind.Posting(kv.Key, kv.Value)
			switch {
			case err == nil:
				found = append(found, p)
			case !bad.collect(err):
				return err
			}
			return nil
		})
		found.sort()
		return &found, err
	}}
}

// withIDs passes the objects with one of ids. It is for kinds with the index
// [records.FieldID].
func (c collection[T]) withIDs(ids []string) filter {
	return filter{open: func(ctx context.Context, tx store.Tx, bad *MalformedRecordsError) (postings, error) {
		var found sortedPostings
		for _, id := range distinct(ids) {
			p, ok, err := c.first(ctx, tx, records.FieldID, id)
			switch {
			case ok:
				found = append(found, p)
			case err != nil && !bad.collect(err):
				return nil, err
			}
		}
		found.sort()
		return &found, nil
	}}
}

// distinct returns each value once, sorted.
func distinct(values []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(values)))
}
