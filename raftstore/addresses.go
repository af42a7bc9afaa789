package raftstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

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
// one that knows it from another address, can't.
func (n *Node) introduce(ctx context.Context) {
	self := []*peerv1.Member{{NodeId: n.id.NodeID, Address: n.advertised}}
	every(ctx, introduceInterval, func() {
		if _, leader := n.raft.LeaderWithID(); leader != "" {
			return
		}
		attempt, cancel := context.WithTimeout(ctx, introduceInterval)
		defer cancel()
		var wg sync.WaitGroup
		for node := range n.addresses.All() {
			wg.Go(func() { _, _ = n.probe(attempt, node, self) }) // who doesn't answer is asked again
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

// trusted are the nodes that a node without a configuration lets in: those that
// it asked to be taken in, and the members that they named.
type trusted struct {
	mu    sync.Mutex // guards nodes
	nodes map[string]bool
}

// trust lets a node in until there is a configuration.
func (n *Node) trust(node string) {
	n.trusted.mu.Lock()
	defer n.trusted.mu.Unlock()
	if n.trusted.nodes == nil {
		n.trusted.nodes = make(map[string]bool)
	}
	n.trusted.nodes[node] = true
}

func (t *trusted) has(node string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.nodes[node]
}

// authorize implements transport.Config.Authorize. The transport has made sure
// that the peer is a node of this cluster. A node that was removed may open
// nothing. Being in the newest configuration that this node knows is not
// demanded of a peer: that of a node which was away for long may be out of
// date, and only its peers can tell it. What changes the cluster or its data
// demands it on the leader, see handle.
func (n *Node) authorize(kind transport.Kind, peer transport.PeerInfo) error {
	view, err := n.machine.View()
	if err != nil {
		return err
	}
	defer view.Close()
	removed, err := view.Removed(peer.Node)
	if err != nil {
		return err
	}
	if removed {
		return fmt.Errorf("%w: %w", transport.ErrRemovedPeer, ErrRemoved)
	}
	if kind == transport.Join {
		return nil
	}
	if err := n.checkAdmission(view, peer); err != nil {
		return err
	}
	if view.Position().ConfigurationIndex == 0 && !n.trusted.has(peer.Node) {
		return fmt.Errorf("%w: this node belongs to no cluster yet and was not told of node %s", ErrNotMember, peer.Node)
	}
	return nil
}

// configured is told by the machine of each configuration that is applied. It
// cuts off servers that are in it no more.
func (n *Node) configured(c raft.Configuration) {
	in := make(map[string]bool, len(c.Servers))
	for _, s := range c.Servers {
		in[string(s.ID)] = true
	}
	for node := range n.addresses.All() {
		if !in[node] && in[n.id.NodeID] {
			n.spawn(func(ctx context.Context) { n.cutOff(ctx, node) })
		}
	}
	n.leadership.announce()
}

// cutOffDelay leaves a server that asked to be removed the time to be told that
// it was. Meanwhile its open streams serve nothing that a member may ask only.
const cutOffDelay = time.Second

// cutOff ends the streams of a server that was removed.
func (n *Node) cutOff(ctx context.Context, node string) {
	select {
	case <-time.After(cutOffDelay):
	case <-ctx.Done():
		return
	}
	if !n.isMember(node) {
		n.transport.CloseNode(node)
		n.clients.Drop(node)
	}
}
