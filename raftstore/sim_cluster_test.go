package raftstore_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/simtest"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/memnet"
)

var simLog = flag.Bool("sim.log", false, "show the logs of simulated nodes")

const (
	// After everything is healed there is a leader within electMax, and all
	// nodes have the same state within convergeMax.
	electMax    = 10 * time.Second
	convergeMax = 30 * time.Second

	simLatency = time.Millisecond
	simJitter  = 2 * time.Millisecond

	// simProgress makes watchers promise much.
	simProgress = 10 * time.Millisecond

	// sampleInterval is the time between looks at the status of every node.
	sampleInterval = 5 * time.Millisecond
)

// sim is a cluster in a bubble of testing/synctest, on a network in memory. The
// files of its nodes are real.
type sim struct {
	*cluster
	net     *memnet.Net
	offices simtest.Offices
	ctx     context.Context // ends before the nodes are closed
	work    sync.WaitGroup  // what runs until ctx ends

	mu   sync.Mutex // guards what clients see of cluster.nodes, and the fields below
	up   []bool
	gone map[int]bool // removed from the cluster
	seen map[*raftstore.Node]raftstore.Status
}

// simulate runs fn in a bubble with a cluster of voters.
func simulate(t *testing.T, seed uint64, size int, adjust func(*raftstore.Config), fn func(s *sim)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		s := &sim{
			cluster: c,
			net:     memnet.New(memnet.Config{Seed: seed, Latency: simLatency, Jitter: simJitter}),
			gone:    make(map[int]bool),
			seen:    make(map[*raftstore.Node]raftstore.Status),
		}
		c.network = func(node string) transport.Network { return s.net.Host(node) }
		c.address = func(node string) string { return node + ":7000" }
		c.adjust = func(cfg *raftstore.Config) {
			if !*simLog {
				cfg.Logger = slog.New(slog.DiscardHandler)
			}
			cfg.ProgressInterval = simProgress
			if adjust != nil {
				adjust(cfg)
			}
		}
		c.grow(size)
		for range c.nodes {
			s.up = append(s.up, true)
		}
		var cancel context.CancelFunc
		s.ctx, cancel = context.WithCancel(t.Context())
		defer func() {
			cancel()
			s.work.Wait()
			s.sample()
			if err := s.offices.Check(); err != nil {
				t.Error(err)
			}
		}()
		s.work.Go(func() { s.every(sampleInterval, s.sample) })
		fn(s)
	})
}

// every calls fn each interval until the simulation ends.
func (s *sim) every(interval time.Duration, fn func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fn()
		case <-s.ctx.Done():
			return
		}
	}
}

// node returns node i, or nil while it is down.
func (s *sim) node(i int) *raftstore.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.up[i] {
		return nil
	}
	return s.nodes[i]
}

// size is how many nodes there are, those that are down included.
func (s *sim) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.up)
}

func (s *sim) name(i int) string { return fmt.Sprintf("node-%d", i+1) }

// sample looks at every node: it notes who leads, and demands that nothing
// goes backwards while a node runs.
func (s *sim) sample() {
	for i := range s.size() {
		n := s.node(i)
		if n == nil {
			continue
		}
		st := n.Status()
		// The role is read before the term, so one that holds both before and
		// after the same term was held in it.
		if again := n.Status(); st.Role == raftstore.RoleLeader && again.Role == raftstore.RoleLeader && st.Term == again.Term {
			s.offices.Saw(st.NodeID, st.Term)
		}
		s.mu.Lock()
		last := s.seen[n]
		s.seen[n] = st
		s.mu.Unlock()
		if st.Term < last.Term || st.AppliedIndex < last.AppliedIndex || st.Cursor.Revision < last.Cursor.Revision {
			s.tb.Errorf("%s went back from term %d, index %d, revision %d to term %d, index %d, revision %d", st.NodeID,
				last.Term, last.AppliedIndex, last.Cursor.Revision, st.Term, st.AppliedIndex, st.Cursor.Revision)
		}
		if st.Diverged {
			s.tb.Errorf("%s found a state hash that differs from its own at the same index", st.NodeID)
		}
	}
}
