package raftstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/raftnet"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
)

// impostor speaks raft with the certificate of a member that is down.
type impostor struct {
	*raftnet.Transport
	streams *transport.Transport
}

func (s *sim) impersonate(i int) *impostor {
	s.tb.Helper()
	name := s.name(i)
	s.net.Host(name).Start()
	claim, err := raftstore.ClaimIn(s.configs[i].Dir)
	if err != nil {
		s.tb.Fatal(err)
	}
	streams, err := transport.Listen(s.ctx, transport.Config{
		ListenAddress: s.address(name),
		Network:       s.net.Host(name),
		Identity:      transport.Identity{TrustDomain: trustDomain, Cluster: clusterID, Node: name},
		Credentials:   s.credentials(clusterID, name),
		Claim:         func() transport.Claim { return claim },
		Authorize:     func(transport.Kind, transport.PeerInfo) error { return errors.New("not to me") },
		Resolve:       func(_ context.Context, node string) (string, error) { return s.address(node), nil },
		Log:           slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	return &impostor{streams: streams, Transport: raftnet.New(s.ctx, raftnet.Config{
		NodeID:   name,
		Listener: streams.Listener(transport.Raft),
		Dial: func(ctx context.Context, node string) (net.Conn, error) {
			return streams.Dial(ctx, transport.Raft, node)
		},
		Log: slog.New(slog.DiscardHandler),
	})}
}

func (e *impostor) close() error { return errors.Join(e.Transport.Close(), e.streams.Close()) }

// append sends a request to append entries to a node.
func (e *impostor) append(to string, term uint64, entries ...*raft.Log) error {
	req := &raft.AppendEntriesRequest{Term: term, Entries: entries}
	return e.AppendEntries(raft.ServerID(to), raft.ServerAddress(to), req, new(raft.AppendEntriesResponse))
}

// attacks are what raft would take, store, and panic at, then and at each
// restart, or never get over.
func attacks(term uint64) map[string]func(e *impostor, to string) error {
	entry := func(typ raft.LogType, data []byte) func(*impostor, string) error {
		return func(e *impostor, to string) error {
			return e.append(to, term+1, &raft.Log{Index: 1, Term: term + 1, Type: typ, Data: data})
		}
	}
	install := func(req raft.InstallSnapshotRequest) func(*impostor, string) error {
		return func(e *impostor, to string) error {
			req.Term, req.LastLogTerm, req.ConfigurationIndex, req.Size = term+1, term+1, 1, 1000
			data := bytes.NewReader(make([]byte, req.Size))
			return e.InstallSnapshot(raft.ServerID(to), raft.ServerAddress(to), &req, new(raft.InstallSnapshotResponse), data)
		}
	}
	servers := []raft.Server{{ID: "node-3", Address: "node-3"}}
	return map[string]func(e *impostor, to string) error{
		"the last term": func(e *impostor, to string) error { return e.append(to, math.MaxUint64) },
		"a vote in the last term": func(e *impostor, to string) error {
			req := &raft.RequestVoteRequest{Term: math.MaxUint64, LastLogIndex: 1 << 40, LastLogTerm: 1 << 40}
			return e.RequestVote(raft.ServerID(to), raft.ServerAddress(to), req, new(raft.RequestVoteResponse))
		},
		"an undecodable configuration": entry(raft.LogConfiguration, []byte("nonsense")),
		"an empty configuration":       entry(raft.LogConfiguration, raft.EncodeConfiguration(raft.Configuration{})),
		"an unknown type":              entry(raft.LogType(77), nil),
		"a deprecated type":            entry(raft.LogAddPeerDeprecated, []byte("nonsense")),
		"an undecodable command":       entry(raft.LogCommand, []byte("nonsense")),
		"a command of the future":      entry(raft.LogCommand, fsm.EncodeEnvelope([][]byte{fsm.EncodeRaiseFeatureLevel(99)})),
		"a snapshot with a bad configuration": install(raft.InstallSnapshotRequest{
			LastLogIndex: 1 << 20, Configuration: []byte("nonsense"),
		}),
		"a snapshot that is none": install(raft.InstallSnapshotRequest{
			LastLogIndex: 1 << 20, Configuration: raft.EncodeConfiguration(raft.Configuration{Servers: servers}),
		}),
	}
}

// TestSim_NonsenseOfAMember has a member send to the others what raft doesn't
// survive. They refuse it, go on, and start again.
func TestSim_NonsenseOfAMember(t *testing.T) {
	t.Parallel()
	simulate(t, 41, 3, nil, func(s *sim) {
		const victims, evil = 2, 2
		s.crash(evil)
		leader := s.elected(0, 1)
		put := func(key string) {
			t.Helper()
			ctx, cancel := context.WithTimeout(s.ctx, electMax)
			defer cancel()
			if _, err := s.node(leader).Put(ctx, store.Pair{Key: []byte(key), Value: []byte("v")}); err != nil {
				t.Fatalf("put %s: %v", key, err)
			}
		}
		put("before")
		before := s.node(leader).Status()
		e := s.impersonate(evil)
		for name, attack := range attacks(before.Term) {
			for i := range victims {
				var refusal *raftnet.RemoteError
				if err := attack(e, s.name(i)); !errors.As(err, &refusal) {
					t.Errorf("%s gets %s: %v", s.name(i), name, err)
				}
			}
			put(name)
		}
		if err := e.close(); err != nil {
			t.Error(err)
		}
		if st := s.node(leader).Status(); st.Term != before.Term || st.Role != raftstore.RoleLeader {
			t.Errorf("term %d, %v; before it was %d", st.Term, st.Role, before.Term)
		}
		for i := range victims {
			s.crash(i)
		}
		for i := range victims {
			s.restart(i)
		}
		s.restart(evil)
		leader = s.elected()
		put("after")
		s.sameState()
	})
}

// TestSim_AMemberCantHandOverAnothersOffice: told to stand for election by one
// that doesn't lead, a follower would end the leader's term.
func TestSim_AMemberCantHandOverAnothersOffice(t *testing.T) {
	t.Parallel()
	simulate(t, 43, 3, nil, func(s *sim) {
		const evil = 2
		s.crash(evil)
		leader := s.elected(0, 1)
		before := s.node(leader).Status()
		e := s.impersonate(evil)
		for i := range evil {
			var refusal *raftnet.RemoteError
			to := s.name(i)
			err := e.TimeoutNow(raft.ServerID(to), raft.ServerAddress(to), nil, new(raft.TimeoutNowResponse))
			if !errors.As(err, &refusal) {
				t.Errorf("%s is told to stand for election: %v", to, err)
			}
		}
		ctx, cancel := context.WithTimeout(s.ctx, electMax)
		defer cancel()
		if _, err := s.node(leader).Put(ctx, store.Pair{Key: []byte("k"), Value: []byte("v")}); err != nil {
			t.Error(err)
		}
		if st := s.node(leader).Status(); st.Term != before.Term || st.Role != raftstore.RoleLeader {
			t.Errorf("term %d, %v; before it was %d", st.Term, st.Role, before.Term)
		}
		if err := e.close(); err != nil {
			t.Error(err)
		}
		s.restart(evil)
		s.elected()
	})
}

// frozen is a reader whose sender hangs in the midst.
type frozen struct{ ctx context.Context }

func (f frozen) Read([]byte) (int, error) {
	<-f.ctx.Done()
	return 0, f.ctx.Err()
}

// TestSim_SilenceWithinASnapshot has a member announce a snapshot and say no
// more, to both others. Writes go on, and so does the election after it.
func TestSim_SilenceWithinASnapshot(t *testing.T) {
	t.Parallel()
	simulate(t, 42, 3, nil, func(s *sim) {
		const evil = 2
		s.crash(evil)
		leader := s.elected(0, 1)
		e := s.impersonate(evil)
		ctx, cancel := context.WithCancel(s.ctx)
		ended := make(chan error, 2)
		for i := range 2 {
			req := &raft.InstallSnapshotRequest{
				Term: s.node(leader).Status().Term, LastLogIndex: 1 << 20, LastLogTerm: 1, ConfigurationIndex: 1, Size: 1 << 30,
				Configuration: raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "node-3", Address: "node-3"}}}),
			}
			to := s.name(i)
			go func() {
				ended <- e.InstallSnapshot(raft.ServerID(to), raft.ServerAddress(to), req, new(raft.InstallSnapshotResponse), frozen{ctx})
			}()
		}
		time.Sleep(time.Second) // both are in the midst of it
		for i := range 10 {
			begun := time.Now()
			if _, err := s.node(leader).Put(s.ctx, store.Pair{Key: fmt.Appendf(nil, "k%d", i), Value: []byte("v")}); err != nil || time.Since(begun) > time.Second {
				t.Errorf("put: %v after %v", err, time.Since(begun))
			}
		}
		begun := time.Now()
		if err := s.node(leader).TransferLeadership(s.ctx); err != nil {
			t.Error(err)
		}
		if next := s.elected(0, 1); next == leader || time.Since(begun) > electMax/2 {
			t.Errorf("%s leads after %v", s.name(next), time.Since(begun))
		}
		cancel()
		for range 2 {
			if err := <-ended; err == nil {
				t.Error("a snapshot that did not come was taken")
			}
		}
		if err := e.close(); err != nil {
			t.Error(err)
		}
		s.restart(evil)
		s.elected()
		s.sameState()
	})
}

