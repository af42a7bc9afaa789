package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore/internal/life"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
)

// A data directory has one process. The lock keeps a second one away on the same
// machine. A copy of the directory, or an older state of it that was put back, is
// told by its openings (package life): the leader records the present one of
// each node, and whoever doesn't know what was recorded last speaks to nobody.

// copiedFile marks a directory that the cluster has refused as a copy.
const copiedFile = "copied"

const copiedCure = "if this is not the only process of the node, delete this data directory; else the node has lost data: remove it from the cluster, " +
	"delete the directory and join again with a new node id"

// checkCopied returns ErrCopied where dir is marked.
func checkCopied(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, copiedFile)); err == nil {
		return fmt.Errorf("data directory %s: %w; %s", dir, ErrCopied, copiedCure)
	}
	return nil
}

// retireCopy stops this node for good: its directory is a copy.
func (n *Node) retireCopy(cause error) {
	cause = fmt.Errorf("%w; %s", cause, copiedCure)
	if err := mark(n.cfg.Dir, copiedFile); err != nil {
		cause = fmt.Errorf("%w; it can't be marked as such: %w", cause, err)
	}
	why := fmt.Errorf("%w: node %s: %w", store.ErrFailed, n.id.NodeID, cause)
	n.halt(why, "this node runs on a copy, or on an older state, of its data directory, and stops for good", cause)
}

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
	if errors.Is(err, ErrCopied) {
		n.retireCopy(err)
	}
	return err == nil || n.live() != nil
}

// askWhoElse asks all other servers whether another process runs as this node,
// which is ErrCopied. Else it returns the leader, where that answers.
func (n *Node) askWhoElse(ctx context.Context) (leader string, err error) {
	if n.raft.State() == raft.Leader {
		return n.id.NodeID, nil
	}
	ctx, cancel := context.WithCancel(ctx) // ends the calls that are not needed any more
	defer cancel()
	type answer struct {
		node string
		err  error
	}
	others := n.admission().others(n.id.NodeID)
	answers := make(chan answer, len(others))
	for _, node := range others {
		go func() {
			answers <- answer{node, n.call(ctx, node, methodOpened, &peerv1.OpenedRequest{}, &peerv1.OpenedResponse{})}
		}()
	}
	err = fmt.Errorf("%w, and none is known", errNotLeader)
	for range others {
		switch a := <-answers; {
		case a.err == nil:
			return a.node, nil
		case errors.Is(a.err, ErrCopied):
			return "", a.err
		}
	}
	return "", err
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
	switch {
	case n.raft.State() != raft.Leader:
		return n.leadsElsewhere(ctx, peer.Node)
	case req.GetRecord():
		return n.recordOpening(ctx, peer.Node, peer.Claim)
	}
	return n.mayBeRecorded(ctx, peer.Node, peer.Claim)
}

// leadsElsewhere returns ErrCopied where a node leads this one by the time that
// it says that it has just begun: what this node hears then is from another
// process. Else the error is errNotLeader.
func (n *Node) leadsElsewhere(ctx context.Context, node string) error {
	begun := time.Now()
	for time.Since(begun) < n.cfg.Timing.HeartbeatTimeout && ctx.Err() == nil {
		if _, leader := n.raft.LeaderWithID(); string(leader) != node {
			break
		}
		if n.raft.LastContact().After(begun) {
			return fmt.Errorf("%w: another process of node %s leads", ErrCopied, node)
		}
		wait(ctx, n.leadership.next(), leaderRetryWait)
	}
	return fmt.Errorf("%w: node %s", errNotLeader, n.id.NodeID)
}

