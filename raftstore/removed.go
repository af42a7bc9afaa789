package raftstore

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/transport"
)

// A node learns that it was removed in two ways: it applies its removal, or,
// where it was down or cut off at the time, a member tells it and none that
// answers knows better. Either way it stops for good.

// retire stops this node for good, since it was removed, as toldBy says: a
// member, or this node where its own state does. Callers get ErrRemoved.
func (n *Node) retire(toldBy string) {
	n.retired.Do(func() {
		n.audit(n.base, auditLearnedOfRemoval, slog.String("server", n.id.NodeID), slog.String("told_by", toldBy))
	})
	n.retireAs(markLeft, ErrRemoved)
}

// retireIfLeftOut stops this node where a configuration that was applied lacks
// it, and so does the state: it was removed, other than a node that is still on
// its way to the configuration that takes it in.
func (n *Node) retireIfLeftOut(c raft.Configuration) {
	for _, s := range c.Servers {
		if string(s.ID) == n.id.NodeID {
			return
		}
	}
	if removed, err := n.removed(n.id.NodeID); err == nil && removed {
		n.spawn(func(context.Context) { n.retire(n.id.NodeID) }) // raft waits for its state machine
	}
}

// askWhyRefused asks a server of the configuration that takes no streams of this
// node whether that is because this one was removed. Nobody else is believed.
func (n *Node) askWhyRefused(ctx context.Context, node string) {
	if n.askIfRemoved(ctx, node) == wordRemoved {
		n.heardOfRemoval(node)
	}
}

// word is what a member says of this node's membership.
type word int

const (
	noWord      word = iota // no answer, or it can't tell
	wordMember              // its newest configuration names this node
	wordRemoved             // it knows this node's id as removed
)

// askIfRemoved asks one node.
func (n *Node) askIfRemoved(ctx context.Context, node string) word {
	conn, err := n.transport.Dial(ctx, transport.Join, node)
	if err != nil {
		return noWord
	}
	var resp peerv1.HelloResponse
	err = callOver(ctx, conn, methodHello, &peerv1.HelloRequest{}, &resp)
	switch {
	case errors.Is(err, ErrRemoved):
		return wordRemoved
	case err == nil && resp.GetAskerIsMember():
		return wordMember
	}
	return noWord
}

const (
	// removalAnswerWait is how long the members have to say whether this node was
	// removed. removalPause is the time until they are asked again.
	removalAnswerWait = time.Second
	removalPause      = 500 * time.Millisecond

	// removalReminder is the time between lines about members that disagree.
	removalReminder = time.Minute
)

// removal is the inquiry whether this node was removed.
type removal struct {
	runs atomic.Bool
	said time.Time // when a line told that members disagree; of the one that runs
}

// heardOfRemoval begins to ask the members whether this node was removed, as one
// of them says.
func (n *Node) heardOfRemoval(toldBy string) {
	if !n.removal.runs.CompareAndSwap(false, true) {
		return
	}
	begun := n.spawn(func(ctx context.Context) {
		defer n.removal.runs.Store(false)
		n.findOutIfRemoved(ctx, toldBy)
		wait(ctx, nil, removalPause)
	})
	if !begun {
		n.removal.runs.Store(false)
	}
}

// findOutIfRemoved retires this node where, of the members that answer, one says
// that it was removed and none has it in its configuration: a single one that
// lies, or is mad, must not retire the others. One that only lags will say so too
// before long, and whoever told the first time tells again.
func (n *Node) findOutIfRemoved(ctx context.Context, toldBy string) {
	ctx, cancel := context.WithTimeout(ctx, removalAnswerWait)
	defer cancel()
	members := n.admission().others(n.id.NodeID)
	words := make([]word, len(members))
	var wg sync.WaitGroup
	for i, node := range members {
		wg.Go(func() { words[i] = n.askIfRemoved(ctx, node) })
	}
	wg.Wait()
	if i := slices.Index(words, wordMember); i >= 0 {
		if now := time.Now(); now.Sub(n.removal.said) >= removalReminder {
			n.removal.said = now
			n.log.Warn("a member says that this node was removed, another one that it is a member", "removed", toldBy, "member", members[i])
		}
		return
	}
	if i := slices.Index(words, wordRemoved); i >= 0 {
		n.retire(members[i])
	}
}
