package raftstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/transport"
)

// resolve implements transport.Config.Resolve.
func (n *Node) resolve(_ context.Context, node string) (string, error) {
	if address, ok := n.address(node); ok {
		return address, nil
	}
	return "", fmt.Errorf("the address of node %s is not known yet", node)
}

// address returns where node is, and whether that is known.
func (n *Node) address(node string) (string, bool) {
	if node == n.id.NodeID {
		return n.advertised, true
	}
	return n.addresses.Get(node)
}

// learnAddress takes a hint of where a node is. Whoever dials it checks who
// answers.
func (n *Node) learnAddress(node, address string) {
	if node == n.id.NodeID || address == "" {
		return
	}
	if err := n.addresses.Set(node, address); err != nil {
		n.log.Warn("address not remembered", "peer", node, "error", err)
	}
}

func (n *Node) learn(members []*peerv1.Member) {
	for _, m := range members {
		n.learnAddress(m.GetNodeId(), m.GetAddress())
	}
}

// introduceInterval is the time between introductions.
const introduceInterval = time.Second

// introduce tells the nodes that this one knows of where it is, as long as no
// leader finds it: a leader that was elected right after this node joined, or
// one that knows it from another address, can't. It is also how a node that was
// away hears that it was removed.
func (n *Node) introduce(ctx context.Context) {
	self := []*peerv1.Member{{NodeId: n.id.NodeID, Address: n.advertised}}
	every(ctx, introduceInterval, func() {
		if _, leader := n.raft.LeaderWithID(); leader != "" {
			return
		}
		attempt, cancel := context.WithTimeout(ctx, introduceInterval)
		defer cancel()
		var wg sync.WaitGroup
		for _, node := range n.admission().others(n.id.NodeID) {
			wg.Go(func() {
				_, err := n.probe(attempt, node, self) // who doesn't answer is asked again
				if errors.Is(err, transport.ErrNotAuthorized) {
					n.askWhyRefused(attempt, node)
				}
			})
		}
		wg.Wait()
	})
}

// memberAddresses are the servers of the configuration whose address is known.
func (n *Node) memberAddresses() []*peerv1.Member {
	var out []*peerv1.Member
	for _, s := range n.configuration().Servers {
		if address, ok := n.address(string(s.ID)); ok {
			out = append(out, &peerv1.Member{NodeId: string(s.ID), Address: address})
		}
	}
	return out
}
