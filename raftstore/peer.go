package raftstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/transport"
)

// Methods of the peer protocol. The numbers are on the wire.
const (
	methodPropose   = 1
	methodReadIndex = 2
	methodProbe     = 3
	methodJoin      = 4
	methodRemove    = 5
	methodAddToken  = 6
	methodHello     = 7
	methodRenew     = 8
	methodRevoke    = 9
)

// handle answers one request of a peer. What a peer may ask depends on what its
// stream was authorized for.
func (n *Node) handle(ctx context.Context, conn *transport.Conn, method uint8, body []byte) ([]byte, error) {
	if err := n.live(); err != nil {
		return nil, err
	}
	peer := conn.Peer()
	if conn.Kind() == transport.Join {
		switch method {
		case methodJoin:
			return answer(body, &peerv1.JoinRequest{}, func(req *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
				return n.handleJoin(ctx, conn, req)
			})
		case methodHello:
			return answer(body, &peerv1.HelloRequest{}, func(*peerv1.HelloRequest) (*peerv1.HelloResponse, error) {
				return &peerv1.HelloResponse{Member: len(n.configuration().Servers) > 0}, nil
			})
		}
		return nil, fmt.Errorf("%w: method %d on a join stream", errBadRequest, method)
	}
	if method == methodProbe {
		return answer(body, &peerv1.ProbeRequest{}, n.handleProbe)
	}
	if n.raft.State() != raft.Leader {
		return nil, fmt.Errorf("%w: node %s", errNotLeader, n.id.NodeID)
	}
	if !n.isMember(peer.Node) {
		return nil, fmt.Errorf("%w: node %s", ErrNotMember, peer.Node)
	}
	switch method {
	case methodPropose:
		return answer(body, &peerv1.ProposeRequest{}, func(req *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
			return n.handlePropose(ctx, req)
		})
	case methodReadIndex:
		return answer(body, &peerv1.ReadIndexRequest{}, func(req *peerv1.ReadIndexRequest) (*peerv1.ReadIndexResponse, error) {
			return n.handleReadIndex(ctx, req)
		})
	case methodAddToken:
		return answer(body, &peerv1.AddTokenRequest{}, func(req *peerv1.AddTokenRequest) (*peerv1.AddTokenResponse, error) {
			return &peerv1.AddTokenResponse{}, n.handleAddToken(ctx, req)
		})
	case methodRenew:
		return answer(body, &peerv1.RenewRequest{}, func(req *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
			return n.renewFor(peer.Node, req.GetCertificateRequest())
		})
	case methodRevoke:
		return answer(body, &peerv1.RevokeTokenRequest{}, func(req *peerv1.RevokeTokenRequest) (*peerv1.RevokeTokenResponse, error) {
			return &peerv1.RevokeTokenResponse{}, n.handleRevokeToken(ctx, req)
		})
	case methodRemove:
		return answer(body, &peerv1.RemoveRequest{}, func(req *peerv1.RemoveRequest) (*peerv1.RemoveResponse, error) {
			return &peerv1.RemoveResponse{}, n.remove(ctx, req.GetNodeId())
		})
	}
	return nil, fmt.Errorf("%w: method %d", errBadRequest, method)
}

// answer decodes a request, handles it and encodes its response.
func answer[Req, Resp proto.Message](body []byte, req Req, handle func(Req) (Resp, error)) ([]byte, error) {
	if err := proto.Unmarshal(body, req); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadRequest, err)
	}
	resp, err := handle(req)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(resp)
}

func (n *Node) handlePropose(ctx context.Context, req *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
	if err := fsm.CheckCommand(req.GetCommand()); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadRequest, err)
	}
	r, err := n.proposeHere(ctx, req.GetCommand(), req.GetGrows())
	if err != nil {
		return nil, err
	}
	return &peerv1.ProposeResponse{
		Outcome:  uint32(r.Outcome),
		Revision: uint64(r.Revision),
		Numbers:  r.Numbers,
		Detail:   r.Detail,
	}, nil
}

func (n *Node) handleAddToken(ctx context.Context, req *peerv1.AddTokenRequest) error {
	ttl := time.Duration(req.GetTtlMs()) * time.Millisecond
	if len(req.GetHash()) != sha256.Size || ttl <= 0 || ttl > tokenTTLMax {
		return fmt.Errorf("%w: token of %d bytes for %v", errBadRequest, len(req.GetHash()), ttl)
	}
	return n.addToken(ctx, fsm.TokenHash(req.GetHash()), req.GetNodeId(), ttl)
}

func (n *Node) handleReadIndex(ctx context.Context, req *peerv1.ReadIndexRequest) (*peerv1.ReadIndexResponse, error) {
	r, err := n.rounds.join(ctx)
	if err != nil {
		return nil, err
	}
	if req.GetAppliedIndex() < r.index {
		n.proposer.nudge() // else the peer waits for raft's CommitTimeout
	}
	return &peerv1.ReadIndexResponse{Index: r.index}, nil
}

func (n *Node) handleProbe(req *peerv1.ProbeRequest) (*peerv1.ProbeResponse, error) {
	n.learn(req.GetMembers())
	position := n.machine.Position()
	return &peerv1.ProbeResponse{
		Term:          n.raft.CurrentTerm(),
		AppliedIndex:  position.Index,
		StateHash:     position.Hash[:],
		DiskFreeBytes: n.disk.Free(),
		DiskLow:       n.disk.Low(),
		LastLogIndex:  n.raft.LastIndex(),
		LostLeader:    n.lostLeader(),
	}, nil
}

// probe asks a node for its term and health.
func (n *Node) probe(ctx context.Context, node string, members []*peerv1.Member) (*peerv1.ProbeResponse, error) {
	var resp peerv1.ProbeResponse
	if err := n.call(ctx, node, methodProbe, &peerv1.ProbeRequest{Members: members}, &resp); err != nil {
		return nil, err
	}
	return &resp, nil
}

// errBadRequest: a peer sent what no version of this node sends.
var errBadRequest = errors.New("bad request")
