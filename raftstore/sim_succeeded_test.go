package raftstore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// TestSim_SucceededLeaderLooksLikeNoEndOfTheContext cuts off the leader with a
// write of a follower on its way to it, and lets nobody lead after it. That the
// request is given up is the node's doing. Who asks errors.Is whether the context
// has ended, as SPIRE does to know that it was stopped, must be told no.
func TestSim_SucceededLeaderLooksLikeNoEndOfTheContext(t *testing.T) {
	t.Parallel()
	simulate(t, 3, 3, nil, func(s *sim) {
		leader := s.elected()
		asked := s.others(leader)[0]
		if _, err := s.node(asked).Put(s.ctx, store.Pair{Key: []byte("before")}); err != nil {
			t.Fatal(err)
		}
		s.net.Partition([]string{s.name(leader)}, []string{s.name(asked)})
		_, err := s.node(asked).Put(s.ctx, store.Pair{Key: []byte("k")}) // the node bounds it
		if !errors.Is(err, store.ErrUnknownOutcome) || s.ctx.Err() != nil {
			t.Fatalf("got %v, context %v; want an unknown outcome", err, s.ctx.Err())
		}
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller's context goes on, and the error has the end of one in its chain: %v", err)
		}
		s.net.Heal()
	})
}

// TestSim_SucceededLeaderCostsNoAnswer cuts off the leader with a write of a
// follower on its way to it. The next leader shows what became of it.
func TestSim_SucceededLeaderCostsNoAnswer(t *testing.T) {
	t.Parallel()
	simulate(t, 4, 3, nil, func(s *sim) {
		for i := range 5 {
			leader := s.elected()
			asked := s.node(s.others(leader)[0])
			s.isolate(leader)
			ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
			if err := create(ctx, asked, fmt.Sprint(i)); err != nil {
				t.Errorf("write %d: %v", i, err)
			}
			cancel()
			s.heal()
			s.settled()
		}
	})
}
