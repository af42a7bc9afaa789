package raftstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/addressbook"
	"github.com/spire-raft/spire-raft/store"
)

// nobody returns an address at which nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", loopback()+":0")
	must(t, err)
	must(t, l.Close())
	return l.Addr().String()
}

// TestBootstrap_AsksItsSeeds bootstraps where a server at one of the seeds is a
// member of the cluster, although it has lost its quorum.
func TestBootstrap_AsksItsSeeds(t *testing.T) {
	t.Parallel()
	for name, adjust := range map[string]func(*raftstore.Config){"certificates from elsewhere": nil, "own authority": ownAuthority} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, 2, adjust)
			must(t, c.nodes[0].RemoveServer(c.ctx(), "node-8"))
			c.converged()
			must(t, c.nodes[0].Close())
			survivor := c.nodes[1]
			c.dir = t.TempDir()
			for node, says := range map[string][]string{
				"node-1": {"whose disk was lost", "a new node id"},
				"node-7": {"join it with a new node id"},
				"node-8": {"was removed from it", "a new node id"},
			} {
				cfg := c.config(node)
				cfg.Bootstrap, cfg.Seeds = true, []string{nobody(t), survivor.Addr().String()}
				if node == "node-8" && adjust == nil {
					says = says[:1] // its certificate says who it is, and all it is told is that
				} else {
					says = append(says, "node-2", survivor.Claim().Instance, clusterID, "BootstrapAnyway")
				}
				c.openFails(cfg, raftstore.ErrClusterExists, append(says, survivor.Addr().String())...)
			}
		})
	}
}

// TestBootstrap_NeedsAnAnswerOfAllSeeds: who doesn't answer may be all that is
// left of a cluster.
func TestBootstrap_NeedsAnAnswerOfAllSeeds(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	cfg := c.config("node-1")
	cfg.Bootstrap, cfg.Seeds = true, []string{nobody(t), nobody(t)}
	c.openFails(cfg, raftstore.ErrSeedSilent, cfg.Seeds[0], cfg.Seeds[1], "start it", "BootstrapAnyway")
	cfg.BootstrapAnyway = true
	c.open(cfg)
}

// TestBootstrap_AsksTheNodesOfItsAddressBook: the directory has lost everything
// but the addresses.
func TestBootstrap_AsksTheNodesOfItsAddressBook(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	c.dir = t.TempDir()
	cfg := c.config("node-2")
	cfg.Bootstrap = true
	must(t, addressbook.Open(cfg.Dir, cfg.Logger).Set("node-1", c.nodes[0].Addr().String()))
	c.openFails(cfg, raftstore.ErrClusterExists, "node-1", "join it with a new node id")
}

// TestBootstrap_NodesThatWaitAreNoObstacle: the seeds of a new cluster are the
// nodes that are to join it. One of them is the node itself.
func TestBootstrap_NodesThatWaitAreNoObstacle(t *testing.T) {
	t.Parallel()
	for name, adjust := range map[string]func(*raftstore.Config){"certificates from elsewhere": nil, "own authority": ownAuthority} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			if adjust != nil {
				c.adjust = adjust
			}
			waiting := c.config("node-2")
			token := madeUp
			if adjust != nil {
				token = strings.Replace(madeUp, "//", "/"+strings.Repeat("A", 43)+"/", 1)
			}
			waiting.Join = &raftstore.JoinConfig{Addresses: []string{nobody(t)}, Token: token}
			listening := make(chan string, 1)
			waiting.Network = announcing{listening}
			ctx, cancel := context.WithCancel(c.ctx())
			opened := make(chan error, 1)
			go func() {
				_, err := raftstore.Open(ctx, waiting)
				opened <- err
			}()
			cfg := c.config("node-1")
			cfg.ListenAddress = nobody(t)
			cfg.Bootstrap, cfg.Seeds = true, []string{<-listening, cfg.ListenAddress}
			c.open(cfg)
			cancel()
			if err := <-opened; !errors.Is(err, context.Canceled) {
				t.Errorf("the node that waited: %v", err)
			}
		})
	}
}

// TestSeeds_FindServersThatHaveAllMoved: no address that a node knows is right
// any more.
func TestSeeds_FindServersThatHaveAllMoved(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, ownAuthority)
	c.converged()
	for _, n := range c.nodes {
		must(t, n.Close())
	}
	var seeds []string
	for range c.nodes {
		seeds = append(seeds, nobody(t))
	}
	for i, cfg := range c.configs {
		cfg.Join, cfg.Bootstrap = nil, false
		cfg.ListenAddress, cfg.Seeds = seeds[i], seeds
		c.nodes[i] = c.mustOpen(cfg)
	}
	if _, err := c.nodes[0].Put(c.ctx(), store.Pair{Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
}

// lines collects a log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// saying returns the lines that have all of the words.
func (l *lines) saying(words ...string) (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
lines:
	for line := range strings.Lines(l.text.String()) {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue lines
			}
		}
		out = append(out, line)
	}
	return out
}

// TestLives_SayWhichOneIsOdd has the first node found a second cluster, on a new
// disk, while the others run. All of them say so at ERROR, and the first one that
// it is the odd one; not again and again.
func TestLives_SayWhichOneIsOdd(t *testing.T) {
	t.Parallel()
	for name, adjust := range map[string]func(*raftstore.Config){"certificates from elsewhere": nil, "own authority": ownAuthority} {
		t.Run(name, func(t *testing.T) {
			var old lines
			c := startCluster(t, 3, func(cfg *raftstore.Config) {
				if adjust != nil {
					adjust(cfg)
				}
				cfg.Logger = slog.New(slog.NewTextHandler(&old, nil))
			})
			c.put("old", 10)
			c.configs[0].ListenAddress = c.nodes[0].Addr().String()
			must(t, c.nodes[0].Close())
			again := c.configs[0]
			must(t, os.RemoveAll(again.Dir))
			_, err := raftstore.Init(again.Dir, clusterID, "node-1")
			must(t, err)
			var odd lines
			registry := prometheus.NewPedanticRegistry()
			again.Registerer = registry
			again.Logger = slog.New(slog.NewTextHandler(&odd, nil))
			c.nodes[0] = c.mustOpen(again)
			c.eventually("both sides say what has happened", func() error {
				if len(odd.saying("level=ERROR", "this one is the odd one", "delete its data directory", c.nodes[1].Claim().Instance)) == 0 {
					return errors.New("the odd one does not")
				}
				if len(old.saying("level=ERROR", "peer is the odd one", "peer=node-1", c.nodes[0].Claim().Instance)) == 0 {
					return errors.New("the others do not")
				}
				return nil
			})
			refused := func() (n float64) {
				for name, value := range gathered(t, registry) {
					if strings.HasPrefix(name, "spire_raft_connections_refused_total/") {
						n += value
					}
				}
				return n
			}
			before := refused()
			c.eventually("the others have tried many more times", func() error {
				if n := refused() - before; n < 20 {
					return fmt.Errorf("%v times", n)
				}
				return nil
			})
			for who, log := range map[string]*lines{"the odd one": &odd, "the others": &old} {
				if said := log.saying("level=ERROR", "two clusters of one name"); len(said) > 8 {
					t.Errorf("%s say it %d times", who, len(said))
				}
			}
			if said := fmt.Sprint(odd.saying("peer is the odd one"), old.saying("this one is the odd one")); said != "[] []" {
				t.Errorf("somebody has it wrong: %s", said)
			}
		})
	}
}
