package raftstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/transport"
)

// trusted are the nodes that a node lets in as long as no configuration names
// the node itself: those that it asked to be taken in, and the members that they
// named.
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
// that the peer is a node of this cluster, which alone is worth nothing: raft
// believes whoever may speak to it. A stranger is refused at once, and asked
// about in the background, see inquire.
//
// Join streams are open to all, to nodes that were removed too, since that is
// what they are told there. Nothing is believed of what they say.
func (n *Node) authorize(kind transport.Kind, peer transport.PeerInfo) error {
	if kind == transport.Join {
		return nil
	}
	if err := n.notRemoved(peer.Node); err != nil {
		return fmt.Errorf("%w: %w", transport.ErrRemovedPeer, err)
	}
	if err := n.sameLife(peer); err != nil {
		return err
	}
	if err := n.checkKey(peer); err != nil {
		return err
	}
	if err := n.admit(peer.Node); err != nil {
		n.inquire(peer.Node)
		return err
	}
	return nil
}

// checkKey returns ErrNotMember where a node was admitted with another disk or
// key than it shows.
func (n *Node) checkKey(peer transport.PeerInfo) error {
	view, err := n.machine.View()
	if err != nil {
		return err
	}
	defer view.Close()
	return n.checkAdmission(view, peer)
}

// notRemoved returns ErrRemoved where a node is barred.
func (n *Node) notRemoved(node string) error {
	removed, err := n.removed(node)
	if err == nil && removed {
		err = fmt.Errorf("%w: %s", ErrRemoved, node)
	}
	return err
}

// admit returns ErrNotMember where a node may not speak to this one.
func (n *Node) admit(node string) error {
	if n.admission().has(node) || n.vouched.has(node) {
		return nil
	}
	return fmt.Errorf("%w: node %s is not in the configuration that node %s knows", ErrNotMember, node, n.id.NodeID)
}

// admission is who may speak to a node by its own knowledge.
type admission struct {
	servers []raft.Server // the newest configuration, committed or not
	trusted *trusted      // nil where the configuration names the node itself
}

// admission returns who may speak to this node now.
func (n *Node) admission() admission {
	a := admission{servers: n.configuration().Servers, trusted: &n.trusted}
	for _, s := range a.servers {
		if string(s.ID) == n.id.NodeID {
			a.trusted = nil
		}
	}
	return a
}

func (a admission) has(node string) bool {
	for _, s := range a.servers {
		if string(s.ID) == node {
			return true
		}
	}
	return a.trusted != nil && a.trusted.has(node)
}

// others are the nodes other than self that may speak to it.
func (a admission) others(self string) []string {
	var out []string
	for _, s := range a.servers {
		if string(s.ID) != self {
			out = append(out, string(s.ID))
		}
	}
	if a.trusted == nil {
		return out
	}
	a.trusted.mu.Lock()
	defer a.trusted.mu.Unlock()
	for node := range a.trusted.nodes {
		if node != self && !slices.Contains(out, node) {
			out = append(out, node)
		}
	}
	return out
}

// cutInterval is the time between looks at who has streams. A stream of a node
// that may not speak any more is cut at the second look: one that asked to be
// removed must still be told that it was. Meanwhile its streams serve nothing.
const cutInterval = 400 * time.Millisecond

// cutStrangers cuts the streams, in both directions, of every node that may not
// speak to this one, whatever is known of its address.
func (n *Node) cutStrangers(ctx context.Context) {
	var before map[string]bool
	recorded := make(map[string]fsm.Opening)
	every(ctx, cutInterval, func() {
		before = n.cutOff(before)
		n.cutCopies(recorded)
	})
}

// cutOff cuts the streams of those strangers who had some before, and returns
// those who have some now.
func (n *Node) cutOff(before map[string]bool) map[string]bool {
	members, now := n.admission(), make(map[string]bool)
	doomed := func(node string) bool {
		switch {
		case node == "" || members.has(node):
			return false
		case n.vouched.has(node):
			n.inquire(node) // it may have been removed meanwhile
			return false
		}
		now[node] = true
		return before[node]
	}
	n.transport.CloseWhere(func(kind transport.Kind, peer transport.PeerInfo) bool {
		return kind != transport.Join && doomed(peer.Node)
	})
	n.clients.DropWhere(doomed)
	return now
}

// configured is told by the machine of each configuration that is applied.
func (n *Node) configured(c raft.Configuration) {
	n.retireIfLeftOut(c)
	n.spawn(func(context.Context) { n.forgetOthers() }) // which writes a file
	n.leadership.announce()
}
