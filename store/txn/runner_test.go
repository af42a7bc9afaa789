package txn_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

func TestBegin_TakesItsSnapshotWhenItMust(t *testing.T) {
	for _, c := range []struct {
		consistency store.Consistency
		want        int // snapshots before the first read
	}{
		{store.Linearizable(), 1},
		{store.AtLeast(7), 1},
		{store.BoundedStale(time.Second), 1},
		{store.AtLeast(0), 0},
	} {
		f := newFake("k", "v")
		tx := begin(t, f.runner(), store.TxOptions{Consistency: c.consistency})
		if f.snapshots != c.want {
			t.Errorf("%v: %d snapshots after begin, want %d", c.consistency, f.snapshots, c.want)
		}
		for range 2 {
			_, _, err := tx.Get(t.Context(), []byte("k"))
			check(t, "get", err)
		}
		if f.snapshots != 1 {
			t.Errorf("%v: %d snapshots after reads, want 1", c.consistency, f.snapshots)
		}
	}
}

func TestPut_TakesNoSnapshot(t *testing.T) {
	f := newFake()
	rev, err := f.runner().Put(t.Context(), store.Pair{Key: []byte("k"), Value: []byte("v")})
	check(t, "put", err)
	if rev != 8 || f.snapshots != 0 {
		t.Errorf("got revision %d after %d snapshots, want 8 after 0", rev, f.snapshots)
	}
	if in := f.intents[0]; len(in.Points)+len(in.Ranges) != 0 {
		t.Errorf("a put reads %v, %v", in.Points, in.Ranges)
	}
}

func TestBegin_RefusedSnapshot(t *testing.T) {
	f := newFake()
	f.snapshotErr = store.ErrStale
	r := f.runner()
	if _, err := r.Begin(t.Context(), store.TxOptions{}); !errors.Is(err, store.ErrStale) {
		t.Errorf("begin: got error %v, want %v", err, store.ErrStale)
	}
	lazy := begin(t, r, store.TxOptions{Consistency: store.AtLeast(0)})
	if _, err := lazy.Count(t.Context(), store.Range{}); !errors.Is(err, store.ErrStale) {
		t.Errorf("first read: got error %v, want %v", err, store.ErrStale)
	}
	f.snapshotErr = nil
	if _, err := lazy.Count(t.Context(), store.Range{}); err != nil {
		t.Errorf("a read once snapshots are there again: %v", err)
	}
}

func TestCommit_ReleasesTheSnapshotFirst(t *testing.T) {
	f := newFake("k", "v")
	f.commit = func(context.Context, *txn.Intent) (store.Result, error) {
		if f.open != 0 {
			t.Errorf("%d snapshots are open during the commit, want 0", f.open)
		}
		return store.Result{Revision: 9}, nil
	}
	tx := begin(t, f.runner(), store.TxOptions{})
	_, _, err := tx.Get(t.Context(), []byte("k"))
	check(t, "get", err)
	check(t, "put", tx.Put([]byte("k"), nil))
	res, err := tx.Commit(t.Context())
	check(t, "commit", err)
	if res.Revision != 9 || !res.Written {
		t.Errorf("result: got %+v, want revision 9, written", res)
	}
	if in := f.intents[0]; in.ReadRevision != 7 || len(in.Points) != 1 || in.Points[0].ModRevision != 3 {
		t.Errorf("intent: got read revision %d and points %v, want 7 and one of revision 3", in.ReadRevision, in.Points)
	}
}

func TestCommit_Fails(t *testing.T) {
	for _, want := range []error{store.ErrConflict, store.ErrUnknownOutcome, store.ErrNoLeader} {
		f := newFake()
		f.commit = func(context.Context, *txn.Intent) (store.Result, error) { return store.Result{Revision: 5}, want }
		tx := begin(t, f.runner(), store.TxOptions{})
		check(t, "put", tx.Put([]byte("k"), nil))
		if res, err := tx.Commit(t.Context()); !errors.Is(err, want) || res.Revision != 0 {
			t.Errorf("commit: got %+v and error %v, want nothing and %v", res, err, want)
		}
		if _, err := tx.Commit(t.Context()); !errors.Is(err, store.ErrTxDone) {
			t.Errorf("second commit: got error %v, want %v", err, store.ErrTxDone)
		}
		if f.open != 0 {
			t.Errorf("%d snapshots are open after the commit", f.open)
		}
	}
}

