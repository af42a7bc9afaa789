package raftnet

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	raftv1 "github.com/spire-raft/spire-raft/proto/raft/v1"
)

// inboundPeer is what one peer has open to this server.
type inboundPeer struct {
	streams []*inbound    // the oldest first
	large   chan struct{} // holds a token while a large message is under way
}

// inbound is a stream that a peer has opened. Its goroutine uses it.
type inbound struct {
	*wire
	t    *Transport
	peer string
	from *inboundPeer
	ctx  context.Context // ends when the stream has to make room
	stop context.CancelFunc
}

// acceptWait is the time until the next try where the listener fails.
const acceptWait = time.Second

// accept takes streams until Close.
func (t *Transport) accept() {
	for {
		c, err := t.cfg.Listener.Accept()
		switch {
		case err == nil:
			t.take(c)
			continue
		case t.ctx.Err() != nil, errors.Is(err, net.ErrClosed):
			return
		}
		t.cfg.Log.Error("raft can't accept streams, trying again", "error", err)
		select {
		case <-time.After(acceptWait):
		case <-t.ctx.Done():
			return
		}
	}
}

// take serves a stream in a goroutine of its own.
func (t *Transport) take(c net.Conn) {
	if !t.own(c) {
		return
	}
	in := &inbound{wire: &wire{Conn: c, timeout: t.cfg.Timeout}, t: t, peer: t.cfg.PeerOf(c)}
	in.ctx, in.stop = context.WithCancel(t.ctx)
	t.mu.Lock()
	in.from = t.inbound[in.peer]
	if in.from == nil {
		in.from = &inboundPeer{large: make(chan struct{}, 1)}
		t.inbound[in.peer] = in.from
	}
	in.from.streams = append(in.from.streams, in)
	var oldest *inbound
	if len(in.from.streams) > peerStreamsMax {
		oldest = in.from.streams[0]
		in.from.streams = in.from.streams[1:]
	}
	t.mu.Unlock()
	if oldest != nil {
		oldest.stop()
		t.end(oldest.Conn)
	}
	t.running.Go(in.serve)
}

// serve answers requests until the stream ends.
func (in *inbound) serve() {
	defer func() {
		in.stop()
		in.t.end(in.Conn)
		in.t.mu.Lock()
		defer in.t.mu.Unlock()
		in.from.streams = slices.DeleteFunc(in.from.streams, func(o *inbound) bool { return o == in })
		if len(in.from.streams) == 0 && in.t.inbound[in.peer] == in.from {
			delete(in.t.inbound, in.peer)
		}
	}()
	for {
		err := in.next()
		if errors.Is(err, errProtocol) {
			in.t.warn(in.peer, "raft stream ended: the peer sends what no sane one does", err)
			_ = in.fail(err) // the stream ends anyway
		}
		if err != nil {
			return
		}
	}
}

// next answers one request.
func (in *inbound) next() error {
	h, err := in.header(0)
	if err != nil {
		return err
	}
	if h.size > largeBytes {
		select {
		case in.from.large <- struct{}{}:
			defer func() { <-in.from.large }()
		case <-in.ctx.Done():
			return in.ctx.Err()
		}
	}
	b, err := in.body(h)
	if err != nil {
		return err
	}
	switch h.typ {
	case appendEntries:
		return in.appendEntries(b)
	case vote, preVote:
		return in.vote(h.typ, b)
	case timeoutNow:
		return in.timeoutNow(b)
	case snapshotBegin:
		return in.snapshot(b)
	default:
		return breach("a frame of type %d is no request", h.typ)
	}
}

func (in *inbound) limits() limits {
	return limits{peer: in.peer, term: in.t.cfg.Term(), last: in.t.cfg.LastIndex(), checkCommand: in.t.cfg.CheckCommand}
}

func (in *inbound) appendEntries(b []byte) error {
	m, err := decodeAppend(b)
	if err != nil {
		return err
	}
	req, err := in.limits().append(m)
	if err != nil {
		return err
	}
	if len(req.Entries) > 0 {
		switch err := in.t.cfg.CheckAppend(req); {
		case errors.Is(err, ErrNotThere):
			return in.send(appendEntriesAnswer, &raftv1.AppendEntriesResponse{
				Term: in.t.cfg.Term(), LastIndex: in.t.cfg.LastIndex(), NoRetryBackoff: true,
			})
		case err != nil:
			return breach("%w", err)
		}
	}
	return in.answer(raft.RPC{Command: req}, func(resp any) (frameType, proto.Message) {
		r := resp.(*raft.AppendEntriesResponse)
		return appendEntriesAnswer, &raftv1.AppendEntriesResponse{
			Term: r.Term, LastIndex: r.LastLog, Success: r.Success, NoRetryBackoff: r.NoRetryBackoff,
		}
	})
}

