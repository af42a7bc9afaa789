package raftstore_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

const (
	methodOpened = 11
	codeCopied   = 13
)

// TestCopies_OneMembersWordStopsNobodyForGood: a member says of one that starts,
// while nobody leads, that another process of it runs. That one stops, and can be
// started again.
func TestCopies_OneMembersWordStopsNobodyForGood(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, nil)
	liar := c.intruder("node-9")
	lie := func(net.Conn) rpc.Handler {
		return func(_ context.Context, method uint8, _ []byte) ([]byte, error) {
			if method == methodOpened {
				return nil, &rpc.Error{Code: codeCopied, Message: "you run elsewhere"}
			}
			return nil, &rpc.Error{Code: codeNotLeader, Message: "no"}
		}
	}
	go rpc.ServeListener(t.Context(), liar.Listener(transport.Peer), rpc.Config{}, lie)
	req := &peerv1.JoinRequest{Token: c.token(), DiskId: "d", Address: liar.Addr().String()}
	must(t, c.ask(liar, transport.Join, c.nodes[c.leader()].Status().NodeID, methodJoin, req, &peerv1.JoinResponse{}))
	c.eventually("node-2 knows where the liar is", func() error {
		known := func(p raftstore.Peer) bool { return p.NodeID == "node-9" && p.Address != "" }
		if !slices.ContainsFunc(c.nodes[1].Status().Peers, known) {
			return errors.New("it does not")
		}
		return nil
	})
	must(t, errors.Join(c.nodes[0].Close(), c.nodes[1].Close()))
	cfg := c.configs[1]
	cfg.Join = nil
	for range 2 {
		n := c.mustOpen(cfg)
		c.eventually("it stops", func() error {
			if s := n.Status(); !errors.Is(s.Err, raftstore.ErrCopied) || s.Role != raftstore.RoleFailed {
				return fmt.Errorf("role %s, error %w", s.Role, s.Err)
			}
			return nil
		})
		must(t, n.Close())
		if _, err := os.Stat(filepath.Join(cfg.Dir, "copied")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the directory is marked as a copy: %v", err)
		}
	}
}
