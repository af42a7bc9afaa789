package fsm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/fsm"
)

func TestJoinTokens(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	token := fsm.TokenHash{1, 2, 3}
	m := open(t)
	for _, step := range []struct {
		name   string
		cmd    []byte
		want   fsm.Outcome
		detail string
	}{
		{"an unknown token", fsm.EncodeUseJoinToken(token, "n1", "", fsm.KeyHash{}, now), fsm.Refused, "unknown"},
		{"a new one", fsm.EncodeAddJoinToken(token, "", "", now.Add(time.Minute), now), fsm.Committed, ""},
		{"the same again", fsm.EncodeAddJoinToken(token, "", "", now.Add(time.Hour), now), fsm.Refused, "already"},
		{"one that has expired", fsm.EncodeAddJoinToken(fsm.TokenHash{9}, "", "", now, now), fsm.Refused, "expired"},
		{"its first use", fsm.EncodeUseJoinToken(token, "n1", "", fsm.KeyHash{}, now), fsm.Committed, ""},
		{"use by the same node", fsm.EncodeUseJoinToken(token, "n1", "", fsm.KeyHash{}, now), fsm.Committed, ""},
		{"use by another node", fsm.EncodeUseJoinToken(token, "n2", "", fsm.KeyHash{}, now), fsm.Refused, "used by another"},
		{"use by the same node with another disk", fsm.EncodeUseJoinToken(token, "n1", "disk", fsm.KeyHash{}, now), fsm.Refused, "used by another"},
		{"use by the same node when it has expired", fsm.EncodeUseJoinToken(token, "n1", "", fsm.KeyHash{}, now.Add(time.Minute)), fsm.Committed, ""},
		{"use by another node when it has expired", fsm.EncodeUseJoinToken(token, "n2", "", fsm.KeyHash{}, now.Add(time.Minute)), fsm.Refused, "used by another"},
		{"one that nobody uses", fsm.EncodeAddJoinToken(fsm.TokenHash{8}, "", "", now.Add(time.Minute), now), fsm.Committed, ""},
		{"its use when it has expired", fsm.EncodeUseJoinToken(fsm.TokenHash{8}, "n5", "", fsm.KeyHash{}, now.Add(time.Minute)), fsm.Refused, "expired"},
		{"its use when the clock has gone back", fsm.EncodeUseJoinToken(fsm.TokenHash{8}, "n5", "", fsm.KeyHash{}, now), fsm.Refused, "unknown"},
		{"the token of a node that is removed", fsm.EncodeAddJoinToken(fsm.TokenHash{7}, "", "", now.Add(time.Minute), now), fsm.Committed, ""},
		{"its use", fsm.EncodeUseJoinToken(fsm.TokenHash{7}, "n", "disk", fsm.KeyHash{}, now), fsm.Committed, ""},
		{"the removal", fsm.EncodeRemoveNode("n"), fsm.Committed, ""},
		{"its use by another node", fsm.EncodeUseJoinToken(fsm.TokenHash{7}, "n6", "", fsm.KeyHash{}, now), fsm.Refused, "unknown"},
		{"a removed node", fsm.EncodeRemoveNode("n3"), fsm.Committed, ""},
		{"removed again", fsm.EncodeRemoveNode("n3"), fsm.Committed, ""},
		{"another token", fsm.EncodeAddJoinToken(fsm.TokenHash{2}, "", "", now.Add(time.Minute), now), fsm.Committed, ""},
		{"use by a removed node", fsm.EncodeUseJoinToken(fsm.TokenHash{2}, "n3", "", fsm.KeyHash{}, now), fsm.Refused, "removed"},
		{"use by a good one", fsm.EncodeUseJoinToken(fsm.TokenHash{2}, "n4", "", fsm.KeyHash{}, now), fsm.Committed, ""},
	} {
		res := apply(t, m, step.cmd)[0]
		if res.Outcome != step.want || !strings.Contains(res.Detail, step.detail) || (res.Detail == "") != (step.detail == "") {
			t.Fatalf("%s: result %+v, want %v with %q", step.name, res, step.want, step.detail)
		}
		scrub(t, m)
	}

	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if got, found, err := v.JoinToken(fsm.TokenHash{2}); err != nil || !found || got.UsedBy != "n4" || got.ExpiresUnixMS != now.Add(time.Minute).UnixMilli() {
		t.Errorf("token %+v %v %v", got, found, err)
	}
	if got, found, err := v.JoinToken(fsm.TokenHash{8}); err != nil || found {
		t.Errorf("an expired token: %+v %v %v", got, found, err)
	}
	for node, want := range map[string]bool{"n1": true, "n4": true, "n": false, "n5": false} {
		if _, got, err := v.Admission(node); err != nil || got != want {
			t.Errorf("Admission(%q): found %v, %v, want %v", node, got, err, want)
		}
	}
	tokens, err := v.JoinTokens()
	if err != nil || len(tokens) != 2 {
		t.Errorf("JoinTokens: %+v, %v, want those that n1 and n4 have used", tokens, err)
	}
	for id, want := range map[string]bool{"n3": true, "n4": false, "n": true, "n1": false} {
		if got, err := v.Removed(id); err != nil || got != want {
			t.Errorf("Removed(%q) = %v, %v", id, got, err)
		}
	}
}

