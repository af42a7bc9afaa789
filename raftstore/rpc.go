package raftstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

// dialBackoffMax bounds the time between attempts to reach a peer: one that
// has restarted should be found soon.
const dialBackoffMax = 250 * time.Millisecond

// rpcConfig bounds the connections of the peer protocol. A frame holds the
// largest command.
var rpcConfig = rpc.Config{FrameBytesMax: 8 << 20}

func (n *Node) newClients() *rpc.Peers {
	return rpc.NewPeers(rpc.PeersConfig{
		Dial: func(ctx context.Context, node string) (net.Conn, error) {
			return n.dial(ctx, transport.Peer, node)
		},
		BackoffMax: dialBackoffMax,
		Client:     rpcConfig,
	})
}

// serve answers requests on the streams of one kind until ctx ends.
func (n *Node) serve(ctx context.Context, kind transport.Kind) {
	cfg := servedConfig(kind)
	cfg.Log = n.log
	err := rpc.ServeListener(ctx, n.transport.Listener(kind), cfg, func(c net.Conn) rpc.Handler {
		conn := c.(*transport.Conn) // what a transport's listener accepts
		return func(ctx context.Context, method uint8, body []byte) ([]byte, error) {
			resp, err := n.handle(ctx, conn, method, body)
			return resp, encodeError(err)
		}
	})
	if err != nil && n.live() == nil {
		n.log.Error("no more streams are accepted", "kind", kind.String(), "error", err)
	}
}

// servedConfig bounds what others may have this node hold. All streams of a
// member together have the bounds of one, since it can open many. Strangers are
// no such unit: each of their streams has little.
func servedConfig(kind transport.Kind) rpc.Config {
	cfg := rpcConfig
	cfg.CheckBody = func(method uint8, size int) error { return encodeError(checkRequest(method, size)) }
	if kind == transport.Join {
		cfg.FrameBytesMax, cfg.InFlightMax, cfg.InFlightBytesMax = 256<<10, 4, 256<<10
		return cfg
	}
	cfg.PeerOf = func(c net.Conn) string { return c.(*transport.Conn).Peer().Node }
	return cfg
}

// call sends a request to a server of the configuration and decodes its
// response. Where that says that this node was removed, the others are asked.
func (n *Node) call(ctx context.Context, node string, method uint8, req, resp proto.Message) error {
	send := func(method uint8, body []byte) ([]byte, error) { return n.clients.Call(ctx, node, method, body) }
	err := roundTrip(send, method, req, resp)
	if errors.Is(err, ErrRemoved) {
		n.heardOfRemoval(node)
		return n.explain(&toldError{text: err.Error(), is: errNotLeader}) // it is not taken; whether it's true shows soon
	}
	return err
}

// callOver sends the only request that goes over a connection, which it closes.
func callOver(ctx context.Context, conn net.Conn, method uint8, req, resp proto.Message) error {
	client := rpc.NewClient(conn, rpcConfig)
	defer client.Close()
	send := func(method uint8, body []byte) ([]byte, error) { return client.Call(ctx, method, body) }
	return roundTrip(send, method, req, resp)
}

// roundTrip encodes req, sends it and decodes the response. Where the request
// certainly had no effect because it did not arrive, or not at the leader, the
// error is errNotLeader; where it may have had one, ErrUnknownOutcome.
func roundTrip(send func(method uint8, body []byte) ([]byte, error), method uint8, req, resp proto.Message) error {
	body, err := proto.Marshal(req)
	if err != nil {
		return err
	}
	answer, err := send(method, body)
	if err != nil {
		return decodeError(err)
	}
	if err := decodeAnswer(method, answer, resp); err != nil {
		return fmt.Errorf("%w: response: %w", store.ErrUnknownOutcome, err)
	}
	return nil
}

// decodeAnswer decodes an answer of which no more is believed than its method
// needs.
func decodeAnswer(method uint8, answer []byte, resp proto.Message) error {
	if err := answerBytesMax.check(method, len(answer)); err != nil {
		return err
	}
	return proto.Unmarshal(answer, resp)
}

// The codes of errors on the wire, and what they stand for on both sides. A
// node that doesn't know a code takes it as an unknown outcome.
var errorCodes = []struct {
	code uint32
	err  error
}{
	{1, errNotLeader},
	{2, store.ErrUnknownOutcome},
	{3, store.ErrNoSpace},
	{4, store.ErrInvalid},
	{5, store.ErrTooLarge},
	{6, ErrToken},
	{7, ErrNotMember},
	{8, ErrRemoved},
	{9, ErrQuorumAtRisk},
	{10, errBadRequest},
	{11, ErrAlreadyMember},
	{12, errTooManyJoins},
	{13, ErrCopied},
	{20, ErrRotationUnderWay},
	{21, ErrSealed},
	{22, errTooManyCalls},
}

// encodeError gives err its code. A node that is closed or has failed without
// having taken the request is not the leader, to its peers.
func encodeError(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, store.ErrUnknownOutcome) { // goes before whatever caused it
		return &rpc.Error{Code: 2, Message: err.Error()}
	}
	if errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrFailed) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		err = fmt.Errorf("%w: %w", errNotLeader, err)
	}
	for _, c := range errorCodes {
		if errors.Is(err, c.err) {
			return &rpc.Error{Code: c.code, Message: err.Error()}
		}
	}
	return err
}

// decodeError is the error of a call.
func decodeError(err error) error {
	var remote *rpc.Error
	if !errors.As(err, &remote) {
		if errors.Is(err, rpc.ErrNotSent) {
			return fmt.Errorf("%w: %w", errNotLeader, err)
		}
		return fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
	}
	for _, c := range errorCodes {
		if c.code == remote.Code {
			return &toldError{text: remote.Message, is: c.err}
		}
	}
	return fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
}

// toldError has a text and one meaning: the error of another node, as it told
// it, or one of this node without what it came from.
type toldError struct {
	text string
	is   error
}

func (e *toldError) Error() string { return e.text }
func (e *toldError) Unwrap() error { return e.is }
