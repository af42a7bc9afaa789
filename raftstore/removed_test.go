package raftstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

// TestRemoved_NodeThatWasAway: a node is removed while it is down. When it comes
// back the members tell it, it tells whoever asks, once in its log, and stays
// out.
func TestRemoved_NodeThatWasAway(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	must(t, c.nodes[2].Close())
	must(t, c.nodes[0].RemoveServer(c.ctx(), "node-3"))

	var log bytes.Buffer // read when the node is closed
	cfg := c.configs[2]
	cfg.Join = nil
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))
	n := c.mustOpen(cfg)
	c.eventually("it is told", func() error {
		if s := n.Status(); !errors.Is(s.Err, raftstore.ErrRemoved) || s.Role != raftstore.RoleFailed {
			return fmt.Errorf("role %s, error %v", s.Role, s.Err)
		}
		return nil
	})
	if _, err := n.Put(c.ctx(), store.Pair{Key: []byte("k")}); !errors.Is(err, raftstore.ErrRemoved) {
		t.Errorf("put: got %v, want %v", err, raftstore.ErrRemoved)
	}
	must(t, n.Close())
	if text := log.String(); strings.Count(text, "was removed from the cluster, and stops") != 1 || !strings.Contains(text, "delete its data directory") {
		t.Errorf("logged %q", text)
	}
	c.openRefused(cfg, raftstore.ErrRemoved, "delete its data directory, and Init a new one with a new node id")
}

// TestRemoved_RunningNode: a node that is up when it is removed stops by itself.
func TestRemoved_RunningNode(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	i := c.follower()
	must(t, c.nodes[i].RemoveServer(c.ctx(), c.nodes[i].Status().NodeID))
	c.eventually("it stops", func() error {
		if err := c.nodes[i].Status().Err; !errors.Is(err, raftstore.ErrRemoved) {
			return fmt.Errorf("error %v", err)
		}
		return nil
	})
}

// TestRemoved_OneLyingMemberRetiresNobody: as long as another member answers that
// knows better.
func TestRemoved_OneLyingMemberRetiresNobody(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, nil)
	liar := c.intruder("node-9")
	var lies atomic.Int64
	lie := func(net.Conn) rpc.Handler {
		return func(context.Context, uint8, []byte) ([]byte, error) {
			lies.Add(1)
			return nil, &rpc.Error{Code: codeRemoved, Message: "you were removed"}
		}
	}
	for _, kind := range []transport.Kind{transport.Peer, transport.Join} {
		go rpc.ServeListener(t.Context(), liar.Listener(kind), rpc.Config{}, lie)
	}
	leader := c.nodes[c.leader()]
	req := &peerv1.JoinRequest{Token: c.token(), DiskId: "d", Address: liar.Addr().String()}
	must(t, c.ask(liar, transport.Join, leader.Status().NodeID, methodJoin, req, &peerv1.JoinResponse{}))
	c.eventually("it has lied again and again", func() error {
		if n := lies.Load(); n < 20 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	for _, n := range c.nodes {
		if err := n.Status().Err; err != nil {
			t.Errorf("%s: %v", n.Status().NodeID, err)
		}
	}
	_, err := c.nodes[1].Put(c.ctx(), store.Pair{Key: []byte("k")})
	must(t, err)
}

// TestRemoved_TheWordOfTheOnlyMemberThatAnswersCounts.
func TestRemoved_TheWordOfTheOnlyMemberThatAnswersCounts(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	must(t, c.nodes[2].Close())
	must(t, c.nodes[0].RemoveServer(c.ctx(), "node-3"))
	must(t, c.nodes[1].Close())
	cfg := c.configs[2]
	cfg.Join = nil
	n := c.mustOpen(cfg)
	c.eventually("it is told", func() error {
		if err := n.Status().Err; !errors.Is(err, raftstore.ErrRemoved) {
			return fmt.Errorf("error %v", err)
		}
		return nil
	})
}
