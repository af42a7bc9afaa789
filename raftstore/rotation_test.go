package raftstore_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
)

// rotated waits until no rotation is under way, and returns the authority that
// all nodes have their certificate of.
func (c *cluster) rotated(before string) string {
	c.tb.Helper()
	issuer := ""
	c.eventually("the authority is another one everywhere", func() error {
		issuer = ""
		for _, n := range c.nodes {
			roots, own := raftstore.Authorities(n)
			switch {
			case len(roots) != 1 || own != roots[0] || own == before:
				return fmt.Errorf("%s trusts %.8q and has a certificate of %.8s", n.Status().NodeID, roots, own)
			case issuer != "" && issuer != own:
				return fmt.Errorf("%s has a certificate of %.8s, another node of %.8s", n.Status().NodeID, own, issuer)
			}
			issuer = own
		}
		return nil
	})
	return issuer
}

// at waits until a rotation is at a step on a node.
func (c *cluster) at(n *raftstore.Node, step raftstore.RotationStep) {
	c.tb.Helper()
	c.eventually(fmt.Sprintf("the rotation is at %q", step), func() error {
		if now := raftstore.Rotation(n); now != step {
			return fmt.Errorf("it is at %q", now)
		}
		return nil
	})
}

func authorityOf(n *raftstore.Node) string {
	_, own := raftstore.Authorities(n)
	return own
}

func TestRotateAuthority_UnderLoadFailsNoWrite(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, func(cfg *raftstore.Config) {
		ownAuthority(cfg)
		// A busy machine costs no election: what is left is the rotation's doing.
		cfg.Timing.HeartbeatTimeout = 5 * time.Second
	})
	term := c.nodes[0].Status().Term
	stop := make(chan struct{})
	var writers sync.WaitGroup
	var written [3]int
	for i, n := range c.nodes {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := n.Put(c.ctx(), store.Pair{Key: fmt.Appendf(nil, "k%d", i), Value: value(32)}); err != nil {
					t.Errorf("write through %s: %v", n.Status().NodeID, err)
					return
				}
				written[i]++
			}
		})
	}
	before := authorityOf(c.nodes[0])
	for range 2 {
		must(t, c.nodes[1].RotateAuthority(c.ctx()))
		before = c.rotated(before)
	}
	c.eventually("the streams with older certificates are cut", func() error {
		for _, n := range c.nodes {
			if old := raftstore.StreamsOfOthers(n, before); old > 0 {
				return fmt.Errorf("%s has %d", n.Status().NodeID, old)
			}
		}
		return nil
	})
	close(stop)
	writers.Wait()
	if min(written[0], written[1], written[2]) == 0 {
		t.Errorf("writes %v", written)
	}
	c.converged()
	if now := c.nodes[0].Status().Term; now != term {
		t.Errorf("the rotations have cost an election: term %d, then %d", term, now)
	}

	// A restart and a new node find their way with the new one alone.
	for i, n := range c.nodes {
		c.configs[i].ListenAddress = n.Addr().String()
		must(t, n.Close())
	}
	for i, cfg := range c.configs {
		cfg.Join, cfg.Bootstrap = nil, false
		c.nodes[i] = c.mustOpen(cfg)
	}
	c.open(c.joinWith("node-4", c.token()))
	c.converged()
	c.rotated("")
}

func TestRotateAuthority_GoesOnUnderAnotherLeader(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, ownAuthority)
	before := authorityOf(c.nodes[0])
	for i := range c.nodes {
		c.configs[i].ListenAddress = c.nodes[i].Addr().String()
	}
	// What is down holds the rotation up, so that each step can be seen.
	restart := func(i int) {
		cfg := c.configs[i]
		cfg.Join, cfg.Bootstrap = nil, false
		c.nodes[i] = c.mustOpen(cfg)
	}
	must(t, c.nodes[2].Close())
	must(t, c.nodes[0].RotateAuthority(c.ctx()))
	c.at(c.nodes[1], raftstore.RotationTrusting)
	if err := c.nodes[1].RotateAuthority(c.ctx()); !errors.Is(err, raftstore.ErrRotationUnderWay) {
		t.Errorf("a second rotation: %v", err)
	}
	leader := c.nodes[0]
	must(t, leader.Crash())
	restart(2)
	restart(0)
	after := c.rotated(before)
	if after == before {
		t.Error("the authority is the old one")
	}
}

