package raftstore_test

import (
	"bytes"
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

// TestDivergence_IsReported gives one node an entry that no other has, as a
// fault in the state machine might. Every other node goes on: which of the two
// is wrong, none of them can tell.
func TestDivergence_IsReported(t *testing.T) {
	regs := make(map[string]*prometheus.Registry)
	c := startCluster(t, 3, registries(regs))
	if _, err := c.nodes[0].Put(c.ctx(), store.Pair{Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	victim := c.follower()
	// An entry that only raft uses comes after each write: it makes room for
	// one in the state.
	c.eventually("the log goes on behind the state", func() error {
		if s := c.nodes[victim].Status(); s.LastLogIndex <= s.AppliedIndex {
			return fmt.Errorf("both end at %d", s.AppliedIndex)
		}
		return nil
	})
	if err := c.nodes[victim].Close(); err != nil {
		t.Fatal(err)
	}
	applyMadeUp(t, c.configs[victim].Dir)
	cfg := c.configs[victim]
	cfg.Bootstrap, cfg.Join = false, nil
	c.nodes[victim] = c.mustOpen(cfg)

	leader := c.nodes[c.leader()]
	if _, err := leader.Put(c.ctx(), store.Pair{Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
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

// applyMadeUp applies an entry to the state of a node that is closed.
func applyMadeUp(t *testing.T, dir string) {
	t.Helper()
	m, err := fsm.Open(fsm.Options{Dir: dir, ClusterID: clusterID})
	if err != nil {
		t.Fatal(err)
	}
	at := m.Position()
	hash := sha256.Sum256([]byte("made up"))
	command := fsm.EncodeAddJoinToken(hash, "", time.Now().Add(time.Hour), time.Now())
	_, err = m.Apply([]fsm.Entry{{
		Index: at.Index + 1, Term: at.Term, Kind: fsm.EntryCommands, Data: fsm.EncodeEnvelope([][]byte{command}),
	}})
	if err := errors.Join(err, m.Close()); err != nil {
		t.Fatal(err)
	}
}
