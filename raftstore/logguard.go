package raftstore

import (
	"fmt"

	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
	"github.com/spire-raft/spire-raft/store"
)

// logGuard keeps raft from taking back entries that the state has applied. Raft
// never does as long as every node keeps what it has promised. Where one broke
// that, by losing its disk and coming back under its old id, a log that is
// overwritten would leave this node with a state that no log leads to.
type logGuard struct {
	logstore.Backend
	applied func() uint64
}

// DeleteRange refuses to delete the end of the log at or below the applied
// index. Compaction deletes its beginning.
func (g *logGuard) DeleteRange(first, last uint64) error {
	end, err := g.LastIndex()
	if err != nil {
		return err
	}
	if applied := g.applied(); last >= end && first <= applied {
		return fmt.Errorf("%w: another leader overwrites entries from %d on, but those up to %d are applied: a node of the cluster has lost its data and came back",
			store.ErrCorrupt, first, applied)
	}
	return g.Backend.DeleteRange(first, last)
}

// guardLog implements logstore.Options.Wrap.
func (n *Node) guardLog(b logstore.Backend) logstore.Backend {
	if n.cfg.wrapLog != nil {
		b = n.cfg.wrapLog(b)
	}
	return &logGuard{Backend: &timedLog{Backend: b, times: &n.writeTimes}, applied: func() uint64 { return n.machine.Position().Index }}
}
