package raftstore_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/identity"
	"github.com/spire-raft/spire-raft/store"
)

// openFails opens cfg, which must fail with want, name each of mentions, and
// leave the directory as it was.
func (c *cluster) openFails(cfg raftstore.Config, want error, mentions ...string) {
	c.tb.Helper()
	before := filesOf(c.tb, cfg.Dir)
	c.openRefused(cfg, want, mentions...)
	wantFiles(c.tb, cfg.Dir, before)
}

// wantFiles tells if a directory has changed since before.
func wantFiles(tb testing.TB, dir string, before map[string]string) {
	tb.Helper()
	if after := filesOf(tb, dir); !maps.Equal(before, after) {
		tb.Errorf("the directory has changed from\n%v\nto\n%v", before, after)
	}
}

// openRefused is openFails where another node changes the directory.
func (c *cluster) openRefused(cfg raftstore.Config, want error, mentions ...string) {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	n, err := raftstore.Open(ctx, cfg)
	if err == nil {
		n.Close()
		c.tb.Fatal("Open succeeded")
	}
	if want != nil && !errors.Is(err, want) {
		c.tb.Errorf("error %q is not %q", err, want)
	}
	for _, m := range mentions {
		if !strings.Contains(err.Error(), m) {
			c.tb.Errorf("error %q does not mention %q", err, m)
		}
	}
}

// filesOf describes all that is in a directory but the files that are locked,
// which hold no data.
func filesOf(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && (d.Name() == "lock" || d.Name() == "state.lock") {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || d.IsDir() {
			files[path] = info.Mode().String()
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = fmt.Sprintf("%v, %d bytes, %x", info.Mode(), len(data), sha256.Sum256(data))
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return files
}

// stopped returns a cluster of one node that has data and is closed, and the
// config to open it again.
func stopped(t *testing.T) (*cluster, raftstore.Config) {
	t.Helper()
	c := startCluster(t, 1, nil)
	if _, err := c.nodes[0].Put(c.ctx(), store.Pair{Key: []byte("k"), Value: value(2000)}); err != nil {
		t.Fatal(err)
	}
	if err := c.nodes[0].Close(); err != nil {
		t.Fatal(err)
	}
	cfg := c.configs[0]
	cfg.Bootstrap = false
	return c, cfg
}

func TestOpen_RefusesDirectoryInUse(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	cfg := c.configs[0]
	cfg.ListenAddress = "127.0.0.1:0" // the port is not what is in use
	c.openRefused(cfg, raftstore.ErrLocked, cfg.Dir, "stop it first")
	if _, err := c.nodes[0].Put(c.ctx(), store.Pair{Key: []byte("k")}); err != nil {
		t.Errorf("put on the node that has the directory: %v", err)
	}

	c, cfg = stopped(t)
	unlock, err := identity.Lock(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	c.openFails(cfg, raftstore.ErrLocked, cfg.Dir, "stop it first")
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	c.mustOpen(cfg)
}

func TestOpen_RefusesPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	for name, change := range map[string]func(*raftstore.Config){
		"for peers":  func(cfg *raftstore.Config) { cfg.ListenAddress = taken },
		"for gossip": func(cfg *raftstore.Config) { cfg.Gossip = &raftstore.GossipConfig{BindAddress: taken, Key: value(32)} },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			cfg := c.config("node-1")
			cfg.Bootstrap = true
			change(&cfg)
			c.openFails(cfg, syscall.EADDRINUSE, taken, "choose a")
		})
	}
	t.Run("of a node that has data", func(t *testing.T) {
		c, cfg := stopped(t)
		cfg.ListenAddress = taken
		c.openFails(cfg, syscall.EADDRINUSE, taken, "choose another port")
	})
}

func TestNoLeader_EndsWithTheDeadline(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	alone := c.follower()
	n := c.nodes[alone]
	if _, err := n.Revision(c.ctx(), store.Linearizable()); err != nil {
		t.Fatal(err)
	}
	for i, n := range c.nodes {
		if i != alone {
			n.Close()
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := n.Put(ctx, store.Pair{Key: []byte("k")}); !errors.Is(err, store.ErrNoLeader) && !errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("put without a quorum: %v", err)
	}
	c.eventually("a put finds no leader", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := n.Put(ctx, store.Pair{Key: []byte("k")})
		if !errors.Is(err, store.ErrNoLeader) || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if !strings.Contains(err.Error(), "see that a quorum of the voters is up") {
			t.Errorf("error %q does not tell what helps", err)
		}
		return nil
	})
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := n.Revision(ctx, store.Linearizable()); !errors.Is(err, store.ErrNoLeader) {
		t.Errorf("linearizable read without a quorum: %v", err)
	}
	if _, err := n.Revision(t.Context(), store.BoundedStale(time.Hour)); err != nil {
		t.Errorf("read that may be an hour old: %v", err)
	}
	c.eventually("a read that may be 10 ms old is refused", func() error {
		_, err := n.Revision(t.Context(), store.BoundedStale(10*time.Millisecond))
		if !errors.Is(err, store.ErrStale) {
			return err
		}
		return nil
	})
}

func TestFullDisk_RefusesGrowthOnly(t *testing.T) {
	t.Parallel()
	var free atomic.Uint64
	free.Store(1 << 40)
	c := startCluster(t, 3, func(cfg *raftstore.Config) {
		if filepath.Base(cfg.Dir) == "node-3" { // one full disk is enough
			cfg.Disk.Free = func(string) (uint64, error) { return free.Load(), nil }
		}
	})
	writer := c.nodes[c.follower()]
	pair := store.Pair{Key: []byte("k"), Value: value(10)}
	if _, err := writer.Put(c.ctx(), pair); err != nil {
		t.Fatal(err)
	}

	free.Store(1 << 20)
	c.eventually("a put is refused", func() error {
		_, err := writer.Put(c.ctx(), pair)
		if !errors.Is(err, store.ErrNoSpace) {
			return errors.Join(errors.New("no ErrNoSpace"), err)
		}
		for _, m := range []string{"node-3", "free some, or remove the node"} {
			if !strings.Contains(err.Error(), m) {
				t.Errorf("error %q does not mention %q", err, m)
			}
		}
		return nil
	})
	if kvs, _, err := writer.Get(c.ctx(), store.Linearizable(), store.Key(pair.Key)); err != nil || len(kvs) != 1 {
		t.Errorf("read on a full disk: %d pairs, %v", len(kvs), err)
	}
	if n, _, err := writer.Delete(c.ctx(), store.Key(pair.Key)); err != nil || n != 1 {
		t.Errorf("delete on a full disk: %d keys, %v", n, err)
	}

	free.Store(1 << 40)
	c.eventually("a put passes again", func() error {
		_, err := writer.Put(c.ctx(), pair)
		return err
	})
}
