package datastore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// scanPage is how many pairs are read at a time.
const scanPage = 1024

// collection is all objects of one kind. Its methods run in a transaction, in
// which an object can't be changed after it was created, and isn't found by its
// indexes: its number is not known before the commit.
type collection[T any] struct {
	kind   *records.Kind[T]
	unique string // what SQL calls the column with the id
}

// get returns the object with the given id, and whether there is one.
func (c collection[T]) get(ctx context.Context, tx store.Tx, id string) (records.Item[T], bool, error) {
	key := c.kind.Key(id)
	if len(key) > store.KeyBytesMax {
		return records.Item[T]{}, false, nil // too long to be stored
	}
	kv, ok, err := tx.Get(ctx, key)
	if err != nil || !ok {
		return records.Item[T]{}, false, err
	}
	item, err := c.kind.Decode(id, kv.Value)
	return item, err == nil, err
}

// mustGet is get for an object that has to exist. The error is errNotFound if
// it doesn't.
func (c collection[T]) mustGet(ctx context.Context, tx store.Tx, id string) (records.Item[T], error) {
	item, ok, err := c.get(ctx, tx, id)
	if err == nil && !ok {
		err = errNotFound()
	}
	return item, err
}

// has tells whether an object has value in field. It only conflicts with a
// change of that.
func (c collection[T]) has(ctx context.Context, tx store.Tx, field, value string) (bool, error) {
	found, err := tx.Scan(ctx, store.Prefix(c.kind.IndexPrefix(field, value)), 1)
	return len(found) > 0, err
}

// byNumber returns the object with the given number, and whether there is one.
func (c collection[T]) byNumber(ctx context.Context, tx store.Tx, number uint64) (records.Item[T], bool, error) {
	key := c.kind.IndexKey(records.IndexRecord{Field: records.FieldOrder}, number)
	kv, ok, err := tx.Get(ctx, key)
	if err != nil || !ok {
		return records.Item[T]{}, false, err
	}
	posting, err := c.kind.Posting(kv.Key, kv.Value)
	if err != nil {
		return records.Item[T]{}, false, err
	}
	return c.get(ctx, tx, posting.ID)
}

// create adds an object. The error is errUnique if its id is taken.
func (c collection[T]) create(ctx context.Context, tx store.Tx, object T) (store.Sequence, error) {
	key := c.kind.Key(c.kind.ID(object))
	if _, ok, err := tx.Get(ctx, key); err != nil {
		return store.Sequence{}, err
	} else if ok {
		return store.Sequence{}, errUnique(c.unique)
	}
	value, err := c.kind.Encode(records.Item[T]{Object: object})
	if err != nil {
		return store.Sequence{}, err
	}
	number, err := tx.Sequence(c.kind.Counter())
	if err != nil {
		return store.Sequence{}, err
	}
	err = tx.Put(key, value, store.Patch{Sequence: number, Target: store.PatchValue})
	if err != nil {
		return store.Sequence{}, err
	}
	for _, r := range c.kind.Indexes(object) {
		key, offset := c.kind.UnnumberedIndexKey(r)
		patch := store.Patch{Sequence: number, Target: store.PatchKey, Offset: offset}
		if err := tx.Put(key, []byte(r.Data), patch); err != nil {
			return store.Sequence{}, err
		}
	}
	return number, nil
}

// update replaces old, as it was read in tx, by object, which has the same id.
func (c collection[T]) update(tx store.Tx, old records.Item[T], object T) error {
	if err := c.changeable(old); err != nil {
		return err
	}
	if c.kind.ID(old.Object) != c.kind.ID(object) {
		return fmt.Errorf("update of %s changes its id", c.kind.Type())
	}
	value, err := c.kind.Encode(records.Item[T]{Number: old.Number, Object: object})
	if err != nil {
		return err
	}
	if err := tx.Put(c.kind.Key(c.kind.ID(object)), value); err != nil {
		return err
	}
	remove, put := records.Diff(c.kind.Indexes(old.Object), c.kind.Indexes(object))
	for _, r := range remove {
		if err := tx.Delete(c.kind.IndexKey(r, old.Number)); err != nil {
			return err
		}
	}
	for _, r := range put {
		if err := tx.Put(c.kind.IndexKey(r, old.Number), []byte(r.Data)); err != nil {
			return err
		}
	}
	return nil
}

