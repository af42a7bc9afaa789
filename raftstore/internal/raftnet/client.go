package raftnet

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	raftv1 "github.com/spire-raft/spire-raft/proto/raft/v1"
)

// AppendEntries implements [raft.Transport]. Where args has more entries than
// go into one request it sends, and leaves in args, only the first of them: raft
// looks there for what the follower has got, and sends the others next.
func (t *Transport) AppendEntries(_ raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	args.Entries = fitting(args.Entries)
	req := &raftv1.AppendEntriesRequest{
		NodeId: t.cfg.NodeID, Term: args.Term,
		PreviousIndex: args.PrevLogEntry, PreviousTerm: args.PrevLogTerm,
		CommitIndex: args.LeaderCommitIndex,
		Entries:     make([]*raftv1.Entry, len(args.Entries)),
	}
	for i, e := range args.Entries {
		req.Entries[i] = &raftv1.Entry{Term: e.Term, Type: uint32(e.Type), Data: e.Data, AppendedUnixNs: toUnix(e.AppendedAt)}
	}
	var m raftv1.AppendEntriesResponse
	err := t.call(string(target), appendEntries, req, appendEntriesAnswer, &m, func() error {
		if m.LastIndex > numberMax {
			return breach("an answer has the last index %d", m.LastIndex)
		}
		return checkAnswer(m.Success, &m.Term, args.Term)
	})
	if err != nil {
		return err
	}
	*resp = raft.AppendEntriesResponse{
		RPCHeader: rpcHeader(string(target)), Term: m.Term, LastLog: m.LastIndex, Success: m.Success, NoRetryBackoff: m.NoRetryBackoff,
	}
	return nil
}

// fitting returns as many of the entries, and at least one, as go into a
// request.
func fitting(entries []*raft.Log) []*raft.Log {
	size := 0
	for i, e := range entries {
		if size += len(e.Data); i > 0 && size > appendBytes || i == entriesMax {
			return entries[:i]
		}
	}
	return entries
}

// RequestVote implements [raft.Transport].
func (t *Transport) RequestVote(_ raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	m, err := t.askVote(string(target), vote, &raftv1.VoteRequest{
		Term: args.Term, LastIndex: args.LastLogIndex, LastTerm: args.LastLogTerm, LeadershipTransfer: args.LeadershipTransfer,
	})
	if err != nil {
		return err
	}
	*resp = raft.RequestVoteResponse{RPCHeader: rpcHeader(string(target)), Term: m.Term, Granted: m.Granted}
	return nil
}

// RequestPreVote implements [raft.WithPreVote].
func (t *Transport) RequestPreVote(_ raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	m, err := t.askVote(string(target), preVote, &raftv1.VoteRequest{
		Term: args.Term, LastIndex: args.LastLogIndex, LastTerm: args.LastLogTerm,
	})
	if err != nil {
		return err
	}
	*resp = raft.RequestPreVoteResponse{RPCHeader: rpcHeader(string(target)), Term: m.Term, Granted: m.Granted}
	return nil
}

func (t *Transport) askVote(node string, typ frameType, req *raftv1.VoteRequest) (*raftv1.VoteResponse, error) {
	req.NodeId = t.cfg.NodeID
	m := new(raftv1.VoteResponse)
	err := t.call(node, typ, req, voteAnswer, m, func() error { return checkAnswer(m.Granted, &m.Term, req.Term) })
	return m, err
}

// TimeoutNow implements [raft.Transport].
func (t *Transport) TimeoutNow(_ raft.ServerID, target raft.ServerAddress, _ *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	err := t.call(string(target), timeoutNow, &raftv1.TimeoutNowRequest{NodeId: t.cfg.NodeID},
		timeoutNowAnswer, new(raftv1.TimeoutNowResponse), func() error { return nil })
	*resp = raft.TimeoutNowResponse{RPCHeader: rpcHeader(string(target))}
	return err
}

// call sends a request to a node, decodes the answer into m, and has it
// checked.
//
// Streams to a node that was started anew lie around broken until they are
// used. Each would cost an election, since raft counts a failure as a refusal;
// so one that was used before and is broken is passed over, with all others to
// that node. The request may then arrive twice, which raft's requests can.
func (t *Transport) call(node string, typ frameType, req proto.Message, want frameType, m proto.Message, check func() error) error {
	w := t.takeIdle(node)
	if w != nil {
		err := t.exchange(node, w, typ, req, want, m, check)
		if !isBroken(err) {
			return err
		}
		t.dropIdle(node)
	}
	w, err := t.dial(node)
	if err != nil {
		return err
	}
	return t.exchange(node, w, typ, req, want, m, check)
}

// exchange makes one request on a stream, which it keeps for the next one if
// it is still in order.
func (t *Transport) exchange(node string, w *wire, typ frameType, req proto.Message, want frameType, m proto.Message, check func() error) error {
	err := w.send(typ, req)
	if err == nil {
		err = w.receive(w.timeout, want, m)
	}
	if err == nil {
		err = check()
	}
	var remote *RemoteError
	if err != nil && !errors.As(err, &remote) {
		t.end(w.Conn)
		return err
	}
	t.keepIdle(node, w)
	return err
}

// dial opens a stream.
func (t *Transport) dial(node string) (*wire, error) {
	ctx, cancel := context.WithTimeout(t.ctx, t.cfg.Timeout)
	defer cancel()
	c, err := t.cfg.Dial(ctx, node)
	if err != nil {
		return nil, err
	}
	if !t.own(c) {
		return nil, errClosed
	}
	return &wire{Conn: c, timeout: t.cfg.Timeout}, nil
}

func (t *Transport) takeIdle(node string) *wire {
	t.mu.Lock()
	defer t.mu.Unlock()
	idle := t.idle[node]
	if len(idle) == 0 {
		return nil
	}
	w := idle[len(idle)-1]
	t.idle[node] = idle[:len(idle)-1]
	return w
}

func (t *Transport) keepIdle(node string, w *wire) {
	t.mu.Lock()
	if !t.closed && len(t.idle[node]) < idleStreams {
		t.idle[node] = append(t.idle[node], w)
		t.mu.Unlock()
		return
	}
	t.mu.Unlock()
	t.end(w.Conn)
}

func (t *Transport) dropIdle(node string) {
	t.mu.Lock()
	idle := t.idle[node]
	delete(t.idle, node)
	t.mu.Unlock()
	for _, w := range idle {
		t.end(w.Conn)
	}
}

// isBroken tells whether err says that a connection has ended.
func isBroken(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
