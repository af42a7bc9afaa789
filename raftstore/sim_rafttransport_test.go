package raftstore

import (
	"context"
	"errors"
	"log/slog"
	"sync"
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
				req := &raft.AppendEntriesRequest{RPCHeader: header, Term: term}
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

// TestSim_VotesPassBrokenConnections asks a node that was started anew for its
// vote while there are connections in the pool that its end has broken.
func TestSim_VotesPassBrokenConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newRaftNet(t)
		candidate, _ := n.open("a")
		voter, closeVoter := n.open("b")
		answer := func(times int) {
			for range times {
				rpc := <-voter.Consumer()
				rpc.Respond(&raft.RequestVoteResponse{Granted: true}, nil)
			}
		}
		ask := func() error {
			var resp raft.RequestVoteResponse
			err := candidate.RequestVote("b", "b", &raft.RequestVoteRequest{RPCHeader: header}, &resp)
			if err == nil && !resp.Granted {
				err = errors.New("not granted")
			}
			return err
		}
		errs := make(chan error, raftPoolConns)
		for range raftPoolConns {
			go func() { errs <- ask() }()
		}
		synctest.Wait() // so that each has a connection of its own
		answer(raftPoolConns)
		for range raftPoolConns {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		closeVoter()
		voter, _ = n.open("b")
		go answer(1)
		if err := ask(); err != nil {
			t.Errorf("vote of a node that was started anew: %v", err)
		}
	})
}

// header is of requests that node a sends.
var header = raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("a"), Addr: []byte("a")}

// raftTransports returns the transports of nodes a and b.
func raftTransports(t *testing.T) (a, b raft.Transport) {
	t.Helper()
	n := newRaftNet(t)
	a, _ = n.open("a")
	b, _ = n.open("b")
	return a, b
}

// raftNet is a network of raft transports, as nodes have them.
type raftNet struct {
	t   *testing.T
	ca  *devca.CA
	net *memnet.Net
}

func newRaftNet(t *testing.T) *raftNet {
	t.Helper()
	ca, err := devca.New(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return &raftNet{t, ca, memnet.New(memnet.Config{Latency: time.Millisecond})}
}

// open returns the transport of a node, and what closes it before the test ends.
func (n *raftNet) open(node string) (_ raft.Transport, closeIt func()) {
	n.t.Helper()
	id := transport.Identity{TrustDomain: "example.org", Cluster: "test", Node: node}
	credentials, err := n.ca.Issue(id, time.Hour)
	if err != nil {
		n.t.Fatal(err)
	}
	tr, err := transport.Listen(n.t.Context(), transport.Config{
		ListenAddress: node + ":7000",
		Network:       n.net.Host(node),
		Identity:      id,
		Credentials:   credentials,
		Authorize:     func(transport.Kind, transport.PeerInfo) error { return nil },
		Resolve:       func(_ context.Context, node string) (string, error) { return node + ":7000", nil },
		Log:           slog.New(slog.DiscardHandler),
	})
	if err != nil {
		n.t.Fatal(err)
	}
	rt := newRaftTransport(n.t.Context(), tr, node, hclog.NewNullLogger())
	closeIt = sync.OnceFunc(func() {
		if err := errors.Join(rt.Close(), tr.Close()); err != nil {
			n.t.Error(err)
		}
	})
	n.t.Cleanup(closeIt)
	return rt, closeIt
}
