package raftstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
)

// joinCluster asks the nodes at the configured addresses, and the leader that
// they name, to take this node in, until one does or ctx ends. It ends early
// where every answer is one that asking again would not change.
func (n *Node) joinCluster(ctx context.Context) error {
	if _, err := n.joinToken(); err != nil {
		return err
	}
	told := ""
	for {
		var errs []error
		hopeless := true
		for _, address := range n.cfg.Join.Addresses {
			err := n.joinThrough(ctx, address)
			if err == nil {
				return nil
			}
			errs = append(errs, fmt.Errorf("join through %s: %w", address, err))
			hopeless = hopeless && final(err)
		}
		err := errors.Join(errs...)
		if hopeless {
			return err
		}
		if text := err.Error(); text != told {
			n.log.Warn("not joined yet, trying on", "error", err)
			told = text
		}
		if n.leadership.wait(ctx) != nil {
			return fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// final tells whether asking again would not help.
func final(err error) bool {
	for _, reason := range []error{
		ErrToken, ErrNotMember, ErrAlreadyMember, ErrRemoved, ErrMismatch,
		transport.ErrUntrusted, transport.ErrExpired, transport.ErrOtherCluster, transport.ErrNotAuthorized,
	} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// joinThrough asks the node at address and, where that names a leader, the
// leader.
func (n *Node) joinThrough(ctx context.Context, address string) error {
	resp, err := n.askToJoin(ctx, address)
	if err == nil && resp.GetLeader() != nil {
		resp, err = n.askToJoin(ctx, resp.GetLeader().GetAddress())
	}
	if err != nil {
		return err
	}
	if len(resp.GetMembers()) == 0 {
		return fmt.Errorf("%w, and no leader is known there", errNotLeader)
	}
	if err := n.enterLife(resp.GetInstance(), false); err != nil {
		return err
	}
	if err := n.takeCertificate(resp); err != nil {
		return err
	}
	n.learn(resp.GetMembers())
	for _, m := range resp.GetMembers() {
		n.trust(m.GetNodeId())
	}
	return nil
}

// askToJoin sends one request.
func (n *Node) askToJoin(ctx context.Context, address string) (*peerv1.JoinResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.RequestTimeout)
	defer cancel()
	req := &peerv1.JoinRequest{Token: n.cfg.Join.Token, Address: n.advertised, DiskId: n.id.DiskID, NodeId: n.id.NodeID}
	if n.own != nil {
		var err error
		if req.CertificateRequest, err = n.own.Request(); err != nil {
			return nil, err
		}
	}
	conn, err := n.dialToJoin(ctx, address)
	if err != nil {
		return nil, err
	}
	var resp peerv1.JoinResponse
	if err := callOver(ctx, conn, methodJoin, req, &resp); err != nil {
		return nil, err
	}
	return &resp, nil
}

// handleJoin takes the peer into the configuration as a non-voter. It gets its
// vote later, see promote. Asking again with the same token is harmless. A token
// that is no good is refused before anything waits for it, or is written.
func (n *Node) handleJoin(ctx context.Context, conn *transport.Conn, req *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	if len(n.configuration().Servers) == 0 {
		return nil, fmt.Errorf("%w: node %s belongs to no cluster yet, or its data was wiped; join through another node",
			ErrNotMember, n.id.NodeID)
	}
	if n.raft.State() != raft.Leader {
		if err := n.mayKnowLeader(conn.Peer().Node, req.GetToken()); err != nil {
			return nil, err
		}
		return n.leaderForJoin(), nil
	}
	source := transport.SourceOf(conn.RemoteAddr())
	if err := n.failedJoins.allow(source, time.Now()); err != nil {
		n.auditRefused(ctx, auditJoinRefused, source, err)
		return nil, err
	}
	who, err := n.applicant(conn, req)
	if err != nil {
		n.auditRefused(ctx, auditJoinRefused, source, err)
		return nil, err
	}
	hash, err := n.checkToken(req.GetToken(), who)
	if errors.Is(err, ErrToken) {
		n.failedJoins.failed(source, time.Now())
	}
	if err == nil {
		end, busy := n.adminCalls.begin(ctx, "token "+hash.ID().String()) // whoever has used one may show it as often as it likes
		if busy != nil {
			return nil, busy
		}
		defer end()
		err = n.canIssue(ctx, who) // before the token is spent
	}
	if err == nil {
		err = n.takeIn(ctx, who, hash, req.GetAddress())
	}
	if err != nil {
		if !errors.Is(err, errNotLeader) && !errors.Is(err, store.ErrUnknownOutcome) {
			n.auditRefused(ctx, auditJoinRefused, source, err, who.attrs(hash)...)
		}
		return nil, err
	}
	resp := &peerv1.JoinResponse{Members: n.memberAddresses(), Instance: n.instance()}
	if who.request != nil {
		chain, roots, err := n.issue(ctx, who)
		if err != nil {
			return nil, err
		}
		resp.Chain, resp.Roots, resp.AuthorityIndex = chain, roots.Certificates, roots.Index
		n.audit(ctx, auditCertIssued, append(who.attrs(hash), certificateAttrs(resp.GetChain())...)...)
	}
	return resp, nil
}

// takeIn spends a token for a node and makes it a member.
func (n *Node) takeIn(ctx context.Context, who applicant, hash fsm.TokenHash, address string) error {
	if err := n.change(ctx); err != nil {
		return err
	}
	defer n.changed()
	if err := n.admissible(who.node, who.disk); err != nil {
		return err
	}
	result, err := n.proposer.propose(ctx, fsm.EncodeUseJoinToken(hash, who.node, who.disk, who.key, time.Now()))
	if err != nil {
		n.auditDone(ctx, auditJoinGranted, err, who.attrs(hash)...)
		return err
	}
	if result.Outcome != fsm.Committed {
		return fmt.Errorf("%w: %s", ErrToken, result.Detail)
	}
	n.audit(ctx, auditJoinGranted, who.attrs(hash)...)
	n.learnAddress(who.node, address)
	if n.isMember(who.node) {
		return nil
	}
	f := n.raft.AddNonvoter(raft.ServerID(who.node), raft.ServerAddress(who.node), 0, n.cfg.RequestTimeout)
	err = changeError(f)
	n.auditDone(ctx, auditServerAdded, err, append(who.attrs(hash), slog.String("address", address))...)
	if err != nil {
		return fmt.Errorf("add server: %w", err)
	}
	return nil
}

// admissible returns why a node may not join. One that is a member may only
// repeat its request, with the same token or another, from the disk that it came
// with: on another it would have forgotten what it has voted for and stored.
func (n *Node) admissible(node, disk string) error {
	view, err := n.machine.View()
	if err != nil {
		return n.explain(err)
	}
	defer view.Close()
	if removed, err := view.Removed(node); err != nil || removed {
		return errors.Join(err, fmt.Errorf("%w: %s", ErrRemoved, node))
	}
	if !n.isMember(node) {
		return nil
	}
	admission, _, err := view.Admission(node)
	if err != nil {
		return err
	}
	if admission.DiskID != disk {
		return fmt.Errorf("%w: %s; remove it first, then join with a new node id", ErrAlreadyMember, node)
	}
	return nil
}

// mayKnowLeader returns errNotLeader where who asks has shown neither a token
// that this node's state knows nor the certificate of a member: strangers are not
// told who leads. A new token may not have come here yet.
func (n *Node) mayKnowLeader(node, text string) error {
	if n.isMember(node) {
		return nil
	}
	token, err := authority.ParseToken(text, n.id.ClusterID)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrToken, err)
	}
	view, err := n.machine.View()
	if err != nil {
		return n.explain(err)
	}
	defer view.Close()
	if _, found, err := view.JoinToken(token.Hash()); err != nil || found {
		return err
	}
	return fmt.Errorf("%w, and node %s doesn't know the join token, or not yet: if it asks for long, make a new one", errNotLeader, n.id.NodeID)
}

// leaderForJoin tells a node that wants to join whom to ask.
func (n *Node) leaderForJoin() *peerv1.JoinResponse {
	leader, err := n.leaderID()
	if err != nil {
		return &peerv1.JoinResponse{}
	}
	address, ok := n.addresses.Get(leader)
	if !ok {
		return &peerv1.JoinResponse{}
	}
	return &peerv1.JoinResponse{Leader: &peerv1.Member{NodeId: leader, Address: address}}
}

// isMember tells whether node is in the newest configuration.
func (n *Node) isMember(node string) bool {
	for _, s := range n.configuration().Servers {
		if string(s.ID) == node {
			return true
		}
	}
	return false
}
