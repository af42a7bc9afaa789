package raftstore_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
	"github.com/spire-raft/spire-raft/store"
)

// slowLog takes a while for each write.
type slowLog struct {
	logstore.Backend
	delay *atomic.Int64
}

func (l *slowLog) StoreLogs(logs []*raft.Log) error {
	time.Sleep(time.Duration(l.delay.Load()))
	return l.Backend.StoreLogs(logs)
}

func (l *slowLog) Set(key, value []byte) error {
	time.Sleep(time.Duration(l.delay.Load()))
	return l.Backend.Set(key, value)
}

// TestSim_LeaderIsElectedOnSlowDisks lets the leader die where a write of the
// log takes longer than half the election timeout. The others must go on, if
// slowly; and once the disks are fast again an election is as short as ever.
func TestSim_LeaderIsElectedOnSlowDisks(t *testing.T) {
	t.Parallel()
	var delay atomic.Int64
	slow := func(cfg *raftstore.Config) {
		cfg.WrapLog(func(b logstore.Backend) logstore.Backend { return &slowLog{b, &delay} })
	}
	simulate(t, 5, 3, slow, func(s *sim) {
		delay.Store(int64(300 * time.Millisecond))
		victim := s.elected()
		s.crash(victim)
		n := s.node(s.others(victim)[0])
		s.put(n, time.Minute)
		for range 20 {
			s.put(n, 10*time.Second)
		}

		delay.Store(0)
		for range 50 {
			s.put(n, 10*time.Second)
		}
		s.restart(victim)
		time.Sleep(10 * time.Second) // it catches up
		leader, begun := s.elected(), time.Now()
		s.crash(leader)
		s.elected(s.others(leader)...)
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("with fast disks again the election took %v", took)
		}
	})
}

// put writes through n within a time.
func (s *sim) put(n *raftstore.Node, within time.Duration) {
	s.tb.Helper()
	s.within(within, "a write is acknowledged", func() error {
		ctx, cancel := context.WithTimeout(s.ctx, within)
		defer cancel()
		_, err := n.Put(ctx, store.Pair{Key: []byte("k")})
		return err
	})
}
