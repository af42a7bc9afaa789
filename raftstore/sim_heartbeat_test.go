package raftstore

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/devca"
	"github.com/spire-raft/spire-raft/transport/memnet"
)

// TestSim_HeartbeatsTakeNoShortcut sends what raft takes for a heartbeat to a
// transport with a handler for them. It must arrive with all other requests.
func TestSim_HeartbeatsTakeNoShortcut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader, follower := raftTransports(t)
		follower.SetHeartbeatHandler(func(rpc raft.RPC) {
			t.Error("a heartbeat took the shortcut")
			rpc.Respond(&raft.AppendEntriesResponse{}, nil)
		})
		const heartbeats = 3
		done := make(chan struct{})
		go func() {
			defer close(done)
			for term := uint64(1); term <= heartbeats; term++ {
				var resp raft.AppendEntriesResponse
				req := &raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("a"), Addr: []byte("a")}, Term: term, Leader: []byte("a")}
				if err := leader.AppendEntries("b", "b", req, &resp); err != nil || resp.Term != term {
					t.Errorf("heartbeat of term %d: answer %+v, error %v", term, resp, err)
				}
			}
		}()
		arrived := 0
		for {
			select {
			case rpc := <-follower.Consumer():
				arrived++
				rpc.Respond(&raft.AppendEntriesResponse{Term: rpc.Command.(*raft.AppendEntriesRequest).Term, Success: true}, nil)
				continue
			case <-done:
			}
			break
		}
		if arrived != heartbeats {
			t.Errorf("%d of %d heartbeats arrived in the queue of requests", arrived, heartbeats)
		}
	})
}

// TestSim_EntriesAreNotPipelined keeps raft from waiting for itself.
func TestSim_EntriesAreNotPipelined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader, _ := raftTransports(t)
		if _, err := leader.AppendEntriesPipeline("b", "b"); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
			t.Errorf("got %v, want %v", err, raft.ErrPipelineReplicationNotSupported)
		}
	})
}

// raftTransports returns the transports of nodes a and b, as nodes have them.
func raftTransports(t *testing.T) (a, b raft.Transport) {
	t.Helper()
	ca, err := devca.New(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	network := memnet.New(memnet.Config{Latency: time.Millisecond})
	open := func(node string) raft.Transport {
		id := transport.Identity{TrustDomain: "example.org", Cluster: "test", Node: node}
		credentials, err := ca.Issue(id, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		tr, err := transport.Listen(t.Context(), transport.Config{
			ListenAddress: node + ":7000",
			Network:       network.Host(node),
			Identity:      id,
			Credentials:   credentials,
			Authorize:     func(transport.Kind, transport.Identity) error { return nil },
			Resolve:       func(_ context.Context, node string) (string, error) { return node + ":7000", nil },
			Log:           slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		rt := newRaftTransport(t.Context(), tr, node, hclog.NewNullLogger())
		t.Cleanup(func() {
			if err := errors.Join(rt.Close(), tr.Close()); err != nil {
				t.Error(err)
			}
		})
		return rt
	}
	return open("a"), open("b")
}
