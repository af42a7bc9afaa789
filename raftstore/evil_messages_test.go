package raftstore_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/spire-raft/spire-raft/fsm"
	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	raftv1 "github.com/spire-raft/spire-raft/proto/raft/v1"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
	"github.com/spire-raft/spire-raft/transport"
)

// evilID is the member whose process is replaced by one that sends nonsense.
const evilID = "evil"

// evilMouth makes up what the evil peer says. One goroutine uses it.
type evilMouth struct {
	*rand.Rand
	seen func() evilSight
	now  evilSight // at the frame that it makes up
	sent [][]byte  // some frames of before, to be sent again
	tame bool      // numbers are such as raft has now, so that checks of other fields are reached
}

// evilSight is how far true members are at the least.
type evilSight struct{ term, applied uint64 }

// newMouth says the same for the same seed and number, of the same cluster.
func newMouth(seed, number uint64, seen func() evilSight) *evilMouth {
	return &evilMouth{Rand: rand.New(rand.NewPCG(seed, number)), seen: seen}
}

const (
	raftFrameTypes = 16 // more than there are
	peerMethods    = 24 // the same
)

// frameMessages are the messages that each type of frame of raft has; types that
// are not named get any message.
var frameMessages = map[byte]protoreflect.Name{
	1: "AppendEntriesRequest", 2: "AppendEntriesResponse", 3: "VoteRequest", 4: "VoteRequest", 5: "VoteResponse",
	6: "TimeoutNowRequest", 8: "SnapshotBegin", 9: "SnapshotChunk", 10: "SnapshotEnd",
}

// methodMessages is the same for the methods of peers.
var methodMessages = map[byte]protoreflect.Name{
	methodPropose: "ProposeRequest", 2: "ReadIndexRequest", methodProbe: "ProbeRequest", methodJoin: "JoinRequest",
	methodRemove: "RemoveRequest", 6: "AddTokenRequest", methodVouch: "VouchRequest", 9: "RenewRequest", 10: "RevokeTokenRequest",
}

const methodRemove = 5

// frame is a frame for a stream of the kind, of any message there is, mutated or
// not.
func (m *evilMouth) frame(kind transport.Kind) []byte {
	m.now = m.seen()
	if kind == transport.Raft && m.IntN(3) == 0 {
		return m.badAppend()
	}
	if len(m.sent) > 0 && m.IntN(8) == 0 {
		return m.sent[m.IntN(len(m.sent))]
	}
	var b []byte
	if kind == transport.Raft {
		b = m.raftFrame()
	} else {
		b = m.peerFrame()
	}
	for m.IntN(3) == 0 {
		b = m.mutate(b)
	}
	if len(m.sent) < 200 {
		m.sent = append(m.sent, b)
	} else {
		m.sent[m.IntN(len(m.sent))] = b
	}
	return b
}

func (m *evilMouth) raftFrame() []byte {
	typ := byte(m.IntN(raftFrameTypes))
	if m.IntN(3) == 0 {
		typ = 1 // the one with most in it
	}
	return rawRaftFrame(typ, m.message(raftv1.File_spireraft_raft_v1_raft_proto, frameMessages[typ]))
}

func rawRaftFrame(typ byte, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(body)))
	return append(append(b, typ), body...)
}

// badAppend is what raft would take as the leader's, and store, but for one entry
// that nobody can read. The end of the log is close behind what is applied, and
// what raft has already it skips.
func (m *evilMouth) badAppend() []byte {
	req := &raftv1.AppendEntriesRequest{
		NodeId: evilID, Term: m.now.term, PreviousIndex: m.now.applied, PreviousTerm: m.now.term, CommitIndex: m.now.applied,
	}
	for range 3 + m.IntN(30) {
		req.Entries = append(req.Entries, &raftv1.Entry{Term: m.now.term, Type: uint32(raft.LogNoop)})
	}
	bad := req.Entries[len(req.Entries)-1]
	servers := []raft.Server{{ID: evilID, Address: evilID, Suffrage: raft.Nonvoter}, {ID: "node-1", Address: "elsewhere"}}
	switch m.IntN(5) {
	case 0:
		bad.Type, bad.Data = uint32(raft.LogCommand), m.random(m.IntN(100))
	case 1:
		bad.Type, bad.Data = uint32(raft.LogCommand), fsm.EncodeEnvelope([][]byte{m.mutate(m.transaction()), fsm.EncodeRaiseFeatureLevel(99)})
	case 2:
		bad.Type, bad.Data = pick[uint32](m, 2, 3, 6, 77, 255), m.random(m.IntN(20))
	case 3:
		bad.Type, bad.Data = uint32(raft.LogConfiguration), raft.EncodeConfiguration(raft.Configuration{Servers: servers[:m.IntN(3)]})
	case 4:
		bad.Type, bad.Data = uint32(raft.LogConfiguration), m.mutate(raft.EncodeConfiguration(raft.Configuration{Servers: servers}))
	}
	body, err := proto.Marshal(req)
	if err != nil {
		panic(err) // every text is UTF-8
	}
	return rawRaftFrame(1, body)
}

func (m *evilMouth) peerFrame() []byte {
	const requestFrame = 1
	method := byte(m.IntN(peerMethods))
	body := m.message(peerv1.File_spireraft_peer_v1_peer_proto, methodMessages[method])
	frame := byte(requestFrame)
	if m.IntN(8) == 0 {
		frame = byte(m.IntN(6))
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(8+1+1+8+len(body)))
	b = binary.BigEndian.AppendUint64(b, uint64(m.IntN(1000)))
	b = append(b, frame, method)
	b = binary.BigEndian.AppendUint64(b, pick[uint64](m, 0, 1, 1_000_000, 1_000_000_000, math.MaxInt64, math.MaxUint64))
	return append(b, body...)
}

