package raftstore_test

import (
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
)

// crash takes node i down as a power cut does: nothing that it says on its way
// down reaches the others. What it has acknowledged is on disk, in its log at
// least.
func (s *sim) crash(i int) {
	s.tb.Helper()
	s.net.Host(s.name(i)).Stop()
	s.end(i, (*raftstore.Node).Crash)
}

// stop closes node i as an operator does.
func (s *sim) stop(i int) {
	s.tb.Helper()
	s.end(i, (*raftstore.Node).Close)
}

func (s *sim) end(i int, how func(*raftstore.Node) error) {
	s.tb.Helper()
	if err := how(s.node(i)); err != nil {
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