// slowLinks is a network on which each direction of each connection carries so
// many bytes a second.
type slowLinks struct {
	transport.Network
	bytesPerSecond int
}

func (l slowLinks) Listen(ctx context.Context, addr string) (net.Listener, error) {
	inner, err := l.Network.Listen(ctx, addr)
	return slowListener{inner, l.bytesPerSecond}, err
}

func (l slowLinks) DialContext(ctx context.Context, addr string) (net.Conn, error) {
	c, err := l.Network.DialContext(ctx, addr)
	if err != nil {
		return nil, err
	}
	return slowConn{c, l.bytesPerSecond}, nil
}

type slowListener struct {
	net.Listener
	bytesPerSecond int
}

func (l slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return slowConn{c, l.bytesPerSecond}, nil
}

type slowConn struct {
	net.Conn
	bytesPerSecond int
}

func (c slowConn) Write(b []byte) (int, error) {
	time.Sleep(time.Duration(len(b)) * time.Second / time.Duration(c.bytesPerSecond))
	return c.Conn.Write(b)
}

// TestSim_SnapshotOverASlowLink has a node join that is too late for the log,
// over links on which the state takes more than a minute.
func TestSim_SnapshotOverASlowLink(t *testing.T) {
	t.Parallel()
	const bytesPerSecond = 50 << 10
	adjust := func(cfg *raftstore.Config) {
		shortLog(cfg)
		cfg.Network = slowLinks{cfg.Network, bytesPerSecond}
	}
	simulate(t, 43, 1, adjust, func(s *sim) {
		for i := range 200 {
			if _, err := s.node(0).Put(s.ctx, store.Pair{Key: fmt.Appendf(nil, "k%03d", i), Value: value(20_000)}); err != nil {
				t.Fatal(err)
			}
		}
		s.outgrow(50)
		begun := time.Now()
		joined := s.join(0)
		s.within(5*time.Minute, "the node has the state", func() error {
			if at := s.node(joined).Status().AppliedIndex; at < 200 {
				return fmt.Errorf("it is at index %d", at)
			}
			return nil
		})
		if took := time.Since(begun); took < time.Minute {
			t.Errorf("it took only %v", took)
		}
		s.sameState()
	})
}
