package raftstore

import (
	"cmp"
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
	methodVouch     = 8
	methodRenew     = 9
	methodRevoke    = 10
	methodOpened    = 11
	methodRotate    = 14

	methodRotateGossip = 15
	methodWord         = 16
)

// handle answers one request of a peer. What a peer may ask depends on what its
// stream was authorized for.
func (n *Node) handle(ctx context.Context, conn *transport.Conn, method uint8, body []byte) ([]byte, error) {
	if err := n.live(); err != nil {
		return nil, err
	}
	peer := conn.Peer()
	ctx = askedBy(ctx, peer.Node, conn.RemoteAddr())
	if conn.Kind() == transport.Join {
		return n.handleStranger(ctx, conn, method, body)
	}
	if err := n.admit(peer.Node); err != nil {
		return nil, cmp.Or(n.notRemoved(peer.Node), err)
	}
	switch method {
	case methodProbe:
		return answer(body, &peerv1.ProbeRequest{}, func(req *peerv1.ProbeRequest) (*peerv1.ProbeResponse, error) {
			return n.handleProbe(peer.Node, req)
		})
	case methodOpened:
		return answer(body, &peerv1.OpenedRequest{}, func(req *peerv1.OpenedRequest) (*peerv1.OpenedResponse, error) {
			return &peerv1.OpenedResponse{}, n.handleOpened(ctx, peer, req)
		})
	case methodVouch:
		return answer(body, &peerv1.VouchRequest{}, n.handleVouch)
	}
	if err := n.asMember(peer.Node); err != nil {
		return nil, err
	}
	return n.handleAsMember(ctx, peer, method, body)
}

// asMember returns why this node doesn't answer what a leader answers a member.
func (n *Node) asMember(peer string) error {
	if n.raft.State() != raft.Leader {
		return fmt.Errorf("%w: node %s", errNotLeader, n.id.NodeID)
	}
	if !n.isMember(peer) {
		return fmt.Errorf("%w: node %s", ErrNotMember, peer)
	}
	return nil
}

// handleLeading answers one request of a member, on the leader.
func (n *Node) handleLeading(ctx context.Context, peer transport.PeerInfo, method uint8, body []byte) ([]byte, error) {
	switch method {
	case methodPropose:
		return answer(body, &peerv1.ProposeRequest{}, func(req *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
			return n.handlePropose(ctx, peer.Node, req)
		})
	case methodReadIndex:
		return answer(body, &peerv1.ReadIndexRequest{}, func(req *peerv1.ReadIndexRequest) (*peerv1.ReadIndexResponse, error) {
			return n.handleReadIndex(ctx, peer.Node, req)
		})
	case methodAddToken:
		return answer(body, &peerv1.AddTokenRequest{}, func(req *peerv1.AddTokenRequest) (*peerv1.AddTokenResponse, error) {
			return n.handleAddToken(ctx, peer.Node, req)
		})
	case methodRenew:
		return answer(body, &peerv1.RenewRequest{}, func(req *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
			return n.renewFor(ctx, peer.Node, req.GetCertificateRequest())
		})
	case methodRevoke:
		return answer(body, &peerv1.RevokeTokenRequest{}, func(req *peerv1.RevokeTokenRequest) (*peerv1.RevokeTokenResponse, error) {
			return &peerv1.RevokeTokenResponse{}, n.handleRevokeToken(ctx, req)
		})
	case methodRotate:
		return answer(body, &peerv1.RotateAuthorityRequest{}, func(*peerv1.RotateAuthorityRequest) (*peerv1.RotateAuthorityResponse, error) {
			return &peerv1.RotateAuthorityResponse{}, n.beginRotation(ctx)
		})
	case methodRotateGossip:
		return answer(body, &peerv1.RotateGossipKeyRequest{}, func(*peerv1.RotateGossipKeyRequest) (*peerv1.RotateGossipKeyResponse, error) {
			return &peerv1.RotateGossipKeyResponse{}, n.orderGossipRotation(ctx)
		})
	case methodRemove:
		return answer(body, &peerv1.RemoveRequest{}, func(req *peerv1.RemoveRequest) (*peerv1.RemoveResponse, error) {
			return &peerv1.RemoveResponse{}, n.remove(ctx, req.GetNodeId())
		})
	}
	return nil, fmt.Errorf("%w: method %d", errBadRequest, method)
}

