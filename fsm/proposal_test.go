package fsm_test

import (
	"errors"
	"testing"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

func TestCheckTransaction(t *testing.T) {
	put := txn.Write{Kind: store.EventPut, Key: []byte("b")}
	remove := txn.Write{Kind: store.EventDelete, Key: []byte("a")}
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
	for name, command := range map[string][]byte{"a removal": fsm.EncodeRemoveNode("n1"), "garbage": {0xff}, "nothing": nil} {
		if _, err := fsm.CheckTransaction(command); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: got %v, want %v", name, err, store.ErrInvalid)
		}
	}
}
