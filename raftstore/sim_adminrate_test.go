package raftstore_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
)

// TestSim_AFloodOfRemovalsDoesNotHoldUpItsEnd has a member bar ids without end,
// many at a time, where disks are slow. The operator gets rid of it, and little
// was written for it.
func TestSim_AFloodOfRemovalsDoesNotHoldUpItsEnd(t *testing.T) {
	t.Parallel()
	var delay atomic.Int64
	slow := func(cfg *raftstore.Config) {
		cfg.WrapLog(func(b logstore.Backend) logstore.Backend { return &slowLog{b, &delay} })
	}
	simulate(t, 77, 3, slow, func(s *sim) {
		leader := s.elected()
		evil := s.others(leader)[0]
		n := s.node(leader)
		before := n.Status().LastLogIndex
		delay.Store(int64(30 * time.Millisecond))
		ctx, cancel := context.WithCancel(s.ctx)
		var wg sync.WaitGroup
		for i := range 400 {
			wg.Go(func() {
				for k := 0; ctx.Err() == nil; k++ {
					if s.node(evil).RemoveServer(ctx, fmt.Sprintf("invented-%d-%d", i, k)) != nil {
						time.Sleep(10 * time.Millisecond)
					}
				}
			})
		}
		time.Sleep(3 * time.Second)
		begun := time.Now()
		removal, end := context.WithTimeout(s.ctx, 10*time.Second)
		defer end()
		if err := n.RemoveServer(removal, s.name(evil)); err != nil {
			t.Errorf("the member that floods isn't removed: %v", err)
		}
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("its removal took %v", took)
		}
		cancel()
		wg.Wait()
		if entries := n.Status().LastLogIndex - before; entries > 60 {
			t.Errorf("%d entries were written meanwhile", entries)
		}
	})
}
