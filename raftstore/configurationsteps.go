package raftstore

import (
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/raftstore/internal/raftnet"
)

// checkConfigurations refuses a request whose configurations change more than one
// server at a time, which no leader does. Raft goes by a configuration as soon as
// it has it, committed or not: one that leaves everybody out, of a member that
// claims to lead, would end the cluster for good.
func (n *Node) checkConfigurations(req *raft.AppendEntriesRequest) error {
	base, known := raft.Configuration{}, false
	for _, e := range req.Entries {
		if e.Type != raft.LogConfiguration || e.Index <= n.machine.Position().Index {
			continue // what is applied stays: raft has the entry, or can't store it
		}
		next := raft.DecodeConfiguration(e.Data)
		if n.termOf(e.Index) == e.Term {
			base, known = next, true // it is there already
			continue
		}
		if !known {
			var err error
			if base, err = n.configurationAt(req.PrevLogEntry, req.PrevLogTerm); err != nil {
				return err
			}
		}
		if changes := serversChanged(base, next); len(base.Servers) > 0 && changes > 1 {
			return fmt.Errorf("%w: the configuration at index %d changes %d servers at once", errBadRequest, e.Index, changes)
		}
		base, known = next, true
	}
	return nil
}

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
