package fsm_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/storetest"
	"github.com/spire-raft/spire-raft/store/txn"
)

// A machine that applies its own transactions must be a store like any other:
// the suite of package storetest, and its model with random operations, judge
// what transactions do.

func TestConformance(t *testing.T) { storetest.Run(t, openLocal) }

func TestModel(t *testing.T) { storetest.RunModel(t, openLocal) }

func openLocal(tb testing.TB, opts storetest.Options) []store.Store {
	m, err := fsm.Open(options(tb.TempDir()))
	if err != nil {
		tb.Fatal(err)
	}
	l := &local{machine: m, done: make(chan struct{}), watchers: make(chan struct{}, 1024)}
	l.Runner = txn.NewRunner(l.snapshot, l.commit)
	tb.Cleanup(func() {
		scrub := func() error { _, err := m.Scrub(context.Background()); return err }
		select {
		case <-l.done: // by the test
		default:
			if err := scrub(); err != nil {
				tb.Error(err)
			}
		}
		if err := l.Close(); err != nil {
			tb.Error(err)
		}
	})
	if opts.HistoryBytesMax != 0 {
		apply(tb, m, fsm.EncodeSetHistoryBudget(uint64(opts.HistoryBytesMax)))
	}
	return []store.Store{l, l}
}

// local is a store without replication: its log is the order of its commits.
type local struct {
	*txn.Runner
	machine  *fsm.Machine
	commitMu sync.Mutex
	once     sync.Once
	done     chan struct{}
	watchers chan struct{}
}

func (l *local) snapshot(ctx context.Context, c store.Consistency) (txn.Snapshot, error) {
	least, _ := c.MinRevision()
	if err := l.machine.WaitRevision(ctx, least); err != nil {
		return nil, err
	}
	return l.machine.View()
}

func (l *local) commit(ctx context.Context, in *txn.Intent) (store.Result, error) {
	cmd, err := fsm.EncodeTransaction(in)
	if err != nil {
		return store.Result{}, err
	}
	if err := fsm.CheckCommand(cmd); err != nil {
		return store.Result{}, err
	}
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	all, err := l.machine.Apply([]fsm.Entry{entry(l.machine.Position().Index+1, cmd)})
	if err != nil {
		return store.Result{}, err
	}
	switch res := all[0][0]; res.Outcome {
	case fsm.Committed:
		return store.Result{Revision: res.Revision, Numbers: res.Numbers}, nil
	case fsm.Conflict:
		return store.Result{}, &store.ConflictError{Revision: res.Revision}
	default:
		return store.Result{}, fmt.Errorf("%w: %s", store.ErrInvalid, res.Detail)
	}
}

func (l *local) Close() error {
	l.once.Do(func() { close(l.done) })
	l.Runner.End(store.ErrClosed)
	return l.machine.Close()
}

func (l *local) Watch(ctx context.Context, after store.Cursor, prefixes ...[]byte) (store.Watcher, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(prefixes) > store.WatchPrefixesMax {
		return nil, fmt.Errorf("%w: %d prefixes exceed WatchPrefixesMax %d", store.ErrTooLarge, len(prefixes), store.WatchPrefixesMax)
	}
	w := &localWatcher{local: l, after: after, done: make(chan struct{})}
	for _, p := range prefixes {
		if len(p) > store.KeyBytesMax {
			return nil, store.ErrTooLarge
		}
		w.prefixes = append(w.prefixes, bytes.Clone(p))
	}
	select {
	case <-l.done:
		return nil, store.ErrClosed
	default:
	}
	select {
	case l.watchers <- struct{}{}:
		return w, nil
	default:
		return nil, store.ErrTooManyWatchers
	}
}

type localWatcher struct {
	local    *local
	after    store.Cursor
	prefixes [][]byte
	once     sync.Once
	done     chan struct{}
}

func (w *localWatcher) Close() error {
	w.once.Do(func() { close(w.done); <-w.local.watchers })
	return nil
}

func (w *localWatcher) Next(ctx context.Context) (store.Batch, error) {
	mark := time.NewTimer(time.Second)
	defer mark.Stop()
	due := false
	for {
		if err := w.ended(ctx); err != nil {
			return store.Batch{}, err
		}
		advanced := w.local.machine.Advanced()
		batches, err := w.local.machine.History(w.after, 1<<20)
		if err != nil {
			return store.Batch{}, err
		}
		for _, b := range batches {
			w.after = b.Cursor
			b.Events = slices.DeleteFunc(b.Events, func(e store.Event) bool { return !w.wants(e.Key) })
			if len(b.Events) > 0 {
				return b, nil
			}
		}
		if len(batches) > 0 {
			continue
		}
		if cursor := w.local.machine.Position().Cursor; due && w.after.Revision == cursor.Revision {
			return store.Batch{Cursor: cursor}, nil
		}
		select {
		case <-advanced:
		case <-mark.C:
			due = true
		case <-w.done:
		case <-ctx.Done():
		}
	}
}

func (w *localWatcher) ended(ctx context.Context) error {
	select {
	case <-w.done:
		return store.ErrClosed
	default:
		return ctx.Err()
	}
}

func (w *localWatcher) wants(key []byte) bool {
	return len(w.prefixes) == 0 || slices.ContainsFunc(w.prefixes, func(p []byte) bool { return bytes.HasPrefix(key, p) })
}
