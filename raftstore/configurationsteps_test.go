package raftstore

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/raftstore/internal/raftnet"
)

// configurationEntry is an entry with a configuration of voters.
func configurationEntry(index, term uint64, ids ...raft.ServerID) *raft.Log {
	var c raft.Configuration
	for _, id := range ids {
		c.Servers = append(c.Servers, raft.Server{ID: id, Address: raft.ServerAddress(id)})
	}
	return &raft.Log{Index: index, Term: term, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(c)}
}

func noop(index, term uint64) *raft.Log {
	return &raft.Log{Index: index, Term: term, Type: raft.LogNoop}
}

// TestCheckConfigurations has a node of state a, b, c at index 3, and of what the
// log has behind that, look at requests.
func TestCheckConfigurations(t *testing.T) {
	alone := func(index, term uint64) *raft.Log { return configurationEntry(index, term, "evil") }
	tail := []*raft.Log{noop(3, 1), configurationEntry(4, 1, "a", "b"), noop(5, 1)}
	refused := errBadRequest
	for name, c := range map[string]struct {
		log      []*raft.Log
		previous uint64 // of term 1
		entries  []*raft.Log
		want     error
	}{
		"one server more":                      {tail, 5, []*raft.Log{configurationEntry(6, 1, "a", "b", "d")}, nil},
		"one more, and one more":               {tail, 5, []*raft.Log{configurationEntry(6, 1, "a", "b", "d"), configurationEntry(7, 1, "a", "b", "d", "e")}, nil},
		"two more":                             {tail, 5, []*raft.Log{configurationEntry(6, 1, "a", "b", "d", "e")}, refused},
		"one other":                            {tail, 5, []*raft.Log{configurationEntry(6, 1, "a", "d")}, refused},
		"what the log has, and one more":       {tail, 3, []*raft.Log{tail[1], tail[2], configurationEntry(6, 1, "a", "b", "d")}, nil},
		"in place of what the log has":         {tail, 3, []*raft.Log{configurationEntry(4, 2, "a", "b", "c", "d")}, nil},
		"two, in place of what the log has":    {tail, 3, []*raft.Log{configurationEntry(4, 2, "a", "b", "d")}, refused},
		"another one where the log has one":    {tail, 3, []*raft.Log{alone(4, 1), noop(5, 1), alone(6, 2)}, refused},
		"one where the log has none":           {tail, 4, []*raft.Log{alone(5, 1), alone(6, 2)}, refused},
		"one where the log had one, cut off":   {tail, 3, []*raft.Log{noop(4, 2), alone(5, 2)}, refused},
		"an entry before that is not there":    {tail, 6, []*raft.Log{configurationEntry(7, 1, "a", "b", "d")}, raftnet.ErrNotThere},
		"in place of what is applied":          {tail, 2, []*raft.Log{alone(3, 2)}, nil}, // commitMarks refuses it
		"before a log that an install emptied": {nil, 0, []*raft.Log{alone(1, 2)}, raftnet.ErrNotThere},
		"behind a log that an install emptied": {nil, 3, []*raft.Log{configurationEntry(4, 2, "a", "b", "c", "d")}, nil},
		"no configuration":                     {tail, 6, []*raft.Log{noop(7, 1)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := fsm.Open(fsm.Options{Dir: t.TempDir(), ClusterID: "c", FlushBytes: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			_, err = m.Apply([]fsm.Entry{
				{Index: 1, Term: 1, Kind: fsm.EntryConfiguration, Data: configurationEntry(1, 1, "a", "b", "c").Data},
				{Index: 3, Term: 1, Kind: fsm.EntryCommands, Data: fsm.EncodeEnvelope([][]byte{fsm.EncodeTermStart()})},
			})
			log := raft.NewInmemStore()
			if err = errors.Join(err, log.StoreLogs(c.log)); err != nil {
				t.Fatal(err)
			}
			n := &Node{machine: &machine{Machine: m}, entries: log}
			req := &raft.AppendEntriesRequest{PrevLogEntry: c.previous, PrevLogTerm: min(c.previous, 1), Entries: c.entries}
			if err := n.checkConfigurations(req); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}
