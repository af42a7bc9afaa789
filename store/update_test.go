package store_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// step is what a scripted store does in one attempt.
type step struct {
	snapshot  store.Revision // of the transaction
	newest    store.Revision // what a linearizable look finds after it
	commitErr error
	beginErr  error
}

// scripted is a Transactor that follows a script. Its last step repeats.
type scripted struct {
	steps   []step
	next    int
	begins  []store.Consistency
	at      []time.Time // of the begins
	looks   int         // linearizable ones for the newest revision
	lookErr error
	open    int // transactions
	commits int
}

func (s *scripted) Begin(_ context.Context, opts store.TxOptions) (store.Tx, error) {
	s.begins = append(s.begins, opts.Consistency)
	s.at = append(s.at, time.Now())
	st := s.steps[min(s.next, len(s.steps)-1)]
	s.next++
	if st.beginErr != nil {
		return nil, st.beginErr
	}
	s.open++
	return &scriptedTx{store: s, step: st}, nil
}

func (s *scripted) Revision(_ context.Context, c store.Consistency) (store.Revision, error) {
	if c != store.Linearizable() {
		return 0, errors.New("Update looks for the newest revision with " + c.String())
	}
	s.looks++
	return s.steps[min(s.next-1, len(s.steps)-1)].newest, s.lookErr
}

// scriptedTx knows puts, and how to end.
type scriptedTx struct {
	store.Tx
	store *scripted
	step  step
	wrote bool
	done  bool
}

func (t *scriptedTx) Cursor(context.Context) (store.Cursor, error) {
	return store.Cursor{Epoch: 1, Revision: t.step.snapshot}, nil
}

func (t *scriptedTx) Put(_, _ []byte, _ ...store.Patch) error {
	t.wrote = true
	return nil
}

func (t *scriptedTx) Commit(context.Context) (store.Result, error) {
	t.store.commits++
	t.Abort()
	if !t.wrote {
		return store.Result{Revision: t.step.snapshot}, nil
	}
	if t.step.commitErr != nil {
		return store.Result{}, t.step.commitErr
	}
	return store.Result{Revision: t.step.newest + 1, Written: true}, nil
}

func (t *scriptedTx) Abort() {
	if !t.done {
		t.done = true
		t.store.open--
	}
}

func write(tx store.Tx) error { return tx.Put([]byte("k"), nil) }
func read(store.Tx) error     { return nil }

var errFn = errors.New("the function's own error")

func fail(store.Tx) error { return errFn }

// TestUpdate follows one script a row: what fn does, what the store answers,
// and what must come of it.
func TestUpdate(t *testing.T) {
	conflict := &store.ConflictError{Revision: 30}
	local, fresh, at30 := store.AtLeast(0), store.Linearizable(), store.AtLeast(30)
	for _, c := range []struct {
		name   string
		steps  []step
		fn     func(store.Tx) error
		begins []store.Consistency
		looks  int
		rev    store.Revision
		want   error
	}{
		{"a write commits at once, whatever its snapshot", []step{{snapshot: 5, newest: 20}}, write, []store.Consistency{local}, 0, 21, nil},
		{"a conflict is retried where it can be seen", []step{{commitErr: conflict}, {newest: 30}}, write, []store.Consistency{local, at30}, 0, 31, nil},
		{"a conflict without a revision is retried on the newest state", []step{{commitErr: store.ErrConflict}, {newest: 30}}, write, []store.Consistency{local, fresh}, 0, 31, nil},
		{"an error of fn on the newest snapshot stands", []step{{snapshot: 20, newest: 20}}, fail, []store.Consistency{local}, 1, 0, errFn},
		{"an error of fn on an old snapshot is not believed", []step{{snapshot: 19, newest: 20}, {snapshot: 20, newest: 20}}, fail, []store.Consistency{local, fresh}, 1, 0, errFn},
		{"nothing written on the newest snapshot stands", []step{{snapshot: 20, newest: 20}}, read, []store.Consistency{local}, 1, 20, nil},
		{"nothing written on an old snapshot is not believed", []step{{snapshot: 19, newest: 20}, {snapshot: 22, newest: 25}}, read, []store.Consistency{local, fresh}, 1, 22, nil},
		{"an old snapshot, then a conflict", []step{{snapshot: 19, newest: 20}, {commitErr: conflict}, {newest: 30}}, readThenWrite(), []store.Consistency{local, fresh, at30}, 1, 31, nil},
		{"any other error of the commit is final", []step{{commitErr: store.ErrUnknownOutcome}}, write, []store.Consistency{local}, 0, 0, store.ErrUnknownOutcome},
		{"an error of begin is final", []step{{beginErr: store.ErrNoLeader}}, write, []store.Consistency{local}, 0, 0, store.ErrNoLeader},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &scripted{steps: c.steps}
			res, err := store.Update(t.Context(), s, c.fn)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || res.Revision != c.rev && c.want == nil {
				t.Errorf("got revision %d and error %v, want %d and %v", res.Revision, err, c.rev, c.want)
			}
			if !slices.Equal(s.begins, c.begins) {
				t.Errorf("snapshots asked for: got %v, want %v", s.begins, c.begins)
			}
			if s.looks != c.looks || s.open != 0 {
				t.Errorf("%d looks for the newest revision and %d open transactions, want %d and 0", s.looks, s.open, c.looks)
			}
		})
	}
}

