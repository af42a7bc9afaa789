package raftstore

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// compactInterval is the time between looks at the length of the log, and
	// compactPause between those that its growth asks for.
	compactInterval = 10 * time.Second
	compactPause    = 250 * time.Millisecond

	// logShare is the part of the disk, of what is free and what the log has,
	// that trailing entries may take, and as much again those until the next
	// compaction.
	logShare = 16

	// compactMin is how many entries a compaction drops at the least.
	compactMin = 16
)

// logBounds are the bounds of the log in bytes.
type logBounds struct {
	trailing uint64 // kept behind a compaction, but for trailingMin entries
	compact  uint64 // more than that start one
}

// logBounds returns the configured bounds, or less where the disk is small. Where
// it is about to be low there is nothing to spare for followers that lag: they are
// sent the state.
func (n *Node) logBounds() logBounds {
	free := n.disk.Free()
	if reserve := n.cfg.Disk.ReserveBytes; free < 2*reserve {
		return logBounds{compact: min(n.cfg.Log.CompactBytes, reserve/logShare)}
	}
	share := (free + n.logs.Bytes()) / logShare
	return logBounds{trailing: min(n.cfg.Log.TrailingBytes, share), compact: min(n.cfg.Log.CompactBytes, share)}
}

// trailing is how many entries are to be kept.
func (n *Node) trailing(b logBounds) uint64 {
	return min(max(n.logs.Fit(b.trailing), trailingMin), n.cfg.Log.TrailingEntries)
}

// appended is told of the entries that are about to be stored.
func (n *Node) appended(logs []*raft.Log) {
	bytes := uint64(0)
	for _, l := range logs {
		bytes += uint64(len(l.Data) + len(l.Extensions))
	}
	n.disk.Take(bytes)
	if b := n.logBounds(); n.logs.Bytes()+bytes > b.trailing+b.compact {
		n.compactSoon()
	}
}

// compactSoon has compactLog look at the log.
func (n *Node) compactSoon() {
	select {
	case n.logGrew <- struct{}{}:
	default: // it will
	}
}

// compactLog drops log entries that are in the state, but for those that
// followers may still need.
func (n *Node) compactLog(ctx context.Context) {
	tick := time.NewTicker(compactInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-n.logGrew:
		case <-ctx.Done():
			return
		}
		n.compactIfLong()
		wait(ctx, nil, compactPause)
	}
}

func (n *Node) compactIfLong() {
	first, err := n.logs.FirstIndex()
	if err != nil {
		return // the log store has told why
	}
	b := n.logBounds()
	keep, have := n.trailing(b), n.raft.LastIndex()+1-first
	long := have > n.cfg.Log.TrailingEntries+n.cfg.Log.CompactEntries
	large := n.logs.Bytes() > b.trailing+b.compact && have >= keep+compactMin
	if !long && !large {
		return
	}
	n.keepTrailing(keep)
	err = n.raft.Snapshot().Error()
	if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) && !errors.Is(err, raft.ErrRaftShutdown) {
		n.log.Warn("log not compacted", "error", err)
	}
}

// keepTrailing sets how many entries raft keeps when it compacts the log.
func (n *Node) keepTrailing(entries uint64) {
	if n.snapshots.trailing.Swap(entries) == entries {
		return
	}
	if err := n.reload.change(n.raft, func(c *raft.ReloadableConfig) { c.TrailingLogs = entries }); err != nil {
		n.log.Warn("length of the log not changed", "entries", entries, "error", err)
	}
}

// reload changes raft's configuration, one change at a time.
type reload struct{ mu sync.Mutex }

func (l *reload) change(r *raft.Raft, set func(*raft.ReloadableConfig)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := r.ReloadableConfig()
	set(&c)
	return r.ReloadConfig(c)
}
