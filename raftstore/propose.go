package raftstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
)

const (
	// groupBytesMax and groupCommandsMax bound how many waiting commands share
	// a log entry, which the last of them may exceed. Raft sends up to
	// appendEntriesMax entries at once, and keeps logCacheEntries in memory.
	groupBytesMax    = 512 << 10
	groupCommandsMax = 4096

	// queuedMax commands wait for an entry. Further callers wait for a place.
	queuedMax = 4096

	// nudgeDelay is how long the leader waits for more writes before it makes
	// followers learn of the last commit. They would otherwise hear of it
	// after raft's CommitTimeout.
	nudgeDelay = time.Millisecond
)

// errNotLeader means that a command was not taken, for certain: another node
// leads, or none.
var errNotLeader = errors.New("not the leader")

// proposer commits commands on the leader: it groups those that wait into one
// entry, waits until that is applied, and hands the results back. One entry is
// on its way at a time: more of them made the groups smaller and the sum
// slower. It runs on every node; raft refuses the entries of one that does not
// lead.
type proposer struct {
	raft      *raft.Raft
	groupSize prometheus.Observer
	queue     chan *proposal
	nudges    chan struct{} // asks for an announcement
	done      chan struct{} // closed when run has ended

	fenceRequests chan fenceRequest

	applied     func() uint64 // the state's applied index
	handingOver func() bool   // whether this node has asked raft to hand over, and waits
	onStuck     func(error)   // told when raft can't lead any more

	// stuckMax is how long raft may say that it hands over while nobody waits
	// for that.
	stuckMax time.Duration

	// The fields below belong to run.
	announced uint64    // the applied index at the last announcement
	refused   time.Time // since when raft says that it hands over, zero if it doesn't
	fences    fences
}

// proposal is one command and the way back to its caller.
type proposal struct {
	command []byte
	origin  fsm.Origin
	state   atomic.Uint32 // a proposalState
	result  fsm.Result
	err     error
	done    chan struct{} // closed when result and err are set
}

// A proposal is queued until run takes it or its caller gives up, whichever is
// first.
const (
	proposalQueued = iota
	proposalTaken
	proposalWithdrawn
)

func (n *Node) newProposer() *proposer {
	return &proposer{
		raft:        n.raft,
		groupSize:   n.metrics.groupSize,
		applied:     func() uint64 { return n.machine.Position().Index },
		onStuck:     n.fail,
		stuckMax:    stuckAfter(n.cfg.Timing.ElectionTimeout),
		handingOver: func() bool { return n.handingOver.Load() > 0 },
		queue:       make(chan *proposal, queuedMax),
		nudges:      make(chan struct{}, 1),
		done:        make(chan struct{}),

		fenceRequests: make(chan fenceRequest),
	}
}

// propose is proposeFor for a command of the leader's own, that nobody looks for
// where its outcome is unknown.
func (p *proposer) propose(ctx context.Context, command []byte) (fsm.Result, error) {
	if len(command) == 0 {
		return fsm.Result{}, fmt.Errorf("%w: a command without content", store.ErrInvalid)
	}
	return p.proposeFor(ctx, fsm.Origin{Term: p.raft.CurrentTerm()}, command)
}

// proposeFor commits command, in the term of its origin if at all, and returns
// its result once it is applied here. Its error is errNotLeader or the context's
// where the command was not applied and won't be, else ErrUnknownOutcome.
func (p *proposer) proposeFor(ctx context.Context, o fsm.Origin, command []byte) (fsm.Result, error) {
	pr := &proposal{command: fsm.WithOrigin(command, o), origin: o, done: make(chan struct{})}
	select {
	case p.queue <- pr:
	case <-p.done:
		return fsm.Result{}, errNotLeader
	case <-ctx.Done():
		return fsm.Result{}, ctx.Err()
	}
	select {
	case <-pr.done:
		return pr.result, pr.err
	case <-p.done:
	case <-ctx.Done():
	}
	if pr.state.CompareAndSwap(proposalQueued, proposalWithdrawn) {
		if ctx.Err() != nil {
			return fsm.Result{}, ctx.Err()
		}
		return fsm.Result{}, errNotLeader
	}
	select {
	case <-pr.done:
		return pr.result, pr.err
	default:
		return fsm.Result{}, unknownOutcome(ctx.Err())
	}
}

// nudge makes followers learn of the last commit at once.
func (p *proposer) nudge() {
	select {
	case p.nudges <- struct{}{}:
	default: // one is due already
	}
}

// run commits proposals until ctx ends, and the last one has its answer.
func (p *proposer) run(ctx context.Context) {
	defer close(p.done)
	idle := time.NewTimer(nudgeDelay)
	defer idle.Stop()
	for {
		select {
		case first := <-p.queue:
			p.commit(p.gather(first))
			idle.Reset(nudgeDelay)
		case <-idle.C:
			p.announce()
		case <-p.nudges:
			p.announce()
		case req := <-p.fenceRequests:
			p.fences.draw(req)
			close(req.done)
		case <-ctx.Done():
			return
		}
	}
}