// readThenWrite writes nothing the first time.
func readThenWrite() func(store.Tx) error {
	runs := 0
	return func(tx store.Tx) error {
		if runs++; runs == 1 {
			return nil
		}
		return write(tx)
	}
}

// TestUpdate_FnErrorIsReturnedAsItIs wants no wrapping: callers compare it.
func TestUpdate_FnErrorIsReturnedAsItIs(t *testing.T) {
	s := &scripted{steps: []step{{snapshot: 1, newest: 1}}}
	if _, err := store.Update(t.Context(), s, fail); err != errFn {
		t.Errorf("got error %v, want the very one of the function", err)
	}
	if s.commits != 0 {
		t.Error("a transaction whose function failed was committed")
	}
}

// TestUpdate_CantLook is without a way to know whether a snapshot was old.
func TestUpdate_CantLook(t *testing.T) {
	for name, fn := range map[string]func(store.Tx) error{"read": read, "fail": fail} {
		s := &scripted{steps: []step{{snapshot: 20, newest: 20}}, lookErr: store.ErrNoLeader}
		_, err := store.Update(t.Context(), s, fn)
		if !errors.Is(err, store.ErrNoLeader) || errors.Is(err, errFn) != (name == "fail") {
			t.Errorf("%s: got error %v, want %v, and what the function said", name, err, store.ErrNoLeader)
		}
	}
}

// TestUpdate_GivesUp bounds the retries and the time they take.
func TestUpdate_GivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{steps: []step{{commitErr: &store.ConflictError{Revision: 30}}}}
		start := time.Now()
		_, err := store.Update(t.Context(), s, write)
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("got error %v, want %v", err, store.ErrConflict)
		}
		if len(s.begins) != 1+store.RetriesMax {
			t.Errorf("%d attempts, want %d", len(s.begins), 1+store.RetriesMax)
		}
		if took := time.Since(start); took <= 0 || took > (store.RetriesMax+1)*64*time.Millisecond {
			t.Errorf("gave up after %v, want some time, but no more than 64 ms an attempt", took)
		}
	})
}

// TestUpdate_WaitsGrow looks at the waits between many attempts: each is random
// up to a bound that doubles from 1 ms to 64 ms.
func TestUpdate_WaitsGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		longest := make([]time.Duration, store.RetriesMax)
		for range 100 {
			s := &scripted{steps: []step{{commitErr: store.ErrConflict}}}
			if _, err := store.Update(t.Context(), s, write); !errors.Is(err, store.ErrConflict) {
				t.Fatalf("got error %v, want %v", err, store.ErrConflict)
			}
			for i := range longest {
				longest[i] = max(longest[i], s.at[i+1].Sub(s.at[i]))
			}
		}
		for i, got := range longest {
			bound := min(time.Millisecond<<min(i, 10), 64*time.Millisecond)
			if got >= bound || got < bound/2 {
				t.Errorf("longest wait after attempt %d: got %v, want nearly %v", i+1, got, bound)
			}
		}
	})
}

// TestUpdate_ContextEndsTheWait returns what it waited for and why it stopped.
func TestUpdate_ContextEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		s := &scripted{steps: []step{{commitErr: store.ErrConflict}}}
		start := time.Now()
		_, err := store.Update(ctx, s, write)
		if !errors.Is(err, store.ErrConflict) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got error %v, want the conflict and %v", err, context.DeadlineExceeded)
		}
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("returned after %v, want 100ms", took)
		}
	})
}

// TestUpdate_Panic leaves no transaction open.
func TestUpdate_Panic(t *testing.T) {
	s := &scripted{steps: []step{{}}}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the function's panic is gone")
			}
		}()
		_, _ = store.Update(t.Context(), s, func(store.Tx) error { panic("from the function") })
	}()
	if s.open != 0 {
		t.Errorf("%d transactions are open after a panic", s.open)
	}
}

func TestView(t *testing.T) {
	s := &scripted{steps: []step{{snapshot: 5}}}
	if err := store.View(t.Context(), s, store.AtLeast(3), fail); err != errFn {
		t.Errorf("got error %v, want the function's", err)
	}
	if err := store.View(t.Context(), s, store.AtLeast(3), read); err != nil {
		t.Errorf("got error %v, want none", err)
	}
	if s.open != 0 || s.commits != 0 || s.begins[0] != store.AtLeast(3) {
		t.Errorf("%d transactions open, %d committed, begun with %v", s.open, s.commits, s.begins[0])
	}
	s.steps[0].beginErr = store.ErrStale
	if err := store.View(t.Context(), s, store.Linearizable(), read); !errors.Is(err, store.ErrStale) {
		t.Errorf("got error %v, want %v", err, store.ErrStale)
	}
}
