package fsm

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

// CheckCommand returns an error unless cmd is a command that this version
// knows and within all limits: an [ErrTooNew], [store.ErrTooLarge] or
// [store.ErrInvalid]. Commands from the network go through it before they may
// enter the log, where an undecodable one would stop every server. What it
// lets through may still be refused when it is applied, for what it meets there.
func CheckCommand(cmd []byte) error {
	_, err := checked(cmd)
	return err
}

// checked decodes a command and returns the error that CheckCommand has for it.
func checked(cmd []byte) (*fsmv1.Command, error) {
	err := checkItems((*fsmv1.Command)(nil).ProtoReflect().Descriptor(), cmd)
	var c *fsmv1.Command
	if err == nil {
		c, err = decodeCommand(cmd)
	}
	if err != nil {
		if errors.Is(err, store.ErrCorrupt) {
			return nil, fmt.Errorf("%w: the command can't be decoded", store.ErrInvalid)
		}
		return nil, err
	}
	if err := checkSupported(c); err != nil {
		return nil, err
	}
	return c, checkCommand(c)
}

// decodeCommand returns the command in b. The result has copies of b's bytes.
func decodeCommand(b []byte) (*fsmv1.Command, error) {
	c := new(fsmv1.Command)
	if err := proto.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("%w: a command can't be decoded: %w", store.ErrCorrupt, err)
	}
	if raw := unknownFields(c); len(raw) > 0 {
		field, _, _ := protowire.ConsumeTag(raw)
		return nil, fmt.Errorf("%w: a command has a field %d that feature level %d, the latest this program knows, has not", ErrTooNew, field, FeatureLevelMax)
	}
	if c.Kind == nil {
		return nil, fmt.Errorf("%w: a command without a kind", store.ErrCorrupt)
	}
	return c, nil
}

// unknownFields returns a field of c, or of a message in it, that this version
// doesn't know, if there is one.
func unknownFields(c *fsmv1.Command) []byte {
	if raw := c.ProtoReflect().GetUnknown(); len(raw) > 0 {
		return raw
	}
	switch kind := c.Kind.(type) {
	case *fsmv1.Command_Transaction:
		return unknownInTransaction(kind.Transaction)
	case *fsmv1.Command_TermStart:
		return kind.TermStart.ProtoReflect().GetUnknown()
	case *fsmv1.Command_RaiseFeatureLevel:
		return kind.RaiseFeatureLevel.ProtoReflect().GetUnknown()
	case *fsmv1.Command_SetHistoryBudget:
		return kind.SetHistoryBudget.ProtoReflect().GetUnknown()
	case *fsmv1.Command_AddJoinToken:
		return kind.AddJoinToken.ProtoReflect().GetUnknown()
	case *fsmv1.Command_UseJoinToken:
		return kind.UseJoinToken.ProtoReflect().GetUnknown()
	case *fsmv1.Command_RemoveNode:
		return kind.RemoveNode.ProtoReflect().GetUnknown()
	case *fsmv1.Command_InitCluster:
		return kind.InitCluster.ProtoReflect().GetUnknown()
	case *fsmv1.Command_RevokeJoinToken:
		return kind.RevokeJoinToken.ProtoReflect().GetUnknown()
	case *fsmv1.Command_RecordOpening:
		return kind.RecordOpening.ProtoReflect().GetUnknown()
	case *fsmv1.Command_ChangeAuthority:
		return kind.ChangeAuthority.ProtoReflect().GetUnknown()
	case *fsmv1.Command_SetGossipKeys:
		return kind.SetGossipKeys.ProtoReflect().GetUnknown()
	case *fsmv1.Command_RotateGossipKey:
		return kind.RotateGossipKey.ProtoReflect().GetUnknown()
	}
	return nil
}

func unknownInTransaction(t *fsmv1.Transaction) []byte {
	if raw := t.ProtoReflect().GetUnknown(); len(raw) > 0 {
		return raw
	}
	for _, w := range t.Writes {
		if raw := w.ProtoReflect().GetUnknown(); len(raw) > 0 {
			return raw
		}
		if raw := unknownIn(w.Patches); len(raw) > 0 {
			return raw
		}
	}
	for _, raw := range [][]byte{unknownIn(t.Points), unknownIn(t.Ranges), unknownIn(t.Raises)} {
		if len(raw) > 0 {
			return raw
		}
	}
	return nil
}

func unknownIn[M interface{ ProtoReflect() protoreflect.Message }](messages []M) []byte {
	for _, m := range messages {
		if raw := m.ProtoReflect().GetUnknown(); len(raw) > 0 {
			return raw
		}
	}
	return nil
}

