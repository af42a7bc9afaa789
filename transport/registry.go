package transport

import (
	"fmt"
	"slices"
	"time"
)

// A connection is in exactly one of t.opening, t.inbound and t.outbound from
// its first moment until it is closed, so that Close and CloseWhere find it.

// addInbound moves c from opening to inbound: it has turned out to be peer's.
func (t *Transport) addInbound(c *Conn, peer PeerInfo, kind Kind) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	i := slices.Index(t.opening, c)
	if i < 0 {
		return ErrBusy // evicted meanwhile
	}
	if len(t.inbound) >= t.cfg.ConnsMax {
		return fmt.Errorf("%w: this node has %d", ErrBusy, len(t.inbound))
	}
	if n := t.perNode[peer.Node]; n >= t.cfg.ConnsPerPeerMax {
		if peer.Node != "" {
			return fmt.Errorf("%w: node %s has %d", ErrBusy, peer.Node, n)
		}
		least := t.leastStranger(c.source)
		if least == nil {
			return fmt.Errorf("%w: nodes that are not members yet have %d", ErrBusy, n)
		}
		t.drop(least)
		least.raw.Close()
	}
	t.opening = slices.Delete(t.opening, i, i+1)
	t.inbound[c] = struct{}{}
	t.perNode[peer.Node]++
	c.peer, c.kind = peer, kind
	c.moved.Store(true)
	if peer.Node == "" {
		c.life = time.AfterFunc(strangerLife, c.cut)
	}
	return nil
}

// addOutbound takes up a connection that this node has opened.
func (t *Transport) addOutbound(c *Conn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	t.outbound[c] = struct{}{}
	return nil
}

// setPeer records who has answered on an outbound connection, and what it claims
// once that is known.
func (t *Transport) setPeer(c *Conn, peer PeerInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.peer = peer
}

// forget lets go of c and tells whether it was still there.
func (t *Transport) forget(c *Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.opening, c); i >= 0 {
		t.opening = slices.Delete(t.opening, i, i+1)
		return true
	}
	if _, ok := t.inbound[c]; ok {
		t.drop(c)
		return true
	}
	_, ok := t.outbound[c]
	delete(t.outbound, c)
	return ok
}

// drop takes c out of inbound. It is called under t.mu.
func (t *Transport) drop(c *Conn) {
	if c.life != nil {
		c.life.Stop()
	}
	delete(t.inbound, c)
	if t.perNode[c.peer.Node]--; t.perNode[c.peer.Node] == 0 {
		delete(t.perNode, c.peer.Node)
	}
}
