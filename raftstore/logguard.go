package raftstore

import (
	"fmt"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
	"github.com/spire-raft/spire-raft/store"
)

// logGuard keeps raft from taking back entries that are committed. Raft never
// does as long as every node keeps what it has promised. Where one broke that,
// by losing its disk and coming back under its old id, or by coming back with an
// older copy of it, and was elected or helped to elect another, the leader has
// lost acknowledged writes, and this node may be the last that has them. So it
// stops and says what they are, in place of dropping them too.
type logGuard struct {
	logstore.Backend

	// committed is the index up to which this node knows entries to be committed.
	committed func() uint64
}

// DeleteRange refuses to delete the end of the log at or below the committed
// index. Compaction deletes its beginning.
func (g *logGuard) DeleteRange(first, last uint64) error {
	end, err := g.LastIndex()
	if err != nil {
		return err
	}
	if committed := g.committed(); last >= end && first <= committed {
		return fmt.Errorf("%w: another leader overwrites entries from %d on, but those up to %d are committed: the %d from %d to %d may be lost everywhere but here; "+
			"a node of the cluster has lost its data, or was put back to an older copy of it, and came back: "+
			"stop the cluster, keep a copy of this node's directory, and find that node",
			store.ErrCorrupt, first, committed, committed-first+1, first, committed)
	}
	return g.Backend.DeleteRange(first, last)
}

// guardLog implements logstore.Options.Wrap.
func (n *Node) guardLog(b logstore.Backend) logstore.Backend {
	if n.cfg.wrapLog != nil {
		b = n.cfg.wrapLog(b)
	}
	return &logGuard{Backend: &timedLog{Backend: b, times: &n.writeTimes}, committed: func() uint64 { return max(n.logs.Committed(), n.machine.Position().Index) }}
}

// commitMarks puts up to which index raft knows entries to be committed into
// the log whenever it stores some.
type commitMarks struct {
	*logstore.Store
	raft   atomic.Pointer[raft.Raft] // nil until raft runs
	before func([]*raft.Log)         // is told what is about to be stored
}

// StoreLog implements [raft.LogStore].
func (m *commitMarks) StoreLog(log *raft.Log) error { return m.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements [raft.LogStore].
func (m *commitMarks) StoreLogs(logs []*raft.Log) error {
	if r := m.raft.Load(); r != nil {
		m.MarkCommitted(r.CommitIndex())
	}
	m.before(logs)
	return m.Store.StoreLogs(logs)
}
