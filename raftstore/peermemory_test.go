package raftstore_test

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

// peerMessages are what is decoded of what others send, and the limits.
func peerMessages() map[proto.Message]int {
	return map[proto.Message]int{
		&peerv1.ProposeRequest{}:     raftstore.BodyBytesMax(1),
		&peerv1.ReadIndexRequest{}:   raftstore.BodyBytesMax(2),
		&peerv1.ProbeRequest{}:       raftstore.BodyBytesMax(3),
		&peerv1.JoinRequest{}:        raftstore.BodyBytesMax(4),
		&peerv1.RemoveRequest{}:      raftstore.BodyBytesMax(5),
		&peerv1.AddTokenRequest{}:    raftstore.BodyBytesMax(6),
		&peerv1.HelloRequest{}:       raftstore.BodyBytesMax(7),
		&peerv1.VouchRequest{}:       raftstore.BodyBytesMax(8),
		&peerv1.RenewRequest{}:       raftstore.BodyBytesMax(9),
		&peerv1.RevokeTokenRequest{}: raftstore.BodyBytesMax(10),
		&peerv1.OpenedRequest{}:      raftstore.BodyBytesMax(11),
		&peerv1.WordRequest{}:        raftstore.BodyBytesMax(16),

		&peerv1.ProposeResponse{}:   raftstore.AnswerBytesMax(1),
		&peerv1.ReadIndexResponse{}: raftstore.AnswerBytesMax(2),
		&peerv1.ProbeResponse{}:     raftstore.AnswerBytesMax(3),
		&peerv1.JoinResponse{}:      raftstore.AnswerBytesMax(4),
		&peerv1.AddTokenResponse{}:  raftstore.AnswerBytesMax(6),
		&peerv1.HelloResponse{}:     raftstore.AnswerBytesMax(7),
		&peerv1.VouchResponse{}:     raftstore.AnswerBytesMax(8),
		&peerv1.RenewResponse{}:     raftstore.AnswerBytesMax(9),
	}
}

// fillings are bodies of one field over and over, each as small as can be.
func fillings(m proto.Message, size int) [][]byte {
	item := func(number protowire.Number) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), nil)
	}
	bodies := [][]byte{
		bytes.Repeat(item(15), size/2),                                                                 // not known
		protowire.AppendTag(nil, 15, protowire.BytesType),                                              // cut off
		protowire.AppendBytes(protowire.AppendTag(nil, 15, protowire.BytesType), make([]byte, size-8)), // large, and not known
		bytes.Repeat(protowire.AppendTag(nil, 15, protowire.StartGroupType), min(size, 5000)),          // deep
	}
	fields := m.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if one := item(f.Number()); f.Kind() == protoreflect.MessageKind || f.Kind() == protoreflect.BytesKind {
			bodies = append(bodies, bytes.Repeat(one, size/len(one)))
		}
		if f.IsList() && f.Kind() == protoreflect.Uint64Kind { // packed
			bodies = append(bodies, protowire.AppendBytes(protowire.AppendTag(nil, f.Number(), protowire.BytesType), make([]byte, size-8)))
		}
	}
	return bodies
}

// TestPeerMessagesTakeLittleMemory: whatever is in a message of the largest size
// that is taken, decoding it costs no more than 16 MiB, or six times its size.
func TestPeerMessagesTakeLittleMemory(t *testing.T) {
	for m, size := range peerMessages() {
		worst, of := uint64(0), 0
		for _, body := range fillings(m, size) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_ = proto.Unmarshal(body, m) // that it fails is as good
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > worst {
				worst, of = took, len(body)
			}
			proto.Reset(m)
		}
		name := m.ProtoReflect().Descriptor().Name()
		t.Logf("%s: up to %d bytes for %d", name, worst, of)
		if most := max(16<<20, 6*size); worst > uint64(most) {
			t.Errorf("%s: %d bytes take %d", name, of, worst)
		}
	}
}

// TestPeers_OversizedRequestsAreRefused: by their size alone, on every kind of
// stream, and the stream goes on.
func TestPeers_OversizedRequestsAreRefused(t *testing.T) {
	c := startCluster(t, 2, nil)
	tr := c.admitted("node-9")
	frames := map[transport.Kind]int{transport.Peer: 7 << 20, transport.Join: 200 << 10} // more than that ends the stream
	for kind := range frames {
		conn, err := tr.Dial(c.ctx(), kind, "node-1")
		must(t, err)
		client := rpc.NewClient(conn, rpc.Config{})
		defer client.Close()
		for method := range uint8(17) {
			var refusal *rpc.Error
			_, err := client.Call(c.ctx(), method, make([]byte, min(raftstore.BodyBytesMax(method)+1, frames[kind])))
			if !errors.As(err, &refusal) || refusal.Code != 10 {
				t.Errorf("%s, method %d: %v", kind, method, err)
			}
		}
	}
	_, err := c.nodes[1].Put(c.ctx(), store.Pair{Key: []byte("k")})
	must(t, err)
}
