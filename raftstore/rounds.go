package raftstore

import (
	"context"
	"sync"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// rounds shares the confirmations of a read index among readers. A reader may
// use only a round that begins after it asked, so there is one round under way
// and at most one that collects readers and begins when that has ended.
type rounds struct {
	// confirm runs one round and returns the read index and the term that it was
	// confirmed in.
	confirm func(ctx context.Context) (index, term uint64, err error)

	// spawn starts a goroutine that the node waits for when it is closed, or
	// returns false where that has begun.
	spawn func(func(ctx context.Context)) bool

	mu      sync.Mutex // guards the fields below
	running bool
	next    *round
}

// round is one confirmation. Its fields are set before done is closed.
type round struct {
	done  chan struct{}
	begun time.Time // when it began
	index uint64
	term  uint64 // that index was confirmed in
	err   error
}

// join waits for a round that begins from now on. Rounds end with the node, not
// with a reader, so that one that gives up takes nothing from the others.
func (r *rounds) join(ctx context.Context) (*round, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &round{done: make(chan struct{})}
	}
	mine := r.next
	if !r.running {
		r.running = r.spawn(r.run)
	}
	running := r.running
	r.mu.Unlock()
	if !running {
		return nil, store.ErrClosed
	}

	select {
	case <-mine.done:
		return mine, mine.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run does round after round while readers wait.
func (r *rounds) run(ctx context.Context) {
	for {
		r.mu.Lock()
		current := r.next
		r.next = nil
		if current == nil {
			r.running = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()

		current.begun = time.Now()
		current.index, current.term, current.err = r.confirm(ctx)
		close(current.done)
	}
}