func (in *inbound) vote(typ frameType, b []byte) error {
	m := new(raftv1.VoteRequest)
	if err := decode(b, m); err != nil {
		return err
	}
	if err := in.limits().vote(m); err != nil {
		return err
	}
	if typ == preVote {
		rpc := raft.RPC{Command: &raft.RequestPreVoteRequest{
			RPCHeader: rpcHeader(in.peer), Term: m.Term, LastLogIndex: m.LastIndex, LastLogTerm: m.LastTerm,
		}}
		return in.answer(rpc, func(resp any) (frameType, proto.Message) {
			r := resp.(*raft.RequestPreVoteResponse)
			return voteAnswer, &raftv1.VoteResponse{Term: r.Term, Granted: r.Granted}
		})
	}
	rpc := raft.RPC{Command: &raft.RequestVoteRequest{
		RPCHeader: rpcHeader(in.peer), Term: m.Term,
		LastLogIndex: m.LastIndex, LastLogTerm: m.LastTerm, LeadershipTransfer: m.LeadershipTransfer,
	}}
	return in.answer(rpc, func(resp any) (frameType, proto.Message) {
		r := resp.(*raft.RequestVoteResponse)
		return voteAnswer, &raftv1.VoteResponse{Term: r.Term, Granted: r.Granted}
	})
}

func (in *inbound) timeoutNow(b []byte) error {
	m := new(raftv1.TimeoutNowRequest)
	if err := decode(b, m); err != nil {
		return err
	}
	if m.NodeId != in.peer {
		return breach("the stream of %s brings a message in the name of %.100q", in.peer, m.NodeId)
	}
	// Whoever is told so stands for election, whoever leads. Raft asks nothing of
	// who tells it. This server may tell itself.
	if leader := in.t.cfg.Leader(); in.peer != leader && in.peer != in.t.cfg.NodeID {
		in.t.warn(in.peer, "raft request refused", errNotTheLeader)
		return in.fail(errNotTheLeader)
	}
	return in.answer(raft.RPC{Command: &raft.TimeoutNowRequest{RPCHeader: rpcHeader(in.peer)}}, func(any) (frameType, proto.Message) {
		return timeoutNowAnswer, &raftv1.TimeoutNowResponse{}
	})
}

// errNotTheLeader refuses what only the leader may ask for. The stream goes on: the
// peer may have lost its office this very moment.
var errNotTheLeader = errors.New("only the leader hands its office over")

// answer has raft answer a request, and sends what message makes of that.
func (in *inbound) answer(rpc raft.RPC, message func(resp any) (frameType, proto.Message)) error {
	answers := make(chan raft.RPCResponse, 1) // raft must not wait
	rpc.RespChan = answers
	select {
	case in.t.consumer <- rpc:
	case <-in.ctx.Done():
		return in.ctx.Err()
	}
	select {
	case a := <-answers:
		if a.Error != nil {
			return in.fail(a.Error)
		}
		typ, m := message(a.Response)
		return in.send(typ, m)
	case <-in.ctx.Done():
		return in.ctx.Err()
	}
}

// fail sends an error in place of an answer.
func (in *inbound) fail(err error) error {
	return in.send(failure, &raftv1.Failure{Message: clip(err.Error())})
}

// warnings is what a peer was found to do.
type warnings struct {
	at    time.Time // of the last line in the log
	since int       // breaches since then
}

const (
	warnInterval   = time.Second
	warnedPeersMax = 1024
)

// warn logs a breach, one a second for each peer: it costs a peer little to
// break the protocol.
func (t *Transport) warn(peer, what string, err error) {
	t.mu.Lock()
	w := t.warned[peer]
	if w == nil {
		if len(t.warned) >= warnedPeersMax {
			clear(t.warned)
		}
		w = new(warnings)
		t.warned[peer] = w
	}
	w.since++
	if time.Since(w.at) < warnInterval {
		t.mu.Unlock()
		return
	}
	breaches := w.since
	w.at, w.since = time.Now(), 0
	t.mu.Unlock()
	t.cfg.Log.Warn(what, "peer", peer, "breaches", breaches, "error", err)
}
