package raftstore_test

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/raftnet"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

// usurpations are what a member that nobody has elected tells each other one, as
// the leader of a later term.
var usurpations = map[string]func(s *sim, e *impostor, to int){
	// Raft goes by a configuration that is not committed: the others would take
	// themselves for servers without a vote.
	"it alone is the cluster": func(s *sim, e *impostor, to int) {
		st := s.node(to).Status()
		alone := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "node-3", Address: "node-3"}}})
		err := e.appendAfter(s.name(to), st.LastLogIndex, st.Term, &raft.Log{Index: st.LastLogIndex + 1, Term: st.Term + 1, Type: raft.LogConfiguration, Data: alone})
		if refusal := new(raftnet.RemoteError); !errors.As(err, &refusal) {
			s.tb.Errorf("%s: %v", s.name(to), err)
		}
	},
	// The same behind an entry that comes at the same time.
	"it alone is the cluster, behind another entry": func(s *sim, e *impostor, to int) {
		st := s.node(to).Status()
		alone := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "node-3", Address: "node-3"}}})
		err := e.appendAfter(s.name(to), st.LastLogIndex, st.Term,
			&raft.Log{Index: st.LastLogIndex + 1, Term: st.Term + 1, Type: raft.LogNoop},
			&raft.Log{Index: st.LastLogIndex + 2, Term: st.Term + 1, Type: raft.LogConfiguration, Data: alone})
		if refusal := new(raftnet.RemoteError); !errors.As(err, &refusal) {
			s.tb.Errorf("%s: %v", s.name(to), err)
		}
	},
	// The same behind an entry that the other one has, and that was something else:
	// raft looks at the term alone, and keeps its own.
	"it alone is the cluster, and was before": func(s *sim, e *impostor, to int) {
		st := s.node(to).Status()
		if st.AppliedIndex >= st.LastLogIndex {
			s.tb.Errorf("%s has applied its last entry, which is none of raft's own", s.name(to))
		}
		alone := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "node-3", Address: "node-3"}}})
		err := e.appendAfter(s.name(to), st.LastLogIndex-1, st.Term,
			&raft.Log{Index: st.LastLogIndex, Term: st.Term, Type: raft.LogConfiguration, Data: alone},
			&raft.Log{Index: st.LastLogIndex + 1, Term: st.Term + 1, Type: raft.LogConfiguration, Data: alone})
		if refusal := new(raftnet.RemoteError); !errors.As(err, &refusal) {
			s.tb.Errorf("%s: %v", s.name(to), err)
		}
	},
	// The same in the place of an entry that goes with the one before it.
	"it alone is the cluster, in place of another entry": func(s *sim, e *impostor, to int) {
		st := s.node(to).Status()
		alone := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "node-3", Address: "node-3"}}})
		err := e.appendAfter(s.name(to), st.LastLogIndex, st.Term,
			&raft.Log{Index: st.LastLogIndex + 1, Term: st.Term + 1, Type: raft.LogNoop},
			&raft.Log{Index: st.LastLogIndex + 2, Term: st.Term + 3, Type: raft.LogNoop})
		if err != nil {
			s.tb.Errorf("%s: %v", s.name(to), err)
		}
		err = e.appendAfter(s.name(to), st.LastLogIndex, st.Term,
			&raft.Log{Index: st.LastLogIndex + 1, Term: st.Term + 2, Type: raft.LogNoop},
			&raft.Log{Index: st.LastLogIndex + 2, Term: st.Term + 3, Type: raft.LogConfiguration, Data: alone})
		if refusal := new(raftnet.RemoteError); !errors.As(err, &refusal) {
			s.tb.Errorf("%s: %v", s.name(to), err)
		}
	},
	"what is committed is not": func(s *sim, e *impostor, to int) {
		term := s.node(to).Status().Term + 1
		if err := e.append(s.name(to), term, &raft.Log{Index: 1, Term: term, Type: raft.LogNoop}); err != nil {
			s.tb.Errorf("%s: %v", s.name(to), err) // a plain no
		}
	},
	"a quorum has another state": func(s *sim, e *impostor, to int) {
		st := s.node(to).Status()
		if err := e.append(s.name(to), st.Term+1); err != nil { // a heartbeat
			s.tb.Errorf("%s: %v", s.name(to), err)
		}
		conn, err := e.streams.Dial(s.ctx, transport.Peer, s.name(to))
		if err != nil {
			s.tb.Fatal(err)
		}
		client := rpc.NewClient(conn, rpc.Config{})
		defer client.Close()
		body, err := proto.Marshal(&peerv1.ProbeRequest{AgreedIndex: st.AppliedIndex, AgreedHash: make([]byte, 32)})
		if err != nil {
			s.tb.Fatal(err)
		}
		if _, err := client.Call(s.ctx, methodProbe, body); err != nil {
			s.tb.Errorf("%s: %v", s.name(to), err)
		}
	},
}

// appendAfter sends a request to append entries behind one.
func (e *impostor) appendAfter(to string, index, term uint64, entries ...*raft.Log) error {
	req := &raft.AppendEntriesRequest{Term: entries[len(entries)-1].Term, PrevLogEntry: index, PrevLogTerm: term, Entries: entries}
	return e.AppendEntries(raft.ServerID(to), raft.ServerAddress(to), req, new(raft.AppendEntriesResponse))
}

// TestSim_AUsurperStopsNobody has a member claim a later term, for which it needs
// no vote, and tell both others what would stop them. It costs an election.
func TestSim_AUsurperStopsNobody(t *testing.T) {
	t.Parallel()
	for name, usurp := range usurpations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			simulate(t, 44, 3, nil, func(s *sim) {
				const evil = 2
				leader := s.elected()
				for range 5 {
					if _, err := s.node(leader).Put(s.ctx, store.Pair{Key: []byte("before")}); err != nil {
						t.Fatal(err)
					}
				}
				s.sameState()
				s.crash(evil)
				s.elected(0, 1)
				e := s.impersonate(evil)
				for i := range evil {
					usurp(s, e, i)
				}
				time.Sleep(electMax) // for what the nodes make of it
				if err := e.close(); err != nil {
					t.Error(err)
				}
				for i := range evil {
					if st := s.node(i).Status(); st.Role == raftstore.RoleFailed {
						t.Fatalf("%s has stopped: %v", s.name(i), st.Err)
					}
				}
				leader = s.elected(0, 1)
				if _, err := s.node(leader).Put(s.ctx, store.Pair{Key: []byte("after")}); err != nil {
					t.Error(err)
				}
				for i := range evil {
					s.crash(i)
				}
				for i := range evil {
					s.restart(i)
				}
				s.restart(evil)
				s.elected()
				s.sameState()
			})
		})
	}
}
