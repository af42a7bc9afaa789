package txn

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"github.com/spire-raft/spire-raft/store"
)

var _ store.Tx = (*Tx)(nil)

// Tx is a transaction in progress: a snapshot, what was read of it, and the
// writes to come. Its caller is one goroutine; mu is there because the runner
// ends transactions that are open for too long or outlive their store.
type Tx struct {
	runner *Runner
	opts   store.TxOptions

	mu     sync.Mutex  // guards the fields below
	done   error       // why the transaction takes no more calls
	expiry *time.Timer // nil until Begin is done
	snap   Snapshot    // nil until the first read
	used   budget

	points   map[string]store.Revision
	ranges   []store.Range
	raises   []Raise
	counters [][]byte
	writes   btree.Map[string, *Write]
	patched  []*Write // puts with a patch in their key, in call order
}

// open makes sure that the transaction is live and has its snapshot.
func (t *Tx) open(ctx context.Context) error {
	if t.done != nil {
		return t.done
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if t.snap != nil {
		return nil
	}
	snap, err := t.runner.snapshot(ctx, t.opts.Consistency)
	if err != nil {
		return err
	}
	t.snap = snap
	return nil
}

// Put implements [store.Tx].
func (t *Tx) Put(key, value []byte, patches ...store.Patch) error {
	w := &Write{Kind: store.EventPut, Key: clone(key), Value: clone(value), Patches: slices.Clone(patches)}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.write(w)
}

// Delete implements [store.Tx].
func (t *Tx) Delete(key []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.write(&Write{Kind: store.EventDelete, Key: clone(key)})
}

// DeleteRange implements [store.Tx].
func (t *Tx) DeleteRange(ctx context.Context, r store.Range) (int, error) {
	var deletes []*Write
	err := t.scan(ctx, r, 0, func(kv store.KeyValue) error {
		if len(deletes) == store.TxOpsMax {
			return fmt.Errorf("%w: the range holds more than TxOpsMax %d keys", store.ErrTooLarge, store.TxOpsMax)
		}
		deletes = append(deletes, &Write{Kind: store.EventDelete, Key: clone(kv.Key)})
		return nil
	})
	if err != nil {
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.writable(); err != nil {
		return 0, err
	}
	after := t.used // all of the range or nothing: the caller may go on after an error
	for _, w := range deletes {
		if err := after.spend(t.price(w)); err != nil {
			return 0, err
		}
	}
	for _, w := range deletes {
		t.writes.Set(string(w.Key), w)
	}
	t.used = after
	return len(deletes), nil
}

// write adds w to the transaction.
func (t *Tx) write(w *Write) error {
	if err := t.writable(); err != nil {
		return err
	}
	if err := CheckWrite(w, len(t.counters)); err != nil {
		return err
	}
	if err := t.spend(t.price(w)); err != nil {
		return err
	}
	if w.keyPatched() {
		t.patched = append(t.patched, w)
	} else {
		t.writes.Set(string(w.Key), w)
	}
	return nil
}

// price is what w takes of the limits: less or nothing where it replaces
// another write.
func (t *Tx) price(w *Write) (ops, bytes int) {
	if old, ok := t.writes.Get(string(w.Key)); ok && !w.keyPatched() {
		return 0, w.cost() - old.cost()
	}
	return 1, w.cost()
}

// Sequence implements [store.Tx].
func (t *Tx) Sequence(counter []byte) (store.Sequence, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.count(counter); err != nil {
		return store.Sequence{}, err
	}
	t.counters = append(t.counters, clone(counter))
	return store.Sequence{Nth: len(t.counters) - 1}, nil
}

// RaiseSequence implements [store.Tx].
func (t *Tx) RaiseSequence(counter []byte, floor uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.count(counter); err != nil {
		return err
	}
	t.raises = append(t.raises, Raise{Counter: clone(counter), Floor: floor})
	return nil
}

// count pays for one use of counter.
func (t *Tx) count(counter []byte) error {
	if err := t.writable(); err != nil {
		return err
	}
	if err := CheckKey(counter); err != nil {
		return fmt.Errorf("counter: %w", err)
	}
	return t.spend(1, len(counter)+pointBytes)
}

func (t *Tx) writable() error {
	if t.done != nil {
		return t.done
	}
	if t.opts.ReadOnly {
		return store.ErrReadOnly
	}
	return nil
}

func (t *Tx) spend(ops, bytes int) error { return t.used.spend(ops, bytes) }

// Commit implements [store.Tx].
func (t *Tx) Commit(ctx context.Context) (store.Result, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done != nil {
		return store.Result{}, t.done
	}
	defer t.end(store.ErrTxDone)
	if err := ctx.Err(); err != nil {
		return store.Result{}, err
	}
	if t.writes.Len() == 0 && len(t.patched) == 0 && len(t.raises) == 0 && len(t.counters) == 0 {
		if err := t.open(ctx); err != nil {
			return store.Result{}, err
		}
		return store.Result{Revision: t.snap.Cursor().Revision}, nil
	}
	in, err := t.intent()
	if err != nil {
		return store.Result{}, err
	}
	t.end(store.ErrTxDone) // the snapshot is of no more use, and the commit may take long
	res, err := t.runner.commit(ctx, in)
	if err != nil {
		return store.Result{}, err
	}
	res.Written = true
	return res, nil
}

// intent is what there is to commit.
func (t *Tx) intent() (*Intent, error) {
	in := &Intent{Ranges: t.ranges, Raises: t.raises, Counters: t.counters}
	if t.snap != nil {
		in.ReadRevision = t.snap.Cursor().Revision
	}
	for key, rev := range t.points {
		in.Points = append(in.Points, Point{Key: []byte(key), ModRevision: rev})
	}
	slices.SortFunc(in.Points, func(a, b Point) int { return bytes.Compare(a.Key, b.Key) })

	used := make([]bool, len(t.counters))
	add := func(w *Write) {
		in.Writes = append(in.Writes, *w)
		for _, p := range w.Patches {
			used[p.Sequence.Nth] = true
		}
	}
	t.writes.Scan(func(_ string, w *Write) bool { add(w); return true })
	for _, w := range t.patched {
		add(w)
	}
	if i := slices.Index(used, false); i >= 0 {
		return nil, fmt.Errorf("%w: number %d of the transaction, of counter %q, is not used by any patch", store.ErrInvalid, i, t.counters[i])
	}
	return in, nil
}

// Abort implements [store.Tx].
func (t *Tx) Abort() { t.finish(store.ErrTxDone) }

// finish ends the transaction for the given reason, unless it has ended.
func (t *Tx) finish(why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end(why)
}

// end releases everything. The caller holds mu.
func (t *Tx) end(why error) {
	if t.done != nil {
		return
	}
	t.done = why
	if t.expiry != nil {
		t.expiry.Stop()
	}
	if t.snap != nil {
		t.snap.Close()
	}
	t.runner.forget(t)
}
