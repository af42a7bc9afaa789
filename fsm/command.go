package fsm

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
	"github.com/spire-raft/spire-raft/store/txn"
)

// NodeIDBytesMax is the length of the longest node id.
const NodeIDBytesMax = 255

// TokenHash is the SHA-256 of a join token. The token itself is never stored.
type TokenHash [32]byte

// KeyHash is the SHA-256 of a node's public key, as SubjectPublicKeyInfo.
type KeyHash [32]byte

// EncodeTransaction returns the command that commits in, or the error that
// [CheckCommand] has for it. It keeps nothing of in.
func EncodeTransaction(in *txn.Intent) ([]byte, error) {
	t := &fsmv1.Transaction{
		ReadRevision: uint64(in.ReadRevision),
		Counters:     in.Counters,
		Points:       make([]*fsmv1.Point, len(in.Points)),
		Ranges:       make([]*fsmv1.Range, len(in.Ranges)),
		Raises:       make([]*fsmv1.Raise, len(in.Raises)),
		Writes:       make([]*fsmv1.Write, len(in.Writes)),
	}
	for i := range in.Points {
		t.Points[i] = &fsmv1.Point{Key: in.Points[i].Key, ModRevision: uint64(in.Points[i].ModRevision)}
	}
	for i := range in.Ranges {
		t.Ranges[i] = &fsmv1.Range{Start: in.Ranges[i].Start, End: in.Ranges[i].End}
	}
	for i := range in.Raises {
		t.Raises[i] = &fsmv1.Raise{Counter: in.Raises[i].Counter, Floor: in.Raises[i].Floor}
	}
	writes := make([]fsmv1.Write, len(in.Writes))
	for i := range in.Writes {
		w := &in.Writes[i]
		writes[i].Kind, writes[i].Key, writes[i].Value = fsmv1.Write_Kind(w.Kind), w.Key, w.Value
		if err := txn.CheckWrite(w, len(in.Counters)); err != nil {
			return nil, err // before numbers are narrowed
		}
		for _, p := range w.Patches {
			writes[i].Patches = append(writes[i].Patches, &fsmv1.Patch{
				Sequence: uint32(p.Sequence.Nth), Target: fsmv1.Patch_Target(p.Target), Offset: uint32(p.Offset),
			})
		}
		t.Writes[i] = &writes[i]
	}
	if err := checkTransaction(t); err != nil {
		return nil, err
	}
	b, err := proto.Marshal(&fsmv1.Command{Kind: &fsmv1.Command_Transaction{Transaction: t}})
	if err != nil {
		return nil, fmt.Errorf("encode transaction: %w", err)
	}
	return b, nil
}

// EncodeTermStart returns the command that a new leader commits before it
// serves reads: see [Position.TermStartTerm].
func EncodeTermStart() []byte {
	return encode(&fsmv1.Command{Kind: &fsmv1.Command_TermStart{TermStart: &fsmv1.TermStart{}}})
}

// EncodeRaiseFeatureLevel returns the command that makes level the least that
// every server must support. A server that doesn't stops with [ErrTooNew].
//
// There is one level so far, so nobody needs to raise it. The command is there
// from the start so that every version knows it in a log and stops where a
// later one went to a level that it doesn't know.
func EncodeRaiseFeatureLevel(level uint32) []byte {
	return encode(&fsmv1.Command{Kind: &fsmv1.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmv1.RaiseFeatureLevel{Level: level}}})
}

// EncodeSetHistoryBudget returns the command that bounds the retained history
// to so many bytes. The newest revision is always retained.
func EncodeSetHistoryBudget(bytes uint64) []byte {
	return encode(&fsmv1.Command{Kind: &fsmv1.Command_SetHistoryBudget{SetHistoryBudget: &fsmv1.SetHistoryBudget{Bytes: bytes}}})
}

