package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore/internal/life"
	"github.com/spire-raft/spire-raft/transport"
)

// A data directory has one process. The lock keeps a second one away on the same
// machine. A copy of the directory, or an older state of it that was put back, is
// told by its openings (package life): the leader records the present one of
// each node, and whoever doesn't know what was recorded last speaks to nobody.

// openingsOf are the openings of a claim as the machine knows them.
func openingsOf(c transport.Claim) []fsm.Opening {
	out := make([]fsm.Opening, len(c.Openings))
	for i, o := range c.Openings {
		out[i] = fsm.Opening(o)
	}
	return out
}

// openingRetryWait is the time between two attempts to have an opening recorded.
const openingRetryWait = time.Second

// announceOpening has the leader record the opening of this process, once. It
// begins right when raft does: a process on a copy of a directory should be told
// before it calls an election.
func (n *Node) announceOpening(ctx context.Context) {
	for {
		next := n.leadership.next()
		if n.recordOwnOpening(ctx) || ctx.Err() != nil {
			return
		}
		wait(ctx, next, openingRetryWait)
	}
}

// recordOwnOpening tries once, and tells whether it is done.
func (n *Node) recordOwnOpening(ctx context.Context) (done bool) {
	if len(n.life.Openings()) == 0 {
		return false // this node is not taken in yet
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.RequestTimeout)
	defer cancel()
	leader, err := n.askWhoElse(ctx)
	if err == nil {
		var last life.Opening
		if last, err = n.life.Ask(); err == nil { // from now on it may be recorded
			err = n.askToRecord(ctx, leader)
		}
		if err == nil {
			err = n.life.Recorded(last)
		}
	}
	return err == nil || n.live() != nil
}

// askWhoElse asks all other servers whether another process runs as this node.
// Where none leads and one says so this node stops; if most of them say so, for
// good. Else it returns the leader, if that answers.
func (n *Node) askWhoElse(ctx context.Context) (leader string, err error) {
	if n.raft.State() == raft.Leader {
		return n.id.NodeID, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	others := n.admission().others(n.id.NodeID)
	var words []error
	for node, err := range answers(ctx, others, func(ctx context.Context, node string) error {
		return n.call(ctx, node, methodOpened, &peerv1.OpenedRequest{}, &peerv1.OpenedResponse{})
	}) {
		switch {
		case err == nil:
			return node, nil
		case errors.Is(err, ErrCopied):
			words = append(words, fmt.Errorf("node %s: %w", node, err))
			time.AfterFunc(answerGrace, cancel) // others that know of it answer soon
		}
	}
	if len(words) == 0 {
		return "", fmt.Errorf("%w, and none is known", errNotLeader)
	}
	if 2*len(words) > len(others) {
		n.retireCopy(errors.Join(words...))
	} else {
		n.fail(errors.Join(words...))
	}
	return "", words[0]
}

// askToRecord asks a leader, which may be this node.
func (n *Node) askToRecord(ctx context.Context, leader string) error {
	if leader == n.id.NodeID {
		return n.recordOpening(ctx, leader, n.claim())
	}
	return n.call(ctx, leader, methodOpened, &peerv1.OpenedRequest{Record: true}, &peerv1.OpenedResponse{})
}

// handleOpened answers a node that has opened its data directory.
func (n *Node) handleOpened(ctx context.Context, peer transport.PeerInfo, req *peerv1.OpenedRequest) error {
	if req.GetRecord() {
		return n.recordOpening(ctx, peer.Node, peer.Claim)
	}
	if err := n.mayBeRecorded(ctx, peer.Node, peer.Claim); err != nil {
		return err
	}
	if n.raft.State() != raft.Leader {
		return fmt.Errorf("%w: node %s", errNotLeader, n.id.NodeID)
	}
	return nil
}

// recordOpening records, on the leader, the last opening that a node claims.
func (n *Node) recordOpening(ctx context.Context, node string, claim transport.Claim) error {
	if err := n.mayBeRecorded(ctx, node, claim); err != nil {
		return err
	}
	if n.raft.State() != raft.Leader || n.machine.Position().TermStartTerm != n.raft.CurrentTerm() {
		return fmt.Errorf("%w: node %s does not lead, or has just been elected", errNotLeader, n.id.NodeID)
	}
	openings := openingsOf(claim)
	if a, err := n.admissionOf(node); err != nil || a.Opening == openings[len(openings)-1] {
		return err
	}
	result, err := n.proposer.propose(ctx, fsm.EncodeRecordOpening(node, claim.Disk, openings))
	if err != nil {
		return err
	}
	if result.Outcome != fsm.Committed { // by what was committed meanwhile: look again
		return fmt.Errorf("%w: %s", errNotLeader, result.Detail)
	}
	n.log.Info("opening of a data directory recorded", "server", node, "opening", openings[len(openings)-1].Number)
	return nil
}

// mayBeRecorded returns ErrCopied where a node does not know what this one knows
// to be recorded of it, and where the process that was recorded still answers: it
// was there before, and goes on.
func (n *Node) mayBeRecorded(ctx context.Context, node string, claim transport.Claim) error {
	openings := openingsOf(claim)
	if len(openings) == 0 {
		return fmt.Errorf("%w: node %s shows no opening", errBadRequest, node)
	}
	a, err := n.admissionOf(node)
	switch known := a.Opening; {
	case err != nil:
		return err
	case !a.Recognizes(openings):
		return copied(a)
	case known.Number == 0 || !slices.Contains(openings, known) || known == openings[len(openings)-1]:
		return nil
	case node != n.id.NodeID && n.stillOpen(ctx, node, known):
		return fmt.Errorf("%w: node %s runs elsewhere, by its opening %d, and answers", ErrCopied, node, known.Number)
	}
	return nil
}

// admissionOf returns what a node is admitted with, as far as this one knows.
func (n *Node) admissionOf(node string) (fsm.Admission, error) {
	view, err := n.machine.View()
	if err != nil {
		return fsm.Admission{}, n.explain(err)
	}
	defer view.Close()
	a, found, err := view.Admission(node)
	if err == nil && !found {
		err = fmt.Errorf("%w: the admission of node %s is not known to node %s", errNotLeader, node, n.id.NodeID)
	}
	return a, err
}

// stillOpen tells whether a process of a node with that opening answers.
func (n *Node) stillOpen(ctx context.Context, node string, opening fsm.Opening) bool {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timing.ElectionTimeout)
	defer cancel()
	resp, err := n.probe(ctx, node, nil)
	return err == nil && resp.GetOpening() == opening.Number && bytes.Equal(resp.GetOpeningNonce(), opening.Nonce[:])
}

// present is the opening of this process, zero where it has none yet.
func (n *Node) present() (o life.Opening) {
	if openings := n.life.Openings(); len(openings) > 0 {
		o = openings[len(openings)-1]
	}
	return o
}