// recordOpening records, on the leader, the last opening that a node claims.
func (n *Node) recordOpening(ctx context.Context, node string, claim transport.Claim) error {
	if err := n.mayBeRecorded(ctx, node, claim); err != nil {
		return err
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

// mayBeRecorded returns ErrCopied where a node does not know what was recorded of
// it, and where a process that has been recorded still answers: it was there
// before, and goes on.
func (n *Node) mayBeRecorded(ctx context.Context, node string, claim transport.Claim) error {
	openings := openingsOf(claim)
	if len(openings) == 0 {
		return fmt.Errorf("%w: node %s shows no opening", errBadRequest, node)
	}
	a, err := n.admissionOf(node)
	switch known := a.Opening; {
	case err != nil:
		return err
	case known.Number == 0 || known == openings[len(openings)-1]:
		return nil
	case !slices.Contains(openings, known):
		return copied(a)
	case node != n.id.NodeID && n.stillOpen(ctx, node, known):
		return fmt.Errorf("%w: node %s runs elsewhere, by its opening %d, and answers", ErrCopied, node, known.Number)
	}
	return nil
}

func copied(a fsm.Admission) error {
	return fmt.Errorf("%w: opening %d of the original is recorded, and not known here", ErrCopied, a.Opening.Number)
}

// admissionOf returns what a node is admitted with, by all that was committed.
func (n *Node) admissionOf(node string) (fsm.Admission, error) {
	view, err := n.machine.View()
	if err != nil {
		return fsm.Admission{}, n.explain(err)
	}
	defer view.Close()
	if view.Position().TermStartTerm != n.raft.CurrentTerm() {
		return fsm.Admission{}, fmt.Errorf("%w: node %s has just been elected", errNotLeader, n.id.NodeID)
	}
	a, found, err := view.Admission(node)
	if err == nil && !found {
		err = fmt.Errorf("%w: node %s is not admitted", errNotLeader, node)
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
func (n *Node) present() (o fsm.Opening) {
	if openings := openingsOf(n.claim()); len(openings) > 0 {
		o = openings[len(openings)-1]
	}
	return o
}

// checkOpening returns transport.ErrOldOpening where a peer does not know what
// was recorded of the node that it is.
func checkOpening(a fsm.Admission, peer transport.PeerInfo) error {
	if a.Recognizes(openingsOf(peer.Claim)) {
		return nil
	}
	return fmt.Errorf("%w: opening %d of node %s is recorded", transport.ErrOldOpening, a.Opening.Number, peer.Node)
}

// admissions are those of the servers of the configuration.
func (n *Node) admissions() (map[string]fsm.Admission, error) {
	view, err := n.machine.View()
	if err != nil {
		return nil, err
	}
	defer view.Close()
	out := make(map[string]fsm.Admission)
	for _, s := range n.configuration().Servers {
		a, found, err := view.Admission(string(s.ID))
		if err != nil {
			return nil, err
		}
		if found {
			out[string(s.ID)] = a
		}
	}
	return out, nil
}

// cutCopies cuts the streams of nodes that do not know what was recorded of them,
// and stops this one if it is such a node. What was recorded since the last look,
// at which it was as in recorded, is written to the state's file, so that an election after a crash of all
// servers is held by who knows it.
func (n *Node) cutCopies(recorded map[string]fsm.Opening) {
	admissions, err := n.admissions()
	if err != nil {
		return // the node is about to end
	}
	if a, found := admissions[n.id.NodeID]; found && !a.Recognizes(openingsOf(n.claim())) {
		n.retireCopy(copied(a))
		return
	}
	n.transport.CloseWhere(func(kind transport.Kind, peer transport.PeerInfo) bool {
		a, found := admissions[peer.Node]
		answered := peer.Claim.Instance != ""
		return kind != transport.Join && found && answered && checkOpening(a, peer) != nil
	})
	news := false
	for node, a := range admissions {
		news = news || recorded[node] != a.Opening
		recorded[node] = a.Opening
	}
	if news {
		if err := n.machine.Flush(); err != nil {
			n.fail(err)
		}
	}
}

// dial opens a stream to a server. One that refuses this node since its
// directory has been opened elsewhere is believed, as one that says that this
// node was removed is.
func (n *Node) dial(ctx context.Context, kind transport.Kind, node string) (*transport.Conn, error) {
	conn, err := n.transport.Dial(ctx, kind, node)
	n.noteRefusal(node, err)
	if errors.Is(err, transport.ErrRefused) && errors.Is(err, transport.ErrOldOpening) && n.isMember(node) {
		n.retireCopy(fmt.Errorf("%w, as node %s says", ErrCopied, node))
	}
	return conn, err
}
