package raftstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/spire-raft/spire-raft/fsm"
	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/store"
)

const (
	// gossipKeyLife is how long a gossip key is used. It bounds what a stolen one
	// is worth, and keeps the messages that are encrypted with one, each with a
	// random nonce, far below the 2^32 that AES-GCM allows.
	gossipKeyLife = 30 * 24 * time.Hour

	// gossipKeyWait is how long a step of a rotation waits for servers that don't
	// answer, or that don't gossip with the cluster's keys.
	gossipKeyWait = time.Minute

	// gossipKeyInterval is the time between looks at the keys in the state.
	gossipKeyInterval = 250 * time.Millisecond
)

// RotateGossipKey replaces the key that the cluster has made for its gossip. It
// returns when the leader has taken the order; the rotation goes on by itself,
// see Status.GossipKeyRotating. Calls while one is due come to one rotation. The
// error is store.ErrInvalid where the leader's configuration has a key, or no
// gossip. Call it on any node.
func (n *Node) RotateGossipKey(ctx context.Context) error {
	ctx, cancel := n.bound(ctx)
	defer cancel()
	err := n.onLeader(ctx, n.orderGossipRotation, func(ctx context.Context, leader string) error {
		return n.call(ctx, leader, methodRotateGossip, &peerv1.RotateGossipKeyRequest{}, &peerv1.RotateGossipKeyResponse{})
	})
	if err == nil {
		err = n.linearize(ctx) // so that the status shows it
	}
	if err != nil {
		return fmt.Errorf("rotate gossip key: %w", err)
	}
	return nil
}

// orderGossipRotation notes on the leader that the key is to be replaced. Where
// there is none yet, the first is as new as can be.
func (n *Node) orderGossipRotation(ctx context.Context) error {
	if !n.ownGossipKey() {
		return fmt.Errorf("%w: the leader, node %s, has no gossip key of the cluster's own: see GossipConfig.OtherKeys for how to replace one from the configuration",
			store.ErrInvalid, n.id.NodeID)
	}
	keys, found, err := n.gossipKeys()
	if err != nil || !found || keys.Due {
		return err
	}
	_, err = n.proposer.propose(ctx, fsm.EncodeRotateGossipKey())
	n.auditDone(ctx, auditGossipRotation, err)
	return err
}

// ownGossipKey tells whether this node gossips with the cluster's own key.
func (n *Node) ownGossipKey() bool { return n.gossip != nil && len(n.cfg.Gossip.Key) == 0 }

func (n *Node) gossipKeys() (keys fsm.GossipKeys, found bool, err error) {
	view, err := n.machine.View()
	if err != nil {
		return keys, false, n.explain(err)
	}
	defer view.Close()
	return view.GossipKeys()
}

// gossipKeyRotating tells whether the cluster's key is being replaced, or is to
// be, as far as this node knows, or whether this node doesn't use it yet.
func (n *Node) gossipKeyRotating() bool {
	if !n.ownGossipKey() {
		return false
	}
	keys, _, err := n.gossipKeys()
	return err == nil && (keys.Due || len(keys.Keys) > 1 || keys.Index != n.keysInUse.Load())
}

// gossipKeysIndex is the index of the cluster's keys that this node uses; the
// largest number where it uses none of them, so that there is nothing to wait for.
func (n *Node) gossipKeysIndex() uint64 {
	if !n.ownGossipKey() {
		return math.MaxUint64
	}
	return n.keysInUse.Load()
}

// followState has gossip do what the state says. With the cluster's own keys it
// begins when they are there, that is at once on a node that was a member before,
// and takes every change of them. Else it learns its instance of the cluster.
func (n *Node) followState(ctx context.Context) {
	if n.gossip == nil {
		return
	}
	look := n.takeGossipKeys
	if !n.ownGossipKey() {
		look = n.takeInstance
	}
	seen, told := uint64(0), ""
	attempt := func() {
		at := n.machine.Position().Index
		if at == seen {
			return
		}
		switch err := look(); {
		case err == nil:
			seen = at
		case n.live() == nil && ctx.Err() == nil && err.Error() != told:
			told = err.Error()
			n.log.Warn("gossip doesn't follow the state, trying again", "error", err)
		}
	}
	attempt()
	every(ctx, gossipKeyInterval, attempt)
}

