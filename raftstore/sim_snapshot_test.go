package raftstore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
)

const (
	shortTrailing = 64 // the least
	shortCompact  = 16

	// compactWait is more than the time between two looks at the log's length.
	compactWait = 25 * time.Second
)

// shortLog makes nodes keep as little of the log as they may.
func shortLog(cfg *raftstore.Config) {
	cfg.Log = raftstore.LogConfig{TrailingEntries: shortTrailing, CompactEntries: shortCompact}
}

// logStart is the first index in a node's log.
func (s *sim) logStart(i int) uint64 {
	s.tb.Helper()
	first, err := s.node(i).LogFirstIndex()
	if err != nil {
		s.tb.Fatal(err)
	}
	return first
}

// outgrow waits until the logs of all nodes that are up begin behind index.
func (s *sim) outgrow(index uint64) {
	s.tb.Helper()
	s.within(10*compactWait, fmt.Sprintf("logs begin behind index %d", index), func() error {
		for i := range s.size() {
			if s.node(i) != nil && s.logStart(i) <= index+1 {
				return fmt.Errorf("%s begins at %d", s.name(i), s.logStart(i))
			}
		}
		return nil
	})
}

// TestSim_SnapshotBringsBackAFollower has a follower miss more than is left of
// the log, under load: it has to be sent the state. Its watchers go on as if
// nothing had been.
func TestSim_SnapshotBringsBackAFollower(t *testing.T) {
	t.Parallel()
	simulate(t, 5, 3, shortLog, func(s *sim) {
		l := s.startLoad(5, 6)
		for round := range 3 {
			leader := s.elected()
			behind := s.others(leader)[round%2]
			missed := s.node(behind).Status().LastLogIndex
			s.crash(behind)
			s.outgrow(missed)
			s.restart(behind)
			s.wantInstalled(behind, missed)
		}
		l.finish()
	})
}

// TestSim_LogBoundedInBytes has a follower miss more than the log keeps in bytes,
// which is far less than it may have in entries.
func TestSim_LogBoundedInBytes(t *testing.T) {
	t.Parallel()
	few := func(cfg *raftstore.Config) {
		cfg.Log = raftstore.LogConfig{TrailingBytes: 24 << 10, CompactBytes: 24 << 10}
	}
	simulate(t, 14, 3, few, func(s *sim) {
		l := s.startLoad(14, 6)
		leader := s.elected()
		behind := s.others(leader)[0]
		missed := s.node(behind).Status().LastLogIndex
		s.crash(behind)
		s.outgrow(missed)
		s.restart(behind)
		s.wantInstalled(behind, missed)
		l.finish()
		for i := range s.size() {
			first, last := s.logStart(i), s.node(i).Status().LastLogIndex
			if have := last + 1 - first; have < shortTrailing {
				t.Errorf("the log of %s has %d entries, fewer than a follower may need", s.name(i), have)
			}
		}
	})
}

// wantInstalled waits until a node that had everything up to index has caught
// up, and demands that it was sent the state for that: its log lacks what
// followed.
func (s *sim) wantInstalled(i int, index uint64) {
	s.tb.Helper()
	s.within(convergeMax, "the node has the state", func() error {
		if st := s.node(i).Status(); st.AppliedIndex <= index+shortTrailing {
			return fmt.Errorf("it has applied %d, and had %d", st.AppliedIndex, index)
		}
		return nil
	})
	if has, err := s.node(i).HasLogEntry(index + 1); has || err != nil {
		s.tb.Errorf("the log of %s has entry %d (error %v), so that it was not sent the state", s.name(i), index+1, err)
	}
}

// TestSim_SnapshotForAJoiningNode has nodes join after the beginning of the log
// is gone, while clients write, one of them while the leader changes.
func TestSim_SnapshotForAJoiningNode(t *testing.T) {
	t.Parallel()
	simulate(t, 6, 3, shortLog, func(s *sim) {
		l := s.startLoad(6, 6)
		s.outgrow(1)
		joined := s.join(s.elected())
		s.wantInstalled(joined, 0)
		ctx, cancel := context.WithTimeout(s.ctx, electMax)
		defer cancel()
		if err := s.node(s.elected()).TransferLeadership(ctx); err != nil {
			t.Error(err)
		}
		s.wantInstalled(s.join(s.elected()), 0)
		s.voters(5)
		l.finish()
	})
}

// TestSim_SnapshotWithoutTheHistory has a follower miss more than the history
// holds: a watcher on it must be told, and list anew.
func TestSim_SnapshotWithoutTheHistory(t *testing.T) {
	t.Parallel()
	little := func(cfg *raftstore.Config) {
		shortLog(cfg)
		cfg.HistoryBytesMax = 8 << 10
	}
	simulate(t, 7, 3, little, func(s *sim) {
		leader := s.elected()
		behind := s.others(leader)[0]
		put := func(i int) {
			pair := store.Pair{Key: fmt.Appendf(nil, "k%d", i%50), Value: value(100)}
			if _, err := s.node(leader).Put(s.ctx, pair); err != nil {
				t.Fatal(err)
			}
		}
		put(0)
		s.settled()
		before := s.node(behind).Status()
		s.crash(behind)
		for i := range 400 {
			put(i)
		}
		s.outgrow(before.LastLogIndex)
		s.restart(behind)
		s.wantInstalled(behind, before.LastLogIndex)
		s.sameState()

		n := s.node(behind)
		w, err := n.Watch(s.ctx, before.Cursor)
		if err == nil {
			defer w.Close()
			_, err = w.Next(s.ctx)
		}
		var compacted *store.CompactedError
		if !errors.As(err, &compacted) {
			t.Fatalf("watch from %v: got %v, want %v", before.Cursor, err, store.ErrCompacted)
		}
		if h := s.history(n, compacted.Compact); len(h) == 0 || h[0].Cursor.Revision != compacted.Compact.Revision+1 {
			t.Errorf("after %v come %d batches, want what follows at once", compacted.Compact, len(h))
		}
		for _, i := range s.others(-1) {
			kvs, _, err := s.node(i).Get(s.ctx, store.AtLeast(0), store.Range{})
			if err != nil || len(kvs) != 50 {
				t.Errorf("%s has %d keys and %v, want 50", s.name(i), len(kvs), err)
			}
		}
	})
}
