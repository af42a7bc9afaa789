package raftstore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/transport"
)

// retireCopy stops this node for good: its directory is a copy.
func (n *Node) retireCopy(cause error) { n.retireAs(markCopied, cause) }

func copied(a fsm.Admission) error {
	return fmt.Errorf("%w: opening %d of the original is recorded, and not known here", ErrCopied, a.Opening.Number)
}

// admissions are those of the servers of the configuration.
func (n *Node) admissions() (map[string]fsm.Admission, error) {
	view, err := n.machine.View()
	if err != nil {
		return nil, err
	}
	defer view.Close()
	out := make(map[string]fsm.Admission)
	for _, s := range n.configuration().Servers {
		a, found, err := view.Admission(string(s.ID))
		if err != nil {
			return nil, err
		}
		if found {
			out[string(s.ID)] = a
		}
	}
	return out, nil
}

// cutCopies cuts the streams of nodes that do not know what was recorded of them,
// or are not what they are admitted as by now, and stops this one if it is a copy.
// What was recorded since the last look, at which it was as in recorded, is written
// to the state's file, so that an election after a crash of all servers is held by
// who knows it.
func (n *Node) cutCopies(recorded map[string]fsm.Opening) {
	admissions, err := n.admissions()
	if err != nil {
		return // the node is about to end
	}
	if a, found := admissions[n.id.NodeID]; found && !a.Recognizes(openingsOf(n.claim())) {
		n.retireCopy(copied(a))
		return
	}
	n.transport.CloseWhere(func(kind transport.Kind, peer transport.PeerInfo) bool {
		a, found := admissions[peer.Node]
		answered := peer.Claim.Instance != ""
		return kind != transport.Join && found && answered && n.checkPeer(a, peer) != nil
	})
	news := false
	for node, a := range admissions {
		news = news || recorded[node] != a.Opening
		recorded[node] = a.Opening
	}
	if news {
		if err := n.machine.Flush(); err != nil {
			n.fail(err)
		}
	}
}

// dial opens a stream to a server. Where most of the others refuse this node,
// since its directory was opened elsewhere, it stops for good.
func (n *Node) dial(ctx context.Context, kind transport.Kind, node string) (*transport.Conn, error) {
	conn, err := n.transport.Dial(ctx, kind, node)
	n.noteRefusal(node, err)
	asCopy := errors.Is(err, transport.ErrRefused) && errors.Is(err, transport.ErrOldOpening)
	if n.refusers.note(node, asCopy, n.admission().others(n.id.NodeID)) {
		n.retireCopy(fmt.Errorf("%w, as most of the other servers say", ErrCopied))
	}
	return conn, err
}

// refusers are the servers that took this node for a copy when it spoke to them
// last. One alone could be mistaken, or lie.
type refusers struct {
	mu    sync.Mutex // guards nodes
	nodes map[string]bool
}

// note takes how a server has answered, and tells whether most of the others take
// this node for a copy.
func (r *refusers) note(node string, asCopy bool, others []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !asCopy {
		delete(r.nodes, node)
		return false
	}
	if r.nodes == nil {
		r.nodes = make(map[string]bool)
	}
	r.nodes[node] = true
	count := 0
	for _, id := range others {
		if r.nodes[id] {
			count++
		}
	}
	return 2*count > len(others)
}
