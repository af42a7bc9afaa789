package raftstore_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/simtest"
	"github.com/spire-raft/spire-raft/store"
)

// leading returns the place of a node that leads now, -1 if none does.
func (s *sim) leading(among ...int) int {
	if len(among) == 0 {
		for i := range s.size() {
			among = append(among, i)
		}
	}
	for _, i := range among {
		if n := s.node(i); n != nil && n.Status().Role == raftstore.RoleLeader {
			return i
		}
	}
	return -1
}

// within waits until check returns nil, in the time that the cluster has for
// it.
func (s *sim) within(limit time.Duration, what string, check func() error) {
	s.tb.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.tb.Fatalf("waited %v until %s: %v", limit, what, err)
		}
		time.Sleep(sampleInterval)
	}
}

// elected waits for a leader among the given nodes, all by default, and returns
// its place.
func (s *sim) elected(among ...int) (leader int) {
	s.tb.Helper()
	s.within(electMax, "there is a leader", func() error {
		if leader = s.leading(among...); leader < 0 {
			return errors.New("no node leads")
		}
		return nil
	})
	return leader
}

// voters waits until the leader knows that many voters, itself included.
func (s *sim) voters(want int) {
	s.tb.Helper()
	s.within(convergeMax, fmt.Sprintf("%d nodes vote", want), func() error {
		leader := s.leading()
		if leader < 0 {
			return errors.New("no node leads")
		}
		got := 1
		for _, p := range s.node(leader).Status().Peers {
			if p.Voter {
				got++
			}
		}
		if got != want {
			return fmt.Errorf("%d do", got)
		}
		return nil
	})
}

// sameState waits until all nodes that are up have the state of a leader that
// has nothing more to do.
func (s *sim) sameState() {
	s.tb.Helper()
	s.within(convergeMax, "all nodes have the same state", func() error {
		ctx, cancel := context.WithTimeout(s.ctx, time.Second)
		defer cancel()
		var first raftstore.Status
		for i := range s.size() {
			n := s.node(i)
			if n == nil {
				continue
			}
			if _, err := n.Revision(ctx, store.Linearizable()); err != nil {
				return fmt.Errorf("%s: %w", s.name(i), err)
			}
			st := n.Status()
			if first.NodeID == "" {
				first = st
			}
			if st.AppliedIndex != first.AppliedIndex {
				return fmt.Errorf("%s is at index %d, %s at %d", st.NodeID, st.AppliedIndex, first.NodeID, first.AppliedIndex)
			}
			if st.StateHash != first.StateHash {
				s.tb.Fatalf("%s and %s have different states at index %d", st.NodeID, first.NodeID, st.AppliedIndex)
			}
		}
		return nil
	})
}

// settled waits for the same state on all nodes that are up, and returns the
// history that all of them tell.
func (s *sim) settled() []store.Batch {
	s.tb.Helper()
	s.sameState()
	var history []store.Batch
	for i := range s.size() {
		n := s.node(i)
		if n == nil {
			continue
		}
		h := s.history(n, store.Cursor{})
		if history == nil {
			history = h
		}
		if err := simtest.SameHistory(history, h); err != nil {
			s.tb.Errorf("%s: %v", s.name(i), err)
		}
	}
	return history
}

// history returns all that a node tells behind a cursor.
func (s *sim) history(n *raftstore.Node, after store.Cursor) []store.Batch {
	s.tb.Helper()
	w, err := n.Watch(s.ctx, after)
	if err != nil {
		s.tb.Fatalf("watch from %v: %v", after, err)
	}
	defer w.Close()
	end := n.Status().Cursor.Revision
	var out []store.Batch
	for int(after.Revision)+len(out) < int(end) {
		b, err := w.Next(s.ctx)
		if err != nil {
			s.tb.Fatalf("watch from %v: %v", after, err)
		}
		if len(b.Events) > 0 {
			out = append(out, b)
		}
	}
	return out
}
