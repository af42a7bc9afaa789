package raftstore

import (
	"fmt"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/raftstore/internal/raftnet"
)

// checkConfigurations refuses a request whose configurations change more than one
// server at a time, which no leader does. Raft goes by a configuration as soon as
// it has it, committed or not: one that leaves everybody out, of a member that
// claims to lead, would end the cluster for good.
func (n *Node) checkConfigurations(req *raft.AppendEntriesRequest) error {
	entries, index, term := req.Entries, req.PrevLogEntry, req.PrevLogTerm
	if !slices.ContainsFunc(entries, isConfiguration) {
		return nil
	}
	// Raft keeps what the log has of the same term, whatever the request says it is,
	// and takes the rest.
	for len(entries) > 0 && n.termOf(entries[0].Index) == entries[0].Term {
		index, term, entries = entries[0].Index, entries[0].Term, entries[1:]
	}
	if len(entries) > 0 && entries[0].Index <= n.machine.Position().Index {
		if n.termOf(entries[0].Index) == 0 {
			return raftnet.ErrNotThere // or an empty log would take it
		}
		return nil // commitMarks refuses all of it
	}
	base, known := raft.Configuration{}, false
	for _, e := range entries {
		if !isConfiguration(e) {
			continue
		}
		if !known {
			var err error
			if base, err = n.configurationAt(index, term); err != nil {
				return err
			}
		}
		next := raft.DecodeConfiguration(e.Data)
		if changes := serversChanged(base, next); len(base.Servers) > 0 && changes > 1 {
			if n.termOf(entries[0].Index) == entries[0].Term {
				return raftnet.ErrNotThere // it was stored meanwhile, so that base may be of later
			}
			return fmt.Errorf("%w: the configuration at index %d changes %d servers at once", errBadRequest, e.Index, changes)
		}
		base, known = next, true
	}
	return nil
}

func isConfiguration(e *raft.Log) bool { return e.Type == raft.LogConfiguration }

// configurationAt is the configuration that counts behind an entry of the log, and
// none before there is one. It is the state's where the state is at or behind the
// entry: what the state has can't change any more. Where the log doesn't have that
// entry the error is [raftnet.ErrNotThere].
func (n *Node) configurationAt(index, term uint64) (raft.Configuration, error) {
	view, err := n.machine.View()
	if err != nil {
		return raft.Configuration{}, err
	}
	at, data := view.Position().Index, append([]byte(nil), view.Configuration()...)
	view.Close()
	if index > at && n.termOf(index) != term {
		return raft.Configuration{}, raftnet.ErrNotThere
	}
	for ; index > at; index-- {
		var e raft.Log
		if n.entries.GetLog(index, &e) != nil {
			return raft.Configuration{}, raftnet.ErrNotThere
		}
		if e.Type == raft.LogConfiguration {
			return raft.DecodeConfiguration(e.Data), nil
		}
	}
	if len(data) == 0 {
		return raft.Configuration{}, nil
	}
	return raft.DecodeConfiguration(data), nil
}

// serversChanged counts the servers that were added, removed, or changed in
// suffrage.
func serversChanged(from, to raft.Configuration) (changes int) {
	was := make(map[raft.ServerID]raft.ServerSuffrage, len(from.Servers))
	for _, s := range from.Servers {
		was[s.ID] = s.Suffrage
	}
	for _, s := range to.Servers {
		if suffrage, ok := was[s.ID]; !ok || suffrage != s.Suffrage {
			changes++
		}
		delete(was, s.ID)
	}
	return changes + len(was)
}