// checkSupported returns an error if applying c would stop this program.
func checkSupported(c *fsmv1.Command) error {
	if level := c.GetRaiseFeatureLevel().GetLevel(); level > FeatureLevelMax {
		return fmt.Errorf("%w: the cluster goes to feature level %d, this program knows %d", ErrTooNew, level, FeatureLevelMax)
	}
	return nil
}

// requiredLevel is the feature level at which a command begins to mean
// something. What a session has seen has a field but no meaning yet, in no level
// that this program knows.
func requiredLevel(c *fsmv1.Command) uint32 {
	if c.AckedBelow != 0 {
		return FeatureLevelMax + 1
	}
	return FeatureLevelMin
}

// checkCommand returns an error if c can't be right, whatever the state.
func checkCommand(c *fsmv1.Command) error {
	if level := requiredLevel(c); level > FeatureLevelMax {
		return fmt.Errorf("%w: the command needs feature level %d, this program knows %d", store.ErrInvalid, level, FeatureLevelMax)
	}
	switch kind := c.Kind.(type) {
	case *fsmv1.Command_Transaction:
		return checkTransaction(kind.Transaction)
	case *fsmv1.Command_AddJoinToken:
		return errors.Join(checkTokenHash(kind.AddJoinToken.Hash), checkOptionalID(kind.AddJoinToken.NodeId), checkOptionalID(kind.AddJoinToken.MakerId))
	case *fsmv1.Command_UseJoinToken:
		return errors.Join(checkTokenHash(kind.UseJoinToken.Hash), checkWho(kind.UseJoinToken))
	case *fsmv1.Command_RemoveNode:
		return checkNodeID(kind.RemoveNode.NodeId)
	case *fsmv1.Command_InitCluster:
		return errors.Join(checkAuthority(kind.InitCluster), checkWho(kind.InitCluster))
	case *fsmv1.Command_RevokeJoinToken:
		if n := len(kind.RevokeJoinToken.Id); n != len(TokenID{}) {
			return fmt.Errorf("%w: the id of a join token has %d bytes, not %d", store.ErrInvalid, n, len(TokenID{}))
		}
	case *fsmv1.Command_RecordOpening:
		return errors.Join(checkNodeID(kind.RecordOpening.NodeId), checkOptionalID(kind.RecordOpening.DiskId), checkOpenings(kind.RecordOpening.Openings))
	case *fsmv1.Command_ChangeAuthority:
		return checkChangeAuthority(kind.ChangeAuthority)
	case *fsmv1.Command_SetGossipKeys:
		return checkGossipKeys(kind.SetGossipKeys)
	}
	return nil
}

func checkTokenHash(hash []byte) error {
	if len(hash) != sha256.Size {
		return fmt.Errorf("%w: the hash of a join token has %d bytes, not %d", store.ErrInvalid, len(hash), sha256.Size)
	}
	return nil
}

func checkNodeID(id string) error {
	if len(id) == 0 || len(id) > NodeIDBytesMax {
		return fmt.Errorf("%w: a node id has 1 to %d bytes, not %d", store.ErrInvalid, NodeIDBytesMax, len(id))
	}
	return nil
}

// checkOptionalID checks the id of a disk, or of a node that need not be named.
func checkOptionalID(id string) error {
	if len(id) > NodeIDBytesMax {
		return fmt.Errorf("%w: an id has up to %d bytes, not %d", store.ErrInvalid, NodeIDBytesMax, len(id))
	}
	return nil
}

// checkWho checks a command that says with which disk and key a node is admitted.
func checkWho(c interface {
	GetNodeId() string
	GetDiskId() string
	GetKeyHash() []byte
}) error {
	return errors.Join(checkNodeID(c.GetNodeId()), checkOptionalID(c.GetDiskId()), checkKeyHash(c.GetKeyHash()))
}

func checkKeyHash(hash []byte) error {
	if len(hash) != len(KeyHash{}) {
		return fmt.Errorf("%w: the hash of a key has %d bytes, not %d", store.ErrInvalid, len(hash), len(KeyHash{}))
	}
	return nil
}

// authorityBytesMax bounds each part of an authority.
const authorityBytesMax = 64 << 10

func checkAuthority(c *fsmv1.InitCluster) error {
	if len(c.Instance) == 0 || len(c.Instance) > NodeIDBytesMax {
		return fmt.Errorf("%w: the instance of a cluster has 1 to %d bytes, not %d", store.ErrInvalid, NodeIDBytesMax, len(c.Instance))
	}
	if n := max(len(c.TrustDomain), len(c.Certificate), len(c.Key)); n > authorityBytesMax {
		return fmt.Errorf("%w: a part of the authority has %d bytes, the limit is %d", store.ErrTooLarge, n, authorityBytesMax)
	}
	return nil
}

