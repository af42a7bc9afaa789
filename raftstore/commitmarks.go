package raftstore

import (
	"errors"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
)

// commitMarks is the log as raft has it. It puts up to which index raft knows
// entries to be committed into the log whenever it stores some, and refuses to
// take back what is committed: raft then stores nothing of the request.
type commitMarks struct {
	*logstore.Store
	raft     atomic.Pointer[raft.Raft]     // nil until raft runs
	before   func([]*raft.Log)             // is told what is about to be stored
	known    func() uint64                 // see Node.knownCommitted
	disputed func(first, committed uint64) // is told of what was refused
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

// DeleteRange implements [raft.LogStore].
func (m *commitMarks) DeleteRange(first, last uint64) error {
	end, err := m.LastIndex()
	if err != nil {
		return err
	}
	committed := m.known()
	if r := m.raft.Load(); r != nil {
		committed = max(committed, r.CommitIndex())
	}
	if last >= end && first <= committed {
		m.disputed(first, committed)
		return errOverwritesCommitted
	}
	return m.Store.DeleteRange(first, last)
}

var errOverwritesCommitted = errors.New("the entries are committed, and stay")
