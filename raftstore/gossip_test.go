package raftstore_test

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
)

// gossiping makes nodes gossip with a key, on free ports.
func gossiping(key []byte) func(*raftstore.Config) {
	return func(cfg *raftstore.Config) {
		cfg.Gossip = &raftstore.GossipConfig{BindAddress: "127.0.0.1:0", Key: key}
	}
}

// wantAlive waits until every node has heard from all others by gossip, and
// knows where they are.
func (c *cluster) wantAlive() {
	c.tb.Helper()
	at := make(map[string]string)
	for _, n := range c.nodes {
		at[n.Status().NodeID] = n.Addr().String()
	}
	c.eventually("all nodes hear from each other", func() error {
		for _, n := range c.nodes {
			s := n.Status()
			if len(s.Peers) != len(c.nodes)-1 {
				return fmt.Errorf("%s has %d peers", s.NodeID, len(s.Peers))
			}
			for _, p := range s.Peers {
				if !p.Alive || p.Address != at[p.NodeID] {
					return fmt.Errorf("to %s, %s is at %s (alive: %v), and not at %s", s.NodeID, p.NodeID, p.Address, p.Alive, at[p.NodeID])
				}
			}
		}
		return nil
	})
}

// TestGossip_NodesThatAllMovedFindEachOther stops all nodes and opens them at
// other addresses. What they remember of each other is out of date then, and
// there is no leader that could tell. The cluster's own key is on every disk.
func TestGossip_NodesThatAllMovedFindEachOther(t *testing.T) {
	t.Parallel()
	t.Run("with a key of the configuration", func(t *testing.T) { allMove(t, value(32)) })
	t.Run("with the cluster's own key", func(t *testing.T) { allMove(t, nil) })
}

func allMove(t *testing.T, key []byte) {
	c := startCluster(t, 3, gossiping(key))
	if key == nil {
		for _, n := range c.nodes {
			c.wantGossipKeys(n, 1, 0)
		}
	}
	pair := store.Pair{Key: []byte("k"), Value: value(10)}
	rev, err := c.nodes[0].Put(c.ctx(), pair)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range c.nodes {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}

	for i, cfg := range c.configs {
		cfg.Bootstrap, cfg.Join = false, nil
		gossip := *cfg.Gossip
		if i > 0 {
			gossip.Seeds = []string{c.nodes[0].GossipAddr()}
		}
		cfg.Gossip = &gossip
		c.nodes[i] = c.mustOpen(cfg)
	}
	c.wantAlive()
	for _, n := range c.nodes {
		kvs, _, err := n.Get(c.ctx(), store.Linearizable(), store.Key(pair.Key))
		if err != nil || len(kvs) != 1 || kvs[0].ModRevision != rev {
			t.Errorf("get on %s of what was put before: %d pairs, %v", n.Status().NodeID, len(kvs), err)
		}
		if _, err := n.Put(c.ctx(), store.Pair{Key: []byte("later")}); err != nil {
			t.Errorf("put through %s: %v", n.Status().NodeID, err)
		}
	}
}

// TestGossip_WrongKey has a node join with a gossip key of its own. Gossip
// carries no authority, so it is a member and works; it is just not heard.
func TestGossip_WrongKey(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, gossiping(value(32)))
	cfg := c.config("node-2")
	cfg.Gossip.Key, cfg.Gossip.Seeds = value(32), []string{c.nodes[0].GossipAddr()}
	cfg.Join = &raftstore.JoinConfig{Addresses: []string{c.nodes[0].Addr().String()}, Token: c.token()}
	stranger := c.open(cfg)
	c.grow(3) // the third has the first one's key
	cfg = c.configs[2]
	if _, err := stranger.Put(c.ctx(), store.Pair{Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	if err := c.nodes[2].Close(); err != nil {
		t.Fatal(err)
	}
	seeded := *cfg.Gossip
	seeded.Seeds = []string{c.nodes[0].GossipAddr(), stranger.GossipAddr()}
	cfg.Gossip, cfg.Join = &seeded, nil
	c.nodes[2] = c.mustOpen(cfg)

	heard := func(n *raftstore.Node) map[string]bool {
		out := make(map[string]bool)
		for _, p := range n.Status().Peers {
			out[p.NodeID] = p.Alive
		}
		return out
	}
	c.eventually("the nodes with the right key hear from each other", func() error {
		if !heard(c.nodes[0])["node-3"] || !heard(c.nodes[2])["node-1"] {
			return errors.New("they don't")
		}
		return nil
	})
	for _, n := range c.nodes {
		for peer, alive := range heard(n) {
			if alive && (n == stranger || peer == "node-2") {
				t.Errorf("%s hears gossip of %s, which has another key", n.Status().NodeID, peer)
			}
		}
	}
	if _, err := stranger.Revision(c.ctx(), store.Linearizable()); err != nil {
		t.Errorf("linearizable read on the node with another key: %v", err)
	}
}

func TestGossip_PortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := newCluster(t)
	c.adjust = gossiping(value(32))
	cfg := c.config("node-1")
	cfg.Bootstrap = true
	cfg.Gossip.BindAddress = l.Addr().String()
	c.openFails(cfg, nil, l.Addr().String(), "in use")

	cfg.Gossip.BindAddress = "127.0.0.1:0"
	c.open(cfg) // nothing of the first attempt is left
}

// TestGossip_EndsWithAFailedOpen has the node find out that it can't go on when
// it gossips already.
func TestGossip_EndsWithAFailedOpen(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.adjust = gossiping(value(32))
	cfg := c.config("node-1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Gossip.BindAddress = l.Addr().String()
	l.Close()
	for range 2 { // the second time the port must be free again
		c.openFails(cfg, raftstore.ErrNotMember)
	}
}

// TestBootstrap_RefusesWhereTheClusterExists has a node whose directory is empty
// bootstrap a second time, while a member of the cluster can tell that there is
// one. It tells so although it has lost its own quorum.
func TestBootstrap_RefusesWhereTheClusterExists(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, gossiping(value(32)))
	if err := c.nodes[0].Close(); err != nil {
		t.Fatal(err)
	}
	survivor := c.nodes[1]
	c.dir = dataDir(t)
	cfg := c.config("node-1") // on a new disk
	cfg.Bootstrap = true
	cfg.Gossip.Key = c.configs[1].Gossip.Key
	cfg.Gossip.Seeds = []string{survivor.GossipAddr()}
	for range 2 {
		c.openFails(cfg, raftstore.ErrClusterExists, "node-2", survivor.Addr().String(), "join", "BootstrapAnyway")
	}
	if s := survivor.Status(); len(s.Peers) != 1 || s.Err != nil {
		t.Errorf("after the refusal the member has peers %+v, error %v", s.Peers, s.Err)
	}

	// A cluster that can't come back is given up on request only.
	if err := survivor.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.BootstrapAnyway = true
	n := c.mustOpen(cfg)
	if _, err := n.Put(c.ctx(), store.Pair{Key: []byte("k")}); err != nil {
		t.Errorf("put on the node that gave up its cluster: %v", err)
	}
}

// TestBootstrap_SeedsThatAreDown must not keep the first node of a cluster from
// its start: the seeds are the nodes that are to join it.
func TestBootstrap_SeedsThatAreDown(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c := newCluster(t)
	c.adjust = gossiping(value(32))
	cfg := c.config("node-1")
	cfg.Bootstrap = true
	cfg.Gossip.Seeds = []string{l.Addr().String()}
	begun := time.Now()
	c.open(cfg)
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}