func checkChangeAuthority(c *fsmv1.ChangeAuthority) error {
	switch AuthorityStep(c.Step) {
	case AuthorityAdd, AuthorityPromote, AuthorityDrop:
	default:
		return fmt.Errorf("%w: a change of the authority of kind %d", store.ErrInvalid, c.Step)
	}
	if len(c.Certificate) == 0 || AuthorityStep(c.Step) == AuthorityAdd && len(c.Key) == 0 {
		return fmt.Errorf("%w: a change of the authority without a certificate or a key", store.ErrInvalid)
	}
	if n := max(len(c.Certificate), len(c.Key)); n > authorityBytesMax {
		return fmt.Errorf("%w: a part of the authority has %d bytes, the limit is %d", store.ErrTooLarge, n, authorityBytesMax)
	}
	return nil
}

// itemBytes is what an item of a transaction costs of store.TxBytesMax besides
// its keys and values, as package txn counts it.
const itemBytes = 16

// checkTransaction returns an error unless t is within the limits of package
// store and in the order that package txn promises.
func checkTransaction(t *fsmv1.Transaction) error {
	if ops := len(t.Writes) + len(t.Counters) + len(t.Raises); ops > store.TxOpsMax {
		return fmt.Errorf("%w: transaction of %d operations exceeds TxOpsMax %d", store.ErrTooLarge, ops, store.TxOpsMax)
	}
	size := 0
	for _, p := range t.Points {
		size += len(p.Key) + itemBytes
		if err := txn.CheckKey(p.Key); err != nil {
			return err
		}
	}
	for _, r := range t.Ranges {
		size += len(r.Start) + len(r.End) + itemBytes
	}
	for _, r := range t.Raises {
		size += len(r.Counter) + itemBytes
		if err := txn.CheckKey(r.Counter); err != nil {
			return fmt.Errorf("counter: %w", err)
		}
	}
	for _, c := range t.Counters {
		size += len(c) + itemBytes
		if err := txn.CheckKey(c); err != nil {
			return fmt.Errorf("counter: %w", err)
		}
	}
	for _, w := range t.Writes {
		size += len(w.Key) + len(w.Value) + itemBytes*(1+len(w.Patches))
	}
	if size > store.TxBytesMax {
		return fmt.Errorf("%w: transaction of %d bytes exceeds TxBytesMax %d", store.ErrTooLarge, size, store.TxBytesMax)
	}
	return checkWrites(t.Writes, len(t.Counters))
}

func checkWrites(writes []*fsmv1.Write, taken int) error {
	var w txn.Write // one for all: it does not stay on the stack
	var last []byte
	patched := false
	for _, pw := range writes {
		loadWrite(&w, pw)
		if w.Kind != store.EventPut && w.Kind != store.EventDelete {
			return fmt.Errorf("%w: a write of kind %d", store.ErrInvalid, pw.Kind)
		}
		if w.Kind == store.EventDelete && len(w.Value) > 0 {
			return fmt.Errorf("%w: a delete with a value", store.ErrInvalid)
		}
		if err := txn.CheckWrite(&w, taken); err != nil {
			return err
		}
		if keyPatched(pw) {
			patched = true
			continue
		}
		if patched || last != nil && bytes.Compare(last, w.Key) >= 0 {
			return fmt.Errorf("%w: writes are out of order at key %q", store.ErrInvalid, w.Key)
		}
		last = w.Key
	}
	return nil
}

func keyPatched(w *fsmv1.Write) bool {
	for _, p := range w.Patches {
		if p.Target == fsmv1.Patch_TARGET_KEY {
			return true
		}
	}
	return false
}

// loadWrite makes w what the message says, with the message's slices.
func loadWrite(w *txn.Write, m *fsmv1.Write) {
	kind := store.EventKind(m.Kind)
	if m.Kind < 0 || m.Kind > fsmv1.Write_KIND_DELETE {
		kind = 0
	}
	*w = txn.Write{Kind: kind, Key: m.Key, Value: m.Value, Patches: w.Patches[:0]}
	for _, p := range m.Patches {
		target := store.PatchTarget(p.Target)
		if p.Target < 0 || p.Target > fsmv1.Patch_TARGET_VALUE {
			target = 0
		}
		w.Patches = append(w.Patches, store.Patch{
			Sequence: store.Sequence{Nth: int(p.Sequence)}, Target: target, Offset: int(p.Offset),
		})
	}
}
