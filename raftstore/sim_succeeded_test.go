package raftstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// TestSim_SucceededLeaderLooksLikeNoEndOfTheContext cuts off the leader with a
// write of a follower on its way to it. That the request is given up once the
// others have elected is the node's doing. Who asks errors.Is whether the
// context has ended, as SPIRE does to know that it was stopped, must be told no.
func TestSim_SucceededLeaderLooksLikeNoEndOfTheContext(t *testing.T) {
	t.Parallel()
	simulate(t, 3, 3, nil, func(s *sim) {
		leader := s.elected()
		asked := s.node(s.others(leader)[0])
		if _, err := asked.Put(s.ctx, store.Pair{Key: []byte("before")}); err != nil {
			t.Fatal(err)
		}
		s.net.Partition([]string{s.name(leader)})
		ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
		defer cancel()
		_, err := asked.Put(ctx, store.Pair{Key: []byte("k")})
		if !errors.Is(err, store.ErrUnknownOutcome) || ctx.Err() != nil {
			t.Fatalf("got %v, context %v; want an unknown outcome before the context ends", err, ctx.Err())
		}
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller's context goes on, and the error has the end of one in its chain: %v", err)
		}
		s.net.Heal()
	})
}
