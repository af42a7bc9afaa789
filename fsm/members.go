package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
)

// JoinTokensMax bounds the join tokens that exist at a time.
const JoinTokensMax = 4096

// BarredMax is how many node ids can be barred before one that was never admitted
// can't be any more: a bar stays for ever. Nodes that are admitted can always be
// removed.
const BarredMax = 4096

// TokenID names a join token without giving it away.
type TokenID [8]byte

// String returns the id in hex.
func (id TokenID) String() string { return hex.EncodeToString(id[:]) }

// ID returns the token's id.
func (h TokenHash) ID() TokenID {
	sum := sha256.Sum256(h[:])
	return TokenID(sum[:])
}

// JoinToken is a token that lets one node join. Unused it goes when it expires.
// Once used it stays until its node is removed: it is what the node may come
// back by, from the disk that it came with, if it was not told that it is in.
type JoinToken struct {
	ID TokenID

	// ExpiresUnixMS is when it expires, by the leaders' clocks.
	ExpiresUnixMS int64

	// NodeID is the only node that may use it, empty if any may.
	NodeID string

	// MadeBy is the node that has asked for it. Unused it goes with that one's
	// removal.
	MadeBy string

	// UsedBy is the node that has used it, see TokenUser, empty if none has.
	UsedBy string
}

// A token's record is when it expires, the length of NodeID, NodeID, the length
// of MadeBy, MadeBy, and UsedBy.
func (t JoinToken) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(t.ExpiresUnixMS))
	for _, id := range []string{t.NodeID, t.MadeBy} {
		b = append(b, byte(len(id))) // at most NodeIDBytesMax
		b = append(b, id...)
	}
	return append(b, t.UsedBy...)
}

func decodeToken(key, body []byte) (JoinToken, error) {
	short := func() (JoinToken, error) { return JoinToken{}, corrupt(bucketTokens, key, "the record is too short") }
	if len(key) != len(TokenHash{}) || len(body) < 8 {
		return short()
	}
	t := JoinToken{ID: TokenHash(key).ID(), ExpiresUnixMS: int64(binary.BigEndian.Uint64(body))}
	rest := body[8:]
	for _, id := range []*string{&t.NodeID, &t.MadeBy} {
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return short()
		}
		*id, rest = string(rest[1:1+int(rest[0])]), rest[1+int(rest[0]):]
	}
	t.UsedBy = string(rest)
	return t, nil
}

// decodeCounter returns the number in a counter's body, 0 where that is nil.
func decodeCounter(key, body []byte) (uint64, error) {
	if body == nil {
		return 0, nil
	}
	if len(body) != 8 {
		return 0, corrupt(bucketCounters, key, "the record has a wrong size")
	}
	return binary.BigEndian.Uint64(body), nil
}

func (b *batch) addToken(c *fsmv1.AddJoinToken) (Result, error) {
	if err := b.expireTokens(c.NowUnixMs); err != nil {
		return Result{}, err
	}
	if c.ExpiresUnixMs <= c.NowUnixMs {
		return b.refuse(Refused, "the join token has expired already"), nil
	}
	gone, err := b.buckets[bucketRemoved].findSealed([]byte(c.MakerId))
	if err != nil {
		return Result{}, err
	}
	if gone != nil { // it has asked before its removal
		return b.refuse(Refused, fmt.Sprintf("node %q, which asks for the join token, was removed", c.MakerId)), nil
	}
	old, err := b.buckets[bucketTokens].findSealed(c.Hash)
	if err != nil {
		return Result{}, err
	}
	if old != nil {
		return b.refuse(Refused, "there is such a join token already"), nil
	}
	if b.state.sums[bucketTokens].records >= JoinTokensMax {
		return b.refuse(Refused, fmt.Sprintf("there are %d join tokens, the most allowed: wait until some expire", JoinTokensMax)), nil
	}
	token := JoinToken{ExpiresUnixMS: c.ExpiresUnixMs, NodeID: c.NodeId, MadeBy: c.MakerId}
	b.put(bucketTokens, c.Hash, nil, token.encode())
	return b.done(), nil
}

