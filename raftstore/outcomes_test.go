package raftstore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/spire-raft/spire-raft/fsm"
)

// TestOutcomes_OfEntriesThatAreApplied shows entries to a node that has three
// writes under way.
func TestOutcomes_OfEntriesThatAreApplied(t *testing.T) {
	o := newOutcomes("node-1", 10)
	mine, other, never := o.begin(), o.begin(), o.begin()
	o.look(12, [][]fsm.Result{
		nil, // a configuration
		{
			{Outcome: fsm.Committed, Revision: 3, Session: sessionOf("node-2", o.run), Request: never.number},
			{Outcome: fsm.Committed, Revision: 4, Session: o.session, Request: mine.number},
			{Outcome: fsm.Conflict, Revision: 4, Session: o.session, Request: other.number},
			{Outcome: fsm.Committed, Revision: 5, Session: o.session, Request: 99},
		},
	})
	if r, applied, hidden := o.of(mine); !applied || hidden || r.Revision != 4 {
		t.Errorf("got %+v, applied %v, hidden %v; want revision 4", r, applied, hidden)
	}
	if r, applied, _ := o.of(other); !applied || r.Outcome != fsm.Conflict {
		t.Errorf("got %+v, applied %v; want a conflict", r, applied)
	}
	if _, applied, hidden := o.of(never); applied || hidden {
		t.Errorf("a write that was not applied: applied %v, hidden %v", applied, hidden)
	}
	o.hide(20)
	if _, _, hidden := o.of(never); !hidden {
		t.Error("a snapshot may have a write, and nobody says so")
	}
	late := o.begin()
	if _, _, hidden := o.of(late); hidden {
		t.Error("a snapshot hides what was begun after it")
	}
	for _, a := range []*attempt{mine, other, never, late} {
		o.end(a)
	}
	if len(o.open) > 0 {
		t.Errorf("%d writes are remembered that nobody waits for", len(o.open))
	}
}

// TestSessionOf_IsAsDocumented in docs/FORMATS.md, since servers of several
// versions look for it in one log.
func TestSessionOf_IsAsDocumented(t *testing.T) {
	if s := sessionOf("node-1", 7); s != 0x35fa49f0a14901 {
		t.Errorf("got %#x", s)
	}
}

func TestOutcomes_WaitForEntriesToBeLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutcomes("node-1", 10)
		ctx, cancel := context.WithCancel(t.Context())
		if err := o.wait(ctx, 10); err != nil {
			t.Error(err)
		}
		done := make(chan error, 2)
		go func() { done <- o.wait(ctx, 12) }()
		go func() { done <- o.wait(ctx, 13) }()
		synctest.Wait()
		o.look(11, nil)
		synctest.Wait()
		if len(done) > 0 {
			t.Error("a wait for entry 12 ends at entry 11")
		}
		o.look(12, nil)
		if err := <-done; err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	})
}

// TestOutcomes_SuspectsAreTheFurthest since one fence settles all before it.
func TestOutcomes_SuspectsAreTheFurthest(t *testing.T) {
	o := newOutcomes("node-1", 0)
	for _, f := range []fence{{2, 5}, {2, 4}, {1, 9}} {
		o.suspect(&attempt{term: f.term, number: f.number})
	}
	if got, want := o.suspects(), (fence{2, 5}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	round := o.suspects()
	o.suspect(&attempt{term: 2, number: 6})
	o.settled(round)
	if got, want := o.suspects(), (fence{2, 6}); got != want {
		t.Errorf("after a round that knew less: got %v, want %v", got, want)
	}
	o.settled(o.suspects())
	if got := o.suspects(); got != (fence{}) {
		t.Errorf("after a round that knew all: got %v", got)
	}
}

func TestFences(t *testing.T) {
	const term = 7
	draw := func(f *fences, term uint64, node string, session, number uint64) {
		f.draw(fenceRequest{drawn{node, session, number}, term, nil})
	}
	var f fences
	draw(&f, term, "node-1", 1, 10)
	draw(&f, term, "node-1", 1, 5) // an older one that comes late
	draw(&f, term-1, "node-2", 2, 10)
	for _, c := range []struct {
		name                  string
		term, session, number uint64
		want                  bool
	}{
		{"behind the fence", term, 1, 10, true},
		{"before it", term, 1, 11, false},
		{"of another session", term, 3, 10, false},
		{"of a fence for an earlier term", term, 2, 10, false},
		{"in another term", term + 1, 1, 10, false},
	} {
		if got := f.bars(c.term, c.session, c.number); got != c.want {
			t.Errorf("%s: bars %v, want %v", c.name, got, c.want)
		}
	}
	for run := range uint64(100) {
		draw(&f, term, "node-3", 100+run, 1)
	}
	if got := len(f.drawn); got != 1+fencesMax {
		t.Errorf("%d fences for two nodes, want %d", got, 1+fencesMax)
	}
	if !f.bars(term, 1, 10) || !f.bars(term, 199, 1) || f.bars(term, 100, 1) {
		t.Error("fences must go that are a node's own, and its oldest")
	}
	draw(&f, term+1, "node-3", 3, 1)
	if f.bars(term, 1, 10) || !f.bars(term+1, 3, 1) || len(f.drawn) != 1 {
		t.Errorf("a new term begins with %v", f.drawn)
	}
}
