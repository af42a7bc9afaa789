package raftstore_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/simtest"
	"github.com/spire-raft/spire-raft/store"
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
		c.dir = memoryDir(t)
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

// memoryDir returns a directory in memory where the system has such: for tests
// that lose no page of the system's cache, so that a disk would only cost time.
func memoryDir(tb testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "raftstore-test-")
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
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

// crash takes node i down as a power cut does: nothing that it says on its way
// down reaches the others. What it has acknowledged is on disk.
func (s *sim) crash(i int) {
	s.tb.Helper()
	s.net.Host(s.name(i)).Stop()
	s.stop(i)
}

// stop closes node i as an operator does.
func (s *sim) stop(i int) {
	s.tb.Helper()
	n := s.node(i)
	if err := n.Close(); err != nil {
		s.tb.Errorf("close %s: %v", s.name(i), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up[i] = false
}

// restart opens node i again.
func (s *sim) restart(i int) {
	s.tb.Helper()
	s.net.Host(s.name(i)).Start()
	cfg := s.configs[i]
	cfg.Bootstrap, cfg.Join = false, nil
	n := s.mustOpen(cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[i], s.up[i] = n, true
}

// join takes a new node in and returns its place. It gets a vote soon.
func (s *sim) join(through int) int {
	s.tb.Helper()
	s.mu.Lock()
	place := len(s.nodes)
	s.mu.Unlock()
	cfg := s.config(s.name(place))
	cfg.Join = &raftstore.JoinConfig{Addresses: []string{s.address(s.name(through))}, Token: s.joinToken(through)}
	n := s.mustOpen(cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes, s.configs, s.up = append(s.nodes, n), append(s.configs, cfg), append(s.up, true)
	return place
}

func (s *sim) joinToken(through int) string {
	s.tb.Helper()
	token, err := s.node(through).CreateJoinToken(s.ctx, time.Minute)
	if err != nil {
		s.tb.Fatalf("create join token: %v", err)
	}
	return token
}

// forget takes node i, which has left the cluster, out of the simulation.
func (s *sim) forget(i int) {
	s.tb.Helper()
	s.stop(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone[i] = true
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

// heal mends the network and starts what is down.
func (s *sim) heal() {
	s.tb.Helper()
	s.net.Heal()
	s.net.SetLatency(simLatency, simJitter)
	for i := range s.size() {
		if s.node(i) == nil && !s.gone[i] {
			s.restart(i)
		}
	}
}

// isolate cuts node i off from all others. Nothing is told to either side.
func (s *sim) isolate(i int) { s.net.Partition([]string{s.name(i)}) }

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