// announce appends an entry that carries the commit index to the followers. A
// barrier reaches no state machine, so that read indexes don't count it. There
// is at most one for each applied index: a follower that doesn't get on must
// not fill the log.
func (p *proposer) announce() {
	if at := p.applied(); at != p.announced && p.raft.State() == raft.Leader {
		p.announced = at
		p.raft.Barrier(raftEnqueueTimeout)
	}
}

// raftEnqueueTimeout bounds the wait for raft to take an entry. A leader whose
// disk hangs for longer refuses writes.
const raftEnqueueTimeout = 5 * time.Second

// gather takes first and further waiting proposals, up to the bounds of a group.
// Those that may not be proposed get their answer.
func (p *proposer) gather(first *proposal) ([]*proposal, [][]byte) {
	var (
		proposals []*proposal
		commands  [][]byte
		size      int
	)
	term := p.raft.CurrentTerm()
	take := func(pr *proposal) {
		if !pr.state.CompareAndSwap(proposalQueued, proposalTaken) {
			return
		}
		if pr.err = p.refuse(pr.origin, term); pr.err != nil {
			close(pr.done)
			return
		}
		proposals = append(proposals, pr)
		commands = append(commands, pr.command)
		size += len(pr.command)
	}
	take(first)
	for size < groupBytesMax && len(proposals) < groupCommandsMax {
		select {
		case pr := <-p.queue:
			take(pr)
		default:
			return proposals, commands
		}
	}
	return proposals, commands
}

// refuse returns errNotLeader for a proposal that is not for this term, or that
// its node takes for given up. The term may end before raft has the entry: then
// the command lapses.
func (p *proposer) refuse(o fsm.Origin, term uint64) error {
	if o.Term != term {
		return fmt.Errorf("%w of term %d: this is term %d", errNotLeader, o.Term, term)
	}
	if p.fences.bars(term, o.Session, o.Request) {
		return fmt.Errorf("%w: request %d came after it was given up", errNotLeader, o.Request)
	}
	return nil
}

// commit gives raft one entry with the commands, and hands the results back.
// Raft answers for every entry as long as it runs, at the latest when this node
// has lost contact to a quorum and leads no more.
func (p *proposer) commit(proposals []*proposal, commands [][]byte) {
	if len(proposals) == 0 {
		return
	}
	p.groupSize.Observe(float64(len(commands)))
	future := p.raft.Apply(fsm.EncodeEnvelope(commands), raftEnqueueTimeout)
	err := future.Error()
	var results []fsm.Result
	if err == nil {
		a := future.Response().(applied)
		results, err = a.results, a.err
	}
	p.notice(err)
	if err != nil {
		err = proposalError(err)
	}
	for i, pr := range proposals {
		if pr.err = err; err == nil {
			if pr.result = results[i]; pr.result.Outcome == fsm.Lapsed {
				pr.err = fmt.Errorf("%w: %s", errNotLeader, pr.result.Detail)
			}
		}
		close(pr.done)
	}
}

// stuckAfter is longer than raft goes on to hand over when nobody waits for it
// any more: raft gives the successor an election timeout, twice, and then waits
// for its answer, which a stalled disk may delay up to raftIOTimeout.
func stuckAfter(electionTimeout time.Duration) time.Duration {
	return 3*electionTimeout + 2*raftIOTimeout
}

// notice looks out for a raft that refuses every entry because it hands over
// leadership, for ever: an interrupted hand-over can leave it so
// (hashicorp/raft#696). Only a new one helps.
func (p *proposer) notice(err error) {
	switch {
	case !errors.Is(err, raft.ErrLeadershipTransferInProgress), p.handingOver():
		p.refused = time.Time{}
	case p.refused.IsZero():
		p.refused = time.Now()
	case time.Since(p.refused) > p.stuckMax:
		p.onStuck(fmt.Errorf("raft has been handing over leadership for %v", time.Since(p.refused).Round(time.Millisecond)))
	}
}

// proposalError tells apart the errors of raft after which the entry is
// certainly not in the log. All others leave the outcome open.
func proposalError(err error) error {
	for _, definite := range []error{
		raft.ErrNotLeader, raft.ErrEnqueueTimeout, raft.ErrLeadershipTransferInProgress, raft.ErrAbortedByRestore,
	} {
		if errors.Is(err, definite) {
			return fmt.Errorf("%w: %w", errNotLeader, err)
		}
	}
	return unknownOutcome(err)
}

// unknownOutcome is store.ErrUnknownOutcome because of cause.
func unknownOutcome(cause error) error {
	if cause == nil {
		return fmt.Errorf("%w: the node was closed while the write was on its way", store.ErrUnknownOutcome)
	}
	return fmt.Errorf("%w: %w", store.ErrUnknownOutcome, cause)
}
