package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

// commit implements [txn.CommitFunc].
func (n *Node) commit(ctx context.Context, in *txn.Intent) (res store.Result, err error) {
	begun := time.Now()
	defer func() { n.metrics.committed(begun, err) }()

	command, err := fsm.EncodeTransaction(in)
	if err != nil {
		return store.Result{}, ofCaller(ctx, err)
	}
	bounded, cancel := n.bound(ctx)
	defer cancel()
	result, err := n.submit(bounded, command, grows(in))
	if err != nil {
		return store.Result{}, ofCaller(ctx, err)
	}
	switch result.Outcome {
	case fsm.Committed:
		return store.Result{Revision: result.Revision, Numbers: result.Numbers}, nil
	case fsm.Conflict:
		return store.Result{}, &store.ConflictError{Revision: result.Revision}
	case fsm.Invalid, fsm.Refused:
		return store.Result{}, fmt.Errorf("%w: %s", store.ErrInvalid, result.Detail)
	default: // of a later version of the leader
		return store.Result{}, unknownOutcome(fmt.Errorf("the leader answers with %v", result.Outcome))
	}
}

// ofCaller is err for a caller whose context is ctx. While that has not ended,
// nothing may look as if it had: what the node ended for reasons of its own, such
// as a request to a leader that was succeeded, keeps the text alone.
func ofCaller(ctx context.Context, err error) error {
	if ctx.Err() != nil || !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	for _, known := range []error{store.ErrUnknownOutcome, store.ErrNoLeader} {
		if errors.Is(err, known) {
			return &toldError{text: err.Error(), is: known}
		}
	}
	return err
}

// grows tells whether in may add data. Deletes pass on a full disk.
func grows(in *txn.Intent) bool {
	for i := range in.Writes {
		if in.Writes[i].Kind == store.EventPut {
			return true
		}
	}
	return false
}

// submit commits a transaction through whichever node leads, and returns its
// result. It tries again while the command was certainly not taken, until ctx
// ends in ErrNoLeader.
func (n *Node) submit(ctx context.Context, command []byte, grows bool) (fsm.Result, error) {
	for {
		result, err := n.submitOnce(ctx, command, grows)
		if errors.Is(err, context.Canceled) && !errors.Is(err, store.ErrUnknownOutcome) {
			err = n.explain(err) // the node has ended the request, not its caller
		}
		if !errors.Is(err, errNotLeader) {
			return result, err
		}
		if n.leadership.wait(ctx) != nil {
			return fsm.Result{}, n.explain(noLeader(ctx, err))
		}
	}
}

// submitOnce proposes command here if this node leads, else asks the leader.
func (n *Node) submitOnce(ctx context.Context, command []byte, grows bool) (fsm.Result, error) {
	if err := n.live(); err != nil {
		return fsm.Result{}, err
	}
	if n.raft.State() == raft.Leader {
		return n.proposeHere(ctx, command, grows)
	}
	leader, err := n.leaderID()
	if err != nil {
		return fsm.Result{}, err
	}
	ctx, cancel := n.leadership.under(ctx, leader)
	defer cancel()
	var resp peerv1.ProposeResponse
	req := &peerv1.ProposeRequest{Command: command}
	if err := n.call(ctx, leader, methodPropose, req, &resp); err != nil {
		return fsm.Result{}, err
	}
	return fsm.Result{
		Outcome:  fsm.Outcome(resp.GetOutcome()),
		Revision: store.Revision(resp.GetRevision()),
		Numbers:  resp.GetNumbers(),
		Detail:   resp.GetDetail(),
	}, nil
}

// proposeHere commits command on this node, as its leader.
func (n *Node) proposeHere(ctx context.Context, command []byte, grows bool) (fsm.Result, error) {
	if grows {
		if err := n.space(); err != nil {
			return fsm.Result{}, err
		}
	}
	result, err := n.proposer.propose(ctx, command)
	if failure := n.failure(); err != nil && failure != nil {
		err = fmt.Errorf("%w: %s", err, failure.Error()) // whether it happened is what counts
	}
	return result, err
}

// diskReportAge is how old a peer's report of its disk may be to count.
const diskReportAge = 10 * time.Second

// logRoom and stateRoom are how many bytes log and state can take before their
// files get larger. Nothing is known of files that are being opened.
func (n *Node) logRoom() (uint64, error) {
	select {
	case <-n.started:
		return n.logs.Reusable()
	default:
		return 0, nil
	}
}

func (n *Node) stateRoom() (uint64, error) {
	select {
	case <-n.started:
		return n.machine.Reusable()
	default:
		return 0, nil
	}
}

// space returns ErrNoSpace where this node's disk, or a peer's, is too full.
func (n *Node) space() error {
	node := n.id.NodeID
	low := n.disk.Low()
	if !low {
		node, low = n.peers.lowOnDisk(diskReportAge)
	}
	if !low {
		return nil
	}
	return fmt.Errorf("%w: the disk of node %s has less than its reserve of %d bytes free; free some, or remove the node",
		store.ErrNoSpace, node, n.cfg.Disk.ReserveBytes)
}
