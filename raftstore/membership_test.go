package raftstore_test

import (
	"errors"
	"strings"
	"testing"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

// Codes of failures, see docs/FORMATS.md.
const (
	codeInvalid    = 4
	codeRemoved    = 8
	codeBadRequest = 10
)

// TestRemoveServer_BarsWhoeverItIs: an id can be barred before its node ever
// came, from any node, and again.
func TestRemoveServer_BarsWhoeverItIs(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, nil)
	for range 2 {
		for _, n := range c.nodes {
			if err := n.RemoveServer(c.ctx(), "evil"); err != nil {
				t.Errorf("through %s: %v", n.Status().NodeID, err)
			}
		}
	}
	evil := c.intruder("evil")
	req := &peerv1.JoinRequest{Token: c.token(), DiskId: "d"}
	err := c.ask(evil, transport.Join, "node-1", methodJoin, req, &peerv1.JoinResponse{})
	if refused := new(rpc.Error); !errors.As(err, &refused) || refused.Code != codeRemoved {
		t.Errorf("it joins with a good token: got %v, want code %d, %v", err, codeRemoved, raftstore.ErrRemoved)
	}
}

func TestRemoveServer_RefusesWhatIsNoID(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, nil)
	for _, id := range []string{"", "..", "Node-1", "a/b", strings.Repeat("x", 129)} {
		for _, n := range c.nodes {
			if err := n.RemoveServer(c.ctx(), id); !errors.Is(err, store.ErrInvalid) {
				t.Errorf("%q: got %v, want %v", id, err, store.ErrInvalid)
			}
		}
	}
}
