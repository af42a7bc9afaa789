package raftnet

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// TestHeartbeatsTakeNoShortcut sends what raft takes for a heartbeat to a
// transport with a handler for them. It must arrive with all other requests.
func TestHeartbeatsTakeNoShortcut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		leader, follower := n.open("a"), n.open("b")
		follower.SetHeartbeatHandler(func(rpc raft.RPC) {
			t.Error("a heartbeat took the shortcut")
			rpc.Respond(grant(rpc, 5))
		})
		arrived, stop := follower.serve(5)
		defer stop()
		for range 3 {
			var resp raft.AppendEntriesResponse
			if err := leader.AppendEntries("b", "b", &raft.AppendEntriesRequest{Term: 5}, &resp); err != nil || !resp.Success || resp.Term != 5 {
				t.Errorf("heartbeat: answer %+v, error %v", resp, err)
			}
		}
		if arrived() != 3 {
			t.Errorf("%d of 3 heartbeats arrived in the queue of requests", arrived())
		}
	})
}

// TestEntriesAreNotPipelined keeps raft from waiting for itself.
func TestEntriesAreNotPipelined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := newNetwork(t).open("a")
		if _, err := leader.AppendEntriesPipeline("b", "b"); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
			t.Errorf("got %v, want %v", err, raft.ErrPipelineReplicationNotSupported)
		}
	})
}

// TestRequestsArriveAsTheyWere has every request come out as raft's own transport
// would bring it, in the name of the stream's peer.
func TestRequestsArriveAsTheyWere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		from, to := n.open("a"), n.open("b")
		at := time.Unix(100, 5)
		head := rpcHeader("a")
		entries := []*raft.Log{
			{Index: 8, Term: 4, Type: raft.LogNoop},
			{Index: 9, Term: 5, Type: raft.LogCommand, Data: []byte("ok"), AppendedAt: at},
		}
		var (
			app  raft.AppendEntriesResponse
			vote raft.RequestVoteResponse
			pre  raft.RequestPreVoteResponse
			now  raft.TimeoutNowResponse
		)
		for _, c := range []struct {
			name string
			call func() error
			want any
		}{
			{"append", func() error {
				return from.AppendEntries("b", "b", &raft.AppendEntriesRequest{Term: 5, PrevLogEntry: 7, PrevLogTerm: 3, LeaderCommitIndex: 6, Entries: slices.Clone(entries)}, &app)
			}, &raft.AppendEntriesRequest{RPCHeader: head, Term: 5, PrevLogEntry: 7, PrevLogTerm: 3, LeaderCommitIndex: 6, Entries: entries}},
			{"vote", func() error {
				return from.RequestVote("b", "b", &raft.RequestVoteRequest{Term: 5, LastLogIndex: 9, LastLogTerm: 4, LeadershipTransfer: true}, &vote)
			}, &raft.RequestVoteRequest{RPCHeader: head, Term: 5, LastLogIndex: 9, LastLogTerm: 4, LeadershipTransfer: true}},
			{"pre-vote", func() error {
				return from.RequestPreVote("b", "b", &raft.RequestPreVoteRequest{Term: 5, LastLogIndex: 9, LastLogTerm: 4}, &pre)
			}, &raft.RequestPreVoteRequest{RPCHeader: head, Term: 5, LastLogIndex: 9, LastLogTerm: 4}},
			{"timeout now", func() error { return from.TimeoutNow("b", "b", &raft.TimeoutNowRequest{}, &now) }, &raft.TimeoutNowRequest{RPCHeader: head}},
		} {
			done := make(chan error, 1)
			go func() { done <- c.call() }()
			rpc := <-to.Consumer()
			if got, want := dump(rpc.Command), dump(c.want); got != want {
				t.Errorf("%s: arrived as %s, want %s", c.name, got, want)
			}
			rpc.Respond(grant(rpc, 5))
			if err := <-done; err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if !app.Success || app.LastLog != 9 || !vote.Granted || !pre.Granted {
			t.Errorf("answers %+v, %+v, %+v", app, vote, pre)
		}
	})
}

