package fsm_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/fsm"
)

func authorityOf(t *testing.T, m *fsm.Machine) fsm.Authority {
	t.Helper()
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	a, _, err := v.Authority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestChangeAuthority_Rotates(t *testing.T) {
	old, next, third := anAuthority.Certificate, []byte("next"), []byte("third")
	add := fsm.EncodeChangeAuthority(fsm.AuthorityAdd, next, []byte("next key"))
	promote := fsm.EncodeChangeAuthority(fsm.AuthorityPromote, next, nil)
	drop := fsm.EncodeChangeAuthority(fsm.AuthorityDrop, old, nil)
	dir := t.TempDir()
	m := openIn(t, dir)
	check := func(what string, want fsm.Authority) {
		t.Helper()
		got := authorityOf(t, m)
		if got.ChangedIndex != m.Position().Index {
			t.Errorf("%s: changed at %d, the state is at %d", what, got.ChangedIndex, m.Position().Index)
		}
		want.TrustDomain, want.ChangedIndex = anAuthority.TrustDomain, got.ChangedIndex
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: authority %+v, want %+v", what, got, want)
		}
	}
	applySteps(t, m, []step{
		{"before there is a cluster", add, fsm.Refused, "not its own authority"},
		{"the cluster", fsm.EncodeInitCluster("aa", anAuthority, "n1", "d1", fsm.KeyHash{1}), fsm.Committed, ""},
		{"nothing to promote", promote, fsm.Refused, "could issue next"},
		{"nothing to drop", drop, fsm.Refused, "could be dropped"},
		{"the next one", add, fsm.Committed, ""},
	})
	check("added", fsm.Authority{Certificate: old, Key: anAuthority.Key, Next: next, NextKey: []byte("next key")})
	applySteps(t, m, []step{
		{"a third", fsm.EncodeChangeAuthority(fsm.AuthorityAdd, third, []byte("k")), fsm.Refused, "being replaced"},
		{"another to promote", fsm.EncodeChangeAuthority(fsm.AuthorityPromote, third, nil), fsm.Refused, "could issue next"},
		{"dropped too early", drop, fsm.Refused, "could be dropped"},
		{"promoted", promote, fsm.Committed, ""},
	})
	check("promoted", fsm.Authority{Certificate: next, Key: []byte("next key"), Old: old})
	applySteps(t, m, []step{
		{"promoted again", promote, fsm.Refused, "could issue next"},
		{"a third before the end", fsm.EncodeChangeAuthority(fsm.AuthorityAdd, third, []byte("k")), fsm.Refused, "being replaced"},
		{"another to drop", fsm.EncodeChangeAuthority(fsm.AuthorityDrop, next, nil), fsm.Refused, "could be dropped"},
		{"dropped", drop, fsm.Committed, ""},
	})
	check("dropped", fsm.Authority{Certificate: next, Key: []byte("next key")})
	closeMachine(t, m)
	m = openIn(t, dir)
	check("reopened", fsm.Authority{Certificate: next, Key: []byte("next key")})
}

// A token names the authority that was there when it was made. Whoever has that
// one's key could show it to the node with the token.
func TestChangeAuthority_UnusedTokensGoWithTheOldOne(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	unused, used := fsm.TokenHash{1}, fsm.TokenHash{2}
	m := open(t)
	applySteps(t, m, []step{
		{"the cluster", fsm.EncodeInitCluster("aa", anAuthority, "n1", "d1", fsm.KeyHash{1}), fsm.Committed, ""},
		{"a token", fsm.EncodeAddJoinToken(unused, "", "", now.Add(time.Hour), now), fsm.Committed, ""},
		{"another", fsm.EncodeAddJoinToken(used, "", "", now.Add(time.Hour), now), fsm.Committed, ""},
		{"its use", fsm.EncodeUseJoinToken(used, "n2", "d2", fsm.KeyHash{2}, now), fsm.Committed, ""},
		{"the next authority", fsm.EncodeChangeAuthority(fsm.AuthorityAdd, []byte("next"), []byte("k")), fsm.Committed, ""},
		{"its turn", fsm.EncodeChangeAuthority(fsm.AuthorityPromote, []byte("next"), nil), fsm.Committed, ""},
		{"the token of before", fsm.EncodeUseJoinToken(unused, "n3", "d3", fsm.KeyHash{3}, now), fsm.Refused, "make a new one"},
		{"the one that was used", fsm.EncodeUseJoinToken(used, "n2", "d2", fsm.KeyHash{2}, now), fsm.Committed, ""},
	})
}
