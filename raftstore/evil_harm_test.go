package raftstore_test

import (
	"encoding/binary"
	"strings"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/spire-raft/spire-raft/fsm"
	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	raftv1 "github.com/spire-raft/spire-raft/proto/raft/v1"
	"github.com/spire-raft/spire-raft/raftstore/internal/raftnet"
	"github.com/spire-raft/spire-raft/transport"
)

// harm is what the frames in b would do by right, were they sent by a member.
type harm int

const (
	none     harm = iota
	disrupts      // costs an election
	destroys      // what raft and the operators trust members not to do
)

// judge tells what harm may come of b on a stream of the kind, by the rules that
// a member has to break nothing with: raft believes who claims to lead, and each
// member may remove others. It tells too whether b is whole frames.
func (m *evilMouth) judge(kind transport.Kind, b []byte) (worst harm, whole bool) {
	for len(b) > 4 {
		size := 4 + uint64(binary.BigEndian.Uint32(b))
		if size > uint64(len(b)) {
			return worst, false
		}
		body := b[4:size]
		switch {
		case kind == transport.Raft && len(body) > 0:
			worst = max(worst, m.judgeRaft(body[0], body[1:]))
		case kind == transport.Peer && len(body) > 18 && body[9] == methodRemove:
			worst = max(worst, judgeRemove(body[18:]))
		}
		b = b[size:]
	}
	return worst, len(b) == 0
}

func judgeRemove(body []byte) harm {
	var req peerv1.RemoveRequest
	if proto.Unmarshal(body, &req) == nil && (strings.HasPrefix(req.NodeId, "node-") || req.NodeId == evilID) {
		return destroys
	}
	return none
}

func (m *evilMouth) judgeRaft(typ byte, body []byte) harm {
	var vote raftv1.VoteRequest
	var begin raftv1.SnapshotBegin
	var now raftv1.TimeoutNowRequest
	switch typ {
	case 1:
		return m.judgeAppend(body)
	case 3:
		if proto.Unmarshal(body, &vote) == nil && vote.NodeId == evilID && vote.Term >= m.now.term {
			return disrupts
		}
	case 6:
		if proto.Unmarshal(body, &now) == nil && now.NodeId == evilID {
			return disrupts
		}
	case 8:
		if proto.Unmarshal(body, &begin) == nil && begin.NodeId == evilID && begin.Term >= m.now.term {
			return disrupts
		}
	}
	return none
}

func (m *evilMouth) judgeAppend(body []byte) harm {
	var req raftv1.AppendEntriesRequest
	if proto.Unmarshal(body, &req) != nil || req.NodeId != evilID || req.Term < m.now.term || req.Term > 1<<62 {
		return none
	}
	for _, e := range req.Entries {
		if !canBeStored(e) {
			return none // it has to be refused
		}
	}
	if len(req.Entries) > 0 || req.CommitIndex > 0 {
		return destroys
	}
	return disrupts
}

func canBeStored(e *raftv1.Entry) bool {
	switch raft.LogType(e.Type) {
	case raft.LogCommand:
		return fsm.CheckEntry(e.Data) == nil
	case raft.LogConfiguration:
		return raftnet.CheckConfiguration(e.Data) == nil
	case raft.LogNoop, raft.LogBarrier:
		return len(e.Data) == 0
	default:
		return false
	}
}
