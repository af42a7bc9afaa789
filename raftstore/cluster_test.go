package raftstore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/devca"
)

const (
	clusterID   = "test-cluster"
	trustDomain = "example.org"

	// waitMax bounds every wait of a test for something that must happen.
	waitMax = 30 * time.Second
)

// rapidChecks is how many sequences of operations a test of properties does here,
// where three nodes carry out each, unless -rapid.checks says another number. On
// one store it does a hundred.
const rapidChecks = 40

// defaults sets flags that the command line may set again.
func defaults() {
	for name, value := range map[string]int{
		"test.parallel": testsAtOnce(),
		"rapid.checks":  rapidChecks,
	} {
		if err := flag.Set(name, strconv.Itoa(value)); err != nil {
			panic(err)
		}
	}
}

// TestMain waits for every goroutine to end. One of memberlist's may wait for the
// answer to a probe for seconds after its node is closed.
func TestMain(m *testing.M) {
	defaults()
	code := m.Run()
	for end := time.Now().Add(10 * time.Second); code == 0; {
		err := goleak.Find()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// cluster is a cluster of nodes in this process.
type cluster struct {
	tb      testing.TB
	ca      *devca.CA
	network func(node string) transport.Network // nil means TCP
	address func(node string) string
	adjust  func(*raftstore.Config)
	dir     string
	nodes   []*raftstore.Node
	configs []raftstore.Config
}

// newCluster returns a cluster without nodes, on TCP.
func newCluster(tb testing.TB) *cluster {
	tb.Helper()
	ca, err := devca.New(time.Hour)
	if err != nil {
		tb.Fatal(err)
	}
	host := loopback()
	return &cluster{
		tb: tb, ca: ca, dir: dataDir(tb),
		address: func(string) string { return host + ":0" },
		adjust:  func(*raftstore.Config) {},
	}
}

var loopbacks atomic.Int32

// loopback returns an address that no other cluster listens on, where the system
// has more than one: a node that comes back on its port finds it free there,
// whatever else runs.
func loopback() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1"
	}
	n := loopbacks.Add(1)
	return fmt.Sprintf("127.1.%d.%d", n/250, 1+n%250)
}

// startCluster returns a cluster of voters, whose first node leads.
func startCluster(tb testing.TB, size int, adjust func(*raftstore.Config)) *cluster {
	tb.Helper()
	return startClusterIn(tb, dataDir(tb), size, adjust)
}

// startClusterIn is startCluster with the data in dir.
func startClusterIn(tb testing.TB, dir string, size int, adjust func(*raftstore.Config)) *cluster {
	tb.Helper()
	c := newCluster(tb)
	c.dir = dir
	if adjust != nil {
		c.adjust = adjust
	}
	c.grow(size)
	return c
}

// grow adds nodes until there are size, and waits until all vote.
func (c *cluster) grow(size int) {
	c.tb.Helper()
	for i := len(c.nodes); i < size; i++ {
		cfg := c.config(fmt.Sprintf("node-%d", i+1))
		if i == 0 {
			cfg.Bootstrap = true
		} else {
			cfg.Join = &raftstore.JoinConfig{Addresses: []string{c.nodes[0].Addr().String()}, Token: c.token()}
		}
		c.open(cfg)
	}
	c.eventually("all nodes vote", func() error {
		for _, n := range c.nodes {
			voters := 0
			for _, p := range n.Status().Peers {
				if p.Voter {
					voters++
				}
			}
			if voters != size-1 || n.Status().Role == raftstore.RoleNonVoter {
				return fmt.Errorf("%s sees %d voters besides itself", n.Status().NodeID, voters)
			}
		}
		return nil
	})
}

// config prepares the data directory and certificate of a node.
func (c *cluster) config(node string) raftstore.Config {
	c.tb.Helper()
	dir := filepath.Join(c.dir, node)
	if _, err := raftstore.Init(dir, clusterID, node); err != nil {
		c.tb.Fatal(err)
	}
	cfg := raftstore.Config{
		Dir:           dir,
		Credentials:   c.credentials(clusterID, node),
		ListenAddress: c.address(node),
		Timing:        raftstore.Timing{PromoteAfter: time.Millisecond},
		Logger:        slog.New(slog.NewTextHandler(c.tb.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if c.network != nil {
		cfg.Network = c.network(node)
	}
	c.adjust(&cfg)
	return cfg
}

func (c *cluster) credentials(cluster, node string) transport.Credentials {
	c.tb.Helper()
	b, err := c.ca.Issue(transport.Identity{TrustDomain: trustDomain, Cluster: cluster, Node: node}, time.Hour)
	if err != nil {
		c.tb.Fatal(err)
	}
	return b
}

// open opens a node and adds it to the cluster.
func (c *cluster) open(cfg raftstore.Config) *raftstore.Node {
	c.tb.Helper()
	n := c.mustOpen(cfg)
	c.nodes = append(c.nodes, n)
	c.configs = append(c.configs, cfg)
	return n
}

func (c *cluster) mustOpen(cfg raftstore.Config) *raftstore.Node {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	n, err := raftstore.Open(ctx, cfg)
	if err != nil {
		c.tb.Fatalf("open %s: %v", filepath.Base(cfg.Dir), err)
	}
	c.tb.Cleanup(func() { n.Close() })
	return n
}

// token returns a new join token.
func (c *cluster) token() string {
	c.tb.Helper()
	token, err := c.nodes[0].CreateJoinToken(c.ctx(), time.Hour)
	if err != nil {
		c.tb.Fatalf("create join token: %v", err)
	}
	return token
}

// ctx is a context that ends a stuck test.
func (c *cluster) ctx() context.Context {
	ctx, cancel := context.WithTimeout(c.tb.Context(), waitMax)
	c.tb.Cleanup(cancel)
	return ctx
}

// leader waits for a leader that all live nodes agree on, and returns its place.
func (c *cluster) leader() int {
	c.tb.Helper()
	leader := -1
	c.eventually("there is a leader", func() error {
		leader = -1
		for i, n := range c.nodes {
			if n.Status().Role == raftstore.RoleLeader {
				leader = i
			}
		}
		if leader < 0 {
			return errors.New("no node leads")
		}
		return nil
	})
	return leader
}

// follower returns the place of a node that does not lead.
func (c *cluster) follower() int {
	c.tb.Helper()
	return (c.leader() + 1) % len(c.nodes)
}

// converged waits until all nodes have applied the same index, and returns
// whether their state hashes are equal there.
func (c *cluster) converged() {
	c.tb.Helper()
	c.eventually("all nodes have the same state", func() error {
		first := c.nodes[0].Status()
		for _, n := range c.nodes[1:] {
			s := n.Status()
			if s.AppliedIndex != first.AppliedIndex {
				return fmt.Errorf("%s is at index %d, %s at %d", s.NodeID, s.AppliedIndex, first.NodeID, first.AppliedIndex)
			}
			if s.StateHash != first.StateHash {
				return fmt.Errorf("state hashes differ at index %d", s.AppliedIndex)
			}
		}
		return nil
	})
}

// eventually waits until check returns nil.
func (c *cluster) eventually(what string, check func() error) {
	c.tb.Helper()
	deadline := time.Now().Add(waitMax)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.tb.Fatalf("waited %v until %s: %v", waitMax, what, err)
		}
		<-tick.C
	}
}

// stores are handles on the given nodes.
func (c *cluster) stores(places ...int) []store.Store {
	var out []store.Store
	for _, i := range places {
		out = append(out, c.nodes[i])
	}
	return out
}

// value returns n random bytes.
func value(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}
