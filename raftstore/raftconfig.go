package raftstore

import (
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	// appendEntriesMax entries may go to a follower at once. Together with
	// groupBytesMax it bounds the memory of a request, and what must pass and be
	// stored within raftIOTimeout: a follower that can't never catches up.
	appendEntriesMax = 16

	// logCacheEntries of the log are kept in memory for followers that lag.
	logCacheEntries = 64

	// commitTimeout is when an idle leader tells followers the commit index
	// again. The proposer tells it much sooner after each write.
	commitTimeout = 50 * time.Millisecond

	// neverInterval switches a periodic job of raft off.
	neverInterval = 1000 * time.Hour
)

func (n *Node) raftConfig(log hclog.Logger) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(n.id.NodeID)
	c.HeartbeatTimeout = n.cfg.Timing.HeartbeatTimeout
	c.ElectionTimeout = n.cfg.Timing.ElectionTimeout
	c.LeaderLeaseTimeout = n.cfg.Timing.LeaderLeaseTimeout
	c.CommitTimeout = commitTimeout
	c.MaxAppendEntries = appendEntriesMax
	c.TrailingLogs = n.cfg.Log.TrailingEntries
	c.ShutdownOnRemove = false
	c.NotifyCh = n.notify
	c.Logger = log
	c.NoLegacyTelemetry = true

	// The machine's state is durable and its own snapshot, so there is nothing
	// to restore, and raft's count of entries since the last snapshot, which
	// begins anew at each start, says nothing: compactLog looks itself.
	c.NoSnapshotRestoreOnStart = true
	c.SnapshotInterval = neverInterval
	c.SnapshotThreshold = n.cfg.Log.CompactEntries
	return c
}
