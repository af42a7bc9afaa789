package raftstore

import (
	"context"
	"fmt"
	"time"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
	"github.com/spire-raft/spire-raft/transport"
)

const (
	// authorityInterval is the time between looks at the authority in the state.
	authorityInterval = 100 * time.Millisecond

	// replaceGrace is how long requests on streams with a certificate of an old
	// authority may take to end before the streams are cut.
	replaceGrace = 2 * time.Second
)

// followAuthority keeps the node's roots those of the state, and has its
// certificate renewed when another authority issues.
func (n *Node) followAuthority(ctx context.Context) {
	if n.own == nil {
		return
	}
	looked := uint64(0) // the applied index at the last look
	told := false
	every(ctx, authorityInterval, func() {
		at := n.machine.Position().Index
		if at == looked || n.live() != nil {
			return
		}
		a, _, found, err := n.storedAuthority()
		if err == nil && found {
			err = n.takeAuthority(ctx, a)
		}
		if err == nil {
			looked, told = at, false
			return
		}
		if !told && ctx.Err() == nil {
			told = true
			n.log.Error("the cluster's authorities can't be taken over, trying again", "error", err)
		}
	})
}

// takeAuthority makes the roots of the state the node's, and cuts streams with
// certificates of others.
func (n *Node) takeAuthority(ctx context.Context, a fsm.Authority) error {
	issuing, err := authority.PinOf(a.Certificate)
	if err != nil {
		return err
	}
	var next authority.Pin
	if len(a.Next) > 0 {
		if next, err = authority.PinOf(a.Next); err != nil {
			return err
		}
	}
	if a.ChangedIndex < n.own.TrustIndex() {
		return nil // the log will bring what the node was told already
	}
	n.checkSeal(ctx, a)
	before := n.own.Roots()
	if err := n.own.Trust(rootsOf(a)); err != nil {
		return fmt.Errorf("save the authorities: %w", err)
	}
	n.rotation.mu.Lock()
	n.rotation.issuing, n.rotation.next = issuing, next
	n.rotation.mu.Unlock()
	if n.rotation.outdated(n.own.Issuer()) {
		select {
		case n.rotation.renew <- struct{}{}:
		default:
		}
	}
	for _, pin := range before {
		if !n.own.Trusts(pin) {
			n.log.Info("an authority of the cluster is not trusted any more", "authority", pin.String())
			n.spawn(func(ctx context.Context) { n.cutAuthority(ctx, pin) })
		}
	}
	return nil
}

// cutAuthority cuts the streams whose other side has shown a certificate of an
// authority that is not trusted any more. Where they are this node's for requests
// it makes new ones before.
func (n *Node) cutAuthority(ctx context.Context, pin authority.Pin) {
	of := func(kind transport.Kind, peer transport.PeerInfo) bool {
		return kind != transport.Join && authority.Pin(peer.Authority) == pin
	}
	n.clients.ReplaceWhere(func(string) bool { return true }, replaceGrace)
	wait(ctx, nil, replaceGrace)
	n.transport.CloseWhere(of)
}
