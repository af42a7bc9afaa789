package datastore

import (
	"bytes"
	"context"
	"errors"

	"github.com/spire-raft/spire-raft/keys"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// stored is an object with the keys of all that is stored of it.
type stored[T any] struct {
	object T
	keys   [][]byte
}

func (s stored[T]) delete(tx store.Tx) error {
	for _, key := range s.keys {
		if err := tx.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// stored returns what item and its indexes are stored under.
func (c collection[T]) stored(item records.Item[T]) stored[T] {
	s := stored[T]{object: item.Object, keys: [][]byte{c.kind.Key(c.kind.ID(item.Object))}}
	for _, r := range c.kind.Indexes(item.Object) {
		s.keys = append(s.keys, c.kind.IndexKey(r, item.Number))
	}
	return s
}

// find returns the object with the given id, to be deleted, and whether there is
// one. Where it can't be decoded but w knows what there is of it, it is the blank
// object with the id.
func (c collection[T]) find(ctx context.Context, tx store.Tx, id string, w wrecks) (stored[T], bool, error) {
	item, ok, err := c.get(ctx, tx, id)
	if err == nil && ok {
		err = c.changeable(item)
	}
	if !errors.Is(err, records.ErrMalformed) {
		if err != nil || !ok {
			return stored[T]{}, false, err
		}
		return c.stored(item), true, nil
	}
	key := c.kind.Key(id)
	left, known := w[string(key)]
	if !known {
		return stored[T]{}, false, err
	}
	kv, ok, getErr := tx.Get(ctx, key)
	if getErr != nil {
		return stored[T]{}, false, getErr
	}
	if !ok || !bytes.Equal(kv.Value, left.value) {
		return stored[T]{}, false, err // it isn't the one that w knows
	}
	return stored[T]{c.blank(id, left.fields), append([][]byte{key}, left.indexes...)}, true, nil
}

// mustFind is find for an object that has to exist. The error is errNotFound if
// it doesn't.
func (c collection[T]) mustFind(ctx context.Context, tx store.Tx, id string, w wrecks) (stored[T], error) {
	s, ok, err := c.find(ctx, tx, id, w)
	if err == nil && !ok {
		err = errNotFound()
	}
	return s, err
}

// wrecks are objects whose items can't be decoded, by the keys of the items. Nil
// has none.
type wrecks map[string]wreck

// wreck is what there is of an object.
type wreck struct {
	value   []byte            // of the item
	indexes [][]byte          // keys of its index records
	fields  map[string]string // what they say it has; of a set, one element
}

// updateWrecks is [update] for an fn that deletes objects. Where fn ends in the
// error of an item that can't be decoded, what else is stored of the object is
// looked for, and fn runs again with that. All index records of the kind are
// read for it, in a transaction of its own, with which nothing conflicts: an item
// that can't be decoded isn't updated either, so its index records are the same
// as long as it is.
func updateWrecks[R any](ctx context.Context, d *DataStore, fn func(store.Tx, wrecks) (R, error)) (R, error) {
	found := wrecks{}
	var met []error
	for {
		result, err := update(ctx, d, func(tx store.Tx) (R, error) { return fn(tx, found) })
		if err == nil {
			for _, bad := range met {
				d.log.Warn("Deleted a record that could not be decoded", "record", bad)
			}
			return result, nil
		}
		bad, ok := errors.AsType[*records.MalformedError](err)
		if !ok {
			return result, err
		}
		left, findErr := view(ctx, d, store.Linearizable(), func(tx store.Tx) (wreck, error) {
			return findWreck(ctx, tx, bad.Key)
		})
		if findErr != nil {
			return result, findErr
		}
		key := string(bad.Key)
		if before, again := found[key]; left.value == nil || again && bytes.Equal(before.value, left.value) {
			return result, err // fn has no use for it
		}
		found[key], met = left, append(met, bad)
	}
}

// findWreck finds what there is of the object whose item has the given key. A
// wreck without value is none.
func findWreck(ctx context.Context, tx store.Tx, key []byte) (wreck, error) {
	item, err := keys.ParseItem(key)
	if err != nil {
		return wreck{}, nil // a record of another kind
	}
	kv, ok, err := tx.Get(ctx, key)
	if err != nil || !ok {
		return wreck{}, err
	}
	left := wreck{value: append([]byte{}, kv.Value...), fields: make(map[string]string)}
	indexes := store.Prefix(keys.AppendIndexPrefix(nil, string(item.Type)))
	err = scanAll(ctx, tx, indexes, func(kv store.KeyValue) error {
		index, err := keys.ParseIndex(kv.Key)
		if err != nil {
			return nil // nobody's
		}
		p, err := records.ParsePosting(index, kv.Value)
		if err == nil && bytes.Equal(p.ID, item.ID) {
			left.indexes = append(left.indexes, kv.Key)
			left.fields[string(index.Field)] = string(index.Value)
		}
		return nil
	})
	return left, err
}
