package raftstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore/internal/identity"
	"github.com/spire-raft/spire-raft/store"
)

// RemoveServer takes a server out of the cluster for good: its node id can
// never come back, and its streams are cut within a second. An id of no server
// is barred all the same, as far as there is room: store.ErrInvalid where
// fsm.BarredMax are, store.ErrNoSpace where a disk is short. One that was removed
// before is no error. It is refused with ErrQuorumAtRisk where the voters that
// would remain, and answer now, are no quorum, and with store.ErrInvalid where
// nodeID can't be an id. Call it on any node.
func (n *Node) RemoveServer(ctx context.Context, nodeID string) error {
	if err := identity.CheckID(nodeID); err != nil {
		return fmt.Errorf("remove server: %w", err)
	}
	err := n.onLeader(ctx,
		func(ctx context.Context) error { return n.remove(ctx, nodeID) },
		func(ctx context.Context, leader string) error {
			return n.call(ctx, leader, methodRemove, &peerv1.RemoveRequest{NodeId: nodeID}, &peerv1.RemoveResponse{})
		})
	if nodeID == n.id.NodeID && errors.Is(n.failure(), ErrRemoved) {
		return nil // it has noticed before it was told
	}
	return err
}

// onLeader does something here if this node leads, else asks the leader, until
// one of them has led.
func (n *Node) onLeader(ctx context.Context, here func(context.Context) error, ask func(ctx context.Context, leader string) error) error {
	ctx, cancel := n.bound(ctx)
	defer cancel()
	for {
		err := n.live()
		if err != nil {
			return err
		}
		if n.raft.State() == raft.Leader {
			err = here(ctx)
		} else {
			var leader string
			if leader, err = n.leaderID(); err == nil {
				err = ask(ctx, leader)
			}
		}
		if !errors.Is(err, errNotLeader) {
			return err
		}
		if n.leadership.wait(ctx) != nil {
			return n.explain(noLeader(ctx, err))
		}
	}
}

// remove does the removal on the leader. The leader doesn't remove itself: it
// hands over first, and the next one does it.
//
// The id is barred before the configuration changes, so that a leader which
// dies in between leaves nothing that could come back: the next one finishes,
// see tend.
func (n *Node) remove(ctx context.Context, nodeID string) error {
	if err := identity.CheckID(nodeID); err != nil {
		return fmt.Errorf("remove server: %w", err)
	}
	if err := n.change(ctx); err != nil {
		return err
	}
	release := sync.OnceFunc(n.changed)
	defer release()
	if !n.isMember(nodeID) {
		return n.bar(ctx, nodeID)
	}
	if err := n.quorumWithout(ctx, nodeID); err != nil {
		return err
	}
	if nodeID == n.id.NodeID {
		release() // handing over needs nothing of it, and the next leader its own
		if err := n.TransferLeadership(ctx); err != nil {
			return err
		}
		return fmt.Errorf("%w any more: it hands over to be removed", errNotLeader)
	}
	if err := n.bar(ctx, nodeID); err != nil {
		return err
	}
	return n.dropServer(ctx, nodeID)
}

// bar keeps a node id out for ever, whether it is of a member or not. Barring it
// again enters nothing into the log.
func (n *Node) bar(ctx context.Context, nodeID string) error {
	if removed, err := n.removed(nodeID); err != nil || removed {
		return err
	}
	if !n.isMember(nodeID) { // a removal makes room, such a bar takes some for ever
		if err := n.space(); err != nil {
			return fmt.Errorf("remove server %s, which is no member: %w", nodeID, err)
		}
	}
	result, err := n.proposer.propose(ctx, fsm.EncodeRemoveNode(nodeID))
	if err != nil {
		n.auditDone(ctx, auditNodeBarred, err, slog.String("server", nodeID))
		return err
	}
	if result.Outcome != fsm.Committed {
		return fmt.Errorf("%w: remove server %s: %s", store.ErrInvalid, nodeID, result.Detail)
	}
	n.audit(ctx, auditNodeBarred, slog.String("server", nodeID), slog.Bool("member", n.isMember(nodeID)))
	return nil
}

// dropServer takes a server whose id is barred out of the configuration. The
// caller holds the right to change it.
func (n *Node) dropServer(ctx context.Context, nodeID string) error {
	f := n.raft.RemoveServer(raft.ServerID(nodeID), 0, n.cfg.RequestTimeout)
	err := changeError(f)
	n.auditDone(ctx, auditServerRemoved, err, slog.String("server", nodeID))
	if err != nil {
		return fmt.Errorf("remove server %s: %w", nodeID, err)
	}
	return nil
}

// changeError is how a change of the configuration ended.
func changeError(f raft.IndexFuture) error {
	if err := f.Error(); err != nil {
		return proposalError(err)
	}
	return nil
}

