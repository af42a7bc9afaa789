package logstore_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
	"github.com/spire-raft/spire-raft/store"
)

// These tests run a real raft on a store that fails, since what they verify
// depends on raft's code: no panic, and a Shutdown that ends.

type nullFSM struct{}

func (nullFSM) Apply(*raft.Log) any                 { return nil }
func (nullFSM) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("no snapshots") }
func (nullFSM) Restore(io.ReadCloser) error         { return errors.New("no snapshots") }

type node struct {
	raft  *raft.Raft
	trans *raft.InmemTransport
	rec   *recorder
}

func raftConfig(id raft.ServerID) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = id
	c.HeartbeatTimeout = 50 * time.Millisecond
	c.ElectionTimeout = 50 * time.Millisecond
	c.LeaderLeaseTimeout = 25 * time.Millisecond
	c.CommitTimeout = 5 * time.Millisecond
	c.Logger = hclog.NewNullLogger()
	return c
}

// startNode starts a node on m and bootstraps it if servers are given.
func startNode(t *testing.T, m *memory, servers ...raft.ServerID) *node {
	t.Helper()
	n := &node{rec: newRecorder()}
	s := logstore.New(m, n.rec.report)
	_, n.trans = raft.NewInmemTransport("n1")
	c, snaps := raftConfig("n1"), raft.NewInmemSnapshotStore()
	var conf raft.Configuration
	for _, id := range servers {
		conf.Servers = append(conf.Servers, raft.Server{ID: id, Address: raft.ServerAddress(id)})
	}
	if len(servers) > 0 {
		if err := raft.BootstrapCluster(c, s, s, snaps, n.trans, conf); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if n.raft, err = raft.NewRaft(c, nullFSM{}, s, s, snaps, n.trans); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.shutdown(t) })
	return n
}

func (n *node) shutdown(t *testing.T) {
	t.Helper()
	within(t, "Shutdown", func() error { return n.raft.Shutdown().Error() })
}

func (n *node) awaitLeader(t *testing.T) {
	t.Helper()
	select {
	case <-n.raft.LeaderCh():
	case <-time.After(10 * time.Second):
		t.Fatal("no leader")
	}
}

func (n *node) awaitFailure(t *testing.T, cause error) {
	t.Helper()
	select {
	case err := <-n.rec.ch:
		if !errors.Is(err, store.ErrFailed) || !errors.Is(err, cause) {
			t.Fatalf("reported %v, want %v", err, cause)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no failure was reported")
	}
}

func within(t *testing.T, what string, fn func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("%s doesn't end", what)
	}
}

func TestRaft_TermThatCannotBeSavedStopsRaftWithoutPanic(t *testing.T) {
	for name, servers := range map[string][]raft.ServerID{
		"as leader":    {"n1"},
		"as candidate": {"n1", "n2"}, // n2 does not vote
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			n := startNode(t, m, servers...)
			_, peer := raft.NewInmemTransport("n2")
			peer.Connect("n1", n.trans)
			n.trans.Connect("n2", peer)
			defer peer.Close()
			if len(servers) == 1 {
				n.awaitLeader(t)
			}
			m.setFail("Set", errIO)
			// A newer leader makes n1 save a newer term.
			req := &raft.AppendEntriesRequest{
				RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("n2"), Addr: []byte("n2")},
				Term:      1000,
			}
			within(t, "AppendEntries", func() error {
				_ = peer.AppendEntries("n1", "n1", req, new(raft.AppendEntriesResponse))
				return nil
			})
			n.awaitFailure(t, errIO)
			n.shutdown(t)
		})
	}
}

func TestRaft_EntryThatCannotBeReadStopsRaftWithoutPanic(t *testing.T) {
	m := newMemory()
	n := startNode(t, m, "n1")
	n.awaitLeader(t)
	for range 3 {
		if err := n.raft.Apply([]byte("x"), time.Second).Error(); err != nil {
			t.Fatal(err)
		}
	}
	last := n.raft.LastIndex()
	n.shutdown(t)

	// raft reads every entry once in NewRaft; the second read is for the fsm.
	m.reads = map[uint64]int{}
	m.readOK = func(i uint64, n int) error {
		if i == last-1 && n > 1 {
			return errIO
		}
		return nil
	}
	n = startNode(t, m)
	n.awaitFailure(t, errIO)
	within(t, "Apply", func() error {
		if n.raft.Apply([]byte("y"), time.Millisecond).Error() == nil {
			return errors.New("succeeded on a stopped store")
		}
		return nil
	})
	n.shutdown(t)
}

func TestRaft_AppendThatFailsEndsInAnErrorAndStepsDown(t *testing.T) {
	m := newMemory()
	n := startNode(t, m, "n1")
	n.awaitLeader(t)
	m.setFail("StoreLogs", errIO)
	within(t, "Apply", func() error {
		if n.raft.Apply([]byte("x"), time.Second).Error() == nil {
			return errors.New("succeeded on a failing disk")
		}
		return nil
	})
	n.awaitFailure(t, errIO)
	m.setFail("StoreLogs", nil)
	select {
	case leads := <-n.raft.LeaderCh():
		if leads {
			t.Error("the node leads again on a store that has stopped")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the leader didn't step down")
	}
	n.shutdown(t)
}

// NewRaft runs on its caller's goroutine, which must get its panic.
func TestRaft_NewRaftOnDamagedLogPanicsInItsCaller(t *testing.T) {
	m := newMemory()
	n := startNode(t, m, "n1")
	n.awaitLeader(t)
	n.shutdown(t)

	m.readOK = func(i uint64, _ int) error {
		if i == 1 {
			return errIO
		}
		return nil
	}
	s := logstore.New(m, nil)
	_, trans := raft.NewInmemTransport("n1")
	defer trans.Close()
	defer func() {
		p := recover()
		if err, ok := p.(error); ok && errors.Is(err, errIO) {
			return
		}
		t.Errorf("got panic %v, want the read error", p)
	}()
	_, err := raft.NewRaft(raftConfig("n1"), nullFSM{}, s, s, raft.NewInmemSnapshotStore(), trans)
	t.Errorf("NewRaft returned (%v)", err)
}
