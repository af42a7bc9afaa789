package raftstore

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/store"
)

// A state hash is a function of the log, so two nodes that have applied the same
// index and have different hashes there have not applied the same log, or one of
// them has applied it wrongly. Which one is wrong a quorum decides: the leader
// compares what the voters answer to its probes, and lets all of them know what
// a quorum agrees on. Who has another hash there asks the others, and stops itself
// where a quorum of them has one that differs, the leader included. Where no quorum
// agrees people have to find out.

// checkpoint is a state at an index.
type checkpoint struct {
	index uint64
	hash  fsm.StateHash
}

// agreed is the newest checkpoint that a quorum of the voters has in common, as
// the leader knows it.
type agreed struct {
	mu   sync.Mutex // guards last
	last checkpoint
}

func (a *agreed) get() checkpoint {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

func (a *agreed) set(c checkpoint) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = c
}

// answered is a server's answer to a probe, nil if there was none.
type answered struct {
	server raft.Server
	resp   *peerv1.ProbeResponse
}

// judge compares the states that the other servers have told with this
// leader's.
func (n *Node) judge(servers []answered) {
	own := n.machine.Position()
	voters := 1
	same := []uint64{own.Index} // where voters have this node's state
	others := make(map[checkpoint]int)
	var odd []answered
	for _, s := range servers {
		voter := s.server.Suffrage == raft.Voter
		if voter {
			voters++
		}
		hash := s.resp.GetStateHash()
		here, known := n.machine.HashAt(s.resp.GetAppliedIndex())
		switch {
		case !known || len(hash) != len(here):
		case !bytes.Equal(here[:], hash):
			odd = append(odd, s)
			if voter {
				others[checkpoint{s.resp.GetAppliedIndex(), fsm.StateHash(hash)}]++
			}
		case voter:
			same = append(same, s.resp.GetAppliedIndex())
		}
	}
	quorum := voters/2 + 1
	decided := len(same) >= quorum
	if decided {
		slices.SortFunc(same, func(a, b uint64) int { return cmp.Compare(b, a) })
		index := same[quorum-1]
		if hash, known := n.machine.HashAt(index); known {
			n.agreed.set(checkpoint{index, hash})
		}
	}
	for _, s := range odd {
		n.report(s, decided)
	}
	for c, count := range others {
		if count >= quorum {
			n.stopDiverged(c)
		}
	}
}

// report raises the alarm over a server whose state differs from this leader's.
func (n *Node) report(s answered, decided bool) {
	n.metrics.hashMismatch.Inc()
	if decided {
		if n.peers.accuse(string(s.server.ID)) {
			n.log.Error("a server's state differs from that of a quorum at the same index, and it is told to stop: remove it, and let it join again with a new node id",
				"server", string(s.server.ID), "index", s.resp.GetAppliedIndex())
		}
		return
	}
	if !n.diverged.Swap(true) {
		n.log.Error("state differs from a server's at the same index, and no quorum tells which one is right: compare with the other nodes, and replace the one that differs",
			"server", string(s.server.ID), "index", s.resp.GetAppliedIndex())
	}
}

// compareWithQuorum raises the alarm where this node's state differs from what a
// leader tells that a quorum has, and stops it where a quorum says so too: whoever
// claims a later term is taken for the leader.
func (n *Node) compareWithQuorum(leader string, index uint64, hash []byte) {
	own, known := n.machine.HashAt(index)
	if index == 0 || !known || len(hash) != len(own) || bytes.Equal(own[:], hash) {
		return
	}
	if n.alarms.begin("state of " + leader) {
		n.log.Error("the leader says that this node's state differs from that of a quorum: asking the others", "leader", leader, "index", index)
	}
	n.askOthers(index, func(resp *peerv1.ProbeResponse) string {
		if other := resp.GetEntryHash(); len(other) == len(own) && !bytes.Equal(own[:], other) {
			return string(other)
		}
		return ""
	}, func() { n.stopDiverged(checkpoint{index: index}) })
}

// stopDiverged stops this node: a quorum has the state c, and this node another
// one. What it would answer can't be trusted.
func (n *Node) stopDiverged(c checkpoint) {
	n.diverged.Store(true)
	n.fail(fmt.Errorf("%w: the state at index %d differs from that of a quorum of the voters: remove this node from the cluster, "+
		"delete its data directory, and join again with a new node id", store.ErrCorrupt, c.index))
}