// handleStranger answers one request on a join stream, which any node of the
// cluster may open.
func (n *Node) handleStranger(ctx context.Context, conn *transport.Conn, method uint8, body []byte) ([]byte, error) {
	if err := n.notRemoved(conn.Peer().Node); err != nil {
		if method == methodJoin && n.raft.State() == raft.Leader {
			n.auditRefused(ctx, auditJoinRefused, transport.SourceOf(conn.RemoteAddr()), err)
		}
		return nil, err
	}
	switch method {
	case methodJoin:
		return answer(body, &peerv1.JoinRequest{}, func(req *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
			return n.handleJoin(ctx, conn, req)
		})
	case methodHello:
		return answer(body, &peerv1.HelloRequest{}, func(req *peerv1.HelloRequest) (*peerv1.HelloResponse, error) {
			return n.handleHello(conn.Peer().Node, req)
		})
	case methodWord:
		return answer(body, &peerv1.WordRequest{}, func(req *peerv1.WordRequest) (*peerv1.WordResponse, error) {
			return &peerv1.WordResponse{}, n.handleWord(ctx, conn.Peer(), req)
		})
	}
	return nil, fmt.Errorf("%w: method %d on a join stream", errBadRequest, method)
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

// handlePropose commits a transaction and nothing else: what changes the cluster
// has methods of its own, with their own checks. That it may add data is told by
// the transaction, not by the peer.
func (n *Node) handlePropose(ctx context.Context, peer string, req *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
	grows, err := n.checkTransaction(ctx, req.GetCommand())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadRequest, err)
	}
	if err := checkOrigin(req.GetRun(), req.GetRequest(), req.GetTerm()); err != nil {
		return nil, err
	}
	o := fsm.Origin{Term: req.GetTerm(), Session: sessionOf(peer, req.GetRun()), Request: req.GetRequest()}
	r, err := n.proposeHere(ctx, o, req.GetCommand(), grows)
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

// checkTransaction is fsm.CheckTransaction for what a peer sends, few at a time:
// decoded for that, one takes up to 45 MB, and 85 times its bytes.
func (n *Node) checkTransaction(ctx context.Context, command []byte) (grows bool, err error) {
	select {
	case n.decoding <- struct{}{}:
		defer func() { <-n.decoding }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return fsm.CheckTransaction(command)
}

func (n *Node) handleAddToken(ctx context.Context, peer string, req *peerv1.AddTokenRequest) (*peerv1.AddTokenResponse, error) {
	ttl := time.Duration(req.GetTtlMs()) * time.Millisecond
	if len(req.GetHash()) != sha256.Size || ttl <= 0 || ttl > tokenTTLMax {
		return nil, fmt.Errorf("%w: token of %d bytes for %v", errBadRequest, len(req.GetHash()), ttl)
	}
	pin, err := n.addToken(ctx, fsm.TokenHash(req.GetHash()), req.GetNodeId(), peer, ttl)
	resp := &peerv1.AddTokenResponse{}
	if pin != nil {
		resp.Authority = pin[:]
	}
	return resp, err
}

func (n *Node) handleReadIndex(ctx context.Context, peer string, req *peerv1.ReadIndexRequest) (*peerv1.ReadIndexResponse, error) {
	if f := req.GetFence(); f != nil {
		if err := checkOrigin(f.GetRun(), f.GetRequest(), f.GetTerm()); err != nil {
			return nil, err
		}
		session := sessionOf(peer, f.GetRun())
		if err := n.drawFence(ctx, peer, session, fence{f.GetTerm(), f.GetRequest()}); err != nil {
			return nil, err
		}
	}
	r, err := n.rounds.join(ctx)
	if err != nil {
		return nil, err
	}
	if req.GetAppliedIndex() < r.index {
		n.proposer.nudge() // else the peer waits for raft's CommitTimeout
	}
	return &peerv1.ReadIndexResponse{Index: r.index, Term: r.term}, nil
}

// handleProbe answers whoever tells addresses with those that this node knows.
func (n *Node) handleProbe(peer string, req *peerv1.ProbeRequest) (*peerv1.ProbeResponse, error) {
	var members []*peerv1.Member
	if len(req.GetMembers()) > 0 {
		n.hear(peer, req.GetMembers())
		members = n.memberAddresses()
	}
	if leader, err := n.leaderID(); err == nil && leader == peer {
		n.compareWithQuorum(peer, req.GetAgreedIndex(), req.GetAgreedHash())
	}
	position, opening := n.machine.Position(), n.present()
	resp := &peerv1.ProbeResponse{
		Opening:       opening.Number,
		OpeningNonce:  opening.Nonce[:],
		Members:       members,
		Term:          n.raft.CurrentTerm(),
		AppliedIndex:  position.Index,
		StateHash:     position.Hash[:],
		DiskFreeBytes: n.disk.Free(),
		DiskLow:       n.disk.Low(),
		LastLogIndex:  n.raft.LastIndex(),
		LostLeader:    n.lostLeader(),

		GossipKeysIndex: n.gossipKeysIndex(),
	}
	n.tellAuthorities(resp)
	n.tellEntry(req.GetEntryIndex(), resp)
	return resp, nil
}

// probe asks a node for its term and health.
func (n *Node) probe(ctx context.Context, node string, members []*peerv1.Member) (*peerv1.ProbeResponse, error) {
	var resp peerv1.ProbeResponse
	req := &peerv1.ProbeRequest{Members: members}
	if c := n.agreed.get(); members != nil && n.raft.State() == raft.Leader {
		req.AgreedIndex, req.AgreedHash = c.index, c.hash[:]
	}
	if err := n.call(ctx, node, methodProbe, req, &resp); err != nil {
		return nil, err
	}
	return &resp, nil
}

// errBadRequest: a peer sent what no version of this node sends.
var errBadRequest = errors.New("bad request")
