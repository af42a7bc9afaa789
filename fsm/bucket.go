package fsm

import (
	"bytes"

	"github.com/tidwall/btree"
	"go.etcd.io/bbolt"
)

// bucket is the records of one bucket at one time: those of the database file,
// and over them the layers of changes that are not in it yet. A record in a
// layer hides those of its key below, a deletion too.
type bucket struct {
	id   bucketID
	over [layersMax]*tree // newest first, nil where there is none
	file fileBucket

	// here is the key that seek or next has returned last. The cursors of the
	// trees that have more, and of the file, stand at it or behind.
	here    []byte
	cursors []treeCursor // newest first
}

// treeCursor goes through a tree.
type treeCursor struct {
	iter btree.IterG[item]
	item item // nil key behind the end
}

func openBucket(tx *bbolt.Tx, id bucketID, layers [layersMax]*layer) (bucket, error) {
	b := tx.Bucket([]byte(id.String()))
	if b == nil {
		return bucket{}, corrupt(id, nil, "the bucket is missing")
	}
	out := bucket{id: id, file: fileBucket{id: id, cursor: b.Cursor()}}
	for i, l := range layers {
		if l != nil {
			out.over[i] = l.trees[id]
		}
	}
	return out, nil
}

// find returns the record of key, not verified, or nil.
func (b *bucket) find(key []byte) ([]byte, error) {
	for _, t := range b.over {
		if t == nil {
			continue
		}
		if it, ok := t.Get(item{key: key}); ok {
			return it.record, nil
		}
	}
	return b.file.find(key)
}

// findSealed returns the body of key's record, or nil. An empty body isn't nil.
func (b *bucket) findSealed(key []byte) ([]byte, error) {
	record, err := b.find(key)
	if err != nil || record == nil {
		return nil, err
	}
	return openSealed(b.id, key, record)
}

// seek returns the first key at or behind the given one, and its record, not
// verified, or nil.
func (b *bucket) seek(key []byte) (at, record []byte, err error) {
	b.cursors = b.cursors[:0]
	for _, t := range b.over {
		if t == nil || t.Len() == 0 {
			continue
		}
		c := treeCursor{iter: t.Iter()}
		if c.iter.Seek(item{key: key}) {
			c.item = c.iter.Item()
			b.cursors = append(b.cursors, c)
		}
	}
	if err := b.file.seek(key); err != nil {
		return nil, nil, err
	}
	return b.settle()
}

// next returns the key behind the one that seek or next has returned last, and
// its record, not verified, or nil.
func (b *bucket) next() (at, record []byte, err error) {
	if err := b.step(); err != nil {
		return nil, nil, err
	}
	return b.settle()
}

// step moves the cursors that stand at here.
func (b *bucket) step() error {
	for i := range b.cursors {
		c := &b.cursors[i]
		if c.item.key == nil || !bytes.Equal(c.item.key, b.here) {
			continue
		}
		c.item = item{}
		if c.iter.Next() {
			c.item = c.iter.Item()
		}
	}
	if len(b.cursors) == 0 || bytes.Equal(b.file.at, b.here) {
		return b.file.next()
	}
	return nil
}

// settle moves to the first key that the cursors stand at or behind and that
// was not deleted, and returns it with its newest record.
func (b *bucket) settle() (at, record []byte, err error) {
	for {
		at, record = b.file.at, b.file.record
		for i := len(b.cursors) - 1; i >= 0; i-- { // the newest has the last word
			it := &b.cursors[i].item
			if it.key != nil && (at == nil || bytes.Compare(it.key, at) <= 0) {
				at, record = it.key, it.record
			}
		}
		b.here = at
		if at == nil || record != nil {
			return at, record, nil
		}
		if err := b.step(); err != nil {
			return nil, nil, err
		}
	}
}
