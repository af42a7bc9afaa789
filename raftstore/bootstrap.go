package raftstore

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

// bootstrap makes this node the only server of a new cluster, and waits until
// it leads.
func (n *Node) bootstrap(ctx context.Context) error {
	if !n.admitted {
		if err := n.checkNoCluster(ctx); err != nil {
			return err
		}
	}
	if err := n.foundLife(); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	f := n.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{
		Suffrage: raft.Voter,
		ID:       raft.ServerID(n.id.NodeID),
		Address:  raft.ServerAddress(n.id.NodeID),
	}}})
	if err := f.Error(); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	n.trust(n.id.NodeID) // it calls itself, before it has applied who is a member
	n.campaign()         // there is nobody to wait for
	ctx, cancel := n.bound(ctx)
	defer cancel()
	if err := n.linearize(ctx); err != nil {
		return err
	}
	return n.initCluster(ctx)
}

// seedsAnswerWait is how long a node that is to bootstrap waits for gossip to
// tell of other nodes.
const seedsAnswerWait = 2 * time.Second

// checkNoCluster returns ErrClusterExists where a node that gossip tells of is a
// member of a cluster: this node has lost its data then, and a second cluster
// of the same name would destroy the first where they meet.
func (n *Node) checkNoCluster(ctx context.Context) error {
	if n.cfg.Gossip == nil || len(n.cfg.Gossip.Seeds) == 0 || n.cfg.BootstrapAnyway {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, seedsAnswerWait)
	defer cancel()
	for {
		for _, m := range n.gossip.Members() {
			if m.Alive && n.isInCluster(ctx, m.Address) {
				return fmt.Errorf("%w: node %s at %s is a member; join it with a new node id, or set BootstrapAnyway to give it up",
					ErrClusterExists, m.NodeID, m.Address)
			}
		}
		if n.leadership.wait(ctx) != nil {
			return nil
		}
	}
}

// isInCluster tells whether the node at address says that it is a member.
func (n *Node) isInCluster(ctx context.Context, address string) bool {
	conn, err := n.dialToAsk(ctx, address)
	if err != nil {
		return false
	}
	client := rpc.NewClient(conn, rpcConfig)
	defer client.Close()
	var resp peerv1.HelloResponse
	return roundTrip(callOf(ctx, client), methodHello, &peerv1.HelloRequest{}, &resp) == nil && resp.GetMember()
}
