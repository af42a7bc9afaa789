package raftstore

import (
	"context"
	"slices"
)

// fencesMax is for how many runs of one node a leader keeps fences, the last
// ones. A request of an earlier run has lost its connection long before.
const fencesMax = 8

// fences are what a leader must not propose any more in its term: see settle.go.
// They belong to proposer.run.
type fences struct {
	term  uint64
	drawn []drawn // few: of nodes that lost an answer in this term
}

// drawn is a fence that was drawn for a session.
type drawn struct {
	node    string
	session uint64
	number  uint64
}

// fenceRequest asks proposer.run for a fence.
type fenceRequest struct {
	drawn
	term uint64
	done chan struct{} // closed when it is drawn
}

// fenceOff draws a fence for a node's session. When it returns, all proposals
// behind it that were taken have their answer, and no more of them will be. Its
// error is errNotLeader or the context's.
func (p *proposer) fenceOff(ctx context.Context, node string, session uint64, f fence) error {
	req := fenceRequest{drawn{node, session, f.number}, f.term, make(chan struct{})}
	select {
	case p.fenceRequests <- req:
	case <-p.done:
		return errNotLeader
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-req.done:
		return nil
	case <-p.done:
		return errNotLeader
	case <-ctx.Done():
		return ctx.Err()
	}
}

// draw adds a fence. Those of earlier terms are of no use any more: proposals
// for another term than that of the leader are refused as such.
func (f *fences) draw(req fenceRequest) {
	if req.term > f.term {
		f.term, f.drawn = req.term, nil
	}
	if req.term < f.term {
		return
	}
	oldest, count := 0, 0
	for i := len(f.drawn) - 1; i >= 0; i-- {
		d := &f.drawn[i]
		if d.session == req.session {
			d.number = max(d.number, req.number)
			return
		}
		if d.node == req.node {
			oldest = i
			count++
		}
	}
	if count == fencesMax {
		f.drawn = slices.Delete(f.drawn, oldest, oldest+1)
	}
	f.drawn = append(f.drawn, req.drawn)
}

// bars tells whether a proposal for term is behind a fence.
func (f *fences) bars(term, session, number uint64) bool {
	if term != f.term {
		return false
	}
	for i := range f.drawn {
		if d := &f.drawn[i]; d.session == session && number <= d.number {
			return true
		}
	}
	return false
}
