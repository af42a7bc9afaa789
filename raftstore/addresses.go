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

// learnAddress notes where a node is, on the word of the node itself or of a
// join. Whoever dials it checks who answers.
func (n *Node) learnAddress(node, address string) {
	if node == n.id.NodeID || checkAddress(address) != nil {
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

// hear takes what source says of where members are. What a member says of itself
// is believed, and what the leader says of one of whom nothing is known. Anything
// else is a hint: the node must answer there first, so that a false one takes
// nobody's address away, nor the place of one that is not known yet. Nobody is
// asked, and nothing is kept, of nodes that are no members. Of a node the first
// address of a message counts: each one that is taken is written to the disk.
func (n *Node) hear(source string, members []*peerv1.Member) {
	if len(members) == 0 {
		return
	}
	admitted := n.admission()
	leader, _ := n.leaderID()
	said := make(map[string]bool)
	for _, m := range members {
		node, address := m.GetNodeId(), m.GetAddress()
		if said[node] {
			continue
		}
		said[node] = true
		known, ok := n.address(node)
		switch {
		case address == known || checkAddress(address) != nil || !admitted.has(node):
		case node == source, !ok && source != "" && source == leader:
			n.learnAddress(node, address)
		case node != n.id.NodeID && n.hints.begin(hint{source, node}):
			n.spawn(func(ctx context.Context) { n.verifyAddress(ctx, node, address) })
		}
	}
}

// gossiped are the addresses that gossip has heard of. It tells each once, when
// the node may not have answered yet.
func (n *Node) gossiped() []*peerv1.Member {
	if n.gossip == nil {
		return nil
	}
	var out []*peerv1.Member
	for _, m := range n.gossip.Members() {
		out = append(out, &peerv1.Member{NodeId: m.NodeID, Address: m.Address})
	}
	return out
}

// verifyAddress notes where a node is, if it answers there, with the key that it
// is admitted with as far as that is known.
func (n *Node) verifyAddress(ctx context.Context, node, address string) {
	ctx, cancel := context.WithTimeout(ctx, hintPause)
	defer cancel()
	conn, err := n.transport.DialAddress(ctx, transport.Join, address)
	if err != nil {
		return
	}
	defer conn.Close()
	if peer := conn.Peer(); peer.Node == node && n.checkKey(peer) == nil {
		n.learnAddress(node, address)
	}
}

// hintPause is the least time between two hints of one source about one node
// that are followed up.
const hintPause = time.Second

// hint is something that source, a member or gossip, says of where a member is.
type hint struct{ source, node string }

// forgetOthers drops the addresses of all that are no members, once this node is
// one. Replaced servers would fill the book in the end.
func (n *Node) forgetOthers() {
	members := n.admission()
	if members.trusted != nil {
		return
	}
	if err := n.addresses.Keep(members.has); err != nil {
		n.log.Warn("addresses of removed nodes not forgotten", "error", err)
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
		n.hear("", n.gossiped())
		if _, leader := n.raft.LeaderWithID(); leader != "" {
			return
		}
		attempt, cancel := context.WithTimeout(ctx, introduceInterval)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() { n.lookForMembers(attempt) })
		for _, node := range n.admission().others(n.id.NodeID) {
			wg.Go(func() {
				resp, err := n.probe(attempt, node, self) // who doesn't answer is asked again
				n.hear(node, resp.GetMembers())
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
