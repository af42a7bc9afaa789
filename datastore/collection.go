package datastore

import (
	"context"
	"errors"
	"fmt"

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

	// blank returns an object with its id and what fields, by their names, say
	// of one that can't be decoded. It is for kinds that are deleted by their id.
	blank func(id string, fields map[string]string) T
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

// first returns the oldest object that has value in field, and whether there is
// one. It only conflicts with a change of that.
func (c collection[T]) first(ctx context.Context, tx store.Tx, field, value string) (records.Posting, bool, error) {
	found, err := tx.Scan(ctx, store.Prefix(c.kind.IndexPrefix(field, value)), 1)
	if err != nil || len(found) == 0 {
		return records.Posting{}, false, err
	}
	p, err := c.kind.Posting(found[0].Key, found[0].Value)
	return p, err == nil, err
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
	return c.get(ctx, tx, string(posting.ID))
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
	return c.stored(old).delete(tx)
}

// changeable refuses an object that was created in the same transaction.
func (c collection[T]) changeable(item records.Item[T]) error {
	if item.Number == 0 {
		return fmt.Errorf("%s is changed in the transaction that creates it", c.kind.Type())
	}
	return nil
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
