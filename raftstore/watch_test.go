package raftstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
)

func TestWatch_Limit(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, func(cfg *raftstore.Config) { cfg.WatchersMax = 2 })
	n := c.nodes[0]
	watch := func(prefixes ...[]byte) (store.Watcher, error) { return n.Watch(c.ctx(), store.Cursor{}, prefixes...) }
	mustWatch := func() store.Watcher {
		t.Helper()
		w, err := watch()
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	full := func() {
		t.Helper()
		if _, err := watch(); !errors.Is(err, store.ErrTooManyWatchers) || !strings.Contains(err.Error(), "WatchersMax is 2") {
			t.Errorf("a third watcher: got error %v, want %v that names WatchersMax", err, store.ErrTooManyWatchers)
		}
		if open := n.Status().Watchers; open != 2 {
			t.Errorf("status has %d watchers, want 2", open)
		}
	}
	first := mustWatch()
	if _, err := watch(make([][]byte, store.WatchPrefixesMax+1)...); !errors.Is(err, store.ErrTooLarge) {
		t.Fatalf("too many prefixes: %v", err)
	}
	second := mustWatch() // the one that was refused took no place
	full()
	for range 2 { // the second time it has no place to free
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	}
	third := mustWatch()
	full()
	for _, w := range []store.Watcher{second, third} {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	if open := n.Status().Watchers; open != 0 {
		t.Errorf("status has %d watchers after all are closed", open)
	}
}

// TestSim_ProgressMarks has an idle watcher told every ProgressInterval how far
// it is, and soon after what it didn't ask for, but not by a node that is behind
// it.
func TestSim_ProgressMarks(t *testing.T) {
	t.Parallel()
	const interval = 3 * time.Second
	slow := func(cfg *raftstore.Config) { cfg.ProgressInterval = interval }
	simulate(t, 20, 1, slow, func(s *sim) {
		n := s.node(0)
		if _, err := n.Put(s.ctx, store.Pair{Key: []byte("k")}); err != nil {
			t.Fatal(err)
		}
		at := n.Status().Cursor
		w, err := n.Watch(s.ctx, at, []byte("k"))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		next := func(events int) store.Batch {
			t.Helper()
			b, err := w.Next(s.ctx)
			if err != nil || len(b.Events) != events {
				t.Fatalf("got %d events, error %v, want %d events", len(b.Events), err, events)
			}
			return b
		}
		for range 3 {
			begun := time.Now()
			if b := next(0); b.Cursor != at || time.Since(begun) != interval {
				t.Errorf("a mark of %v came after %v, want one of %v after %v", b.Cursor, time.Since(begun), at, interval)
			}
		}
		// What the watcher doesn't ask for moves its marks all the same.
		if _, err := n.Put(s.ctx, store.Pair{Key: []byte("other")}); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if b := next(0); b.Cursor != n.Status().Cursor || b.Cursor == at || time.Since(begun) > interval/100 {
			t.Errorf("a mark of %v, %v after a change of another key, want one of %v soon", b.Cursor, time.Since(begun), n.Status().Cursor)
		}

		ahead, err := n.Watch(s.ctx, store.Cursor{Revision: at.Revision + 3})
		if err != nil {
			t.Fatal(err)
		}
		defer ahead.Close()
		err = s.bounded(4*interval, func(ctx context.Context) error {
			b, err := ahead.Next(ctx)
			if err == nil {
				t.Errorf("a node at revision %d tells a watcher %+v", n.Status().Cursor.Revision, b)
			}
			return err
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("watch from a revision that is not there yet: %v", err)
		}
	})
}
