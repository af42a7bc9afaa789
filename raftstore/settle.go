package raftstore

import (
	"context"
	"fmt"

	"github.com/spire-raft/spire-raft/fsm"
)

// The answer to a write can be lost: the connection to the leader breaks, the
// leader is succeeded, the caller's time ends. The write may then be on its way
// for as long as the network likes. What settles it is a read index: every one
// that this node takes afterwards is of a state in which the write has happened,
// or never will.
//
// The write is for one term, T, and does nothing in an entry of another one. A
// read index is of a term at or after T, since a quorum knew T when this node
// learned who leads it.
//
//   - In a later term, the entry with which its leader took office is committed.
//     Entries of T that are ever committed are before it: the read index covers
//     them.
//   - In T, the same leader, in the same run of its process, was asked to draw a
//     fence first. It proposes nothing of what is behind the fence from then on,
//     and what it had proposed before has been answered: it is applied, and the
//     read index, which is taken after that, covers it. Or it was lost with the
//     leadership, and then there is no read index in T.
//
// So the node asks for a read index itself, and looks at what it has applied: the
// write with its result, or nothing, which means that it can be sent again. Only
// where there is no leader in time, or where the entries were overtaken by a
// snapshot, is the outcome left open to the caller, whose next read here settles
// it in the same way.

// settle finds out what became of an attempt that ended in unknown, until ctx
// ends. Its error is unknown, or errNotLeader where the command was not applied
// and never will be.
func (n *Node) settle(ctx context.Context, a *attempt, unknown error) (result fsm.Result, err error) {
	defer func() { n.metrics.answerLost(err) }()
	n.outcomes.suspect(a)
	r, err := n.readIndex(ctx)
	if err == nil {
		err = n.outcomes.wait(ctx, r.index)
	}
	if err != nil {
		if cause := ctx.Err(); cause != nil {
			return fsm.Result{}, fmt.Errorf("%w: %w; not settled: %s", unknown, cause, err.Error())
		}
		return fsm.Result{}, fmt.Errorf("%w; not settled: %s", unknown, err.Error())
	}
	result, applied, hidden := n.outcomes.of(a)
	switch {
	case applied && result.Outcome != fsm.Lapsed:
		return result, nil
	case applied:
		return fsm.Result{}, fmt.Errorf("%w: %s", errNotLeader, result.Detail)
	case hidden:
		return fsm.Result{}, fmt.Errorf("%w; settled since, but a snapshot hides how", unknown)
	}
	return fsm.Result{}, fmt.Errorf("%w: the leader has not taken the write: %s", errNotLeader, unknown.Error())
}

// drawFence makes sure, on the leader, that a read index which is taken from now
// on settles what a node's fence stands for.
func (n *Node) drawFence(ctx context.Context, node string, session uint64, f fence) error {
	switch term := n.raft.CurrentTerm(); {
	case f == fence{} || f.term < term:
		return nil // a read index in this term settles it
	case f.term > term:
		return fmt.Errorf("%w of term %d yet", errNotLeader, f.term)
	}
	return n.proposer.fenceOff(ctx, node, session, f)
}

// checkOrigin returns an error where a request does not say where it comes from.
func checkOrigin(run, number, term uint64) error {
	if run == 0 || number == 0 || term == 0 {
		return fmt.Errorf("%w: request %d of run %d for term %d", errBadRequest, number, run, term)
	}
	return nil
}