// EncodeAddJoinToken returns the command that lets one node join until
// expires: the one with that id, or any where it is empty. It is Refused where
// makerID, the node that asks for the token, was removed; unused the token goes
// with that node's removal. now is the leader's time; both count in milliseconds.
func EncodeAddJoinToken(hash TokenHash, nodeID, makerID string, expires, now time.Time) []byte {
	return encode(&fsmv1.Command{Kind: &fsmv1.Command_AddJoinToken{AddJoinToken: &fsmv1.AddJoinToken{
		Hash: hash[:], ExpiresUnixMs: expires.UnixMilli(), NowUnixMs: now.UnixMilli(), NodeId: nodeID, MakerId: makerID,
	}}})
}

// EncodeRevokeJoinToken returns the command that drops a token. It is Refused
// where there is no such token, or a node has used it.
func EncodeRevokeJoinToken(id TokenID) []byte {
	return encode(&fsmv1.Command{Kind: &fsmv1.Command_RevokeJoinToken{RevokeJoinToken: &fsmv1.RevokeJoinToken{Id: id[:]}}})
}

// EncodeUseJoinToken returns the command that spends a token for a node, which
// is admitted with its disk and key. It is Refused where the token is unknown,
// expired, bound to another node or spent for one, where the node was admitted
// with another disk or key, and where it was removed. Spending it again for the
// same node and disk is no error, with another key as long as it has not expired
// and no opening of the node is recorded. now is the leader's time.
func EncodeUseJoinToken(hash TokenHash, nodeID, diskID string, key KeyHash, now time.Time) []byte {
	return encode(&fsmv1.Command{Kind: &fsmv1.Command_UseJoinToken{UseJoinToken: &fsmv1.UseJoinToken{
		Hash: hash[:], NodeId: nodeID, DiskId: diskID, KeyHash: key[:], NowUnixMs: now.UnixMilli(),
	}}})
}

// EncodeInitCluster returns the command that gives a new cluster its instance
// and its authority, and admits the first node. It is Refused where the cluster
// has an instance already.
func EncodeInitCluster(instance string, a Authority, nodeID, diskID string, key KeyHash) []byte {
	return encode(&fsmv1.Command{Kind: &fsmv1.Command_InitCluster{InitCluster: &fsmv1.InitCluster{
		Instance: instance, TrustDomain: a.TrustDomain, Certificate: a.Certificate, Key: a.Key,
		NodeId: nodeID, DiskId: diskID, KeyHash: key[:],
	}}})
}

// EncodeChangeAuthority returns the command that does a step of a rotation of the
// cluster's authority. The certificate is that of the new authority, for
// AuthorityDrop that of the old one; the key, only with AuthorityAdd, is the new
// one's, see [Authority]. It is Refused where the step is not the next one of this
// rotation.
func EncodeChangeAuthority(step AuthorityStep, certificate, key []byte) []byte {
	return encode(&fsmv1.Command{Kind: &fsmv1.Command_ChangeAuthority{ChangeAuthority: &fsmv1.ChangeAuthority{
		Step: fsmv1.ChangeAuthority_Step(step), Certificate: certificate, Key: key,
	}}})
}

// EncodeRecordOpening returns the command that records the last of the openings
// that a node's data directory knows of, at most OpeningsMax, with rising
// numbers. It is Refused where the node is not admitted with that disk, and where
// another opening was recorded that is not among them: by another process, on a
// copy of the directory.
func EncodeRecordOpening(nodeID, diskID string, openings []Opening) []byte {
	return encode(&fsmv1.Command{Kind: &fsmv1.Command_RecordOpening{RecordOpening: &fsmv1.RecordOpening{
		NodeId: nodeID, DiskId: diskID, Openings: appendOpenings(nil, openings),
	}}})
}

// EncodeRemoveNode returns the command that bars a node id for ever, whether the
// cluster knows it or not.
func EncodeRemoveNode(nodeID string) []byte {
	return encode(&fsmv1.Command{Kind: &fsmv1.Command_RemoveNode{RemoveNode: &fsmv1.RemoveNode{NodeId: nodeID}}})
}

// encode marshals a command whose only strings are node ids.
func encode(c *fsmv1.Command) []byte {
	b, err := proto.Marshal(c)
	if err != nil {
		// Marshalling fails only on a string that is not UTF-8. What comes out
		// then is no command, and is refused as one.
		return nil
	}
	return b
}
