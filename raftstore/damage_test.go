package raftstore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
)

// stored is a value that is easy to find in a file.
var stored = bytes.Repeat([]byte("a value that is easy to find "), 10)

// TestScrub_FindsDamage flips a bit of a value on the disk of one node while
// nobody reads it.
func TestScrub_FindsDamage(t *testing.T) {
	t.Parallel()
	regs := make(map[string]*prometheus.Registry)
	c := startCluster(t, 3, func(cfg *raftstore.Config) {
		registries(regs)(cfg)
		cfg.ScrubInterval = 50 * time.Millisecond
	})
	key := []byte("k")
	if _, err := c.nodes[0].Put(c.ctx(), store.Pair{Key: key, Value: stored}); err != nil {
		t.Fatal(err)
	}
	c.converged()
	victim := c.follower()
	n := c.nodes[victim]
	scrubs := func(outcome string) float64 {
		return gathered(t, regs[n.Status().NodeID])["spire_raft_scrubs_total/"+outcome]
	}
	c.eventually("the undamaged state is verified", func() error {
		if scrubs("ok") == 0 {
			return errors.New("no scrub was counted")
		}
		return n.Status().Err
	})

	c.eventually("the value is on disk", func() error {
		if s := n.Status(); s.DurableIndex < s.AppliedIndex {
			return fmt.Errorf("durable is %d of %d", s.DurableIndex, s.AppliedIndex)
		}
		return nil
	})
	flipStored(t, filepath.Join(c.configs[victim].Dir, "state.db"))
	c.eventually("the node has stopped itself", func() error {
		if r := n.Status().Role; r != raftstore.RoleFailed {
			return fmt.Errorf("its role is %s", r)
		}
		return nil
	})
	if err := n.Status().Err; !errors.Is(err, store.ErrFailed) || !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("status: got error %v, want %v and %v", err, store.ErrFailed, store.ErrCorrupt)
	}
	if scrubs("ok") == 0 || scrubs("error") == 0 {
		t.Errorf("%v scrubs were good and %v bad, want some of both", scrubs("ok"), scrubs("error"))
	}
	for _, consistency := range []store.Consistency{store.Linearizable(), store.AtLeast(0), store.BoundedStale(time.Hour)} {
		if _, _, err := n.Get(c.ctx(), consistency, store.Key(key)); !errors.Is(err, store.ErrFailed) {
			t.Errorf("read (%v) on a node that has failed: got %v, want %v", consistency, err, store.ErrFailed)
		}
	}
	for i, other := range c.nodes {
		if i == victim {
			continue
		}
		if _, err := other.Put(c.ctx(), store.Pair{Key: []byte("later")}); err != nil {
			t.Errorf("put through another node: %v", err)
		}
		kvs, _, err := other.Get(c.ctx(), store.Linearizable(), store.Key(key))
		if err != nil || len(kvs) != 1 || !bytes.Equal(kvs[0].Value, stored) {
			t.Errorf("get on another node: %d pairs, %v", len(kvs), err)
		}
		if r := other.Status().Role; r == raftstore.RoleFailed {
			t.Errorf("%s has failed too: %v", other.Status().NodeID, other.Status().Err)
		}
	}
}

// flipStored flips one bit of stored, wherever it is in a file that is in use.
func flipStored(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	flipped := 0
	for at := bytes.Index(data, stored); at >= 0; flipped++ {
		if _, err := f.WriteAt([]byte{stored[0] ^ 1}, int64(at)); err != nil {
			t.Fatal(err)
		}
		data[at] ^= 1
		at = bytes.Index(data, stored)
	}
	if flipped == 0 {
		t.Fatal("the value is not in the file")
	}
}

