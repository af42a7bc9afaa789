package raftstore_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
)

// bounded runs fn with a context that ends after a while.
func (s *sim) bounded(d time.Duration, fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(s.ctx, d)
	defer cancel()
	return fn(ctx)
}

// remove takes node victim out through node through.
func (s *sim) remove(through, victim int) {
	s.tb.Helper()
	err := s.bounded(electMax, func(ctx context.Context) error { return s.node(through).RemoveServer(ctx, s.name(victim)) })
	if err != nil {
		s.tb.Fatalf("remove %s through %s: %v", s.name(victim), s.name(through), err)
	}
}

// TestSim_MembershipUnderLoad grows a cluster from three to five nodes, and
// takes a follower and the leader out again, from both sides, while clients
// write through all of them.
func TestSim_MembershipUnderLoad(t *testing.T) {
	t.Parallel()
	simulate(t, 8, 3, nil, func(s *sim) {
		l := s.startLoad(8, 8)
		s.join(s.elected())
		s.join(s.others(s.elected())[0]) // through a follower
		s.voters(5)
		time.Sleep(time.Second)

		follower := s.others(s.elected())[0]
		s.remove(s.elected(), follower)
		s.wantOut(follower)
		s.voters(4)

		leader := s.elected()
		s.remove(s.others(leader)[len(s.others(leader))-1], leader)
		s.wantOut(leader)
		s.voters(3)

		leader = s.elected()
		s.remove(leader, leader)
		s.wantOut(leader)
		s.voters(2)

		for range 2 {
			s.join(s.elected())
		}
		s.voters(4)
		time.Sleep(time.Second)
		l.finish()
	})
}

// wantOut demands that a node which was removed gets nothing from the cluster
// any more, says so, doesn't open again, and can't join again under its name.
// Then it takes it out of the simulation.
func (s *sim) wantOut(i int) {
	s.tb.Helper()
	time.Sleep(2 * time.Second) // what it was told before may still have been on its way
	n := s.node(i)
	err := s.bounded(time.Second, func(ctx context.Context) error {
		_, err := n.Put(ctx, store.Pair{Key: []byte("removed")})
		return err
	})
	if !errors.Is(err, raftstore.ErrRemoved) {
		s.tb.Errorf("%s was removed, and writes: %v", s.name(i), err)
	}
	err = s.bounded(time.Second, func(ctx context.Context) error {
		_, err := n.Revision(ctx, store.Linearizable())
		return err
	})
	if !errors.Is(err, raftstore.ErrRemoved) || !errors.Is(n.Status().Err, raftstore.ErrRemoved) {
		s.tb.Errorf("%s was removed, and reads: %v; its status is %v", s.name(i), err, n.Status().Err)
	}
	s.forget(i)
	if _, err := raftstore.Open(s.ctx, s.configs[i]); !errors.Is(err, raftstore.ErrRemoved) {
		s.tb.Errorf("%s was removed, and opens again: %v", s.name(i), err)
	}

	s.net.Host(s.name(i)).Start()
	cfg := s.configs[i]
	cfg.Dir += "-again"
	if _, err := raftstore.Init(cfg.Dir, clusterID, s.name(i)); err != nil {
		s.tb.Fatal(err)
	}
	through := s.elected()
	cfg.Bootstrap = false
	cfg.Join = &raftstore.JoinConfig{Addresses: []string{s.address(s.name(through))}, Token: s.joinToken(through)}
	err = s.bounded(electMax, func(ctx context.Context) error {
		n, err := raftstore.Open(ctx, cfg)
		if err == nil {
			err = errors.Join(errors.New("it was taken in"), n.Close())
		}
		return err
	})
	if !errors.Is(err, raftstore.ErrRemoved) {
		s.tb.Errorf("%s joins again under its name: got %v, want %v", s.name(i), err, raftstore.ErrRemoved)
	}
}

// TestSim_Leave has a follower and the leader leave under load. They are told
// that they have left, and their data directories can't be opened again.
func TestSim_Leave(t *testing.T) {
	t.Parallel()
	simulate(t, 9, 5, nil, func(s *sim) {
		l := s.startLoad(9, 8)
		for _, leaving := range []func() int{func() int { return s.others(s.elected())[0] }, func() int { return s.elected() }} {
			i := leaving()
			n := s.node(i)
			s.mu.Lock()
			s.up[i], s.gone[i] = false, true
			s.mu.Unlock()
			if err := s.bounded(electMax, n.Leave); err != nil {
				t.Fatalf("%s leaves: %v", s.name(i), err)
			}
			if _, err := n.Put(s.ctx, store.Pair{Key: []byte("k")}); !errors.Is(err, store.ErrClosed) && !errors.Is(err, raftstore.ErrRemoved) {
				t.Errorf("put on a node that has left: %v", err)
			}
			if _, err := raftstore.Open(s.ctx, s.configs[i]); !errors.Is(err, raftstore.ErrRemoved) {
				t.Errorf("open a node that has left: got %v, want %v", err, raftstore.ErrRemoved)
			}
		}
		s.voters(3)
		time.Sleep(time.Second)
		l.finish()
	})
}

// TestSim_QuorumIsProtected refuses to take out one of two voters that are
// left of three, and takes out the one that is gone.
func TestSim_QuorumIsProtected(t *testing.T) {
	t.Parallel()
	simulate(t, 10, 3, nil, func(s *sim) {
		leader := s.elected()
		down, healthy := s.others(leader)[0], s.others(leader)[1]
		s.crash(down)
		for _, victim := range []int{healthy, leader} {
			for _, through := range []int{leader, healthy} {
				err := s.bounded(electMax, func(ctx context.Context) error { return s.node(through).RemoveServer(ctx, s.name(victim)) })
				if !errors.Is(err, raftstore.ErrQuorumAtRisk) {
					t.Errorf("remove %s through %s: got %v, want %v", s.name(victim), s.name(through), err, raftstore.ErrQuorumAtRisk)
				}
			}
		}
		s.voters(3)
		s.remove(healthy, down)
		s.voters(2)
		s.mu.Lock()
		s.gone[down] = true
		s.mu.Unlock()
		s.heal()
		s.settled()
	})
}

