package raftstore

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
	"github.com/spire-raft/spire-raft/raftstore/internal/identity"
)

// What is sealed is read by later versions.
func TestFileSeal_OpensWhatItHasSealedBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	if err := os.WriteFile(path, bytes.Repeat([]byte{7}, sealKeyBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := NewFileSeal(path)
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{id: identity.Identity{ClusterID: "prod"}}
	aad := n.sealAAD("0123abcd", authority.Pin{1, 2})
	if want := "spire-raft authority key/prod/0123abcd/0102" + string(bytes.Repeat([]byte("0"), 60)); string(aad) != want {
		t.Errorf("it is bound to %q, want %q", aad, want)
	}
	golden, err := hex.DecodeString("dbed917320a6f3264a5fb4930f707d41cafdef39e3f312ce3d75af6d964bdbbcb1")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Open(t.Context(), golden, aad); err != nil || string(got) != "a key" {
		t.Errorf("opened %q, %v", got, err)
	}
}