func TestRotateAuthority_WaitsForANodeThatIsAway(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, ownAuthority)
	before := authorityOf(c.nodes[0])
	old := c.token()
	must(t, c.nodes[2].Close())
	must(t, c.nodes[0].RotateAuthority(c.ctx()))
	c.eventually("node-3 is waited for", func() error {
		leader := c.nodes[0].Status().Authority
		if leader == nil || len(leader.WaitsFor) != 1 || leader.WaitsFor[0] != "node-3" || leader.Rotation != raftstore.RotationTrusting {
			return fmt.Errorf("status %+v", leader)
		}
		return nil
	})
	// Meanwhile the old one issues, and tokens name it.
	c.nodes[2] = c.mustOpen(c.joinWith("node-4", old))
	must(t, c.nodes[1].RemoveServer(c.ctx(), "node-3"))
	c.rotated(before)
	if s := c.nodes[0].Status().Authority; s.Rotation != "" || len(s.WaitsFor) > 0 {
		t.Errorf("status after the rotation: %+v", s)
	}
}

// A node that is away after it has trusted the new authority comes back with a
// certificate of the old one.
func TestRotateAuthority_WaitsForTheLastCertificate(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, func(cfg *raftstore.Config) {
		ownAuthority(cfg)
		raftstore.HoldRenewal(cfg, strings.HasSuffix(cfg.Dir, "node-3"))
	})
	before := authorityOf(c.nodes[0])
	token := c.token()
	must(t, c.nodes[1].RotateAuthority(c.ctx()))
	c.at(c.nodes[2], raftstore.RotationRenewing)
	c.eventually("the leader has a new certificate", func() error {
		if authorityOf(c.nodes[0]) == before {
			return errors.New("it has its old one")
		}
		return nil
	})
	c.openFails(c.joinWith("node-4", token), transport.ErrUntrusted, "make a new token")
	c.configs[2].ListenAddress = c.nodes[2].Addr().String()
	must(t, c.nodes[2].Close())
	c.at(c.nodes[0], raftstore.RotationRenewing)
	if own := authorityOf(c.nodes[2]); own != before {
		t.Fatalf("node-3 has a certificate of the new authority")
	}
	// A node may join in the midst of it.
	fourth := c.open(c.joinWith("node-4", c.token()))
	if own := authorityOf(fourth); own == before {
		t.Error("the old authority still issues")
	}
	cfg := c.configs[2]
	cfg.Join = nil
	raftstore.HoldRenewal(&cfg, false)
	c.nodes[2] = c.mustOpen(cfg)
	c.rotated(before)
}

// TestRotateAuthority_TheOldOneIsWorthNothing has what a thief of a disk has: the
// key of the authority, and of a node.
func TestRotateAuthority_TheOldOneIsWorthNothing(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, ownAuthority)
	c.converged()
	forged, err := c.nodes[0].Forge(t.TempDir(), "node-2")
	must(t, err)
	stolen, err := c.nodes[1].OwnBundle()
	must(t, err)
	before := authorityOf(c.nodes[0])
	token := c.token()
	dial := func(credentials transport.Credentials, kind transport.Kind) error {
		thief := c.posing(credentials, c.nodes[1].Claim())
		defer thief.Close()
		conn, err := thief.Dial(c.ctx(), kind, "node-1")
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		return err
	}
	must(t, dial(stolen, transport.Peer)) // as long as it is a member's
	must(t, c.nodes[2].RotateAuthority(c.ctx()))
	c.rotated(before)
	for name, credentials := range map[string]transport.Credentials{"forged": forged, "stolen": stolen} {
		for _, kind := range []transport.Kind{transport.Raft, transport.Peer} {
			// Which side finds out first depends on who proves itself first.
			if err := dial(credentials, kind); !errors.Is(err, transport.ErrUntrusted) {
				t.Errorf("a %s stream with %s credentials: %v", kind, name, err)
			}
		}
	}
	c.openFails(c.joinWith("node-4", token), transport.ErrUntrusted, "make a new token")
}

func TestRotateAuthority_BeforeItExpires(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, func(cfg *raftstore.Config) {
		ownAuthority(cfg)
		raftstore.SetAuthorityLifetime(cfg, 12*time.Second)
	})
	before := authorityOf(c.nodes[0])
	after := c.rotated(before)
	c.rotated(after)
	_, err := c.nodes[1].Put(c.ctx(), store.Pair{Key: []byte("a")})
	must(t, err)
}

func TestRotateAuthority_IsOfTheClustersOwn(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	if err := c.nodes[0].RotateAuthority(c.ctx()); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("rotation of another's authority: %v", err)
	}
	if s := c.nodes[0].Status().Authority; s != nil {
		t.Errorf("status %+v", s)
	}
}
