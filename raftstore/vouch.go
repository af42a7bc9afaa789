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
	asked  time.Time // when the last question began
	until  time.Time // how long it counts as a member; zero if nobody says so
	silent time.Time // since when nobody answers the questions; zero if somebody does
	word   time.Time // how long the cluster's signed word for it counts, see word.go
}

// verdict is what the servers say of a node.
type verdict int

const (
	noVerdict verdict = iota // none answers
	stranger
	member
)

func (v *vouched) has(node string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	now, known := time.Now(), v.nodes[node]
	return now.Before(known.until) || now.Before(known.word)
}

// nobodyKnows tells whether a node was asked about for long, and nobody has
// answered.
func (v *vouched) nobodyKnows(node string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	silent := v.nodes[node].silent
	return !silent.IsZero() && time.Since(silent) >= wordPatience
}

// take lets a node in on the cluster's word, and tells whether that is news.
func (v *vouched) take(node string) (news bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	known, ok := v.nodes[node]
	if !ok {
		return false // it took too long
	}
	news = now.After(known.word)
	known.word = now.Add(vouchTTL)
	v.nodes[node] = known
	return news
}

// begin tells whether it is time to ask about a node, and notes that it is done.
func (v *vouched) begin(node string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	for id, known := range v.nodes {
		keep := vouchPause
		if !known.silent.IsZero() {
			keep = vouchTTL // how long that lasts counts
		}
		if now.After(known.until) && now.After(known.word) && now.Sub(known.asked) > keep {
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

// end notes what the servers have said of a node. That one of them denies it is
// more than the cluster's word.
func (v *vouched) end(node string, said verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	known, ok := v.nodes[node]
	if !ok {
		return // it took too long
	}
	known.until = time.Time{}
	switch said {
	case member:
		known.until, known.silent = time.Now().Add(vouchTTL), time.Time{}
	case stranger:
		known.word, known.silent = time.Time{}, time.Time{}
	case noVerdict:
		if known.silent.IsZero() {
			known.silent = known.asked
		}
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

// vouchedFor tells what the servers that answer before ctx ends say of a node. It
// is a member where one of them says so.
func (n *Node) vouchedFor(ctx context.Context, node string) verdict {
	var servers []string
	for _, s := range n.configuration().Servers {
		if id := string(s.ID); id != n.id.NodeID {
			servers = append(servers, id)
		}
	}
	said := noVerdict
	for _, v := range answers(ctx, servers, func(ctx context.Context, server string) verdict { return n.askAbout(ctx, server, node) }) {
		if said = max(said, v); said == member {
			break
		}
	}
	return said
}

// askAbout asks one server about another node.
func (n *Node) askAbout(ctx context.Context, server, node string) verdict {
	var resp peerv1.VouchResponse
	switch err := n.call(ctx, server, methodVouch, &peerv1.VouchRequest{NodeId: node}, &resp); {
	case err != nil:
		return noVerdict
	case resp.GetMember():
		return member
	default:
		return stranger
	}
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
