package raftnet

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/spire-raft/spire-raft/transport/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network is a network in memory on which the host of an address is the node.
type network struct {
	t   *testing.T
	net *memnet.Net
}

func newNetwork(t *testing.T) *network {
	return &network{t, memnet.New(memnet.Config{Latency: time.Millisecond})}
}

// node is a transport on the network.
type node struct {
	*Transport
	log   *logBuffer
	dir   string
	close func() // before the test ends
}

// open starts the transport of a node.
func (n *network) open(name string, change ...func(*Config)) *node {
	n.t.Helper()
	l, err := n.net.Host(name).Listen(n.t.Context(), name+":7000")
	if err != nil {
		n.t.Fatal(err)
	}
	log := new(logBuffer)
	cfg := Config{
		NodeID:        name,
		Listener:      l,
		Dial:          func(ctx context.Context, node string) (net.Conn, error) { return n.dial(ctx, name, node) },
		PeerOf:        func(c net.Conn) string { host, _, _ := net.SplitHostPort(c.RemoteAddr().String()); return host },
		Term:          func() uint64 { return 5 },
		LastIndex:     func() uint64 { return 0 },
		Leader:        func() string { return "a" },
		CheckCommand:  checkPlain,
		CheckAppend:   func(*raft.AppendEntriesRequest) error { return nil },
		CheckSnapshot: func(io.Reader, uint64, uint64) error { return nil },
		Dir:           n.t.TempDir(),
		TempPrefix:    "tmp-",
		Free:          func() uint64 { return 1 << 40 },
		Log:           slog.New(slog.NewTextHandler(log, nil)),
	}
	for _, f := range change {
		f(&cfg)
	}
	tr := New(n.t.Context(), cfg)
	x := &node{Transport: tr, log: log, dir: cfg.Dir}
	x.close = sync.OnceFunc(func() {
		if err := tr.Close(); err != nil {
			n.t.Error(err)
		}
	})
	n.t.Cleanup(x.close)
	return x
}

func (n *network) dial(ctx context.Context, from, to string) (net.Conn, error) {
	return n.net.Host(from).DialContext(ctx, to+":7000")
}

// stream opens a stream of a peer that speaks for itself.
func (n *network) stream(from, to string) *wire {
	n.t.Helper()
	c, err := n.dial(n.t.Context(), from, to)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	return &wire{Conn: c, timeout: time.Second}
}

// checkPlain takes commands that begin with "ok".
func checkPlain(data []byte) error {
	if !bytes.HasPrefix(data, []byte("ok")) {
		return errBadCommand
	}
	return nil
}

var errBadCommand = io.ErrNoProgress // any error

// serve answers the requests that reach a node as a raft does that grants and
// has everything, until the test's end or until stop is called. It counts them.
func (n *node) serve(term uint64) (arrived func() int, stop func()) {
	var mu sync.Mutex
	count := 0
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case rpc := <-n.Consumer():
				mu.Lock()
				count++
				mu.Unlock()
				rpc.Respond(grant(rpc, term))
			case <-done:
				return
			}
		}
	}()
	return func() int { mu.Lock(); defer mu.Unlock(); return count }, sync.OnceFunc(func() { close(done); <-ended })
}

func grant(rpc raft.RPC, term uint64) (any, error) {
	switch req := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		return &raft.AppendEntriesResponse{Term: term, Success: true, LastLog: req.PrevLogEntry + uint64(len(req.Entries))}, nil
	case *raft.RequestVoteRequest:
		return &raft.RequestVoteResponse{Term: term, Granted: true}, nil
	case *raft.RequestPreVoteRequest:
		return &raft.RequestPreVoteResponse{Term: term, Granted: true}, nil
	case *raft.InstallSnapshotRequest:
		if _, err := io.Copy(io.Discard, rpc.Reader); err != nil {
			return nil, err
		}
		return &raft.InstallSnapshotResponse{Term: term, Success: true}, nil
	}
	return &raft.TimeoutNowResponse{}, nil
}

type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
