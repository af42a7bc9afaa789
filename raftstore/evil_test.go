package raftstore_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
)

var (
	evilDuration = flag.Duration("evil.duration", 3*time.Second, "how long the evil peer attacks")
	evilSeed     = flag.Uint64("evil.seed", 0, "what the evil peer says; 0 is another one each time")
)

// What an attack may leave behind in this process when it is over, and take
// while it goes on.
const (
	evilHeapBytesLeft  = 64 << 20
	evilHeapBytesMax   = 1 << 30
	evilGoroutinesLeft = 50 // streams between members, where others lead
)

// TestEvilPeer has a member, and strangers, send nonsense over every kind of
// stream to all nodes of a cluster, on TCP. A member may write, and costs an
// election now and then: raft believes it so far. Nothing else comes of it.
//
// A seed stands for what is said; what the cluster is at when it hears that
// depends on the scheduler.
func TestEvilPeer(t *testing.T) {
	c := startCluster(t, 3, func(cfg *raftstore.Config) {
		ownAuthority(cfg)
		cfg.Logger = slog.New(slog.DiscardHandler)
	})
	roles := []evilRole{c.evilMember(), c.evilStranger(), {name: "self-made", certificates: c.foreignCertificate()}, {name: "nobody"}}
	load := &evilLoad{cluster: c}
	for _, n := range c.nodes {
		load.put(c.ctx(), n)
	}
	c.converged()
	goroutines, heap := runtime.NumGoroutine(), heapBytes()

	seed := *evilSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	ctx, cancel := context.WithTimeout(t.Context(), *evilDuration)
	defer cancel()
	peer := newEvilPeer(ctx, c.addresses(), c.lowest)
	var running sync.WaitGroup
	running.Go(func() { load.run(ctx) })
	running.Go(func() { watchHeap(ctx, t, heap) })
	peer.attack(seed, roles)
	ended := time.Now()
	running.Wait()
	t.Logf("seed %d: %d connections, %d welcome, %d messages, %d withheld; %d writes acknowledged, term %d",
		seed, peer.dialed.Load(), peer.welcomed.Load(), peer.frames.Load(), peer.withheld.Load(), len(load.acked), c.lowest().term)

	for _, n := range c.nodes {
		load.put(c.ctx(), n)
	}
	t.Logf("all nodes write %v after the attack", time.Since(ended))
	if peer.welcomed.Load() == 0 {
		t.Error("there was no attack")
	}
	c.unharmed(load)
	c.eventually("the goroutines of the attack have ended", func() error {
		if n := runtime.NumGoroutine(); n > goroutines+evilGoroutinesLeft {
			var all strings.Builder
			_ = pprof.Lookup("goroutine").WriteTo(&all, 1)
			return fmt.Errorf("there are %d, before it were %d:\n%s", n, goroutines, &all)
		}
		return nil
	})
	if after := heapBytes(); after > heap+evilHeapBytesLeft {
		t.Errorf("the heap has %d bytes, before the attack it had %d", after, heap)
	}
	c.restartAll() // nothing was stored that can't be read
	load.put(c.ctx(), c.nodes[0])
	c.unharmed(load)
}

// evilMember has a node join, and takes over what it is known by.
func (c *cluster) evilMember() evilRole {
	c.tb.Helper()
	cfg := c.joinWith(evilID, c.token())
	n := c.mustOpen(cfg)
	c.eventually("all know the member", func() error {
		for _, other := range c.nodes {
			if !slices.ContainsFunc(other.Status().Peers, func(p raftstore.Peer) bool { return p.NodeID == evilID }) {
				return errors.New(other.Status().NodeID + " does not")
			}
		}
		return nil
	})
	must(c.tb, n.Close())
	credentials, err := authority.Open(cfg.Dir)
	must(c.tb, err)
	claim, err := raftstore.ClaimIn(cfg.Dir)
	must(c.tb, err)
	return evilRole{name: "member", certificates: certificatesOf(c.tb, credentials), claim: claim, member: true}
}

// evilStranger has a certificate of the cluster's authority, and never joined.
func (c *cluster) evilStranger() evilRole {
	c.tb.Helper()
	credentials, err := c.nodes[0].Forge(c.tb.TempDir(), "never-joined")
	must(c.tb, err)
	claim := transport.Claim{Instance: c.nodes[0].Claim().Instance, Disk: "d"}
	return evilRole{name: "stranger", certificates: certificatesOf(c.tb, credentials), claim: claim}
}

// foreignCertificate names a member, and is of another authority.
func (c *cluster) foreignCertificate() []tls.Certificate {
	return certificatesOf(c.tb, c.credentials(clusterID, "node-1"))
}

