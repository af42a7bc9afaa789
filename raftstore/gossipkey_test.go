package raftstore_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/gossip"
	"github.com/spire-raft/spire-raft/store"
)

// startGossip returns a cluster that gossips with a key, its own if that is nil.
// The nodes know the first one's gossip address.
func startGossip(t *testing.T, size int, key []byte, adjust func(*raftstore.Config)) *cluster {
	t.Helper()
	c := newCluster(t)
	c.adjust = func(cfg *raftstore.Config) {
		gossiping(key)(cfg)
		if len(c.nodes) > 0 {
			cfg.Gossip.Seeds = []string{c.nodes[0].GossipAddr()}
		}
		if adjust != nil {
			adjust(cfg)
		}
	}
	c.grow(size)
	return c
}

// stop closes node i; start opens it again, where it was.
func (c *cluster) stop(i int) {
	c.tb.Helper()
	cfg := &c.configs[i]
	cfg.ListenAddress, cfg.Gossip.BindAddress = c.nodes[i].Addr().String(), c.nodes[i].GossipAddr()
	cfg.Bootstrap, cfg.Join = false, nil
	if err := c.nodes[i].Close(); err != nil {
		c.tb.Fatal(err)
	}
}

func (c *cluster) start(i int) {
	c.tb.Helper()
	c.nodes[i] = c.mustOpen(c.configs[i])
}

// gossipKeys are those in a node's state.
func (c *cluster) gossipKeys(n *raftstore.Node) (keys [][]byte, primary int) {
	c.tb.Helper()
	keys, primary, err := n.GossipKeys()
	if err != nil {
		c.tb.Fatal(err)
	}
	return keys, primary
}

// wantGossipKeys waits until a node has so many, and returns them.
func (c *cluster) wantGossipKeys(n *raftstore.Node, count, primary int) [][]byte {
	c.tb.Helper()
	var keys [][]byte
	c.eventually(fmt.Sprintf("there are %d gossip keys, and number %d encrypts", count, primary), func() error {
		var p int
		if keys, p = c.gossipKeys(n); len(keys) != count || p != primary {
			return fmt.Errorf("there are %d, and number %d does", len(keys), p)
		}
		return nil
	})
	return keys
}

// wantRotated waits until all nodes have one key, another than before.
func (c *cluster) wantRotated(before []byte) {
	c.tb.Helper()
	for _, n := range c.nodes {
		c.eventually("the gossip key is replaced", func() error {
			keys, _ := c.gossipKeys(n)
			if len(keys) != 1 || bytes.Equal(keys[0], before) || n.Status().GossipKeyRotating {
				return fmt.Errorf("%s has %d keys", n.Status().NodeID, len(keys))
			}
			return nil
		})
	}
}

// gossiper is somebody else who gossips.
type gossiper struct {
	*gossip.Gossip
	log *lockedLog
}

// gossipAs starts a gossiper that knows the cluster's id and an instance, and has
// a key: the cluster's own, or one of the configuration.
func (c *cluster) gossipAs(node, instance string, key []byte, own bool) gossiper {
	c.tb.Helper()
	log := new(lockedLog)
	cfg := gossip.Config{
		NodeID: node, ClusterID: clusterID, BindAddress: "127.0.0.1:0", Address: "127.0.0.1:9", RejoinInterval: 100 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, n := range c.nodes {
		cfg.Seeds = append(cfg.Seeds, n.GossipAddr())
	}
	if !own {
		cfg.Key = key
	}
	g, err := gossip.Start(c.tb.Context(), cfg)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(func() { _ = g.Close() })
	if own {
		err = g.Use(instance, [][]byte{key})
	} else {
		err = g.SetInstance(instance)
	}
	if err != nil {
		c.tb.Fatal(err)
	}
	return gossiper{g, log}
}

// hears waits until the gossiper has heard from every node; isDeaf until it has
// asked each of them again and again, and demands that it has heard nothing and
// that nobody has heard it.
func (c *cluster) hears(g gossiper) {
	c.tb.Helper()
	c.eventually("the gossiper hears from all", func() error {
		if heard := len(g.Members()); heard < len(c.nodes) {
			return fmt.Errorf("it has heard from %d", heard)
		}
		return nil
	})
}

func (c *cluster) isDeaf(g gossiper, node string) {
	c.tb.Helper()
	c.eventually("the gossiper has tried", func() error {
		for _, n := range c.nodes {
			if strings.Count(g.log.String(), "seed="+n.GossipAddr()) < 2 {
				return errors.New("not often enough")
			}
		}
		return nil
	})
	if heard := g.Members(); len(heard) != 0 {
		c.tb.Errorf("it hears from %v", heard)
	}
	for _, n := range c.nodes {
		if slices.Contains(n.GossipMembers(), node) {
			c.tb.Errorf("%s has heard it", n.Status().NodeID)
		}
	}
}

// lockedLog is what a log goes to.
type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestGossipKey_JoinersGetIt(t *testing.T) {
	t.Parallel()
	c := startGossip(t, 3, nil, nil)
	c.wantAlive()
	c.hears(c.gossipAs("member", c.nodes[0].Instance(), c.wantGossipKeys(c.nodes[0], 1, 0)[0], true))
	c.isDeaf(c.gossipAs("stranger", c.nodes[0].Instance(), value(32), true), "stranger")
	c.isDeaf(c.gossipAs("other-life", "another", c.wantGossipKeys(c.nodes[0], 1, 0)[0], true), "other-life")
}

// TestGossipKey_InstancesDontMerge has a node of another life of the cluster use
// the same key from the configuration.
func TestGossipKey_InstancesDontMerge(t *testing.T) {
	t.Parallel()
	key := value(32)
	c := startGossip(t, 2, key, nil)
	c.wantAlive()
	if keys, _ := c.gossipKeys(c.nodes[0]); len(keys) != 0 {
		t.Error("a cluster whose configuration has a key makes its own")
	}
	if err := c.nodes[0].RotateGossipKey(c.ctx()); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("rotation of a key of the configuration: %v", err)
	}
	c.hears(c.gossipAs("member", c.nodes[0].Instance(), key, false))
	c.isDeaf(c.gossipAs("other-life", "another", key, false), "other-life")
}

