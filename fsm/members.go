package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
)

// JoinTokensMax bounds the join tokens that exist at a time.
const JoinTokensMax = 4096

// JoinToken is a token that lets one node join. Unused it goes when it expires.
// Once used it stays until its node is removed: it is what the node may come
// back by, from the disk that it came with, if it was not told that it is in.
type JoinToken struct {
	// ExpiresUnixMS is when it expires, by the leaders' clocks.
	ExpiresUnixMS int64

	// UsedBy is the node that has used it, see TokenUser, empty if none has.
	UsedBy string
}

func (t JoinToken) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(t.ExpiresUnixMS))
	return append(b, t.UsedBy...)
}

func decodeToken(key, body []byte) (JoinToken, error) {
	if len(body) < 8 {
		return JoinToken{}, corrupt(bucketTokens, key, "the record is too short")
	}
	return JoinToken{ExpiresUnixMS: int64(binary.BigEndian.Uint64(body)), UsedBy: string(body[8:])}, nil
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
	token := JoinToken{ExpiresUnixMS: c.ExpiresUnixMs}
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
	user := TokenUser(c.NodeId, c.DiskId)
	if token.UsedBy == user {
		return b.done(), nil
	}
	if token.UsedBy != "" {
		return b.refuse(Refused, "the join token was used by another node: make a new one"), nil
	}
	token.UsedBy = user
	b.put(bucketTokens, c.Hash, old, token.encode())
	return b.done(), nil
}

// usedBy tells whether a node has used the token, from whatever disk.
func (t JoinToken) usedBy(nodeID string) bool {
	node, _, _ := strings.Cut(t.UsedBy, userSeparator)
	return node == nodeID
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
	if err := b.dropTokens(func(t JoinToken) bool { return t.usedBy(nodeID) }); err != nil {
		return Result{}, err
	}
	b.put(bucketRemoved, key, nil, uint64Bytes(b.state.index))
	return b.done(), nil
}

func (b *batch) done() Result { return Result{Outcome: Committed, Revision: b.state.revision} }
