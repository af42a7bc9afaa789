package txn_test

import (
	"context"
	"maps"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a backend that shows what a runner asks of it. Its state changes only
// where a test changes it.
type fake struct {
	pairs     map[string]store.KeyValue
	cursor    store.Cursor
	snapshots int // taken
	open      int // taken and not closed

	snapshotErr error
	commit      func(ctx context.Context, in *txn.Intent) (store.Result, error) // nil accepts everything
	intents     []txn.Intent
}

// newFake holds pairs written as key, value, key, value ... at revision 7.
func newFake(pairs ...string) *fake {
	f := &fake{pairs: make(map[string]store.KeyValue), cursor: store.Cursor{Epoch: 1, Revision: 7}}
	for i := 0; i < len(pairs); i += 2 {
		f.pairs[pairs[i]] = store.KeyValue{Key: []byte(pairs[i]), Value: []byte(pairs[i+1]), ModRevision: 3}
	}
	return f
}

func (f *fake) runner() *txn.Runner {
	return txn.NewRunner(f.snapshot, func(ctx context.Context, in *txn.Intent) (store.Result, error) {
		f.intents = append(f.intents, *in)
		if f.commit != nil {
			return f.commit(ctx, in)
		}
		return store.Result{Revision: f.cursor.Revision + 1}, nil
	})
}

func (f *fake) snapshot(context.Context, store.Consistency) (txn.Snapshot, error) {
	if f.snapshotErr != nil {
		return nil, f.snapshotErr
	}
	f.snapshots++
	f.open++
	return &fakeSnapshot{fake: f, cursor: f.cursor, pairs: maps.Clone(f.pairs)}, nil
}

type fakeSnapshot struct {
	fake   *fake
	cursor store.Cursor
	pairs  map[string]store.KeyValue
	closed bool
}

func (s *fakeSnapshot) Cursor() store.Cursor { return s.cursor }

func (s *fakeSnapshot) Get(key []byte) (store.KeyValue, bool, error) {
	kv, found := s.pairs[string(key)]
	return kv, found, nil
}

func (s *fakeSnapshot) Scan(r store.Range, fn func(store.KeyValue) bool) error {
	for _, key := range slices.Sorted(maps.Keys(s.pairs)) {
		if r.Contains([]byte(key)) && !fn(s.pairs[key]) {
			return nil
		}
	}
	return nil
}

func (s *fakeSnapshot) Close() {
	if s.closed {
		panic("a snapshot was closed twice")
	}
	s.closed = true
	s.fake.open--
}

func begin(t *testing.T, r *txn.Runner, opts store.TxOptions) store.Tx {
	t.Helper()
	tx, err := r.Begin(t.Context(), opts)
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	t.Cleanup(tx.Abort)
	return tx
}

func check(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