// TestGossipKey_RotatesOnCommand stops one node after the other while the key is
// being replaced, the leader too, and one for the whole of it.
func TestGossipKey_RotatesOnCommand(t *testing.T) {
	t.Parallel()
	c := startGossip(t, 3, nil, nil)
	c.wantAlive()
	before := c.wantGossipKeys(c.nodes[0], 1, 0)[0]
	away := c.follower()
	c.stop(away)
	c.nodes[away], c.nodes[2] = c.nodes[2], c.nodes[away]
	c.configs[away], c.configs[2] = c.configs[2], c.configs[away]
	live := c.nodes[:2]

	if err := live[1].RotateGossipKey(c.ctx()); err != nil {
		t.Fatal(err)
	}
	if !live[1].Status().GossipKeyRotating {
		t.Error("the node that was asked doesn't show that the key is being replaced")
	}
	for _, n := range live {
		c.wantGossipKeys(n, 2, 0)
	}
	for i := range live { // the node that is away holds it up for a minute
		c.stop(i)
		c.start(i)
	}
	for _, n := range live {
		c.wantGossipKeys(n, 2, 0)
	}
	c.start(2)
	c.wantRotated(before)
	c.wantAlive()
}

// TestGossipKey_WhoIsAwayHoldsNothingUp replaces the key while a node is down.
func TestGossipKey_WhoIsAwayHoldsNothingUp(t *testing.T) {
	t.Parallel()
	c := startGossip(t, 3, nil, func(cfg *raftstore.Config) { cfg.SetGossipKeyWait(time.Second) })
	c.wantAlive()
	before := c.wantGossipKeys(c.nodes[0], 1, 0)[0]
	c.stop(2)
	all := c.nodes
	c.nodes = all[:2]
	must(t, c.nodes[0].RotateGossipKey(c.ctx()))
	c.wantRotated(before)
	c.nodes = all
	c.start(2)
	c.wantRotated(before)
	c.wantAlive()
}

// TestGossipKey_RemovalReplacesIt removes a node, and gossips in its name with the
// key that it had.
func TestGossipKey_RemovalReplacesIt(t *testing.T) {
	t.Parallel()
	c := startGossip(t, 3, nil, nil)
	c.wantAlive()
	before := c.wantGossipKeys(c.nodes[0], 1, 0)[0]
	removed := c.nodes[2]
	dir := c.configs[2].Dir
	must(t, c.nodes[0].RemoveServer(c.ctx(), "node-3"))
	c.nodes, c.configs = c.nodes[:2], c.configs[:2]
	c.wantRotated(before)
	c.wantAlive()
	must(t, removed.Close())
	if keys := storedGossipKeys(t, dir); !slices.EqualFunc(keys, [][]byte{before}, bytes.Equal) {
		t.Errorf("the removed node has %d keys", len(keys))
	}
	c.isDeaf(c.gossipAs("node-9", c.nodes[0].Instance(), before, true), "node-9")
	c.hears(c.gossipAs("node-8", c.nodes[0].Instance(), c.wantGossipKeys(c.nodes[0], 1, 0)[0], true))
}

// storedGossipKeys are those in the directory of a node that is closed.
func storedGossipKeys(t *testing.T, dir string) [][]byte {
	t.Helper()
	m, err := fsm.Open(fsm.Options{Dir: dir, ClusterID: clusterID})
	must(t, err)
	defer m.Close()
	v, err := m.View()
	must(t, err)
	defer v.Close()
	keys, _, err := v.GossipKeys()
	must(t, err)
	return keys.Keys
}

func TestGossipKey_IsToldNowhere(t *testing.T) {
	t.Parallel()
	log := new(lockedLog)
	c := startGossip(t, 2, nil, func(cfg *raftstore.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	c.wantAlive()
	old := c.wantGossipKeys(c.nodes[0], 1, 0)[0]
	must(t, c.nodes[0].RotateGossipKey(c.ctx()))
	c.wantRotated(old)
	current, _ := c.gossipKeys(c.nodes[0])
	told := log.String()
	if !strings.Contains(told, "gossip key replaced") {
		t.Error("the rotation is not in the log")
	}
	for _, n := range c.nodes {
		told += fmt.Sprintf("%+v", n.Status())
	}
	for _, key := range [][]byte{old, current[0]} {
		for _, form := range []string{string(key), hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key), fmt.Sprint(key)} {
			if strings.Contains(told, form) {
				t.Errorf("a key is told as %q", form)
			}
		}
	}
}
