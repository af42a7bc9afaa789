package raftstore_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
)

// TestAdmission_ClaimsMustBeThoseOfTheMember has a member, with its own
// certificate, show another life of the cluster, none, or another disk.
func TestAdmission_ClaimsMustBeThoseOfTheMember(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, nil)
	member := c.admitted("node-9")
	right := c.nodes[0].Claim()
	for name, tc := range map[string]struct {
		claim transport.Claim
		want  error
		says  string
	}{
		"another life": {transport.Claim{Instance: "another", Disk: "d"}, transport.ErrOtherInstance, "another"},
		"no life":      {transport.Claim{Disk: "d"}, transport.ErrOtherInstance, "none"},
		"another disk": {transport.Claim{Instance: right.Instance, Disk: "e"}, transport.ErrNotAuthorized, "another disk"},
		"no disk":      {transport.Claim{Instance: right.Instance}, transport.ErrNotAuthorized, "another disk"},
	} {
		imitation := c.intruderClaiming("node-9", tc.claim)
		for _, n := range c.nodes {
			for _, kind := range []transport.Kind{transport.Raft, transport.Peer} {
				_, err := imitation.Dial(c.ctx(), kind, n.Status().NodeID)
				if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("%s, a %s stream: got %v, want %v that says %q", name, kind, err, tc.want, tc.says)
				}
			}
		}
	}
	conn, err := member.Dial(c.ctx(), transport.Peer, "node-1")
	must(t, err)
	conn.Close()
}

// TestLife_SurvivesAndIsTheSameEverywhere: a node that joins has the instance on
// disk, and keeps it.
func TestLife_SurvivesAndIsTheSameEverywhere(t *testing.T) {
	t.Parallel()
	for name, adjust := range map[string]func(*raftstore.Config){"certificates from elsewhere": nil, "own authority": ownAuthority} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, 2, adjust)
			c.converged()
			want := c.nodes[0].Claim().Instance
			for i, n := range c.nodes {
				must(t, n.Close())
				stored, err := raftstore.ClaimIn(c.configs[i].Dir)
				must(t, err)
				c.configs[i].Bootstrap, c.configs[i].Join = false, nil
				c.nodes[i] = c.mustOpen(c.configs[i])
				if opened := c.nodes[i].Claim(); want == "" || stored.Instance != want || opened.Instance != want {
					t.Errorf("node %d has %q on disk and claims %q, want %q", i, stored.Instance, opened.Instance, want)
				}
			}
		})
	}
}

// TestBootstrap_AfterTheDiskWasLost has the first node of three lose its disk
// while Bootstrap is still in its configuration, and nobody named whom it could
// ask. It founds a second cluster of the name then. That one and the old one
// take nothing from each other, so that neither loses nor mixes anything.
func TestBootstrap_AfterTheDiskWasLost(t *testing.T) {
	t.Parallel()
	for name, othersRun := range map[string]bool{"the others are down": false, "the others run": true} {
		for authority, adjust := range map[string]func(*raftstore.Config){"": nil, ", own authority": ownAuthority} {
			t.Run(name+authority, func(t *testing.T) {
				c := startCluster(t, 3, adjust)
				c.put("old", 50)
				for i, n := range c.nodes {
					c.configs[i].ListenAddress = n.Addr().String()
				}
				if !othersRun {
					must(t, errors.Join(c.nodes[1].Close(), c.nodes[2].Close()))
				}
				must(t, c.nodes[0].Close())
				again := c.configs[0]
				must(t, os.RemoveAll(again.Dir))
				_, err := raftstore.Init(again.Dir, clusterID, "node-1")
				must(t, err)
				c.nodes[0] = c.mustOpen(again)
				c.put("new", 20)
				for i := 1; i < 3 && !othersRun; i++ {
					c.configs[i].Join = nil
					c.nodes[i] = c.mustOpen(c.configs[i])
				}
				// Both sides have every reason to call each other now.
				c.eventually("the others elect a leader", func() error {
					_, err := c.nodes[1].Put(c.ctx(), store.Pair{Key: []byte("settled")})
					return err
				})
				c.wantKeys(1, "old", 50)
				c.wantKeys(2, "old", 50)
				c.wantKeys(1, "new", 0)
				if c.nodes[0].Status().Err == nil { // else it has noticed
					c.wantKeys(0, "old", 0)
					c.wantKeys(0, "new", 20)
				}
			})
		}
	}
}

// put writes so many keys with a prefix through the first node.
func (c *cluster) put(prefix string, count int) {
	c.tb.Helper()
	for i := range count {
		if _, err := c.nodes[0].Put(c.ctx(), store.Pair{Key: fmt.Appendf(nil, "%s-%03d", prefix, i)}); err != nil {
			c.tb.Fatal(err)
		}
	}
}

func (c *cluster) wantKeys(place int, prefix string, want int) {
	c.tb.Helper()
	n := c.nodes[place]
	got, _, err := n.Count(c.ctx(), store.Linearizable(), store.Prefix([]byte(prefix+"-")))
	if err != nil || got != want {
		c.tb.Errorf("%s has %d keys %q, %v; want %d", n.Status().NodeID, got, prefix, err, want)
	}
}

// TestOpen_RefusesFilesOfTwoLives exchanges single files of a directory for those
// of another life of the same node.
func TestOpen_RefusesFilesOfTwoLives(t *testing.T) {
	t.Parallel()
	_, other := stopped(t)
	for _, name := range []string{"life.json", "state.db", "raft.db"} {
		c, cfg := stopped(t)
		from, err := os.ReadFile(filepath.Join(other.Dir, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(cfg.Dir, name), from, 0o600))
		c.openFails(cfg, raftstore.ErrMismatch, "instance", "put back the files that belong together")
	}
}