// TestCommit_CancelledContext ends the transaction without asking the backend.
func TestCommit_CancelledContext(t *testing.T) {
	f := newFake()
	tx := begin(t, f.runner(), store.TxOptions{})
	check(t, "put", tx.Put([]byte("k"), nil))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tx.Commit(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("commit: got error %v, want %v", err, context.Canceled)
	}
	if len(f.intents) != 0 || f.open != 0 {
		t.Errorf("%d commits asked for and %d snapshots open, want none", len(f.intents), f.open)
	}
}

func TestCommit_Intent(t *testing.T) {
	f := newFake("a", "1", "b", "2")
	tx := begin(t, f.runner(), store.TxOptions{})
	number := make([]byte, store.PatchSize)
	var seqs []store.Sequence
	for _, counter := range []string{"x", "y", "x"} {
		seq, err := tx.Sequence([]byte(counter))
		check(t, "sequence", err)
		seqs = append(seqs, seq)
	}
	check(t, "raise", tx.RaiseSequence([]byte("x"), 9))
	check(t, "patched put", tx.Put(number, nil, store.Patch{Sequence: seqs[2], Target: store.PatchKey}))
	check(t, "patched put", tx.Put(number, []byte("v"), store.Patch{Sequence: seqs[0], Target: store.PatchKey}))
	check(t, "put", tx.Put([]byte("z"), number, store.Patch{Sequence: seqs[1], Target: store.PatchValue}))
	check(t, "delete", tx.Delete([]byte("a")))
	_, err := tx.Commit(t.Context())
	check(t, "commit", err)

	in := f.intents[0]
	var got []string
	for _, w := range in.Writes {
		key, value := w.Patched([]uint64{10, 1, 11})
		got = append(got, w.Kind.String()+" "+string(key)+"="+string(value))
	}
	be := func(n byte) string { return "\x00\x00\x00\x00\x00\x00\x00" + string(n) }
	want := []string{"delete a=", "put z=" + be(1), "put " + be(11) + "=", "put " + be(10) + "=v"}
	if len(got) != len(want) {
		t.Fatalf("writes: got %q, want %q", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("write %d: got %q, want %q", i, got[i], want[i])
		}
	}
	if len(in.Counters) != 3 || string(in.Counters[1]) != "y" || len(in.Raises) != 1 || in.Raises[0].Floor != 9 {
		t.Errorf("counters %q and raises %v of the intent", in.Counters, in.Raises)
	}
}

// TestDelete_RunsAgainOnConflict is what the verbs add to transactions.
func TestDelete_RunsAgainOnConflict(t *testing.T) {
	f := newFake("a", "1", "b", "2")
	f.commit = func(context.Context, *txn.Intent) (store.Result, error) {
		if len(f.intents) == 1 {
			delete(f.pairs, "a")
			f.cursor.Revision++
			return store.Result{}, &store.ConflictError{Revision: f.cursor.Revision}
		}
		return store.Result{Revision: 9}, nil
	}
	n, rev, err := f.runner().Delete(t.Context(), store.Range{})
	if n != 1 || rev != 9 || err != nil {
		t.Errorf("got %d keys at revision %d and error %v, want 1 at 9", n, rev, err)
	}
	if f.open != 0 {
		t.Errorf("%d snapshots are open", f.open)
	}
}

