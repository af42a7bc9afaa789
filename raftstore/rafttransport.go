package raftstore

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/transport"
)

// Settings of raft's own transport, on top of ours.
const (
	raftPoolConns = 3
	raftIOTimeout = 5 * time.Second

	// raftInFlightMax of 1 switches pipelining off. When a follower refuses a
	// pipelined request, or knows a later term, raft can wait for itself
	// (hashicorp/raft#612): the follower gets heartbeats but no entries for as
	// long as the leader leads, and the leader can't be shut down.
	raftInFlightMax = 1

	// snapshotBytesPerTimeout is how much of a snapshot must pass in one
	// raftIOTimeout. Raft's default of 256 KiB would let a stuck transfer of
	// 4 GiB hang for a day.
	snapshotBytesPerTimeout = 32 << 20
)

// raftTransport is raft's network transport without the fast path for
// heartbeats. Raft runs the fast path on the connection's goroutine, beside
// its main one, and both change term and state: committed entries could then
// differ between nodes (hashicorp/raft#695). Without a handler heartbeats queue
// with all other requests. They then wait behind a disk that stalls, which is
// why HeartbeatTimeout is not shorter.
type raftTransport struct {
	*raft.NetworkTransport
}

var (
	_ raft.Transport   = (*raftTransport)(nil)
	_ raft.WithPreVote = (*raftTransport)(nil)
)

// SetHeartbeatHandler ignores the handler.
func (*raftTransport) SetHeartbeatHandler(func(raft.RPC)) {}

// RequestVote implements [raft.Transport].
func (t *raftTransport) RequestVote(id raft.ServerID, target raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return pastBroken(func() error { return t.NetworkTransport.RequestVote(id, target, req, resp) })
}

// RequestPreVote implements [raft.WithPreVote].
func (t *raftTransport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return pastBroken(func() error { return t.NetworkTransport.RequestPreVote(id, target, req, resp) })
}

// TimeoutNow implements [raft.Transport].
func (t *raftTransport) TimeoutNow(id raft.ServerID, target raft.ServerAddress, req *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return pastBroken(func() error { return t.NetworkTransport.TimeoutNow(id, target, req, resp) })
}

// pastBroken calls again while it meets a connection that has broken, since
// those to a node that was started anew lie in the pool until they are used.
// Each would cost an election: raft counts the failure as a refusal. What is
// called may arrive twice.
func pastBroken(call func() error) (err error) {
	for range raftPoolConns + 1 {
		if err = call(); !isBroken(err) {
			return err
		}
	}
	return err
}

func isBroken(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func newRaftTransport(base context.Context, t *transport.Transport, self string, log hclog.Logger) *raftTransport {
	n := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:                  &streamLayer{base: base, Listener: t.Listener(transport.Raft), transport: t, self: nodeAddr(self)},
		Logger:                  log,
		MaxPool:                 raftPoolConns,
		MaxRPCsInFlight:         raftInFlightMax,
		Timeout:                 raftIOTimeout,
		MsgpackUseNewTimeFormat: true,
	})
	n.TimeoutScale = snapshotBytesPerTimeout
	return &raftTransport{n}
}

// streamLayer gives raft its streams. An address is a node id here: the
// transport looks up where the node is and makes sure that it is that node,
// so that a change of address changes no configuration.
type streamLayer struct {
	net.Listener
	base      context.Context // the node's: raft gives none
	transport *transport.Transport
	self      nodeAddr
}

// Dial implements [raft.StreamLayer].
func (s *streamLayer) Dial(node raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.base, timeout)
	defer cancel()
	return s.transport.Dial(ctx, transport.Raft, string(node))
}

// Addr implements [net.Listener] with the node's own id.
func (s *streamLayer) Addr() net.Addr { return s.self }

// nodeAddr is a node id as a network address.
type nodeAddr string

func (nodeAddr) Network() string  { return "spire-raft" }
func (a nodeAddr) String() string { return string(a) }