func TestJoinTokens_AreBoundedAndExpire(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	m := open(t)
	var cmds [][]byte
	for i := range fsm.JoinTokensMax + 1 {
		cmds = append(cmds, fsm.EncodeAddJoinToken(fsm.TokenHash{byte(i), byte(i >> 8)}, "", "", now.Add(time.Duration(1+i)*time.Second), now))
	}
	res := apply(t, m, cmds...)
	if res[fsm.JoinTokensMax-1].Outcome != fsm.Committed || res[fsm.JoinTokensMax].Outcome != fsm.Refused {
		t.Fatalf("results %+v, %+v", res[fsm.JoinTokensMax-1], res[fsm.JoinTokensMax])
	}
	later := now.Add(fsm.JoinTokensMax * time.Second)
	res = apply(t, m, fsm.EncodeAddJoinToken(fsm.TokenHash{0xff, 0xff}, "", "", later.Add(time.Second), later))
	if res[0].Outcome != fsm.Committed {
		t.Fatalf("result %+v when the others have expired", res[0])
	}
	report, err := m.Scrub(t.Context())
	if err != nil || report.Records != 1 {
		t.Fatalf("scrub %+v %v, want the one token left", report, err)
	}
}

// A member that is found to be evil may have made tokens for its return.
func TestRemoveNode_DropsTheTokensItHasMade(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	add := func(token byte, node, maker string) []byte {
		return fsm.EncodeAddJoinToken(fsm.TokenHash{token}, node, maker, now.Add(time.Hour), now)
	}
	use := func(token byte, node string) []byte {
		return fsm.EncodeUseJoinToken(fsm.TokenHash{token}, node, "d", fsm.KeyHash{token}, now)
	}
	m := open(t)
	applySteps(t, m, []step{
		{"a token that evil makes", add(1, "", "evil"), fsm.Committed, ""},
		{"one that a member uses", add(2, "n2", "evil"), fsm.Committed, ""},
		{"its use", use(2, "n2"), fsm.Committed, ""},
		{"one of another node", add(3, "n3", "n2"), fsm.Committed, ""},
		{"the removal", fsm.EncodeRemoveNode("evil"), fsm.Committed, ""},
		{"the return of evil", use(1, "n4"), fsm.Refused, "unknown"},
		{"a token that evil had asked for", add(4, "", "evil"), fsm.Refused, "removed"},
		{"the member again", use(2, "n2"), fsm.Committed, ""},
		{"the other node", use(3, "n3"), fsm.Committed, ""},
	})
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	got, found, err := v.JoinToken(fsm.TokenHash{3})
	if want := (fsm.JoinToken{ID: got.ID, ExpiresUnixMS: now.Add(time.Hour).UnixMilli(), NodeID: "n3", MadeBy: "n2", UsedBy: "n3/d"}); err != nil || !found || got != want {
		t.Errorf("token %+v, %v, %v, want %+v", got, found, err, want)
	}
}

// Whoever bars ids that it has invented fills no disk with them, and no node
// stays for it.
func TestRemoveNode_BarsOfStrangersAreBounded(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	m := open(t)
	token := fsm.TokenHash{1}
	apply(t, m, fsm.EncodeAddJoinToken(token, "", "", now.Add(time.Minute), now), fsm.EncodeUseJoinToken(token, "n1", "", fsm.KeyHash{}, now))
	var cmds [][]byte
	for i := range fsm.BarredMax {
		cmds = append(cmds, fsm.EncodeRemoveNode(fmt.Sprintf("invented-%d", i)))
	}
	if res := apply(t, m, cmds...); res[fsm.BarredMax-1].Outcome != fsm.Committed {
		t.Fatalf("result %+v of the last that has room", res[fsm.BarredMax-1])
	}
	res := apply(t, m, fsm.EncodeRemoveNode("one-more"), fsm.EncodeRemoveNode("invented-7"), fsm.EncodeRemoveNode("n1"))
	if res[0].Outcome != fsm.Refused || !strings.Contains(res[0].Detail, "never admitted") {
		t.Errorf("one more of no node: %+v", res[0])
	}
	if res[1].Outcome != fsm.Committed || res[2].Outcome != fsm.Committed {
		t.Errorf("one that is barred %+v, one that is admitted %+v", res[1], res[2])
	}
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for id, want := range map[string]bool{"one-more": false, "n1": true} {
		if got, err := v.Removed(id); err != nil || got != want {
			t.Errorf("Removed(%q) = %v, %v", id, got, err)
		}
	}
}
