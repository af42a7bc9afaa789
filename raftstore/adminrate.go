package raftstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/spire-raft/spire-raft/transport"
)

// What a member may ask of the leader on behalf of its operator is rare, costs
// entries of the log, audit lines and in part the right to change the
// configuration. A member that asks without end must not hold up others, its own
// removal first of all, nor fill disks and logs.
const (
	adminBurst    = 32          // calls of one peer that are taken at once
	adminInterval = time.Second // between further ones
	adminCallsMax = 9           // calls of one peer of which all but one wait
)

// errTooManyCalls: the peer asks for more than it may. It may ask again later.
var errTooManyCalls = errors.New("too many administrative calls at a time of this node: wait a second")

// administrative tells whether a method counts as one.
func administrative(method uint8) bool {
	switch method {
	case methodRemove, methodAddToken, methodRevoke, methodRenew, methodRotate, methodRotateGossip:
		return true
	}
	return false
}

// adminLimiter has the administrative calls of each peer done one after the
// other, and no more often than the constants above say. What this node's own
// callers ask for doesn't come here.
type adminLimiter struct {
	mu    sync.Mutex // guards the fields below
	peers map[string]*adminCalls
}

// adminCalls are the calls of one peer.
type adminCalls struct {
	turn  chan struct{} // holds a token while one is done
	count int           // those that are done or wait
	spent time.Time     // when all that was taken would have been due, one an interval
}

// begin waits until a call of peer may be done, and returns what ends it. It is
// errTooManyCalls where as many as may wait do so.
func (l *adminLimiter) begin(ctx context.Context, peer string) (end func(), err error) {
	c := l.enter(peer, time.Now())
	if c == nil {
		return nil, fmt.Errorf("%w (%s)", errTooManyCalls, peer)
	}
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		c.count--
	}
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
	end = func() {
		<-c.turn
		leave()
	}
	select {
	case <-time.After(l.spend(c, time.Now())):
		return end, nil
	case <-ctx.Done():
		end()
		return nil, ctx.Err()
	}
}

// enter counts one more call of peer, or returns nil where there are too many.
func (l *adminLimiter) enter(peer string, now time.Time) *adminCalls {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.peers[peer]
	if c == nil {
		// Whoever has nothing under way and its burst again is as good as new.
		maps.DeleteFunc(l.peers, func(_ string, c *adminCalls) bool { return c.count == 0 && !c.spent.After(now) })
		c = &adminCalls{turn: make(chan struct{}, 1)}
		if l.peers == nil {
			l.peers = make(map[string]*adminCalls)
		}
		l.peers[peer] = c
	}
	if c.count >= adminCallsMax {
		return nil
	}
	c.count++
	return c
}

// spend counts a call that is done now, and returns how long it has to wait.
func (l *adminLimiter) spend(c *adminCalls, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.spent.Before(now) {
		c.spent = now
	}
	c.spent = c.spent.Add(adminInterval)
	return c.spent.Sub(now) - adminBurst*adminInterval
}

// handleAsMember answers what only a leader answers, and members alone.
func (n *Node) handleAsMember(ctx context.Context, peer transport.PeerInfo, method uint8, body []byte) ([]byte, error) {
	if administrative(method) {
		end, err := n.adminCalls.begin(ctx, peer.Node)
		if err != nil {
			return nil, err
		}
		defer end()
		if err := n.asMember(peer.Node); err != nil { // it may have waited
			return nil, err
		}
	}
	return n.handleLeading(ctx, peer, method, body)
}
