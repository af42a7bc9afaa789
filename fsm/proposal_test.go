package fsm_test

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

func TestCheckTransaction(t *testing.T) {
	put := put("b", "")
	remove := del("a")
	for _, tc := range []struct {
		name   string
		writes []txn.Write
		grows  bool
	}{
		{"nothing", nil, false},
		{"a delete", []txn.Write{remove}, false},
		{"a delete and a put", []txn.Write{remove, put}, true},
	} {
		command, err := fsm.EncodeTransaction(&txn.Intent{Writes: tc.writes})
		if err != nil {
			t.Fatal(err)
		}
		if grows, err := fsm.CheckTransaction(command); err != nil || grows != tc.grows {
			t.Errorf("%s: grows %v, %v; want %v", tc.name, grows, err, tc.grows)
		}
	}
	command := writes(t, put)
	for name, command := range map[string][]byte{
		"a removal": fsm.EncodeRemoveNode("n1"), "garbage": {0xff}, "nothing": nil,
		"a session": fsm.WithOrigin(command, fsm.Origin{Session: 1}),
		"a request": fsm.WithOrigin(command, fsm.Origin{Request: 1}),
		"a term":    fsm.WithOrigin(command, fsm.Origin{Term: 1}),
	} {
		if _, err := fsm.CheckTransaction(command); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: got %v, want %v", name, err, store.ErrInvalid)
		}
	}
}

// TestApply_OtherTermsThanTheCommands applies entries of term 1. A command that
// is for another term is for another leader: it must change nothing, on any
// server, and hold up none of those beside it.
func TestApply_OtherTermsThanTheCommands(t *testing.T) {
	m := open(t)
	command := func(key string, o fsm.Origin) []byte { return fsm.WithOrigin(writes(t, put(key, "1")), o) }
	o := fsm.Origin{Term: 1, Session: 1 << 40, Request: 300}
	results := apply(t, m,
		command("earlier", fsm.Origin{Term: math.MaxUint64, Session: 7, Request: 1}),
		command("its own", o),
		command("later", fsm.Origin{Term: 2, Session: 7, Request: 2}),
		command("any", fsm.Origin{}),
		fsm.WithOrigin(fsm.EncodeRemoveNode("n1"), fsm.Origin{Term: 2}),
	)
	want := []struct {
		outcome  fsm.Outcome
		revision store.Revision
		origin   fsm.Origin
	}{
		{fsm.Lapsed, 0, fsm.Origin{Session: 7, Request: 1}},
		{fsm.Committed, 1, fsm.Origin{Session: o.Session, Request: o.Request}},
		{fsm.Lapsed, 1, fsm.Origin{Session: 7, Request: 2}},
		{fsm.Committed, 2, fsm.Origin{}},
		{fsm.Lapsed, 2, fsm.Origin{}},
	}
	for i, r := range results {
		got := fsm.Origin{Session: r.Session, Request: r.Request}
		if r.Outcome != want[i].outcome || r.Revision != want[i].revision || got != want[i].origin {
			t.Errorf("command %d: got %+v, want %+v", i, r, want[i])
		}
	}
	if got := contents(t, m); len(got) != 2 {
		t.Errorf("the state has %d pairs, want 2", len(got))
	}
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if removed, err := v.Removed("n1"); removed || err != nil {
		t.Errorf("a removal for another term: removed %v, %v", removed, err)
	}
}

// TestWithOrigin_LeavesTheCommandAlone since a request that is tried again gets
// another origin while the first may still be looked at.
func TestWithOrigin_LeavesTheCommandAlone(t *testing.T) {
	command := append(make([]byte, 0, 1000), fsm.EncodeTermStart()...)
	first := fsm.WithOrigin(command, fsm.Origin{Term: 1, Session: 1, Request: 1})
	copied := bytes.Clone(first)
	fsm.WithOrigin(command, fsm.Origin{Term: 2, Session: 2, Request: 2})
	if !bytes.Equal(first, copied) || !bytes.Equal(command, fsm.EncodeTermStart()) {
		t.Error("a second origin changed the first, or the command")
	}
}
