package raftstore

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/store"
)

// TestNotice_RaftThatHandsOverForEver tells a hand-over that raft has not ended
// from one that this node waits for, however long that takes.
func TestNotice_RaftThatHandsOverForEver(t *testing.T) {
	refusal := raft.ErrLeadershipTransferInProgress
	for name, c := range map[string]struct {
		asked bool  // the node waits for the hand-over
		then  error // what raft answers in the middle of it
		stuck bool
	}{
		"nobody waits":                {stuck: true, then: refusal},
		"this node waits":             {asked: true, then: refusal},
		"entries were taken between":  {then: nil},
		"another error in the middle": {then: raft.ErrLeadershipLost},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var stuck error
				const longest = 10 * time.Second
				p := &proposer{
					stuckMax:    longest,
					handingOver: func() bool { return c.asked },
					onStuck:     func(err error) { stuck = err },
				}
				p.notice(refusal)
				time.Sleep(longest / 2)
				p.notice(c.then)
				time.Sleep(longest / 2)
				p.notice(refusal)
				if stuck != nil {
					t.Errorf("after %v: %v", longest, stuck)
				}
				time.Sleep(time.Nanosecond)
				p.notice(refusal)
				if (stuck != nil) != c.stuck {
					t.Errorf("after more than %v: %v, want an error: %v", longest, stuck, c.stuck)
				}
			})
		})
	}
}

// TestStuckAfter outlasts a successor whose disk stalls until raft gives up on
// its answer, or the leader would stop itself for its successor's sake.
func TestStuckAfter(t *testing.T) {
	const election = 500 * time.Millisecond
	if least := 2*election + raftIOTimeout; stuckAfter(election) <= least {
		t.Errorf("got %v, want more than %v", stuckAfter(election), least)
	}
}

func TestPropose_RefusesNoCommand(t *testing.T) {
	p := &proposer{}
	if _, err := p.propose(t.Context(), nil); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("got %v, want %v", err, store.ErrInvalid)
	}
}