// TestDivergence_TheOddNodeStops gives nodes an entry that the others don't have,
// as a fault in the state machine might. A quorum has one state, so the node that
// has another one stops itself and says why, whether it leads or not; the others
// go on without an alarm.
func TestDivergence_TheOddNodeStops(t *testing.T) {
	t.Parallel()
	for name, leads := range map[string]bool{"a follower": false, "the leader": true} {
		t.Run(name, func(t *testing.T) {
			regs := make(map[string]*prometheus.Registry)
			c := startCluster(t, 3, registries(regs))
			odd := c.follower()
			if leads {
				odd = c.leader()
				c.diverge((odd+1)%3, (odd+2)%3)
			} else {
				c.diverge(odd)
			}
			right := c.nodes[(odd+1)%3]
			if _, err := right.Put(c.ctx(), store.Pair{Key: []byte("k")}); err != nil && !errors.Is(err, store.ErrUnknownOutcome) {
				t.Fatal(err)
			}
			c.eventually("the odd node stops itself", func() error {
				s := c.nodes[odd].Status()
				if s.Role != raftstore.RoleFailed || !s.Diverged || !errors.Is(s.Err, store.ErrCorrupt) {
					return fmt.Errorf("it is %s, diverged %v: %v", s.Role, s.Diverged, s.Err)
				}
				return nil
			})
			if got := gathered(t, regs[c.nodes[odd].Status().NodeID]); got["spire_raft_failed"] != 1 || got["spire_raft_diverged"] != 1 {
				t.Errorf("its metrics say failed %v, diverged %v, want 1 and 1", got["spire_raft_failed"], got["spire_raft_diverged"])
			}
			for i := 1; i < 3; i++ {
				n := c.nodes[(odd+i)%3]
				c.eventually("a write passes through another node", func() error {
					_, err := n.Put(c.ctx(), store.Pair{Key: []byte("k")})
					return err
				})
				if n.Status().Diverged {
					t.Errorf("%s raises the alarm, though it has the state of the quorum", n.Status().NodeID)
				}
			}
		})
	}
}

// TestDivergence_IsReported has two voters with different states. Which of the
// two is wrong is not known, so both go on, and the leader raises the alarm.
func TestDivergence_IsReported(t *testing.T) {
	t.Parallel()
	regs := make(map[string]*prometheus.Registry)
	c := startCluster(t, 2, registries(regs))
	c.diverge(c.follower())
	c.eventually("a write passes", func() error {
		_, err := c.nodes[c.leader()].Put(c.ctx(), store.Pair{Key: []byte("k")})
		return err
	})
	leader := c.nodes[c.leader()]
	c.eventually("the leader sees another state hash", func() error {
		if !leader.Status().Diverged {
			return errors.New("it does not")
		}
		return nil
	})
	got := gathered(t, regs[leader.Status().NodeID])
	if got["spire_raft_state_hash_mismatches_total"] < 1 || got["spire_raft_diverged"] != 1 {
		t.Errorf("%v mismatches, diverged %v, want some and 1", got["spire_raft_state_hash_mismatches_total"], got["spire_raft_diverged"])
	}
	for _, n := range c.nodes {
		if _, err := n.Put(c.ctx(), store.Pair{Key: []byte("k")}); err != nil {
			t.Errorf("put through %s: %v", n.Status().NodeID, err)
		}
	}
}

// diverge gives nodes an entry that no other has. Where they are a quorum, the
// leader meanwhile gets further ahead, so that it will lead again.
func (c *cluster) diverge(victims ...int) {
	c.tb.Helper()
	if _, err := c.nodes[0].Put(c.ctx(), store.Pair{Key: []byte("k")}); err != nil {
		c.tb.Fatal(err)
	}
	c.converged()
	// An entry that only raft uses comes after each write: it makes room for
	// one in the state.
	for _, i := range victims {
		c.eventually("the log goes on behind the state", func() error {
			if s := c.nodes[i].Status(); s.LastLogIndex <= s.AppliedIndex {
				return fmt.Errorf("both end at %d", s.AppliedIndex)
			}
			return nil
		})
	}
	leader := c.nodes[c.leader()]
	for _, i := range victims {
		if err := c.nodes[i].Close(); err != nil {
			c.tb.Fatal(err)
		}
		applyMadeUp(c.tb, c.configs[i].Dir)
	}
	if len(victims) > 1 {
		ctx, cancel := context.WithTimeout(c.ctx(), 100*time.Millisecond)
		_, _ = leader.Put(ctx, store.Pair{Key: []byte("ahead")}) // its outcome is open
		cancel()
	}
	for _, i := range victims {
		cfg := c.configs[i]
		cfg.Bootstrap, cfg.Join = false, nil
		c.nodes[i] = c.mustOpen(cfg)
	}
}

// applyMadeUp applies an entry to the state of a node that is closed.
func applyMadeUp(t testing.TB, dir string) {
	t.Helper()
	m, err := fsm.Open(fsm.Options{Dir: dir, ClusterID: clusterID})
	if err != nil {
		t.Fatal(err)
	}
	at := m.Position()
	hash := sha256.Sum256([]byte("made up"))
	command := fsm.EncodeAddJoinToken(hash, "", "", time.Unix(1e10, 0), time.Unix(1e9, 0)) // the same on every node
	_, err = m.Apply([]fsm.Entry{{
		Index: at.Index + 1, Term: at.Term, Kind: fsm.EntryCommands, Data: fsm.EncodeEnvelope([][]byte{command}),
	}})
	if err := errors.Join(err, m.Close()); err != nil {
		t.Fatal(err)
	}
}
