package txn

import (
	"bytes"
	"context"
	"fmt"

	"github.com/tidwall/btree"

	"github.com/spire-raft/spire-raft/store"
)

// pointBytes is what a point or range costs of TxBytesMax besides its keys.
const pointBytes = 16

// Cursor implements [store.Tx].
func (t *Tx) Cursor(ctx context.Context) (store.Cursor, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.open(ctx); err != nil {
		return store.Cursor{}, err
	}
	return t.snap.Cursor(), nil
}

// Get implements [store.Tx].
func (t *Tx) Get(ctx context.Context, key []byte) (store.KeyValue, bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := CheckKey(key); err != nil {
		return store.KeyValue{}, false, err
	}
	if err := t.open(ctx); err != nil {
		return store.KeyValue{}, false, err
	}
	if w, ok := t.writes.Get(string(key)); ok {
		if w.Kind == store.EventDelete {
			return store.KeyValue{}, false, nil
		}
		return store.KeyValue{Key: bytes.Clone(key), Value: clone(w.Value)}, true, nil
	}
	kv, found, err := t.snap.Get(key)
	if err != nil {
		return store.KeyValue{}, false, err
	}
	if err := t.readPoint(key, kv.ModRevision); err != nil {
		return store.KeyValue{}, false, err
	}
	if !found {
		return store.KeyValue{}, false, nil
	}
	return store.KeyValue{Key: bytes.Clone(key), Value: clone(kv.Value), ModRevision: kv.ModRevision}, true, nil
}

// Scan implements [store.Tx].
func (t *Tx) Scan(ctx context.Context, r store.Range, limit int) ([]store.KeyValue, error) {
	if limit < 0 {
		return nil, fmt.Errorf("%w: limit %d of a scan is negative", store.ErrInvalid, limit)
	}
	var out []store.KeyValue
	size := 0
	err := t.scan(ctx, r, limit, func(kv store.KeyValue) error {
		if size += len(kv.Key) + len(kv.Value); size > store.ScanBytesMax {
			return fmt.Errorf("%w: result exceeds ScanBytesMax %d, read it in pages", store.ErrTooLarge, store.ScanBytesMax)
		}
		kv.Key, kv.Value = clone(kv.Key), clone(kv.Value)
		out = append(out, kv)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Count implements [store.Tx].
func (t *Tx) Count(ctx context.Context, r store.Range) (int, error) {
	n := 0
	err := t.scan(ctx, r, 0, func(store.KeyValue) error { n++; return nil })
	return n, err
}

// ctxCheckInterval is how many pairs a scan passes between looks at its context.
const ctxCheckInterval = 1024

// scan calls fn for at most limit pairs in r, if limit is not 0, merging the
// snapshot with the transaction's own writes, and notes the range as read.
// Pairs are valid until fn returns.
func (t *Tx) scan(ctx context.Context, r store.Range, limit int, fn func(store.KeyValue) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.open(ctx); err != nil {
		return err
	}
	own := t.writes.Iter()
	ownOK := own.Seek(string(r.Start)) && r.Contains([]byte(own.Key()))

	n := 0
	var last []byte // a copy of the last key given to fn, if a full page
	var fnErr error
	emit := func(kv store.KeyValue) bool {
		n++
		if n%ctxCheckInterval == 0 && ctx.Err() != nil {
			fnErr = ctx.Err()
			return false
		}
		if fnErr = fn(kv); fnErr != nil {
			return false
		}
		if n == limit {
			last = bytes.Clone(kv.Key)
			return false
		}
		return true
	}
	// emitOwn passes on own writes that sort before key, or all where key is nil.
	emitOwn := func(key []byte) bool {
		for ownOK && (key == nil || own.Key() < string(key)) {
			w := own.Value()
			if w.Kind == store.EventPut && !emit(store.KeyValue{Key: w.Key, Value: w.Value}) {
				return false
			}
			ownOK = advance(&own, r)
		}
		return true
	}

	more := true
	err := t.snap.Scan(r, func(kv store.KeyValue) bool {
		if more = emitOwn(kv.Key); !more {
			return false
		}
		if ownOK && own.Key() == string(kv.Key) {
			return true // overwritten: emitOwn passes it on with the next key
		}
		more = emit(kv)
		return more
	})
	if err == nil && more {
		emitOwn(nil)
	}
	if err = first(err, fnErr); err != nil {
		return err
	}
	if last != nil {
		r.End = store.Key(last).End
	}
	return t.readRange(r)
}

func advance(it *btree.MapIter[string, *Write], r store.Range) bool {
	return it.Next() && r.Contains([]byte(it.Key()))
}

// readPoint notes that key was read with revision rev.
func (t *Tx) readPoint(key []byte, rev store.Revision) error {
	if _, ok := t.points[string(key)]; ok || t.opts.ReadOnly {
		return nil
	}
	if err := t.spend(0, len(key)+pointBytes); err != nil {
		return err
	}
	if t.points == nil {
		t.points = make(map[string]store.Revision)
	}
	t.points[string(key)] = rev
	return nil
}

// readRange notes that r was scanned. Pages that follow one another become one
// range.
func (t *Tx) readRange(r store.Range) error {
	if t.opts.ReadOnly || r.End != nil && bytes.Compare(r.Start, r.End) >= 0 {
		return nil // an empty range: merged with a neighbour, it would cut that short
	}
	if n := len(t.ranges); n > 0 && t.ranges[n-1].End != nil && bytes.Equal(t.ranges[n-1].End, r.Start) {
		if err := t.spend(0, len(r.End)-len(r.Start)); err != nil {
			return err
		}
		t.ranges[n-1].End = bytes.Clone(r.End)
		return nil
	}
	if err := t.spend(0, len(r.Start)+len(r.End)+pointBytes); err != nil {
		return err
	}
	t.ranges = append(t.ranges, store.Range{Start: bytes.Clone(r.Start), End: bytes.Clone(r.End)})
	return nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// clone copies b; an empty b becomes an empty, non-nil slice.
func clone(b []byte) []byte { return append([]byte{}, b...) }
