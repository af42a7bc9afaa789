package raftstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
)

// quiet waits until everything of node i is on disk and nothing is under way,
// so that its directory can be copied as a snapshot of its disk would.
func (s *sim) quiet() {
	s.tb.Helper()
	s.sameState()
	time.Sleep(4 * time.Second)
	synctest.Wait()
}

// openCopy starts a second process of node i, on a copy of its directory.
func (s *sim) openCopy(i int, dir string) (*raftstore.Node, error) {
	host := "copy-of-" + s.name(i)
	cfg := s.configs[i]
	cfg.Bootstrap, cfg.Join = false, nil
	cfg.Dir, cfg.Network, cfg.ListenAddress = dir, s.net.Host(host), host+":7000"
	ctx, cancel := context.WithTimeout(s.ctx, waitMax)
	defer cancel()
	n, err := raftstore.Open(ctx, cfg)
	if err == nil {
		s.tb.Cleanup(func() { n.Close() })
	}
	return n, err
}

// wantCopied waits until a node has stopped itself as a copy, and makes sure that
// it can't be started again.
func (s *sim) wantCopied(n *raftstore.Node, again func() error) {
	s.tb.Helper()
	s.within(electMax, "the copy stops itself", func() error {
		if st := n.Status(); !errors.Is(st.Err, raftstore.ErrCopied) {
			return fmt.Errorf("it is %s, %w", st.Role, st.Err)
		}
		return nil
	})
	if _, err := n.Put(s.ctx, store.Pair{Key: []byte("k")}); !errors.Is(err, raftstore.ErrCopied) {
		s.tb.Errorf("a write on the copy: %v", err)
	}
	if err := n.Close(); err != nil {
		s.tb.Error(err)
	}
	if err := again(); !errors.Is(err, raftstore.ErrCopied) {
		s.tb.Errorf("the copy opened again: %v, want %v", err, raftstore.ErrCopied)
	}
}

// TestSim_ACopyOfADirectoryIsRefused starts a second process of a node, on a copy
// of its directory that was made while it ran, or before it was started last. The
// original goes on; the copy stops, and says why.
func TestSim_ACopyOfADirectoryIsRefused(t *testing.T) {
	t.Parallel()
	for name, restarted := range map[string]bool{"made while it ran": false, "older than its last start": true} {
		for who, leads := range map[string]bool{"a follower's": false, "the leader's": true} {
			t.Run(who+", "+name, func(t *testing.T) {
				simulate(t, 61, 3, nil, func(s *sim) {
					victim := s.elected()
					if !leads {
						victim = s.others(victim)[0]
					}
					s.quiet()
					dir := s.configs[victim].Dir + ".copy"
					copyDir(t, s.configs[victim].Dir, dir)
					if restarted {
						s.stop(victim)
						s.restart(victim)
						s.elected()
						s.quiet()
					}
					n, err := s.openCopy(victim, dir)
					must(t, err)
					s.wantCopied(n, func() error { _, err := s.openCopy(victim, dir); return err })
					if _, err := s.node(victim).Put(s.ctx, store.Pair{Key: []byte("k")}); err != nil {
						t.Errorf("a write on the original: %v", err)
					}
					s.sameState()
				})
			})
		}
	}
}

// TestSim_OneOfTwoCopiesGoesOn starts two copies of a directory at once, whose
// original is gone. The cluster takes one of them, and has the other stop.
func TestSim_OneOfTwoCopiesGoesOn(t *testing.T) {
	t.Parallel()
	simulate(t, 62, 3, nil, func(s *sim) {
		victim := s.others(s.elected())[0]
		s.quiet()
		s.stop(victim)
		dir := s.configs[victim].Dir + ".copy"
		copyDir(t, s.configs[victim].Dir, dir)
		second, err := s.openCopy(victim, dir)
		must(t, err)
		s.restart(victim)
		nodes := []*raftstore.Node{s.node(victim), second}
		s.within(electMax, "one of the two stops itself", func() error {
			for _, n := range nodes {
				if errors.Is(n.Status().Err, raftstore.ErrCopied) {
					return nil
				}
			}
			return errors.New("none has")
		})
		time.Sleep(electMax)
		for i, n := range nodes {
			if other := nodes[1-i]; n.Status().Err == nil && other.Status().Err == nil || n.Status().Err != nil && other.Status().Err != nil {
				t.Errorf("the two say %v and %v", n.Status().Err, other.Status().Err)
			}
		}
		s.forget(victim)
	})
}

