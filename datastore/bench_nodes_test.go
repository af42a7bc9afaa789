package datastore_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/devca"
)

// openNodes returns the nodes of a cluster, in a temporary directory and this
// process. All vote, and the first leads.
func openNodes(b *testing.B, size int) []store.Store {
	b.Helper()
	ca, err := devca.New(time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	var nodes []*raftstore.Node
	for i := range size {
		name := fmt.Sprintf("node-%d", i+1)
		cfg := raftstore.Config{
			Dir:           filepath.Join(b.TempDir(), name),
			ListenAddress: "127.0.0.1:0",
			Bootstrap:     i == 0,
			Timing:        raftstore.Timing{PromoteAfter: time.Millisecond},
			Logger:        slog.New(slog.DiscardHandler),
		}
		if _, err := raftstore.Init(cfg.Dir, "bench", name); err != nil {
			b.Fatal(err)
		}
		cfg.Credentials, err = ca.Issue(transport.Identity{TrustDomain: "example.org", Cluster: "bench", Node: name}, time.Hour)
		if err != nil {
			b.Fatal(err)
		}
		if i > 0 {
			token, err := nodes[0].CreateJoinToken(b.Context(), time.Minute)
			if err != nil {
				b.Fatal(err)
			}
			cfg.Join = &raftstore.JoinConfig{Addresses: []string{nodes[0].Addr().String()}, Token: token}
		}
		node, err := raftstore.Open(b.Context(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = node.Close() })
		nodes = append(nodes, node)
	}
	waitForVoters(b, nodes)
	var stores []store.Store
	for _, n := range nodes {
		stores = append(stores, n)
	}
	return stores
}

func waitForVoters(b *testing.B, nodes []*raftstore.Node) {
	b.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		voters := 0
		for _, p := range nodes[0].Status().Peers {
			if p.Voter {
				voters++
			}
		}
		if voters == len(nodes)-1 {
			return
		}
		if time.Now().After(end) {
			b.Fatalf("%d nodes besides the first have a vote, want %d", voters, len(nodes)-1)
		}
	}
}
