package raftstore

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/store"
)

// readIndex returns a confirmed round that began after the call. It asks again
// until there is a leader or ctx ends.
func (n *Node) readIndex(ctx context.Context) (*round, error) {
	for {
		r, err := n.rounds.join(ctx)
		if err == nil {
			return r, nil
		}
		if live := n.live(); live != nil {
			return nil, live
		}
		if n.leadership.wait(ctx) != nil {
			return nil, n.explain(noLeader(ctx, err))
		}
	}
}

// noLeader is store.ErrNoLeader after a request that tried until ctx ended and
// last met err. Of err only the text counts: that nobody answered is an unknown
// outcome to whoever asked a peer, but not to this request, which wrote nothing.
func noLeader(ctx context.Context, err error) error {
	return fmt.Errorf("%w in time: %w; see that a quorum of the voters is up; last attempt: %s", store.ErrNoLeader, ctx.Err(), err.Error())
}

// confirm does one round, which settles the writes of this node whose answers
// were lost before it began: see settle.go.
func (n *Node) confirm(ctx context.Context) (index, term uint64, err error) {
	defer func() { n.metrics.readIndexes.WithLabelValues(outcome(err)).Inc() }()
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timing.ElectionTimeout)
	defer cancel()
	f := n.outcomes.suspects()
	index, term, err = n.confirmWith(ctx, f)
	if err == nil && term < f.term {
		err = fmt.Errorf("%w of term %d: the read index is of term %d", errNotLeader, f.term, term)
	}
	if err != nil {
		return 0, 0, err
	}
	if f != (fence{}) {
		n.outcomes.settled(f)
	}
	return index, term, nil
}

// confirmWith draws a fence and does one round: here if this node leads, else by
// asking the leader.
func (n *Node) confirmWith(ctx context.Context, f fence) (index, term uint64, err error) {
	if n.raft.State() == raft.Leader {
		if err := n.drawFence(ctx, n.id.NodeID, n.outcomes.session, f); err != nil {
			return 0, 0, err
		}
		return n.confirmAsLeader(ctx)
	}
	leader, err := n.leaderID()
	if err != nil {
		return 0, 0, err
	}
	var resp peerv1.ReadIndexResponse
	req := &peerv1.ReadIndexRequest{AppliedIndex: n.machine.Position().Index}
	if f != (fence{}) {
		req.Fence = &peerv1.Fence{Term: f.term, Run: n.outcomes.run, Request: f.number}
	}
	if err := n.call(ctx, leader, methodReadIndex, req, &resp); err != nil {
		return 0, 0, err
	}
	return resp.GetIndex(), resp.GetTerm(), nil
}

// confirmAsLeader returns an index that covers everything acknowledged, and
// everything read on any node, before the call; and the term that it is of.
//
// No node applies an entry of this term before its leader knows it to be
// committed, and entries of earlier terms are committed once the one is that this
// leader appended when it took office (term-start). So the leader's commit index
// covers all, unless another leader took over before the round began. That one
// had votes of a quorum, and a voter has the new term on disk before it votes:
// where a quorum answers that it knows no later term, nobody had taken over.
//
// The applied index would not do: followers can be ahead of it.
//
// Raft's own VerifyLeader doesn't serve: it counts non-voters, and
// answers to requests from before the call.
func (n *Node) confirmAsLeader(ctx context.Context) (index, term uint64, err error) {
	term = n.raft.CurrentTerm()
	if n.machine.Position().TermStartTerm != term {
		return 0, 0, fmt.Errorf("%w yet: the start of term %d is not applied", errNotLeader, term)
	}
	if index, err = n.committed(); err != nil {
		return 0, 0, err
	}
	if err := n.quorumKnowsNoTermAfter(ctx, term); err != nil {
		return 0, 0, err
	}
	if n.raft.State() != raft.Leader || n.raft.CurrentTerm() != term {
		return 0, 0, fmt.Errorf("%w of term %d any more", errNotLeader, term)
	}
	return index, term, nil
}

// committed returns the index of the last committed entry that the state machine
// gets to see: waiting for one that only raft sees would never end.
func (n *Node) committed() (uint64, error) {
	for index := n.raft.CommitIndex(); ; index-- {
		if index <= n.machine.Position().Index {
			return index, nil
		}
		var entry raft.Log
		if err := n.entries.GetLog(index, &entry); err != nil {
			return 0, fmt.Errorf("read entry %d: %w", index, err)
		}
		if entry.Type == raft.LogCommand || entry.Type == raft.LogConfiguration {
			return index, nil
		}
	}
}

// quorumKnowsNoTermAfter asks the voters and returns as soon as a quorum, this
// node included, has answered with term or an earlier one.
func (n *Node) quorumKnowsNoTermAfter(ctx context.Context, term uint64) error {
	voters, self := n.otherVoters()
	needed := (len(voters)+1)/2 + 1
	if !self {
		return fmt.Errorf("%w: this node is no voter", errNotLeader)
	}
	needed-- // this node itself
	if needed == 0 {
		return nil
	}
	var last error
	for _, err := range answers(ctx, voters, func(ctx context.Context, id string) error {
		resp, err := n.probe(ctx, id, nil)
		if err == nil && resp.GetTerm() > term {
			err = fmt.Errorf("%w: node %s is in term %d, after %d", errNotLeader, id, resp.GetTerm(), term)
		}
		return err
	}) {
		if err != nil {
			last = err
			continue
		}
		if needed--; needed == 0 {
			return nil
		}
	}
	return fmt.Errorf("no quorum confirms this leader: %w", last)
}

// otherVoters returns the voters of the newest configuration but this node, and
// whether this node is one.
func (n *Node) otherVoters() (ids []string, self bool) {
	for _, s := range n.configuration().Servers {
		switch {
		case s.Suffrage != raft.Voter:
		case string(s.ID) == n.id.NodeID:
			self = true
		default:
			ids = append(ids, string(s.ID))
		}
	}
	return ids, self
}

// configuration is the newest configuration, committed or not.
func (n *Node) configuration() raft.Configuration {
	f := n.raft.GetConfiguration()
	if f.Error() != nil {
		return raft.Configuration{}
	}
	return f.Configuration()
}
