package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
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
	if _, err := os.Lstat(filepath.Join(dir, copiedFile)); err == nil {
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
	return err == nil || n.live() != nil
}

// askWhoElse asks all other servers whether another process runs as this node.
// Where none leads and one says so this node stops; if most of them say so, for
// good. Else it returns the leader, if that answers.
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
	var words []error
	for range others {
		switch a := <-answers; {
		case a.err == nil:
			return a.node, nil
		case errors.Is(a.err, ErrCopied):
			words = append(words, fmt.Errorf("node %s: %w", a.node, a.err))
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

func copied(a fsm.Admission) error {
	return fmt.Errorf("%w: opening %d of the original is recorded, and not known here", ErrCopied, a.Opening.Number)
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
// or have another key than the one they are admitted with by now, and stops this one if it is such a node. What was recorded since the last look,
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
		return kind != transport.Join && found && answered && (checkOpening(a, peer) != nil || n.own != nil && a.Key != peer.Key)
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

// dial opens a stream to a server. Where most of the others refuse this node,
// since its directory was opened elsewhere, it stops for good.
func (n *Node) dial(ctx context.Context, kind transport.Kind, node string) (*transport.Conn, error) {
	conn, err := n.transport.Dial(ctx, kind, node)
	n.noteRefusal(node, err)
	asCopy := errors.Is(err, transport.ErrRefused) && errors.Is(err, transport.ErrOldOpening)
	if n.refusers.note(node, asCopy, n.admission().others(n.id.NodeID)) {
		n.retireCopy(fmt.Errorf("%w, as most of the other servers say", ErrCopied))
	}
	return conn, err
}

// refusers are the servers that took this node for a copy when it spoke to them
// last. One alone could be mistaken, or lie.
type refusers struct {
	mu    sync.Mutex // guards nodes
	nodes map[string]bool
}

// note takes how a server has answered, and tells whether most of the others take
// this node for a copy.
func (r *refusers) note(node string, asCopy bool, others []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !asCopy {
		delete(r.nodes, node)
		return false
	}
	if r.nodes == nil {
		r.nodes = make(map[string]bool)
	}
	r.nodes[node] = true
	count := 0
	for _, id := range others {
		if r.nodes[id] {
			count++
		}
	}
	return 2*count > len(others)
}