// delete removes old, as it was read in tx. Anything it shares memory with must
// not have been changed since.
func (c collection[T]) delete(tx store.Tx, old records.Item[T]) error {
	if err := c.changeable(old); err != nil {
		return err
	}
	for _, r := range c.kind.Indexes(old.Object) {
		if err := tx.Delete(c.kind.IndexKey(r, old.Number)); err != nil {
			return err
		}
	}
	return tx.Delete(c.kind.Key(c.kind.ID(old.Object)))
}

// changeable refuses an object that was created in the same transaction.
func (c collection[T]) changeable(item records.Item[T]) error {
	if item.Number == 0 {
		return fmt.Errorf("%s is changed in the transaction that creates it", c.kind.Type())
	}
	return nil
}

// query says which objects to list.
type query[T any] struct {
	filters []filter     // all must hold
	keep    func(T) bool // what no index knows; nil keeps all
	page    page
}

// list returns the objects of a page of q, in the order of their creation, and
// the number of the last, or 0.
func (c collection[T]) list(ctx context.Context, tx store.Tx, q query[T]) ([]records.Item[T], uint64, error) {
	if len(q.filters) == 0 && q.page == (page{}) {
		return c.listAll(ctx, tx, q.keep)
	}
	var items []records.Item[T]
	var last uint64
	err := c.each(ctx, tx, q, func(p records.Posting) (bool, error) {
		item, ok, err := c.get(ctx, tx, p.ID)
		if err != nil {
			return false, err
		}
		if !ok {
			return false, fmt.Errorf("%w: an index of %s leads to no item", store.ErrCorrupt, c.kind.Type())
		}
		if q.keep != nil && !q.keep(item.Object) {
			return true, nil
		}
		items, last = append(items, item), item.Number
		return len(items) != q.page.limit, nil
	})
	if err != nil {
		return nil, 0, err
	}
	return items, last, nil
}

// listAll lists every object. Reading all items in the order of their ids costs
// less than finding one after the other.
func (c collection[T]) listAll(ctx context.Context, tx store.Tx, keep func(T) bool) ([]records.Item[T], uint64, error) {
	var items []records.Item[T]
	err := scanAll(ctx, tx, store.Prefix(c.kind.Prefix()), func(kv store.KeyValue) error {
		item, err := c.kind.DecodePair(kv.Key, kv.Value)
		if err == nil && (keep == nil || keep(item.Object)) {
			items = append(items, item)
		}
		return err
	})
	if err != nil || len(items) == 0 {
		return nil, 0, err
	}
	slices.SortFunc(items, func(a, b records.Item[T]) int { return cmp.Compare(a.Number, b.Number) })
	return items, items[len(items)-1].Number, nil
}

// count returns how many objects there are of q, whatever its page.
func (c collection[T]) count(ctx context.Context, tx store.Tx, q query[T]) (int, error) {
	q.page = page{}
	if q.keep != nil {
		items, _, err := c.list(ctx, tx, q)
		return len(items), err
	}
	if len(q.filters) == 0 {
		return tx.Count(ctx, store.Prefix(c.kind.IndexPrefix(records.FieldOrder, "")))
	}
	n := 0
	err := c.each(ctx, tx, q, func(records.Posting) (bool, error) {
		n++
		return true, nil
	})
	return n, err
}

// each calls fn with the postings that pass the filters of q, behind the start
// of its page, until fn returns false.
func (c collection[T]) each(ctx context.Context, tx store.Tx, q query[T], fn func(records.Posting) (bool, error)) error {
	filters := q.filters
	if len(filters) == 0 {
		filters = []filter{c.equals(records.FieldOrder, "")}
	}
	lists := make([]postings, len(filters))
	for i, f := range filters {
		var err error
		if lists[i], err = f(ctx, tx); err != nil {
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

// scanAll calls fn with every pair in r. Where pairs are so large that a page of
// them is more than a scan may return, it goes on in smaller pages.
func scanAll(ctx context.Context, tx store.Tx, r store.Range, fn func(store.KeyValue) error) error {
	for limit := scanPage; ; {
		pairs, err := tx.Scan(ctx, r, limit)
		if errors.Is(err, store.ErrTooLarge) && limit > 1 {
			limit /= 4
			continue
		}
		if err != nil {
			return err
		}
		for _, kv := range pairs {
			if err := fn(kv); err != nil {
				return err
			}
		}
		if len(pairs) < limit {
			return nil
		}
		r = r.After(pairs[len(pairs)-1].Key)
	}
}