// message is an encoded message of a file: the named one, or any.
func (m *evilMouth) message(file protoreflect.FileDescriptor, name protoreflect.Name) []byte {
	d := file.Messages().ByName(name)
	if d == nil || m.IntN(10) == 0 {
		d = file.Messages().Get(m.IntN(file.Messages().Len()))
	}
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(err) // the file is linked in
	}
	msg := t.New()
	m.tame = m.IntN(2) == 0
	m.fill(msg, 0)
	b, err := proto.Marshal(msg.Interface())
	if err != nil {
		panic(err) // every text is UTF-8
	}
	return b
}

// fill sets most fields of a message, whatever they are.
func (m *evilMouth) fill(msg protoreflect.Message, depth int) {
	fields := msg.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case m.IntN(10) == 0 || depth > 3:
		case f.IsMap():
			panic("no message has a map yet: fill it here")
		case f.IsList():
			list := msg.Mutable(f).List()
			for range pick(m, 0, 1, 1, 2, 3, 40) {
				if f.Message() == nil {
					list.Append(m.scalar(f))
					continue
				}
				m.fill(list.AppendMutable().Message(), depth+1)
			}
		case f.Message() != nil:
			m.fill(msg.Mutable(f).Message(), depth+1)
		default:
			msg.Set(f, m.scalar(f))
		}
	}
}

func (m *evilMouth) scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(m.IntN(2) == 0)
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(m.text(f))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(m.bytes())
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(m.number())
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(pick[uint32](m, 0, 1, 2, 4, 5, 6, 77, math.MaxUint32))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(m.number()))
	default:
		return f.Default()
	}
}

func (m *evilMouth) text(f protoreflect.FieldDescriptor) string {
	if f.Name() == "node_id" && m.IntN(10) > 0 {
		return evilID // others end the stream at once
	}
	return pick(m, "", evilID, "node-1", "nobody", "127.0.0.1:1", "host:99999", strings.Repeat("x", 300), "\x00/../\n", strings.Repeat("a/", 5000))
}

func (m *evilMouth) number() uint64 {
	term := m.now.term
	if m.tame {
		return pick(m, 0, 1, term, term, term, term)
	}
	return pick[uint64](m, 0, 1, 2, term-1, term, term, term+1, term+1<<20, 1<<25, 1<<32, 1<<40, 1<<62, 1<<63, math.MaxUint64, m.Uint64())
}

// bytes are those of something that has a meaning somewhere, or of nothing.
func (m *evilMouth) bytes() []byte {
	switch m.IntN(7) {
	case 0:
		return nil
	case 1:
		return m.random(pick(m, 16, 32))
	case 2:
		return m.random(m.IntN(20_000))
	case 3:
		servers := []raft.Server{{ID: evilID, Address: evilID}, {ID: "node-1", Address: "node-1", Suffrage: raft.Nonvoter}}
		return raft.EncodeConfiguration(raft.Configuration{Servers: servers[:m.IntN(3)]})
	case 4:
		return fsm.EncodeEnvelope([][]byte{m.transaction(), fsm.EncodeTermStart()})
	case 5:
		return fsm.EncodeRemoveNode(pick(m, "node-1", evilID))
	default:
		return m.transaction()
	}
}

func (m *evilMouth) random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(m.Uint32())
	}
	return b
}

// transaction is what a member may do.
func (m *evilMouth) transaction() []byte {
	in := &txn.Intent{}
	for i := range 1 + m.IntN(3) {
		key := fmt.Appendf(nil, "%s/%d%d", evilID, i, m.IntN(8)) // in order
		in.Writes = append(in.Writes, txn.Write{Kind: store.EventPut, Key: key, Value: m.random(m.IntN(1000))})
	}
	b, err := fsm.EncodeTransaction(in)
	if err != nil {
		panic(err)
	}
	return b
}

// mutate changes a copy of b.
func (m *evilMouth) mutate(b []byte) []byte {
	b = slices.Clone(b)
	if len(b) == 0 {
		return m.random(1 + m.IntN(30))
	}
	at := m.IntN(len(b))
	switch m.IntN(9) {
	case 0: // flipped bits
		for range 1 + m.IntN(4) {
			b[m.IntN(len(b))] ^= 1 << m.IntN(8)
		}
	case 1: // truncated
		b = b[:at]
	case 2: // lengthened
		b = append(b, m.random(m.IntN(100))...)
	case 3: // a length that lies
		if len(b) >= 4 {
			binary.BigEndian.PutUint32(b, pick[uint32](m, 0, 1, uint32(len(b)), 1<<20, 1<<24, 1<<31, math.MaxUint32))
		}
	case 4: // a part of another frame
		if len(m.sent) > 0 {
			other := m.sent[m.IntN(len(m.sent))]
			b = append(b[:at:at], other[m.IntN(len(other)+1):]...)
		}
	case 5: // a part twice
		b = slices.Insert(b, at, b[m.IntN(at+1):at+1]...)
	case 6: // a number at its extreme
		b = append(protowire.AppendVarint(b[:at:at], pick[uint64](m, 0, math.MaxUint32, 1<<63, math.MaxUint64)), b[at+1:]...)
	case 7: // a part missing
		b = slices.Delete(b, m.IntN(at+1), at+1)
	case 8: // mutated, and as long as it says
		b[at] = byte(m.Uint32())
		if len(b) >= 4 {
			binary.BigEndian.PutUint32(b, uint32(len(b)-4))
		}
	}
	return b
}

func pick[V any](m *evilMouth, of ...V) V { return of[m.IntN(len(of))] }