// TestSim_RolledBackDiskIsRefused puts one node's directory back to the state
// before it was started last, while the leader is down. The lagging third knows
// of that start, and elects nobody with it: nothing is lost.
func TestSim_RolledBackDiskIsRefused(t *testing.T) {
	t.Parallel()
	simulate(t, 63, 3, nil, func(s *sim) {
		leader := s.elected()
		rolledBack, lagging := s.others(leader)[0], s.others(leader)[1]
		s.stop(rolledBack)
		dir := s.configs[rolledBack].Dir
		backup := dir + ".older"
		copyDir(t, dir, backup)
		s.restart(rolledBack)
		s.sameState()
		time.Sleep(2 * time.Second) // much less than between two writes of the state's file

		s.crash(lagging)
		if _, err := s.node(leader).Put(s.ctx, store.Pair{Key: []byte("acknowledged")}); err != nil {
			t.Fatal(err)
		}
		s.crash(rolledBack)
		s.crash(leader)
		must(t, os.RemoveAll(dir))
		must(t, os.Rename(backup, dir))
		s.restart(lagging)
		s.restart(rolledBack)
		time.Sleep(electMax)
		for _, i := range []int{lagging, rolledBack} {
			if st := s.node(i).Status(); st.Role == raftstore.RoleLeader || st.Leader != "" {
				t.Errorf("%s is %s, and knows %q as its leader", st.NodeID, st.Role, st.Leader)
			}
		}

		s.restart(leader)
		cfg := s.configs[rolledBack]
		cfg.Bootstrap, cfg.Join = false, nil
		s.wantCopied(s.node(rolledBack), func() error { _, err := raftstore.Open(s.ctx, cfg); return err })
		s.elected(leader, lagging)
		kvs, _, err := s.node(lagging).Get(s.ctx, store.Linearizable(), store.Key([]byte("acknowledged")))
		if err != nil || len(kvs) != 1 {
			t.Errorf("%d of one acknowledged write, %v", len(kvs), err)
		}
		s.gone[rolledBack], s.up[rolledBack] = true, false
	})
}

// TestSim_CrashLoopsLockNobodyOut starts a node again and again, sometimes
// without the others, sometimes for an instant only. It is let in at the end.
func TestSim_CrashLoopsLockNobodyOut(t *testing.T) {
	t.Parallel()
	simulate(t, 64, 3, nil, func(s *sim) {
		node := s.others(s.elected())[0]
		for i := range 60 {
			s.crash(node)
			if i%5 == 0 {
				s.net.Partition([]string{s.name(node)})
			} else {
				s.net.Heal()
			}
			s.restart(node)
			time.Sleep(time.Duration(i%7) * 20 * time.Millisecond)
		}
		s.heal()
		s.elected()
		s.sameState()
		if err := s.node(node).Status().Err; err != nil {
			t.Error(err)
		}
	})
}

// TestSim_AnOpeningCostsOneWrite: what a start costs the cluster.
func TestSim_AnOpeningCostsOneWrite(t *testing.T) {
	t.Parallel()
	simulate(t, 65, 3, nil, func(s *sim) {
		leader := s.elected()
		node := s.others(leader)[0]
		s.quiet()
		at := s.node(leader).Status().LastLogIndex
		if _, err := s.node(leader).Put(s.ctx, store.Pair{Key: []byte("k")}); err != nil {
			t.Fatal(err)
		}
		s.quiet()
		write := s.node(leader).Status().LastLogIndex - at // with what makes followers know of it at once
		for range 3 {
			s.crash(node)
			s.restart(node)
			s.quiet()
		}
		if got := s.node(leader).Status().LastLogIndex - at - write; got != 3*write {
			t.Errorf("3 starts have put %d entries into the log, a write puts %d", got, write)
		}
	})
}
