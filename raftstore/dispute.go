package raftstore

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
)

// Raft takes for the leader whoever claims a later term, elected or not. So what
// a leader says against this node's log or state stops this node only where a
// quorum of the voters, without it, bears the leader out.

// disputePause is the time from one round of questions to the next.
const disputePause = 500 * time.Millisecond

const (
	// alarmInterval is the time between two alarms about the same.
	alarmInterval = time.Minute

	// alarmsMax bounds what alarms are remembered.
	alarmsMax = 1024
)

// disputes tells whether the others are being asked.
type disputes struct{ runs atomic.Bool }

// dispute raises the alarm over a leader that overwrites committed entries, which
// was refused, and stops this node where a quorum has other entries there. Raft's
// main goroutine calls it.
func (n *Node) dispute(first, committed uint64) {
	_, leader := n.raft.LeaderWithID()
	lost := errLost(first, committed)
	if n.alarms.begin("log of " + string(leader)) {
		n.log.Error("refused to take back committed entries: asking the others", "leader", string(leader), "error", lost)
	}
	own := n.termOf(first)
	n.askOthers(first, func(resp *peerv1.ProbeResponse) string {
		if term := resp.GetEntryTerm(); term != 0 && term != own {
			return strconv.FormatUint(term, 10)
		}
		return ""
	}, func() { n.fail(lost) })
}

// askOthers asks the other voters about an entry, in the background, and calls
// confirmed where a quorum has the same against this node. against is what an
// answer has against it, empty for nothing. One round of questions runs at a time;
// who has reason to ask asks again.
func (n *Node) askOthers(index uint64, against func(*peerv1.ProbeResponse) string, confirmed func()) {
	if !n.disputes.runs.CompareAndSwap(false, true) {
		return
	}
	begun := n.spawn(func(ctx context.Context) {
		defer n.disputes.runs.Store(false)
		if n.quorumAgainst(ctx, index, against) {
			confirmed()
			return
		}
		wait(ctx, nil, disputePause)
	})
	if !begun {
		n.disputes.runs.Store(false)
	}
}

func (n *Node) quorumAgainst(ctx context.Context, index uint64, against func(*peerv1.ProbeResponse) string) bool {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timing.ElectionTimeout)
	defer cancel()
	voters, self := n.otherVoters()
	said := make([]string, len(voters))
	var wg sync.WaitGroup
	for i, id := range voters {
		wg.Go(func() {
			var resp peerv1.ProbeResponse
			if n.call(ctx, id, methodProbe, &peerv1.ProbeRequest{EntryIndex: index}, &resp) == nil {
				said[i] = against(&resp)
			}
		})
	}
	wg.Wait()
	all := len(voters)
	if self {
		all++
	}
	count := make(map[string]int)
	for _, s := range said {
		if count[s]++; s != "" && count[s] >= all/2+1 {
			return true
		}
	}
	return false
}

// tellEntry answers what quorumAgainst asks.
func (n *Node) tellEntry(index uint64, resp *peerv1.ProbeResponse) {
	if index == 0 {
		return
	}
	resp.EntryTerm = n.termOf(index)
	if hash, known := n.machine.HashAt(index); known {
		resp.EntryHash = hash[:]
	}
}

// termOf is the term of an entry in the log, zero where there is none.
func (n *Node) termOf(index uint64) uint64 {
	var entry raft.Log
	if n.entries.GetLog(index, &entry) != nil {
		return 0
	}
	return entry.Term
}
