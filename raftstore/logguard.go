package raftstore

import (
	"fmt"

	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
	"github.com/spire-raft/spire-raft/store"
)

// logGuard keeps raft from taking back entries that are committed. Raft never
// does as long as every node keeps what it has promised. Where one broke that,
// by losing its disk and coming back under its old id, or by coming back with an
// older copy of it, and was elected or helped to elect another, the leader has
// lost acknowledged writes, and this node may be the last that has them. So it
// stops and says what they are, in place of dropping them too.
//
// It is the last barrier. Requests of leaders come to commitMarks first, which
// doesn't stop the node at the word of one member.
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
		return errLost(first, committed)
	}
	return g.Backend.DeleteRange(first, last)
}

// errLost says which committed entries another leader overwrites.
func errLost(first, committed uint64) error {
	return fmt.Errorf("%w: another leader overwrites entries from %d on, but those up to %d are committed: the %d from %d to %d may be lost everywhere but here; "+
		"a node of the cluster has lost its data, or was put back to an older copy of it, and came back: "+
		"stop the cluster, keep a copy of this node's directory, and find that node",
		store.ErrCorrupt, first, committed, committed-first+1, first, committed)
}

// guardLog implements logstore.Options.Wrap.
func (n *Node) guardLog(b logstore.Backend) logstore.Backend {
	if n.cfg.wrapLog != nil {
		b = n.cfg.wrapLog(b)
	}
	return &logGuard{Backend: &timedLog{Backend: b, times: &n.writeTimes}, committed: n.knownCommitted}
}

// knownCommitted is the index up to which the log and the state tell that entries
// are committed. Raft may know more.
func (n *Node) knownCommitted() uint64 { return max(n.logs.Committed(), n.machine.Position().Index) }