// removed tells whether a node id is barred.
func (n *Node) removed(nodeID string) (bool, error) {
	view, err := n.machine.View()
	if err != nil {
		return false, n.explain(err)
	}
	defer view.Close()
	return view.Removed(nodeID)
}

// change waits for the right to change the configuration on this leader; changed
// gives it back. One change at a time is checked and made: two that are each
// right for themselves could together cost the quorum. Raft is not stopped
// while one is under way, see stopRaft.
func (n *Node) change(ctx context.Context) error {
	select {
	case n.changes <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: wait for another change of the membership: %w", errNotLeader, ctx.Err())
	}
	if err := n.live(); err != nil {
		n.changed()
		return err
	}
	return nil
}

func (n *Node) changed() { <-n.changes }

// quorumWithout returns ErrQuorumAtRisk unless the voters but nodeID that
// answer now are a quorum of all voters but nodeID.
func (n *Node) quorumWithout(ctx context.Context, nodeID string) error {
	var others []string
	voters, answering := 0, 0
	for _, s := range n.configuration().Servers {
		switch id := string(s.ID); {
		case s.Suffrage != raft.Voter || id == nodeID:
		case id == n.id.NodeID:
			voters++
			answering++
		default:
			voters++
			others = append(others, id)
		}
	}
	attempt, cancel := context.WithTimeout(ctx, n.cfg.Timing.ElectionTimeout)
	defer cancel()
	var wg sync.WaitGroup
	answers := make([]bool, len(others))
	for i, id := range others {
		wg.Go(func() {
			_, err := n.probe(attempt, id, nil)
			answers[i] = err == nil
		})
	}
	wg.Wait()
	for _, ok := range answers {
		if ok {
			answering++
		}
	}
	if answering < voters/2+1 {
		return fmt.Errorf("%w: without %s there are %d voters, of which %d answer", ErrQuorumAtRisk, nodeID, voters, answering)
	}
	return nil
}

// Leave takes this node out of the cluster for good, as RemoveServer does, and
// closes it. Its data directory can't be opened again.
func (n *Node) Leave(ctx context.Context) error {
	err := n.RemoveServer(ctx, n.id.NodeID)
	if out := errors.Is(err, ErrNotMember) || errors.Is(err, ErrRemoved); err != nil && !out {
		return err // else the answer to an earlier attempt was lost
	}
	err = markLeft.put(n.cfg.Dir)
	if n.gossip != nil {
		if e := n.gossip.Leave(gossipLeaveTimeout); !errors.Is(e, store.ErrClosed) { // it ends when the node hears that it is out
			err = errors.Join(err, e)
		}
	}
	return errors.Join(err, n.Close())
}

// gossipLeaveTimeout bounds how long a node that leaves waits for others to
// have heard of it.
const gossipLeaveTimeout = time.Second

// TransferLeadership hands leadership to a voter that answers and is up to
// date, and returns when this node doesn't lead any more. Where it doesn't lead
// it does nothing.
func (n *Node) TransferLeadership(ctx context.Context) error {
	ctx, cancel := n.bound(ctx)
	defer cancel()
	n.handingOver.Add(1)
	defer n.handingOver.Add(-1)
	for n.raft.State() == raft.Leader {
		if err := n.handOverOnce(ctx); err != nil {
			return fmt.Errorf("hand over leadership: %w", err)
		}
	}
	return nil
}

// handOverOnce tries to make another voter the leader, and returns when that is
// so or has failed. Its error is the context's.
func (n *Node) handOverOnce(ctx context.Context) error {
	attempt, cancel := context.WithTimeout(ctx, n.cfg.Timing.ElectionTimeout)
	defer cancel()
	if id := n.successor(attempt); id != "" {
		// Nobody waits for the future: raft leaves it open for ever where it
		// shuts down meanwhile. Raft's own choice may be a voter that is down.
		n.raft.LeadershipTransferToServer(raft.ServerID(id), raft.ServerAddress(id))
	}
	for n.raft.State() == raft.Leader && n.leadership.wait(attempt) == nil {
	}
	return ctx.Err()
}

// successor returns the voter that is first to answer that it is caught up or,
// if none is, the one furthest ahead; empty where none answers before ctx ends.
func (n *Node) successor(ctx context.Context) (best string) {
	voters, _ := n.otherVoters()
	own, furthest := n.machine.Position().Index, uint64(0)
	for id, resp := range answers(ctx, voters, func(ctx context.Context, id string) *peerv1.ProbeResponse {
		resp, _ := n.probe(ctx, id, nil) // nil where it doesn't answer
		return resp
	}) {
		switch index := resp.GetAppliedIndex(); {
		case resp == nil:
		case index+caughtUpLag >= own:
			return id
		case best == "" || index > furthest:
			best, furthest = id, index
		}
	}
	return best
}
