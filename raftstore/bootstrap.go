package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
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

const (
	// seedsAnswerWait is how long a node that is to bootstrap waits for gossip to
	// tell of other nodes.
	seedsAnswerWait = 2 * time.Second

	// seedsAskPause is the time between two questions to one of them.
	seedsAskPause = 250 * time.Millisecond
)

// checkNoCluster returns ErrClusterExists where a node at an address that this
// one was told, or that gossip tells of, is a member of a cluster: this node has
// lost its data then, and should not found a second cluster of the same name. It
// returns ErrSeedSilent where one that should know doesn't answer.
func (n *Node) checkNoCluster(ctx context.Context) error {
	if n.cfg.BootstrapAnyway {
		return nil
	}
	if err := n.askAround(ctx); err != nil {
		return err
	}
	if n.cfg.Gossip == nil || len(n.cfg.Gossip.Seeds) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, seedsAnswerWait)
	defer cancel()
	asked := lately[string]{pause: seedsAskPause}
	for {
		for _, m := range n.gossip.Members() {
			if !m.Alive || !asked.begin(m.Address) {
				continue
			}
			resp, err := n.sayHello(ctx, m.Address)
			if err := n.obstacle(m.Address, resp, err); errors.Is(err, ErrClusterExists) {
				return err // who doesn't answer there may be one of those that are to join
			}
		}
		if n.leadership.wait(ctx) != nil {
			return nil
		}
	}
}
