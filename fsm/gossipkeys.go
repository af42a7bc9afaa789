package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/spire-raft/spire-raft/internal/boltfile"
	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
	"github.com/spire-raft/spire-raft/store"
)

const (
	// GossipKeyBytes is the size of a gossip key.
	GossipKeyBytes = 32

	// GossipKeysMax is how many gossip keys there may be at a time: the one in
	// use and the one that replaces it.
	GossipKeysMax = 2
)

// GossipKeys are what a cluster encrypts its gossip with. Whoever can read the
// state has them.
type GossipKeys struct {
	// Index is that of the log entry that has changed any of this last.
	Index uint64

	// Keys are one or more, the older first. All of them decrypt; the one at
	// Primary encrypts.
	Keys    [][]byte
	Primary int

	// MadeUnixMS is when the newest key was made, by the leaders' clocks.
	MadeUnixMS int64

	// Due tells that the newest key is to be replaced too: somebody has asked
	// for it, or a node was removed that may have it.
	Due bool
}

// keyGossip names the record in bucketAuthority. It is Index, MadeUnixMS, Due,
// Primary and Keys.
var keyGossip = []byte("gossip-keys")

const gossipHeadBytes = 8 + 8 + 1 + 1

func (k GossipKeys) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, k.Index)
	b = binary.BigEndian.AppendUint64(b, uint64(k.MadeUnixMS))
	due := byte(0)
	if k.Due {
		due = 1
	}
	b = append(b, due, byte(k.Primary))
	return append(b, bytes.Join(k.Keys, nil)...)
}

func decodeGossipKeys(body []byte) (GossipKeys, error) {
	n := (len(body) - gossipHeadBytes) / GossipKeyBytes
	if len(body) < gossipHeadBytes || len(body) != gossipHeadBytes+n*GossipKeyBytes || int(body[17]) >= n {
		return GossipKeys{}, corrupt(bucketAuthority, keyGossip, "the record has a wrong size")
	}
	k := GossipKeys{
		Index:      binary.BigEndian.Uint64(body),
		MadeUnixMS: int64(binary.BigEndian.Uint64(body[8:])),
		Due:        body[16] != 0,
		Primary:    int(body[17]),
	}
	k.Keys = slices.Collect(slices.Chunk(bytes.Clone(body[gossipHeadBytes:]), GossipKeyBytes))
	return k, nil
}

// gossipKeys returns the keys, none where there are none, with their record.
func (b *bucket) gossipKeys() (k GossipKeys, body []byte, err error) {
	body, err = b.findSealed(keyGossip)
	if err != nil || body == nil {
		return k, nil, err
	}
	k, err = decodeGossipKeys(body)
	return k, body, err
}

func (b *batch) setGossipKeys(c *fsmv1.SetGossipKeys) (Result, error) {
	old, body, err := b.buckets[bucketAuthority].gossipKeys()
	if err != nil {
		return Result{}, err
	}
	if c.Replaces != old.Index {
		return b.refuse(Refused, "the gossip keys have changed meanwhile"), nil
	}
	now := GossipKeys{
		Index: b.state.index, Keys: c.Keys, Primary: int(c.Primary), MadeUnixMS: c.MadeUnixMs,
		// Keys that were there already are known to whom they were to be taken from.
		Due: old.Due && !slices.ContainsFunc(c.Keys, func(key []byte) bool { return !old.has(key) }),
	}
	b.put(bucketAuthority, keyGossip, body, now.encode())
	return b.done(), nil
}

func (k GossipKeys) has(key []byte) bool {
	return slices.ContainsFunc(k.Keys, func(other []byte) bool { return bytes.Equal(key, other) })
}

// rotateGossipKey makes it due to replace the gossip key, if there is one. The
// index changes, so that what the leader has decided before doesn't count.
func (b *batch) rotateGossipKey() (found bool, err error) {
	k, body, err := b.buckets[bucketAuthority].gossipKeys()
	if err != nil || body == nil {
		return false, err
	}
	k.Due, k.Index = true, b.state.index
	b.put(bucketAuthority, keyGossip, body, k.encode())
	return true, nil
}

// GossipKeys returns the keys that the cluster has made for its gossip, and
// whether it has.
func (v *View) GossipKeys() (k GossipKeys, found bool, err error) {
	err = boltfile.Guard("get gossip keys", func() error {
		b, err := v.bucket(bucketAuthority)
		if err != nil {
			return err
		}
		var body []byte
		k, body, err = b.gossipKeys()
		found = body != nil
		return err
	})
	return k, found, err
}

// EncodeSetGossipKeys returns the command that makes keys the cluster's gossip
// keys. Of next the keys and their time count. It is Refused where the keys were
// changed after the index replaces.
func EncodeSetGossipKeys(replaces uint64, next GossipKeys) []byte {
	return encode(&fsmv1.Command{Kind: &fsmv1.Command_SetGossipKeys{SetGossipKeys: &fsmv1.SetGossipKeys{
		Replaces: replaces, Keys: next.Keys, Primary: uint32(next.Primary), MadeUnixMs: next.MadeUnixMS,
	}}})
}

// EncodeRotateGossipKey returns the command that makes it due to replace the
// newest gossip key. It is Refused where there is none.
func EncodeRotateGossipKey() []byte {
	return encode(&fsmv1.Command{Kind: &fsmv1.Command_RotateGossipKey{RotateGossipKey: &fsmv1.RotateGossipKey{}}})
}

func checkGossipKeys(c *fsmv1.SetGossipKeys) error {
	if n := len(c.Keys); n < 1 || n > GossipKeysMax || uint64(c.Primary) >= uint64(n) {
		return fmt.Errorf("%w: %d gossip keys, of which number %d encrypts, are not 1 to %d", store.ErrInvalid, n, c.Primary, GossipKeysMax)
	}
	for i, key := range c.Keys {
		if len(key) != GossipKeyBytes {
			return fmt.Errorf("%w: a gossip key has %d bytes, not %d", store.ErrInvalid, len(key), GossipKeyBytes)
		}
		if i > 0 && bytes.Equal(key, c.Keys[0]) {
			return fmt.Errorf("%w: two gossip keys are the same", store.ErrInvalid)
		}
	}
	return nil
}
