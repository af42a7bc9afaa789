package fsm_test

import (
	"bytes"
	"testing"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

func TestSmoke(t *testing.T) {
	m, err := fsm.Open(fsm.Options{Dir: t.TempDir(), ClusterID: "c1"})
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := fsm.EncodeTransaction(&txn.Intent{Writes: []txn.Write{{Kind: store.EventPut, Key: []byte("a"), Value: []byte("1")}}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := m.Apply([]fsm.Entry{{Index: 1, Term: 1, Kind: fsm.EntryCommands, Data: fsm.EncodeEnvelope([][]byte{cmd, cmd})}})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(res)
	t.Log(m.Position())
	h, err := m.History(store.Cursor{}, 1000)
	t.Log(h, err)
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	t.Log(s.WriteTo(&b))
	t.Log(s.Size())
	s.Close()
	m2, err := fsm.Open(fsm.Options{Dir: t.TempDir(), ClusterID: "c1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := m2.Install(&b); err != nil {
		t.Fatal(err)
	}
	t.Log(m2.Position() == m.Position())
	t.Log(m2.Scrub(t.Context()))
	t.Log(m.Close(), m2.Close())
}