// TestErrorOfRaftReachesTheCaller, and the stream goes on.
func TestErrorOfRaftReachesTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		from, to := n.open("a"), n.open("b")
		go func() {
			for range 2 {
				rpc := <-to.Consumer()
				rpc.Respond(nil, errors.New("no such luck"))
			}
		}()
		for range 2 {
			var remote *RemoteError
			err := from.RequestVote("b", "b", &raft.RequestVoteRequest{Term: 5}, new(raft.RequestVoteResponse))
			if !errors.As(err, &remote) || remote.Message != "no such luck" {
				t.Errorf("got %v", err)
			}
		}
		if idle := len(from.idle["b"]); idle != 1 {
			t.Errorf("%d streams are kept, want the one", idle)
		}
	})
}

// TestVotesPassBrokenConnections asks a node that was started anew for its vote
// while there are connections in the pool that its end has broken.
func TestVotesPassBrokenConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		candidate, voter := n.open("a"), n.open("b")
		ask := func() error {
			return candidate.RequestVote("b", "b", &raft.RequestVoteRequest{Term: 5}, new(raft.RequestVoteResponse))
		}
		errs := make(chan error, idleStreams)
		for range idleStreams {
			go func() { errs <- ask() }()
		}
		synctest.Wait() // so that each has a connection of its own
		_, stop := voter.serve(5)
		for range idleStreams {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		stop()
		voter.close()
		voter = n.open("b")
		_, stop = voter.serve(5)
		defer stop()
		if err := ask(); err != nil {
			t.Errorf("vote of a node that was started anew: %v", err)
		}
	})
}

// TestCallEndsWhereThePeerIsFrozen, after a timeout, and with Close at once.
func TestCallEndsWhereThePeerIsFrozen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		from := n.open("a")
		n.open("b") // nobody consumes
		begun := time.Now()
		err := from.RequestVote("b", "b", &raft.RequestVoteRequest{Term: 5}, new(raft.RequestVoteResponse))
		if took := time.Since(begun); err == nil || took < defaultTimeout || took > defaultTimeout+time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		done := make(chan error, 1)
		go func() {
			done <- from.RequestVote("b", "b", &raft.RequestVoteRequest{Term: 5}, new(raft.RequestVoteResponse))
		}()
		synctest.Wait()
		begun = time.Now()
		from.close()
		if err := <-done; err == nil || time.Since(begun) > 0 {
			t.Errorf("after Close and %v: %v", time.Since(begun), err)
		}
	})
}

// TestLargeRequestsAreDivided: raft finds in its request what was sent.
func TestLargeRequestsAreDivided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		from, to := n.open("a"), n.open("b")
		_, stop := to.serve(5)
		defer stop()
		req := &raft.AppendEntriesRequest{Term: 5}
		for i := range 8 {
			data := []byte("ok" + strings.Repeat("x", 1<<20))
			req.Entries = append(req.Entries, &raft.Log{Index: uint64(i + 1), Term: 5, Data: data})
		}
		var resp raft.AppendEntriesResponse
		if err := from.AppendEntries("b", "b", req, &resp); err != nil {
			t.Fatal(err)
		}
		if len(req.Entries) != 3 || resp.LastLog != 3 {
			t.Errorf("%d entries were sent, %d arrived, want 3", len(req.Entries), resp.LastLog)
		}
		huge := []byte("ok" + strings.Repeat("x", 5<<20))
		req = &raft.AppendEntriesRequest{Term: 5, Entries: []*raft.Log{{Index: 1, Term: 5, Data: huge}}}
		if err := from.AppendEntries("b", "b", req, &resp); err != nil || resp.LastLog != 1 {
			t.Errorf("an entry larger than a request should be: %+v, %v", resp, err)
		}
	})
}

// TestStreamsOfAPeerAreBounded: beyond the bound the oldest ends, also one that
// waits for raft.
func TestStreamsOfAPeerAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		to := n.open("b")
		var streams []*wire
		for range peerStreamsMax + 3 {
			w := n.stream("evil", "b")
			if err := w.send(vote, validVote("evil")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			streams = append(streams, w)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		to.mu.Lock()
		open := len(to.open)
		to.mu.Unlock()
		if open != peerStreamsMax {
			t.Errorf("%d streams are open, want %d", open, peerStreamsMax)
		}
		arrived, stop := to.serve(5)
		synctest.Wait()
		if arrived() != peerStreamsMax {
			t.Errorf("%d requests wait, want %d", arrived(), peerStreamsMax)
		}
		stop()
		for i, w := range streams {
			_, err := w.header(time.Second)
			if ended := err != nil; ended != (i < 3) {
				t.Errorf("stream %d: %v", i, err)
			}
		}
	})
}