// takeGossipKeys makes gossip use the keys in the state.
func (n *Node) takeGossipKeys() error {
	keys, found, err := n.gossipKeys()
	if err != nil || !found || keys.Index == n.keysInUse.Load() {
		return err
	}
	ring := slices.Clone(keys.Keys)
	ring[0], ring[keys.Primary] = ring[keys.Primary], ring[0]
	if err := n.gossip.Use(n.instance(), ring); err != nil {
		return err
	}
	n.keysInUse.Store(keys.Index)
	return nil
}

// takeInstance makes gossip tell the instance that this node is of.
func (n *Node) takeInstance() error {
	instance := n.instance()
	if instance == "" || instance == n.instanceTold {
		return nil
	}
	if err := n.gossip.SetInstance(instance); err != nil {
		return err
	}
	n.instanceTold = instance
	return nil
}

// turnGossipKeys replaces the cluster's gossip key where that is due, in steps
// that are in the state, so that another leader goes on: first all get to know
// the new key, then it is used, and then the old one goes. It runs on the leader.
func (n *Node) turnGossipKeys(ctx context.Context) {
	if !n.ownGossipKey() {
		return
	}
	var at uint64 // the index of the keys as they are
	var since time.Time
	every(ctx, tendInterval, func() {
		keys, _, err := n.gossipKeys()
		if err != nil || n.machine.Position().Instance == "" {
			return
		}
		if keys.Index != at || since.IsZero() {
			at, since = keys.Index, time.Now()
		}
		settled := time.Since(since) >= n.cfg.gossipKeyWait || n.allUseGossipKeys(keys.Index)
		if next, ok := nextGossipKeys(keys, settled, n.removalUnfinished(), time.Now()); ok {
			n.setGossipKeys(ctx, keys, next)
		}
	})
}

// nextGossipKeys returns what comes after keys, and whether it is time for that.
// settled tells that there is nobody to wait for any more; shared that the state
// still goes to a server that is to be removed: it must not get a new key.
func nextGossipKeys(keys fsm.GossipKeys, settled, shared bool, now time.Time) (next fsm.GossipKeys, ok bool) {
	next = keys
	switch {
	case len(keys.Keys) == 0:
		ok = true
	case len(keys.Keys) == 1:
		// A clock that was wrong must not put it off for ever.
		expired := now.Sub(time.UnixMilli(keys.MadeUnixMS)).Abs() >= gossipKeyLife
		ok = (keys.Due || expired) && !shared
	case keys.Primary == 0:
		next.Primary = 1
		return next, settled
	default:
		next.Keys, next.Primary = keys.Keys[1:], 0
		return next, settled
	}
	if ok {
		next.Keys, next.MadeUnixMS = append(slices.Clone(keys.Keys), newGossipKey()), now.UnixMilli()
	}
	return next, ok
}

func newGossipKey() []byte {
	key := make([]byte, gossipKeyBytes)
	_, _ = rand.Read(key) // never fails, see its documentation
	return key
}

// allUseGossipKeys tells whether every server has said that it uses the keys of
// an index.
func (n *Node) allUseGossipKeys(index uint64) bool {
	return len(n.serversBut(func(h peerHealth) bool { return h.GossipKeysIndex >= index })) == 0
}

// removalUnfinished tells whether the configuration has a server whose id is
// barred. It is true where that can't be told.
func (n *Node) removalUnfinished() bool {
	servers := n.configuration().Servers
	for _, s := range servers {
		if removed, err := n.removed(string(s.ID)); err != nil || removed {
			return true
		}
	}
	return len(servers) == 0
}

// setGossipKeys commits next in place of keys, unless they have changed since.
func (n *Node) setGossipKeys(ctx context.Context, keys, next fsm.GossipKeys) {
	result, err := n.proposer.propose(ctx, fsm.EncodeSetGossipKeys(keys.Index, next))
	switch {
	case err != nil || result.Outcome != fsm.Committed: // another look comes soon
		n.log.Debug("gossip keys not changed", "detail", result.Detail, "error", err)
	case len(keys.Keys) == 0:
		n.log.Info("gossip key made")
	case len(next.Keys) > len(keys.Keys):
		n.log.Info("gossip key is being replaced: a new one is made")
	case len(next.Keys) == len(keys.Keys):
		n.log.Info("gossip key is being replaced: the new one is in use")
	default:
		n.log.Info("gossip key replaced: the old one counts no more")
	}
}
