package fsm_test

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/fsm"
)

// gossipKeys are keys that are told apart by a byte.
func gossipKeys(fill ...byte) [][]byte {
	var keys [][]byte
	for _, b := range fill {
		keys = append(keys, bytes.Repeat([]byte{b}, fsm.GossipKeyBytes))
	}
	return keys
}

// gossipState returns the keys of a machine.
func gossipState(t *testing.T, m *fsm.Machine) (fsm.GossipKeys, bool) {
	t.Helper()
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	keys, found, err := v.GossipKeys()
	if err != nil {
		t.Fatal(err)
	}
	return keys, found
}

func TestGossipKeys_AreReplacedOnlyByWhoKnowsThem(t *testing.T) {
	dir := t.TempDir()
	m := openIn(t, dir)
	if _, found := gossipState(t, m); found {
		t.Fatal("a new machine has gossip keys")
	}
	set := func(replaces uint64, primary int, made int64, fill ...byte) []byte {
		return fsm.EncodeSetGossipKeys(replaces, fsm.GossipKeys{Keys: gossipKeys(fill...), Primary: primary, MadeUnixMS: made})
	}
	applySteps(t, m, []step{
		{"a rotation of nothing", fsm.EncodeRotateGossipKey(), fsm.Refused, "no gossip key"},
		{"the first", set(0, 0, 11, 1), fsm.Committed, ""},
		{"another first", set(0, 0, 12, 2), fsm.Refused, "meanwhile"},
	})
	first, _ := gossipState(t, m)
	if want := (fsm.GossipKeys{Index: m.Position().Index - 1, Keys: gossipKeys(1), MadeUnixMS: 11}); !reflect.DeepEqual(first, want) {
		t.Fatalf("keys %+v, want %+v", first, want)
	}
	applySteps(t, m, []step{{"a second key", set(first.Index, 0, 22, 1, 2), fsm.Committed, ""}})
	second, _ := gossipState(t, m)
	applySteps(t, m, []step{
		{"what was decided before", set(first.Index, 1, 22, 1, 2), fsm.Refused, "meanwhile"},
		{"its use", set(second.Index, 1, 22, 1, 2), fsm.Committed, ""},
	})
	closeMachine(t, m)
	got, _ := gossipState(t, openIn(t, dir))
	if want := (fsm.GossipKeys{Index: second.Index + 2, Keys: gossipKeys(1, 2), Primary: 1, MadeUnixMS: 22}); !reflect.DeepEqual(got, want) {
		t.Errorf("after reopening: keys %+v, want %+v", got, want)
	}
}

// A node that is removed while the keys are being replaced may have the newest
// too. That one has to go as well.
func TestGossipKeys_AreDueAfterARemoval(t *testing.T) {
	m := open(t)
	now := time.UnixMilli(1)
	join := func(token byte, node string) {
		t.Helper()
		applySteps(t, m, []step{
			{"a token", fsm.EncodeAddJoinToken(fsm.TokenHash{token}, "", "", now.Add(time.Hour), now), fsm.Committed, ""},
			{"its use", fsm.EncodeUseJoinToken(fsm.TokenHash{token}, node, "d", fsm.KeyHash{token}, now), fsm.Committed, ""},
		})
	}
	join(1, "n1")
	join(2, "n2")
	keys := func() fsm.GossipKeys {
		k, _ := gossipState(t, m)
		return k
	}
	replace := func(primary int, fill ...byte) {
		t.Helper()
		next := fsm.GossipKeys{Keys: gossipKeys(fill...), Primary: primary}
		applySteps(t, m, []step{{"keys", fsm.EncodeSetGossipKeys(keys().Index, next), fsm.Committed, ""}})
	}
	replace(0, 1)
	applySteps(t, m, []step{{"the bar of a stranger", fsm.EncodeRemoveNode("stranger"), fsm.Committed, ""}})
	if keys().Due {
		t.Error("a stranger's bar makes a rotation due: it has no key")
	}
	before := keys()
	applySteps(t, m, []step{
		{"a removal", fsm.EncodeRemoveNode("n1"), fsm.Committed, ""},
		{"what was decided before it", fsm.EncodeSetGossipKeys(before.Index, fsm.GossipKeys{Keys: gossipKeys(1, 2)}), fsm.Refused, "meanwhile"},
	})
	if !keys().Due {
		t.Error("no rotation is due after a removal")
	}
	replace(0, 1, 2)
	if keys().Due {
		t.Error("a new key is due for replacement")
	}
	applySteps(t, m, []step{{"a removal in the midst", fsm.EncodeRemoveNode("n2"), fsm.Committed, ""}})
	replace(1, 1, 2)
	replace(0, 2)
	if !keys().Due {
		t.Error("the key that the second node had is not due")
	}
	replace(0, 2, 3)
	if keys().Due {
		t.Error("the key that nobody had is due")
	}
}
