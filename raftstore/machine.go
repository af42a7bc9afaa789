package raftstore

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
)

var _ raft.BatchingFSM = (*machine)(nil)

// machine lets raft drive an fsm.Machine. Raft calls its methods from one
// goroutine.
type machine struct {
	*fsm.Machine

	// onFailure is told of an error after which the machine takes no entries.
	onFailure func(error)

	// before is called before entries are applied, unless it is nil.
	before func()

	// onConfiguration is told of each configuration that is applied.
	onConfiguration func(raft.Configuration)

	// outcomes is told what became of commands, or that they were not seen.
	outcomes *outcomes
	last     uint64 // the applied index behind the last call
}

// applied is what raft hands to the proposer of an entry.
type applied struct {
	results []fsm.Result
	err     error
}

// ApplyBatch implements [raft.BatchingFSM]. After a failure no entry is applied
// any more, and since Snapshot fails too, raft drops none from its log.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	if m.before != nil {
		m.before()
	}
	entries := make([]fsm.Entry, len(logs))
	for i, l := range logs {
		entries[i] = fsm.Entry{Index: l.Index, Term: l.Term, Kind: fsm.EntryCommands, Data: l.Data}
		if l.Type == raft.LogConfiguration {
			entries[i].Kind = fsm.EntryConfiguration
		}
	}
	m.noticeInstall()
	results, err := m.Machine.Apply(entries)
	if err != nil {
		m.onFailure(fmt.Errorf("apply entries %d to %d: %w", logs[0].Index, logs[len(logs)-1].Index, err))
	} else {
		m.tell(entries, results)
	}
	out := make([]any, len(logs))
	for i, l := range logs {
		if err != nil {
			out[i] = applied{err: err}
			continue
		}
		out[i] = applied{results: results[i]}
		if l.Type == raft.LogConfiguration {
			m.onConfiguration(raft.DecodeConfiguration(l.Data))
		}
	}
	return out
}

// noticeInstall looks whether the state has got ahead by an install, which comes
// from another goroutine than the machine's entries.
func (m *machine) noticeInstall() {
	if at := m.Position().Index; at != m.last {
		m.last = at
		m.outcomes.hide(at)
	}
}

// tell passes on what became of entries. Where the state had some of them
// already, an install has come between.
func (m *machine) tell(entries []fsm.Entry, results [][]fsm.Result) {
	m.last = entries[len(entries)-1].Index
	for i := range entries {
		if entries[i].Kind == fsm.EntryCommands && results[i] == nil {
			m.outcomes.hide(m.last)
			return
		}
	}
	m.outcomes.look(m.last, results)
}

// Apply implements [raft.FSM]. Raft uses ApplyBatch instead.
func (m *machine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

// Snapshot implements [raft.FSM]. The state is its own snapshot as soon as it is
// on disk.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if err := m.Machine.Err(); err != nil {
		return nil, err
	}
	return durableSnapshot{m.Machine}, nil
}

// Restore implements [raft.FSM] for a snapshot that the leader has sent. The
// sink has installed it already.
func (m *machine) Restore(r io.ReadCloser) error {
	m.noticeInstall()
	view, err := m.Machine.View()
	if err != nil {
		return err
	}
	defer view.Close()
	m.onConfiguration(raft.DecodeConfiguration(view.Configuration()))
	return r.Close()
}

// durableSnapshot is the snapshot that a machine's file is.
type durableSnapshot struct{ machine *fsm.Machine }

// Persist implements [raft.FSMSnapshot]. When the sink is closed raft drops log
// entries, so the state must be on disk before, up to the snapshot's index at the
// least: the log is what an unwritten part of it would be replayed from.
func (s durableSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.machine.Flush(); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements [raft.FSMSnapshot].
func (durableSnapshot) Release() {}
