package raftstore

import (
	"bytes"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/fsm"
)

func TestNextGossipKeys(t *testing.T) {
	a, b := bytes.Repeat([]byte{1}, gossipKeyBytes), bytes.Repeat([]byte{2}, gossipKeyBytes)
	fresh := bytes.Repeat([]byte{0}, gossipKeyBytes) // stands for any other
	made := time.UnixMilli(1_800_000_000_000)
	soon := made.Add(time.Hour)
	for _, c := range []struct {
		name            string
		keys            fsm.GossipKeys
		settled, shared bool
		now             time.Time
		want            [][]byte // nil for no change
		primary         int
	}{
		{"there is none", fsm.GossipKeys{}, false, false, soon, [][]byte{fresh}, 0},
		{"there is none, and a server on its way out", fsm.GossipKeys{}, false, true, soon, [][]byte{fresh}, 0},
		{"nothing is due", fsm.GossipKeys{Keys: [][]byte{a}}, true, false, soon, nil, 0},
		{"a rotation is due", fsm.GossipKeys{Keys: [][]byte{a}, Due: true}, false, false, soon, [][]byte{a, fresh}, 0},
		{"a rotation is due, and a server on its way out", fsm.GossipKeys{Keys: [][]byte{a}, Due: true}, true, true, soon, nil, 0},
		{"the key is nearly old", fsm.GossipKeys{Keys: [][]byte{a}}, true, false, made.Add(gossipKeyLife - 1), nil, 0},
		{"the key is old", fsm.GossipKeys{Keys: [][]byte{a}}, false, false, made.Add(gossipKeyLife), [][]byte{a, fresh}, 0},
		{"the key is of the far future", fsm.GossipKeys{Keys: [][]byte{a}}, false, false, made.Add(-gossipKeyLife), [][]byte{a, fresh}, 0},
		{"some don't know the new key", fsm.GossipKeys{Keys: [][]byte{a, b}}, false, false, soon, nil, 0},
		{"all know the new key", fsm.GossipKeys{Keys: [][]byte{a, b}}, true, false, soon, [][]byte{a, b}, 1},
		{"some use the old key", fsm.GossipKeys{Keys: [][]byte{a, b}, Primary: 1}, false, false, soon, nil, 0},
		{"all use the new key", fsm.GossipKeys{Keys: [][]byte{a, b}, Primary: 1}, true, false, soon, [][]byte{b}, 0},
		{"all use the new key, which is due too", fsm.GossipKeys{Keys: [][]byte{a, b}, Primary: 1, Due: true}, true, true, soon, [][]byte{b}, 0},
	} {
		c.keys.MadeUnixMS = made.UnixMilli()
		next, ok := nextGossipKeys(c.keys, c.settled, c.shared, c.now)
		if ok != (c.want != nil) {
			t.Errorf("%s: a change: %v", c.name, ok)
		}
		if !ok {
			continue
		}
		same := len(next.Keys) == len(c.want) && next.Primary == c.primary
		for i := range min(len(next.Keys), len(c.want)) {
			known := bytes.Equal(next.Keys[i], a) || bytes.Equal(next.Keys[i], b)
			if isFresh := bytes.Equal(c.want[i], fresh); isFresh {
				same = same && !known && next.MadeUnixMS == c.now.UnixMilli()
			} else {
				same = same && bytes.Equal(next.Keys[i], c.want[i])
			}
		}
		if !same {
			t.Errorf("%s: next are %d keys of which number %d encrypts, made %d", c.name, len(next.Keys), next.Primary, next.MadeUnixMS)
		}
	}
}
