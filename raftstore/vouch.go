package raftstore

import (
	"context"
	"sync"
	"time"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
)

const (
	// vouchTTL is how long a member's word for a node counts. When half of it is
	// over and the node still has streams, the members are asked again.
	vouchTTL = 10 * time.Second

	// vouchPause is the least time between two questions about a node, and what
	// one may take.
	vouchPause = time.Second

	// vouchedMax bounds the nodes that are asked about at a time. Further ones
	// are refused without a question.
	vouchedMax = 64
)

// vouched are the nodes that this node's configuration doesn't name, but that a
// server which it names says are members: a node that was away while others
// were replaced has an old configuration, and the leader that could tell it the
// new one may be a stranger to it. Whoever vouches could speak raft itself, so
// believing it gives it no more than it has.
type vouched struct {
	mu    sync.Mutex // guards nodes
	nodes map[string]vouch
}

// vouch is what is known of one node.
type vouch struct {
	asked time.Time // when the last question began
	until time.Time // how long it counts as a member; zero if nobody says so
}

func (v *vouched) has(node string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return time.Now().Before(v.nodes[node].until)
}

// begin tells whether it is time to ask about a node, and notes that it is done.
func (v *vouched) begin(node string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	for id, known := range v.nodes {
		if now.After(known.until) && now.Sub(known.asked) > vouchPause {
			delete(v.nodes, id)
		}
	}
	known, ok := v.nodes[node]
	switch {
	case !ok && len(v.nodes) >= vouchedMax:
		return false
	case now.Sub(known.asked) <= vouchPause || known.until.Sub(now) > vouchTTL/2:
		return false
	}
	if v.nodes == nil {
		v.nodes = make(map[string]vouch)
	}
	known.asked = now
	v.nodes[node] = known
	return true
}

// end notes whether somebody vouches for a node.
func (v *vouched) end(node string, member bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	known, ok := v.nodes[node]
	if !ok {
		return // it took too long
	}
	known.until = time.Time{}
	if member {
		known.until = time.Now().Add(vouchTTL)
	}
	v.nodes[node] = known
}

// inquire asks the servers of this node's configuration about a stranger, in the
// background. Where one vouches for it, its next attempt is let in.
func (n *Node) inquire(node string) {
	if !n.vouched.begin(node) {
		return
	}
	n.spawn(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, vouchPause)
		defer cancel()
		n.vouched.end(node, n.vouchedFor(ctx, node))
	})
}

// vouchedFor tells whether one of the servers that answer before ctx ends says
// that node is a member.
func (n *Node) vouchedFor(ctx context.Context, node string) bool {
	ctx, cancel := context.WithCancel(ctx) // ends the calls that are not needed any more
	defer cancel()
	servers := n.configuration().Servers
	answers := make(chan bool, len(servers))
	for _, s := range servers {
		go func() {
			var resp peerv1.VouchResponse
			if string(s.ID) != n.id.NodeID {
				_ = n.call(ctx, string(s.ID), methodVouch, &peerv1.VouchRequest{NodeId: node}, &resp) // no answer is no word
			}
			answers <- resp.GetMember()
		}()
	}
	for range servers {
		if <-answers {
			return true
		}
	}
	return false
}

// handleVouch answers from this node's own configuration alone: a word for
// somebody that is passed on is worth nothing.
func (n *Node) handleVouch(req *peerv1.VouchRequest) (*peerv1.VouchResponse, error) {
	removed, err := n.removed(req.GetNodeId())
	if err != nil {
		return nil, err
	}
	return &peerv1.VouchResponse{Member: !removed && n.isMember(req.GetNodeId())}, nil
}
