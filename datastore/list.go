package datastore

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// query says which objects to list.
type query struct {
	filters []filter // all must hold
	page    page
}

// list is [listAs] for the items themselves.
func (c collection[T]) list(ctx context.Context, tx store.Tx, q query, bad *MalformedRecordsError) ([]records.Item[T], uint64, error) {
	return listAs(ctx, tx, c, q, bad, func(item records.Item[T]) (records.Item[T], error) { return item, nil })
}

// listAs returns what convert makes of the objects of a page of q, in the order
// of their creation, and the number of the last, or 0.
//
// What can't be decoded, by convert neither, is added to bad and takes no place
// of the page: so a page without objects is the end of the list, whatever is
// damaged. The number is that of the last record looked at, decoded or not.
func listAs[T, R any](ctx context.Context, tx store.Tx, c collection[T], q query, bad *MalformedRecordsError,
	convert func(records.Item[T]) (R, error),
) ([]R, uint64, error) {
	if len(q.filters) == 0 && q.page == (page{}) {
		return listAllAs(ctx, tx, c, bad, convert)
	}
	var found []R
	var last uint64
	err := c.each(ctx, tx, q, bad, func(p records.Posting) (bool, error) {
		item, err := c.itemOf(ctx, tx, p)
		if err == nil {
			found, err = appendAs(found, item, bad, convert)
		} else if bad.collect(err) {
			err = nil
		}
		last = p.Number
		return q.page.limit == 0 || len(found) < q.page.limit, err
	})
	if err != nil || len(found) == 0 {
		return nil, 0, err
	}
	return found, last, nil
}

// listAllAs lists every object. Reading all items in the order of their ids costs
// less than finding one after the other.
func listAllAs[T, R any](ctx context.Context, tx store.Tx, c collection[T], bad *MalformedRecordsError,
	convert func(records.Item[T]) (R, error),
) ([]R, uint64, error) {
	var items []records.Item[T]
	err := scanAll(ctx, tx, store.Prefix(c.kind.Prefix()), func(kv store.KeyValue) error {
		item, err := c.kind.DecodePair(kv.Key, kv.Value)
		switch {
		case err == nil:
			items = append(items, item)
		case !bad.collect(err):
			return err
		}
		return nil
	})
	if err != nil || len(items) == 0 {
		return nil, 0, err
	}
	slices.SortFunc(items, func(a, b records.Item[T]) int { return cmp.Compare(a.Number, b.Number) })
	found := make([]R, 0, len(items))
	for _, item := range items {
		if found, err = appendAs(found, item, bad, convert); err != nil {
			return nil, 0, err
		}
	}
	return found, items[len(items)-1].Number, nil
}

// appendAs appends what convert makes of item, unless that can't be decoded.
func appendAs[T, R any](found []R, item records.Item[T], bad *MalformedRecordsError, convert func(records.Item[T]) (R, error)) ([]R, error) {
	result, err := convert(item)
	if err != nil {
		if bad.collect(err) {
			err = nil
		}
		return found, err
	}
	return append(found, result), nil
}

// itemOf returns the object that p leads to.
func (c collection[T]) itemOf(ctx context.Context, tx store.Tx, p records.Posting) (records.Item[T], error) {
	id := string(p.ID)
	item, ok, err := c.get(ctx, tx, id)
	if err == nil && !ok {
		err = c.kind.Malformed(id, fmt.Errorf("%w: an index leads to it, and it isn't there", store.ErrCorrupt))
	}
	return item, err
}

// count returns how many objects pass all filters. It decodes none: one that
// can't be decoded counts, too.
func (c collection[T]) count(ctx context.Context, tx store.Tx, filters ...filter) (int, error) {
	if len(filters) == 0 {
		filters = []filter{c.all()}
	}
	if keys := filters[0].keys; keys != nil && len(filters) == 1 {
		return tx.Count(ctx, keys())
	}
	n := 0
	var bad MalformedRecordsError
	err := c.each(ctx, tx, query{filters: filters}, &bad, func(records.Posting) (bool, error) {
		n++
		return true, nil
	})
	if err == nil {
		err = bad.errOrNil()
	}
	return n, err
}

// each calls fn with the postings that pass the filters of q, behind the start
// of its page, until fn returns false. Index records that don't decode are added
// to bad.
func (c collection[T]) each(ctx context.Context, tx store.Tx, q query, bad *MalformedRecordsError, fn func(records.Posting) (bool, error)) error {
	filters := q.filters
	if len(filters) == 0 {
		filters = []filter{c.all()}
	}
	lists := make([]postings, len(filters))
	for i, f := range filters {
		var err error
		if lists[i], err = f.open(ctx, tx, bad); err != nil {
			return err
		}
	}
	found := &intersection{lists: lists}
	for after := q.page.after; after < math.MaxUint64; {
		p, ok, err := found.seek(ctx, after+1)
		if err != nil || !ok {
			return err
		}
		if more, err := fn(p); err != nil || !more {
			return err
		}
		after = p.Number
	}
	return nil
}

// objects returns what items hold. No items give nil.
func objects[T any](items []records.Item[T]) []T {
	all := slices.Grow([]T(nil), len(items))
	for _, item := range items {
		all = append(all, item.Object)
	}
	return all
}
