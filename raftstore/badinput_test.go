package raftstore_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/devca"
)

// openFails opens cfg, which must fail with want and name each of mentions.
func (c *cluster) openFails(cfg raftstore.Config, want error, mentions ...string) {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
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

func TestOpen_RefusesDirectory(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil    func(t *testing.T, dir string)
		want     error
		mentions string
	}{
		"that was not initialized": {
			spoil: func(t *testing.T, dir string) {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			},
			mentions: "Init",
		},
		"whose state is truncated": {
			spoil: func(t *testing.T, dir string) { truncate(t, filepath.Join(dir, "state.db")) },
			want:  store.ErrCorrupt, mentions: "truncated",
		},
		"whose log is truncated": {
			spoil: func(t *testing.T, dir string) { truncate(t, filepath.Join(dir, "raft.db")) },
			want:  store.ErrCorrupt, mentions: "raft.db",
		},
		"whose state has a flipped bit": {
			spoil: func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "state.db")) },
			want:  store.ErrCorrupt, mentions: "restore this server from the others",
		},
		"whose log was lost": {
			spoil: func(t *testing.T, dir string) {
				if err := os.Remove(filepath.Join(dir, "raft.db")); err != nil {
					t.Fatal(err)
				}
			},
			want: store.ErrCorrupt, mentions: "log",
		},
		"whose identity is of a newer format": {
			spoil: func(t *testing.T, dir string) {
				path := filepath.Join(dir, "identity.json")
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(strings.Replace(string(b), `"format":1`, `"format":9`, 1)), 0o600); err != nil {
					t.Fatal(err)
				}
			},
		},
		"that others can read": {
			spoil: func(t *testing.T, dir string) {
				if err := os.Chmod(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			},
			mentions: "chmod",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, cfg := stopped(t)
			tc.spoil(t, cfg.Dir)
			c.openFails(cfg, tc.want, tc.mentions)
		})
	}
}

// truncate cuts a database file in its third page, behind what tells its size.
func truncate(t *testing.T, path string) {
	t.Helper()
	if err := os.Truncate(path, 10_000); err != nil {
		t.Fatal(err)
	}
}

