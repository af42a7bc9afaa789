package raftstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/transport"
)

// Raft learns that a leader is gone when it hears nothing for a heartbeat
// timeout, which must be long enough for a disk or a scheduler that stalls. A
// process that has died says so at once, though: its connections break, and its
// address refuses new ones. Where a quorum of the voters sees that, one of them
// calls an election without waiting.
//
// Safety doesn't rest on any of this: elections are raft's own, and one too many
// costs an interruption. What is avoided is that a node which alone can't reach
// the leader deposes it again and again: hence the quorum.

const (
	// leaderRedialWait is the time between attempts to reach a leader that
	// neither answers nor refuses.
	leaderRedialWait = 200 * time.Millisecond

	// agreementWaitMin and agreementWaitMax are the times between questions to
	// the other voters, which double.
	agreementWaitMin = 10 * time.Millisecond
	agreementWaitMax = 200 * time.Millisecond

	// campaignStagger keeps voters from dividing the votes: each waits this
	// long for each one that should be elected before it.
	campaignStagger = 100 * time.Millisecond
)

// succession is what a node knows of the death of its leader.
type succession struct {
	gone atomic.Pointer[string] // the leader whose address refuses connections
}

// lostLeader is the leader that is gone for this node, empty if none is. A
// leader that was heard a moment ago is not: a firewall, or a service that has
// no endpoint for once, refuses connections too.
func (n *Node) lostLeader() string {
	id := n.succession.gone.Load()
	if id == nil || time.Since(n.raft.LastContact()) < n.silenceMin() {
		return ""
	}
	return *id
}

// silenceMin is longer than the time between two heartbeats, a tenth of the
// timeout.
func (n *Node) silenceMin() time.Duration { return n.cfg.Timing.HeartbeatTimeout / 5 }

// watchLeader holds a connection to whoever leads, and sees to the succession
// when the leader's process is gone.
func (n *Node) watchLeader(ctx context.Context) {
	for ctx.Err() == nil {
		news := n.leadership.next()
		leader, err := n.leaderID()
		if err != nil {
			wait(ctx, news, leaderLookInterval)
			continue
		}
		conn, err := n.transport.Dial(ctx, transport.Peer, leader)
		switch {
		case err == nil:
			n.untilBroken(ctx, leader, conn)
		case errors.Is(err, syscall.ECONNREFUSED):
			n.succeed(ctx, leader)
		default:
			wait(ctx, news, leaderRedialWait)
		}
	}
}

// leaderLookInterval is how often a node that knows no other leader looks for
// one, news or not.
const leaderLookInterval = time.Second

// wait returns when one of news, d and ctx ends.
func wait(ctx context.Context, news <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-news:
	case <-t.C:
	case <-ctx.Done():
	}
}

// untilBroken returns when the connection to the leader breaks, or another node
// leads. Nothing is sent over it.
func (n *Node) untilBroken(ctx context.Context, leader string, conn *transport.Conn) {
	broken := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(broken)
		_, _ = conn.Read(make([]byte, 1)) // the peer sends nothing that was not asked for
	})
	defer reader.Wait()
	defer conn.Close()
	for {
		news := n.leadership.next()
		if id, err := n.leaderID(); err != nil || id != leader {
			return
		}
		select {
		case <-broken:
			return
		case <-news:
		case <-ctx.Done():
			return
		}
	}
}

// succeed calls an election as soon as a quorum agrees that the leader is gone,
// and returns when there is another leader, or none, or this one is back.
func (n *Node) succeed(ctx context.Context, leader string) {
	n.succession.gone.Store(&leader)
	defer n.succession.gone.Store(nil)
	for pause := agreementWaitMin; ; pause = min(2*pause, agreementWaitMax) {
		news := n.leadership.next()
		if id, err := n.leaderID(); err != nil || id != leader || ctx.Err() != nil {
			return
		}
		agreed, before := n.agreement(ctx, leader)
		if !agreed {
			wait(ctx, news, pause)
			if n.reachable(ctx, leader) {
				return
			}
			continue
		}
		wait(ctx, news, time.Duration(before)*campaignStagger)
		if id, err := n.leaderID(); err == nil && id == leader && ctx.Err() == nil {
			n.log.Info("the leader's process is gone, calling an election", "leader", leader)
			n.campaign()
			wait(ctx, news, n.cfg.Timing.ElectionTimeout)
		}
	}
}

// reachable tells whether the leader takes connections, or may.
func (n *Node) reachable(ctx context.Context, leader string) bool {
	conn, err := n.transport.Dial(ctx, transport.Peer, leader)
	if err != nil {
		return !errors.Is(err, syscall.ECONNREFUSED)
	}
	conn.Close()
	return true
}

// agreement asks the other voters. It tells whether a quorum, with this node,
// has lost the leader, and how many of those should be elected before this
// node: those whose log goes further, and of equals those with a lesser id.
func (n *Node) agreement(ctx context.Context, leader string) (agreed bool, before int) {
	voters, self := n.otherVoters()
	if !self || n.lostLeader() != leader {
		return false, 0
	}
	attempt, cancel := context.WithTimeout(ctx, n.cfg.Timing.HeartbeatTimeout/2)
	defer cancel()
	own := n.raft.LastIndex()
	answers := make([]*peerv1.ProbeResponse, len(voters))
	var asked sync.WaitGroup
	for i, id := range voters {
		if id == leader {
			continue
		}
		asked.Go(func() { answers[i], _ = n.probe(attempt, id, nil) }) // no answer is no agreement
	}
	asked.Wait()
	agree := 1
	for i, resp := range answers {
		if resp.GetLostLeader() != leader {
			continue
		}
		agree++
		if last := resp.GetLastLogIndex(); last > own || last == own && voters[i] < n.id.NodeID {
			before++
		}
	}
	return agree >= (len(voters)+1)/2+1, before
}

// campaign makes raft call an election now, as on the word of a leader that
// hands over: others then vote although they have heard the old one lately.
func (n *Node) campaign() {
	self := raft.ServerAddress(n.id.NodeID)
	req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax,
		ID:              []byte(n.id.NodeID),
		Addr:            []byte(n.id.NodeID),
	}}
	if err := n.raftNet.TimeoutNow(raft.ServerID(n.id.NodeID), self, req, &raft.TimeoutNowResponse{}); err != nil {
		n.log.Warn("election not called, it will follow by itself", "error", err)
	}
}