func certificatesOf(tb testing.TB, from transport.Credentials) []tls.Certificate {
	tb.Helper()
	b, err := from.Load()
	must(tb, err)
	return []tls.Certificate{b.Certificate}
}

func (c *cluster) addresses() (out []string) {
	for _, n := range c.nodes {
		out = append(out, n.Addr().String())
	}
	return out
}

// lowest is how far the nodes are at the least.
func (c *cluster) lowest() evilSight {
	at := evilSight{math.MaxUint64, math.MaxUint64}
	for _, n := range c.nodes {
		st := n.Status()
		at = evilSight{min(at.term, st.Term), min(at.applied, st.AppliedIndex)}
	}
	return at
}

// unharmed fails the test unless all nodes run, have the members and the state
// that they should have, and every write of the load.
func (c *cluster) unharmed(load *evilLoad) {
	c.tb.Helper()
	c.converged()
	for i, n := range c.nodes {
		st := n.Status()
		if st.Err != nil || st.Diverged {
			c.tb.Errorf("%s: %v, diverged: %v", st.NodeID, st.Err, st.Diverged)
		}
		var members []string
		for _, p := range st.Peers {
			members = append(members, p.NodeID)
		}
		want := slices.DeleteFunc([]string{evilID, "node-1", "node-2", "node-3"}, func(id string) bool { return id == st.NodeID })
		if slices.Sort(members); !slices.Equal(members, want) {
			c.tb.Errorf("%s has the peers %v, want %v", st.NodeID, members, want)
		}
		for node := range addressBook(c.tb, c.configs[i]) {
			if !slices.Contains(want, node) {
				c.tb.Errorf("%s remembers where %.50q is", st.NodeID, node)
			}
		}
		load.check(n)
	}
}

// restartAll starts all nodes again, where they were.
func (c *cluster) restartAll() {
	c.tb.Helper()
	for i, n := range c.nodes {
		c.configs[i].ListenAddress = n.Addr().String()
		c.configs[i].Bootstrap, c.configs[i].Join = false, nil
		must(c.tb, n.Close())
	}
	for i := range c.nodes {
		c.nodes[i] = c.mustOpen(c.configs[i])
	}
}

// evilLoad writes through all nodes, and remembers what was acknowledged.
type evilLoad struct {
	*cluster
	keys  int
	acked [][]byte
}

var evilLoadKeys = store.Prefix([]byte("client/"))

// run writes until ctx ends, and reads what it wrote.
func (l *evilLoad) run(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		n := l.nodes[i%len(l.nodes)]
		_ = l.try(ctx, n) // there may be no leader
		last := l.acked[len(l.acked)-1]
		kvs, _, err := n.Get(ctx, store.Linearizable(), store.Key(last))
		if err == nil && len(kvs) == 0 {
			l.tb.Errorf("%s doesn't have %s, which was acknowledged", n.Status().NodeID, last)
		}
	}
}

// try makes one attempt to put a key.
func (l *evilLoad) try(ctx context.Context, n *raftstore.Node) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	key := fmt.Appendf(nil, "client/%06d", l.keys)
	l.keys++
	if _, err := n.Put(ctx, store.Pair{Key: key, Value: key}); err != nil {
		return err
	}
	l.acked = append(l.acked, key)
	return nil
}

// put puts a key, sooner or later.
func (l *evilLoad) put(ctx context.Context, n *raftstore.Node) {
	l.tb.Helper()
	l.eventually("a write is acknowledged", func() error { return l.try(ctx, n) })
}

// check fails the test unless n has all that was acknowledged.
func (l *evilLoad) check(n *raftstore.Node) {
	l.tb.Helper()
	kvs, _, err := n.Get(l.ctx(), store.Linearizable(), evilLoadKeys)
	must(l.tb, err)
	for _, key := range l.acked {
		at, found := slices.BinarySearchFunc(kvs, key, func(kv store.KeyValue, key []byte) int { return bytes.Compare(kv.Key, key) })
		if !found || !bytes.Equal(kvs[at].Value, key) {
			l.tb.Errorf("%s doesn't have %s, which was acknowledged", n.Status().NodeID, key)
		}
	}
}

// heapBytes is what is reachable.
func heapBytes() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// watchHeap fails the test where the heap grows beyond its bound, garbage
// included.
func watchHeap(ctx context.Context, t *testing.T, before uint64) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		if stats.HeapAlloc > before+evilHeapBytesMax {
			t.Errorf("the heap has %d bytes", stats.HeapAlloc)
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}