// flip changes one bit in the middle of the longest run of random bytes of a
// file: a value of stopped.
func flip(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	best, run := 0, 0
	end := 0
	for i, x := range b {
		if x != 0 {
			run++
		} else {
			run = 0
		}
		if run > best {
			best, end = run, i
		}
	}
	b[end-best/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpen_RefusesDirectoryInUse(t *testing.T) {
	c := startCluster(t, 1, nil)
	c.openFails(c.configs[0], nil, "in use")
}

func TestOpen_RefusesPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := newCluster(t)
	cfg := c.config("node-1")
	cfg.ListenAddress = l.Addr().String()
	c.openFails(cfg, nil, l.Addr().String(), "in use")
}

func TestOpen_RefusesCredentials(t *testing.T) {
	otherCA, err := devca.New(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	own := transport.Identity{TrustDomain: trustDomain, Cluster: clusterID, Node: "node-1"}
	for name, tc := range map[string]struct {
		credentials func(c *cluster) transport.Credentials
		want        error
	}{
		"of another cluster":   {func(c *cluster) transport.Credentials { return c.credentials("other", "node-1") }, transport.ErrOtherCluster},
		"of another node":      {func(c *cluster) transport.Credentials { return c.credentials(clusterID, "node-2") }, transport.ErrWrongNode},
		"that have expired":    {func(c *cluster) transport.Credentials { return expired(t, c.ca, own) }, transport.ErrExpired},
		"of another authority": {func(c *cluster) transport.Credentials { return mixed(t, otherCA, c.ca, own) }, transport.ErrUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			cfg := c.config("node-1")
			cfg.Bootstrap = true
			cfg.Credentials = tc.credentials(c)
			c.openFails(cfg, tc.want)
		})
	}
}

// expired are credentials that were valid until a minute ago.
func expired(t *testing.T, ca *devca.CA, id transport.Identity) transport.Credentials {
	t.Helper()
	template := devca.Template(id, time.Hour)
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(-time.Minute)
	b, err := ca.Sign(template)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// mixed is a certificate of one authority with the roots of another.
func mixed(t *testing.T, issuer, roots *devca.CA, id transport.Identity) transport.Credentials {
	t.Helper()
	b, err := issuer.Issue(id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return &transport.Bundle{Certificate: b.Certificate, Roots: roots.Roots()}
}

func TestOpen_RefusesStateOfAnotherCluster(t *testing.T) {
	_, theirs := stopped(t)
	c := newCluster(t)
	cfg := c.config("node-1")
	dir := filepath.Join(c.dir, "elsewhere")
	if _, err := raftstore.Init(dir, "other", "node-1"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(theirs.Dir, "state.db"), filepath.Join(dir, "state.db")); err != nil {
		t.Fatal(err)
	}
	cfg.Dir, cfg.Credentials = dir, c.credentials("other", "node-1")
	c.openFails(cfg, fsm.ErrOtherCluster, "other", clusterID)
}

func TestOpen_RefusesNodeWithoutCluster(t *testing.T) {
	c := newCluster(t)
	c.openFails(c.config("node-1"), raftstore.ErrNotMember, "Bootstrap", "Join")
}

func TestInit_RefusesDirectoryOfAnotherCluster(t *testing.T) {
	_, cfg := stopped(t)
	if _, err := raftstore.Init(cfg.Dir, "other", "node-1"); err == nil {
		t.Error("Init gave a directory of one cluster to another")
	}
	if id, err := raftstore.Init(cfg.Dir, clusterID, "node-1"); err != nil || id.NodeID != "node-1" {
		t.Errorf("Init with the same identity: %v, %v", id, err)
	}
}

func TestBootstrap_AgainIsANoOp(t *testing.T) {
	c, cfg := stopped(t)
	cfg.Bootstrap = true
	n := c.mustOpen(cfg)
	kvs, _, err := n.Get(c.ctx(), store.Linearizable(), store.Key([]byte("k")))
	if err != nil || len(kvs) != 1 {
		t.Errorf("after the second bootstrap: %d pairs, %v", len(kvs), err)
	}
}

func TestJoin_Refuses(t *testing.T) {
	c := startCluster(t, 1, nil)
	join := func(token string, addresses ...string) *raftstore.JoinConfig {
		if len(addresses) == 0 {
			addresses = []string{c.nodes[0].Addr().String()}
		}
		return &raftstore.JoinConfig{Addresses: addresses, Token: token}
	}
	used := c.token()
	cfg := c.config("first")
	cfg.Join = join(used)
	c.open(cfg)

	brief, err := c.nodes[0].CreateJoinToken(c.ctx(), 2*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	other := startCluster(t, 1, nil)
	wiped := newCluster(t)
	wiped.ca = c.ca

	for name, tc := range map[string]struct {
		join *raftstore.JoinConfig
		want error
	}{
		"without a token":            {join(""), nil},
		"with a malformed token":     {join("hello"), raftstore.ErrToken},
		"with a made-up token":       {join("v1/" + clusterID + "/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), raftstore.ErrToken},
		"with another's used token":  {join(used), raftstore.ErrToken},
		"with an expired token":      {join(brief), raftstore.ErrToken},
		"with another cluster's":     {join(strings.Replace(used, clusterID, "other", 1)), raftstore.ErrToken},
		"through a node of other CA": {join(used, other.nodes[0].Addr().String()), transport.ErrUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cluster{tb: t, ca: c.ca, dir: t.TempDir(), address: c.address, adjust: c.adjust}
			cfg := c.config("joiner")
			cfg.Join = tc.join
			c.openFails(cfg, tc.want)
		})
	}
	if n := len(c.nodes[0].Status().Peers); n != 1 {
		t.Errorf("the cluster has %d peers after the refusals, want 1", n)
	}
}

func TestJoin_RefusesWipedNode(t *testing.T) {
	// The node at the address has lost its data and waits to be taken in itself.
	c := newCluster(t)
	nowhere, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere.Close()
	token := "v1/" + clusterID + "/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	wiped := c.config("wiped")
	wiped.ListenAddress = "127.0.0.1:0"
	wiped.Join = &raftstore.JoinConfig{Addresses: []string{nowhere.Addr().String()}, Token: token}
	listening := make(chan string, 1)
	wiped.Network = announcing{listening}
	ctx, cancel := context.WithCancel(c.ctx())
	opened := make(chan error, 1)
	go func() {
		_, err := raftstore.Open(ctx, wiped)
		opened <- err
	}()

	cfg := c.config("joiner")
	cfg.Join = &raftstore.JoinConfig{Addresses: []string{<-listening}, Token: token}
	c.openFails(cfg, raftstore.ErrNotMember, "wiped")
	cancel()
	if err := <-opened; !errors.Is(err, context.Canceled) {
		t.Errorf("join that was canceled: %v", err)
	}
}

// announcing is TCP that tells the address it listens on.
type announcing struct{ listening chan<- string }

func (announcing) DialContext(ctx context.Context, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}

func (a announcing) Listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err == nil {
		a.listening <- l.Addr().String()
	}
	return l, err
}

func TestNoLeader_EndsWithTheDeadline(t *testing.T) {
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
		if !strings.Contains(err.Error(), "node-3") {
			t.Errorf("error %q does not name the node", err)
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