// TestExpiry ends a transaction that is open for too long, and no other.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("k", "v")
		r := f.runner()
		forgotten, done := begin(t, r, store.TxOptions{}), begin(t, r, store.TxOptions{})
		_, err := done.Commit(t.Context())
		check(t, "commit", err)
		time.Sleep(store.TxDurationMax - time.Nanosecond)
		later := begin(t, r, store.TxOptions{})
		if _, _, err := forgotten.Get(t.Context(), []byte("k")); err != nil {
			t.Errorf("get just before the end: %v", err)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()

		for call, err := range map[string]error{
			"put":    forgotten.Put([]byte("k"), nil),
			"commit": second(forgotten.Commit(t.Context())),
			"count":  second(forgotten.Count(t.Context(), store.Range{})),
		} {
			if !errors.Is(err, store.ErrTxExpired) {
				t.Errorf("%s after TxDurationMax: got error %v, want %v", call, err, store.ErrTxExpired)
			}
		}
		forgotten.Abort()
		if err := done.Put([]byte("k"), nil); !errors.Is(err, store.ErrTxDone) {
			t.Errorf("put after commit and expiry: got error %v, want %v", err, store.ErrTxDone)
		}
		if f.open != 1 {
			t.Errorf("%d snapshots are open, want that of the younger transaction", f.open)
		}
		if _, err := later.Count(t.Context(), store.Range{}); err != nil {
			t.Errorf("count in the younger transaction: %v", err)
		}
	})
}

// TestExpiry_CountsFromTheSnapshot gives a transaction whose snapshot was long in
// coming its whole time.
func TestExpiry_CountsFromTheSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		r := txn.NewRunner(func(ctx context.Context, c store.Consistency) (txn.Snapshot, error) {
			time.Sleep(2 * store.TxDurationMax)
			return f.snapshot(ctx, c)
		}, nil)
		tx := begin(t, r, store.TxOptions{})
		time.Sleep(store.TxDurationMax - time.Nanosecond)
		if _, err := tx.Count(t.Context(), store.Range{}); err != nil {
			t.Errorf("count just before the end: %v", err)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if _, err := tx.Count(t.Context(), store.Range{}); !errors.Is(err, store.ErrTxExpired) || f.open != 0 {
			t.Errorf("count after TxDurationMax: got error %v with %d snapshots open, want %v with none", err, f.open, store.ErrTxExpired)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestEnd(t *testing.T) {
	f := newFake("k", "v")
	r := f.runner()
	idle, reading := begin(t, r, store.TxOptions{Consistency: store.AtLeast(0)}), begin(t, r, store.TxOptions{})
	r.End(store.ErrFailed)
	r.End(store.ErrClosed)
	if f.open != 0 {
		t.Errorf("%d snapshots are open after the end", f.open)
	}
	for _, tx := range []store.Tx{idle, reading} {
		if _, err := tx.Cursor(t.Context()); !errors.Is(err, store.ErrFailed) {
			t.Errorf("transaction after the end: got error %v, want the first reason, %v", err, store.ErrFailed)
		}
		tx.Abort()
	}
	if _, err := r.Begin(t.Context(), store.TxOptions{}); !errors.Is(err, store.ErrFailed) {
		t.Errorf("begin after the end: got error %v, want %v", err, store.ErrFailed)
	}
	if _, err := r.Put(t.Context(), store.Pair{Key: []byte("k")}); !errors.Is(err, store.ErrFailed) {
		t.Errorf("put after the end: got error %v, want %v", err, store.ErrFailed)
	}
}

// TestEnd_WhileOthersBegin leaves nothing open, whoever comes first.
func TestEnd_WhileOthersBegin(t *testing.T) {
	for range 50 {
		r := txn.NewRunner(
			func(context.Context, store.Consistency) (txn.Snapshot, error) {
				return &fakeSnapshot{fake: newFake()}, nil
			},
			func(context.Context, *txn.Intent) (store.Result, error) { return store.Result{}, nil },
		)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				tx, err := r.Begin(t.Context(), store.TxOptions{})
				if err == nil {
					defer tx.Abort()
					_, err = tx.Count(t.Context(), store.Range{})
				}
				if err != nil && !errors.Is(err, store.ErrClosed) {
					t.Errorf("begin and count: %v", err)
				}
			})
		}
		r.End(store.ErrClosed)
		wg.Wait()
	}
}