func (b *batch) useToken(c *fsmv1.UseJoinToken) (Result, error) {
	if err := b.expireTokens(c.NowUnixMs); err != nil {
		return Result{}, err
	}
	gone, err := b.buckets[bucketRemoved].findSealed([]byte(c.NodeId))
	if err != nil {
		return Result{}, err
	}
	if gone != nil {
		return b.refuse(Refused, fmt.Sprintf("node %q was removed, and its id may not come back: give the node a new one", c.NodeId)), nil
	}
	old, err := b.buckets[bucketTokens].findSealed(c.Hash)
	if err != nil {
		return Result{}, err
	}
	if old == nil {
		return b.refuse(Refused, "the join token is unknown or has expired: make a new one"), nil
	}
	token, err := decodeToken(c.Hash, old)
	if err != nil {
		return Result{}, err
	}
	if token.NodeID != "" && token.NodeID != c.NodeId {
		return b.refuse(Refused, "the join token is for another node: make one for this node, or for any"), nil
	}
	user := TokenUser(c.NodeId, c.DiskId)
	if token.UsedBy != "" && token.UsedBy != user {
		return b.refuse(Refused, "the join token was used by another node: make a new one"), nil
	}
	admission, known, err := b.admission(c.NodeId)
	switch {
	case err != nil:
		return Result{}, err
	case known && admission.DiskID != c.DiskId:
		return b.refuse(Refused, fmt.Sprintf("node %q was admitted with another disk: remove it, and give the node a new id", c.NodeId)), nil
	case known && admission.Key == KeyHash(c.KeyHash) && token.UsedBy == user:
		return b.done(), nil
	case known && !admission.Takes(token, KeyHash(c.KeyHash)):
		return b.refuse(Refused, fmt.Sprintf("node %q is admitted with another key, and keeps it: remove it, and give the node a new id", c.NodeId)), nil
	case token.UsedBy == user && token.ExpiresUnixMS <= c.NowUnixMs:
		return b.refuse(Refused, "the join token has expired, so that the node may not change its key with it: make a new one"), nil
	}
	if token.UsedBy == "" {
		token.UsedBy = user
		b.put(bucketTokens, c.Hash, old, token.encode())
	}
	return b.done(), b.admit(c.NodeId, c.DiskId, KeyHash(c.KeyHash))
}

// revokeToken drops a token that nobody has used.
func (b *batch) revokeToken(id TokenID) (Result, error) {
	found := false
	err := b.dropTokens(func(t JoinToken) bool {
		doomed := t.ID == id && t.UsedBy == ""
		found = found || doomed
		return doomed
	})
	if err == nil && !found {
		return b.refuse(Refused, fmt.Sprintf("there is no join token %v that could still be used", id)), nil
	}
	return b.done(), err
}

// UserNode is the node that has used the token, from whatever disk.
func (t JoinToken) UserNode() string {
	node, _, _ := strings.Cut(t.UsedBy, userSeparator)
	return node
}

// userSeparator is in no id.
const userSeparator = "/"

// TokenUser names a node, with its disk where it tells one, as the user of a
// join token.
func TokenUser(nodeID, diskID string) string {
	if diskID == "" {
		return nodeID
	}
	return nodeID + userSeparator + diskID
}

// expireTokens drops the tokens that have expired unused at now.
func (b *batch) expireTokens(now int64) error {
	return b.dropTokens(func(t JoinToken) bool { return t.UsedBy == "" && t.ExpiresUnixMS <= now })
}

// dropTokens drops the tokens for which drop is true.
func (b *batch) dropTokens(drop func(JoinToken) bool) error {
	type dropped struct{ key, body []byte }
	var found []dropped // after the loop: a cursor doesn't bear changes under it
	err := b.buckets[bucketTokens].eachToken(func(key, body []byte, t JoinToken) {
		if drop(t) {
			found = append(found, dropped{key: bytes.Clone(key), body: bytes.Clone(body)})
		}
	})
	if err != nil {
		return err
	}
	for _, d := range found {
		b.remove(bucketTokens, d.key, d.body)
	}
	return nil
}

// eachToken calls fn with the key, the body and the content of every token.
func (b *bucket) eachToken(fn func(key, body []byte, t JoinToken)) error {
	key, record, err := b.seek(nil)
	for ; err == nil && key != nil; key, record, err = b.next() {
		body, err := openSealed(bucketTokens, key, record)
		if err != nil {
			return err
		}
		token, err := decodeToken(key, body)
		if err != nil {
			return err
		}
		fn(key, body, token)
	}
	return err
}

func (b *batch) removeNode(nodeID string) (Result, error) {
	key := []byte(nodeID)
	gone, err := b.buckets[bucketRemoved].findSealed(key)
	if err != nil || gone != nil {
		return b.done(), err
	}
	admission, err := b.buckets[bucketAdmissions].findSealed(key)
	if err != nil {
		return Result{}, err
	}
	if admission == nil && b.state.sums[bucketRemoved].records >= BarredMax {
		return b.refuse(Refused, fmt.Sprintf("node %q was never admitted, and only the first %d ids that are barred may be such", nodeID, BarredMax)), nil
	}
	err = b.dropTokens(func(t JoinToken) bool {
		return t.UserNode() == nodeID || t.UsedBy == "" && t.MadeBy == nodeID // it may have kept that one for its return
	})
	if err != nil {
		return Result{}, err
	}
	if admission != nil {
		b.remove(bucketAdmissions, key, admission)
		if _, err := b.rotateGossipKey(); err != nil { // the node has it
			return Result{}, err
		}
	}
	b.put(bucketRemoved, key, nil, uint64Bytes(b.state.index))
	return b.done(), nil
}

func (b *batch) done() Result { return Result{Outcome: Committed, Revision: b.state.revision} }
