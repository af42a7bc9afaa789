package raftnet

import (
	"fmt"

	"github.com/hashicorp/raft"

	raftv1 "github.com/spire-raft/spire-raft/proto/raft/v1"
)

// Bounds of terms and indexes. They leave room above for arithmetic, and for
// the terms of elections to come: a cluster whose term is the last number never
// elects again.
const (
	// numberMax is above any term or index that a cluster comes to.
	numberMax = 1 << 62

	// requestTermsMax is by how many terms a request may be ahead of this server:
	// half a year of an election a second. A member that lies pushes a cluster by
	// no more than this with each message, and each of them costs a sync, so that
	// it takes longer than a cluster lives to use the terms up. A server without
	// a term has nothing to lose, and takes any.
	requestTermsMax = 1 << 24

	// answerTermsMax is the same for an answer, of which there is one for each
	// request. It is higher, so that a server that was pushed far ahead, and
	// whose requests are refused, still pulls the others along when they ask it.
	answerTermsMax = 1 << 40

	// snapshotIndexesMax is by how many entries a snapshot may be ahead of this
	// server's log: more than a cluster writes. One that a member makes up would
	// else use the indexes up at once, on all servers and for ever.
	snapshotIndexesMax = 1 << 40

	serversMax = 1024
)

// limits is what requests are checked against.
type limits struct {
	peer string // whose stream it is
	term uint64 // this server's
	last uint64 // index of this server's log

	// checkCommand refuses commands that this server could not apply.
	checkCommand func(data []byte) error
}

func (l limits) header(node string, term uint64) error {
	if node != l.peer {
		return breach("the stream of %s brings a message in the name of %.100q", l.peer, node)
	}
	bound := l.term + requestTermsMax
	if l.term == 0 {
		bound = numberMax
	}
	if term == 0 || term > bound || term > numberMax {
		return breach("term %d can't be right, the own one is %d", term, l.term)
	}
	return nil
}

// append checks a request to append entries, and returns it as raft wants it.
// Its entries have the memory of m.
func (l limits) append(m *raftv1.AppendEntriesRequest) (*raft.AppendEntriesRequest, error) {
	if err := l.header(m.NodeId, m.Term); err != nil {
		return nil, err
	}
	if err := checkPosition("the entry before", m.PreviousIndex, m.PreviousTerm, m.Term); err != nil {
		return nil, err
	}
	if m.CommitIndex > numberMax {
		return nil, breach("commit index %d", m.CommitIndex)
	}
	req := &raft.AppendEntriesRequest{
		RPCHeader: rpcHeader(l.peer), Term: m.Term,
		PrevLogEntry: m.PreviousIndex, PrevLogTerm: m.PreviousTerm,
		LeaderCommitIndex: m.CommitIndex,
	}
	if len(m.Entries) > 0 {
		req.Entries = make([]*raft.Log, len(m.Entries))
	}
	index, term := m.PreviousIndex, m.PreviousTerm
	for i, e := range m.Entries {
		index++
		if e.Term == 0 || e.Term < term || e.Term > m.Term {
			return nil, breach("entry %d of term %d follows one of term %d in a request of term %d", index, e.Term, term, m.Term)
		}
		term = e.Term
		if err := l.entry(e); err != nil {
			return nil, breach("entry %d: %w", index, err)
		}
		req.Entries[i] = &raft.Log{
			Index: index, Term: e.Term, Type: raft.LogType(e.Type), Data: e.Data, AppendedAt: fromUnix(e.AppendedUnixNs),
		}
	}
	return req, nil
}

// entry checks that this server can read an entry.
func (l limits) entry(e *raftv1.Entry) error {
	switch e.Type {
	case uint32(raft.LogCommand):
		return l.checkCommand(e.Data)
	case uint32(raft.LogNoop), uint32(raft.LogBarrier):
		if len(e.Data) > 0 {
			return fmt.Errorf("an entry of type %d has %d bytes of data", e.Type, len(e.Data))
		}
		return nil
	case uint32(raft.LogConfiguration):
		return CheckConfiguration(e.Data)
	default:
		return fmt.Errorf("it has the unknown type %d", e.Type)
	}
}

func (l limits) vote(m *raftv1.VoteRequest) error {
	if err := l.header(m.NodeId, m.Term); err != nil {
		return err
	}
	return checkPosition("the last entry", m.LastIndex, m.LastTerm, m.Term)
}

func (l limits) snapshot(m *raftv1.SnapshotBegin) error {
	if err := l.header(m.NodeId, m.Term); err != nil {
		return err
	}
	if err := checkPosition("the snapshot", m.LastIndex, m.LastTerm, m.Term); err != nil {
		return err
	}
	if m.LastIndex == 0 || m.ConfigurationIndex == 0 || m.ConfigurationIndex > m.LastIndex {
		return breach("a snapshot at index %d with a configuration at index %d", m.LastIndex, m.ConfigurationIndex)
	}
	if m.LastIndex > l.last+snapshotIndexesMax {
		return breach("a snapshot at index %d can't be right, the own log ends at %d", m.LastIndex, l.last)
	}
	if len(m.TransferId) != transferIDBytes {
		return breach("the id of a transfer has %d bytes", len(m.TransferId))
	}
	if m.Size == 0 || m.Size > numberMax {
		return breach("a snapshot of %d bytes", m.Size)
	}
	if err := CheckConfiguration(m.Configuration); err != nil {
		return breach("the snapshot: %w", err)
	}
	return nil
}

// checkPosition checks the index and term of an entry that a request of a term
// speaks of.
func checkPosition(what string, index, term, requestTerm uint64) error {
	if index > numberMax || term > requestTerm || (index == 0) != (term == 0) {
		return breach("%s has index %d and term %d, in a request of term %d", what, index, term, requestTerm)
	}
	return nil
}

// checkAnswer checks the term of an answer to a request. Only in the request's
// own term can something be granted. A term that is too far ahead counts as one as
// far ahead as may be: this server draws near with each answer. Did it not listen,
// two servers that a third one has pushed apart would never hear of each other
// again.
func checkAnswer(granted bool, term *uint64, requestTerm uint64) error {
	if *term > numberMax || granted && *term != requestTerm {
		return breach("an answer of term %d (granted: %v) to a request of term %d", *term, granted, requestTerm)
	}
	*term = min(*term, requestTerm+answerTermsMax)
	return nil
}