// TestSim_TokenLetsInOneNode has two nodes come with one token at the same
// time, while the leader changes, and a third one after that.
func TestSim_TokenLetsInOneNode(t *testing.T) {
	t.Parallel()
	simulate(t, 11, 3, nil, func(s *sim) {
		token := s.joinToken(s.elected())
		try := func(name string) error {
			cfg := s.config(name)
			cfg.Join = &raftstore.JoinConfig{Token: token}
			for i := range 3 {
				cfg.Join.Addresses = append(cfg.Join.Addresses, s.address(s.name(i)))
			}
			return s.bounded(waitMax, func(ctx context.Context) error {
				n, err := raftstore.Open(ctx, cfg)
				if err == nil {
					s.tb.Cleanup(func() { n.Close() })
				}
				return err
			})
		}
		errs := make(chan error)
		for _, name := range []string{"node-4", "node-5"} {
			go func() { errs <- try(name) }()
		}
		ctx, cancel := context.WithTimeout(s.ctx, electMax)
		defer cancel()
		if err := s.node(s.elected()).TransferLeadership(ctx); err != nil {
			t.Error(err)
		}
		a, b := <-errs, <-errs
		if (a == nil) == (b == nil) || !errors.Is(errors.Join(a, b), raftstore.ErrToken) {
			t.Errorf("two nodes with one token: got %v and %v, want %v once", a, b, raftstore.ErrToken)
		}
		if err := try("node-6"); !errors.Is(err, raftstore.ErrToken) {
			t.Errorf("a third node: got %v, want %v", err, raftstore.ErrToken)
		}
		s.voters(4)
	})
}

// TestSim_RemovalOfTheLeaderIsFinished leaves a removal half done: the leader's
// id is barred, but it leads on. It must give way, and be dropped by the next.
func TestSim_RemovalOfTheLeaderIsFinished(t *testing.T) {
	t.Parallel()
	simulate(t, 14, 3, nil, func(s *sim) {
		barred := s.elected()
		err := s.bounded(electMax, func(ctx context.Context) error { return s.node(barred).Bar(ctx, s.name(barred)) })
		if err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.gone[barred] = true
		s.mu.Unlock()
		s.elected(s.others(barred)...)
		s.voters(2)
	})
}

// TestSim_AdmittedNodeComesBack has a node taken in that its leader can't reach,
// so that it is never told. It comes back with another token. The same node
// from another disk doesn't get in.
func TestSim_AdmittedNodeComesBack(t *testing.T) {
	t.Parallel()
	simulate(t, 15, 3, nil, func(s *sim) {
		leader := s.elected()
		cfg := s.config("node-4")
		try := func(cfg raftstore.Config) error {
			cfg.Join = &raftstore.JoinConfig{Addresses: []string{s.address(s.name(leader))}, Token: s.joinToken(leader)}
			return s.bounded(electMax, func(ctx context.Context) error {
				n, err := raftstore.Open(ctx, cfg)
				if err == nil {
					s.tb.Cleanup(func() { n.Close() })
				}
				return err
			})
		}
		unreachable := cfg
		unreachable.AdvertiseAddress = "nowhere:1"
		unreachable.Join = &raftstore.JoinConfig{Addresses: []string{s.address(s.name(leader))}, Token: s.joinToken(leader)}
		n, err := raftstore.Open(s.ctx, unreachable)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		s.voters(3)

		other := cfg
		other.Dir = filepath.Join(t.TempDir(), "node-4")
		if _, err := raftstore.Init(other.Dir, clusterID, "node-4"); err != nil {
			t.Fatal(err)
		}
		if err := try(other); !errors.Is(err, raftstore.ErrAlreadyMember) {
			t.Errorf("from another disk: got %v, want %v", err, raftstore.ErrAlreadyMember)
		}
		if err := try(cfg); err != nil {
			t.Fatalf("from the disk that it came with: %v", err)
		}
		s.voters(4)
	})
}

// TestSim_NewAddress moves a follower, and then the leader, without gossip.
func TestSim_NewAddress(t *testing.T) {
	t.Parallel()
	simulate(t, 12, 3, nil, func(s *sim) {
		l := s.startLoad(12, 4)
		for _, i := range []int{s.others(s.elected())[0], s.elected()} {
			s.stop(i)
			s.configs[i].ListenAddress = s.name(i) + ":8000"
			s.restart(i)
			s.sameState()
		}
		l.finish()
	})
}

// TestSim_AwayWhileOthersWereReplaced keeps a node down while two of three are
// replaced. It comes back to a leader that it has never heard of, and takes it on
// the word of the one that it knows.
func TestSim_AwayWhileOthersWereReplaced(t *testing.T) {
	t.Parallel()
	simulate(t, 16, 4, nil, func(s *sim) {
		l := s.startLoad(16, 4)
		const away, known = 3, 2
		s.stop(away)
		for _, gone := range []int{0, 1} {
			s.join(s.elected())
			time.Sleep(time.Second)
			s.remove(known, gone)
			s.forget(gone)
		}
		if leader := s.elected(); leader == known {
			if err := s.bounded(electMax, s.node(known).TransferLeadership); err != nil {
				t.Fatal(err)
			}
		}
		s.restart(away)
		s.voters(4)
		time.Sleep(time.Second)
		l.finish()
	})
}
