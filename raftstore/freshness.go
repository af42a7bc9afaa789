package raftstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

// freshness knows since when this node's state is known to be complete. Times
// are monotonic.
type freshness struct {
	mu        sync.Mutex // guards confirmed
	confirmed time.Time
}

// mark notes that the state has everything that was acknowledged before begun.
func (f *freshness) mark(begun time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if begun.After(f.confirmed) {
		f.confirmed = begun
	}
}

// age is the staleness of the state, at most. It is false before the first
// confirmation.
func (f *freshness) age() (time.Duration, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Since(f.confirmed), !f.confirmed.IsZero()
}

// staleWait bounds how long a bounded-stale read that is over its bound waits
// for a leader before it ends in ErrStale.
const staleWait = time.Second

// snapshot implements [txn.SnapshotFunc].
func (n *Node) snapshot(ctx context.Context, c store.Consistency) (txn.Snapshot, error) {
	if err := n.live(); err != nil {
		return nil, err
	}
	ctx, cancel := n.bound(ctx)
	defer cancel()
	if err := n.reach(ctx, c); err != nil {
		return nil, err
	}
	view, err := n.machine.View()
	if err != nil {
		return nil, n.explain(err)
	}
	return view, nil
}

// reach waits until the local state is as fresh as c demands.
func (n *Node) reach(ctx context.Context, c store.Consistency) error {
	if revision, ok := c.MinRevision(); ok {
		if err := n.machine.WaitRevision(ctx, revision); err != nil {
			return n.explain(fmt.Errorf("wait for revision %d: %w", revision, err))
		}
		return nil
	}
	bound, ok := c.MaxAge()
	if !ok {
		return n.linearize(ctx)
	}
	if age, known := n.freshness.age(); known && age <= bound {
		return nil
	}
	return n.refresh(ctx, bound)
}

// refresh makes the local state fresh for a read that allows it to be at most
// bound old.
func (n *Node) refresh(ctx context.Context, bound time.Duration) error {
	wait, cancel := context.WithTimeout(ctx, staleWait)
	defer cancel()
	err := n.linearize(wait)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil || n.live() != nil {
		return err
	}
	age, known := n.freshness.age()
	if !known {
		return fmt.Errorf("%w: this node's data has not been confirmed since it started, and now: %w", store.ErrStale, err)
	}
	return fmt.Errorf("%w: confirmed %v ago, %v allowed; a fresh confirmation: %w",
		store.ErrStale, age.Round(time.Millisecond), bound, err)
}

// linearize waits until the local state has everything that was acknowledged
// before the call.
func (n *Node) linearize(ctx context.Context) error {
	r, err := n.readIndex(ctx)
	if err != nil {
		return err
	}
	if err := n.machine.WaitIndex(ctx, r.index); err != nil {
		return n.explain(fmt.Errorf("wait for index %d to be applied: %w", r.index, err))
	}
	n.freshness.mark(r.begun)
	return nil
}

// keepFresh confirms the local state in the background, so that bounded-stale
// reads need not.
func (n *Node) keepFresh(ctx context.Context) {
	every(ctx, n.cfg.Timing.FreshnessInterval, func() {
		attempt, cancel := context.WithTimeout(ctx, n.cfg.Timing.FreshnessInterval)
		defer cancel()
		_ = n.linearize(attempt) // the age tells when it fails
	})
}

// every calls fn each interval until ctx ends.
func every(ctx context.Context, interval time.Duration, fn func()) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			fn()
		case <-ctx.Done():
			return
		}
	}
}
