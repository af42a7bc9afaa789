package raftstore

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"github.com/spire-raft/spire-raft/fsm"
	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
	"github.com/spire-raft/spire-raft/raftstore/internal/identity"
	"github.com/spire-raft/spire-raft/store"
)

// tokenTTLMax bounds the life of a token.
const tokenTTLMax = 7 * 24 * time.Hour

// CreateJoinToken returns a token with which one node may join the cluster
// within ttl, at most a week. The cluster keeps only its hash. Call it on any
// node that stays: unused, the token goes when this node is removed. Keep the
// token secret, and don't log it.
func (n *Node) CreateJoinToken(ctx context.Context, ttl time.Duration) (string, error) {
	return n.CreateJoinTokenFor(ctx, "", ttl)
}

// CreateJoinTokenFor is CreateJoinToken for a token that only the node with this
// id may use. An empty id lets any.
func (n *Node) CreateJoinTokenFor(ctx context.Context, nodeID string, ttl time.Duration) (string, error) {
	if ttl < time.Millisecond || ttl > tokenTTLMax {
		return "", fmt.Errorf("ttl %v of a join token is not between 1ms and %v", ttl, tokenTTLMax)
	}
	if nodeID != "" {
		if err := identity.CheckID(nodeID); err != nil {
			return "", fmt.Errorf("create join token: node id: %w", err)
		}
	}
	token := authority.NewToken(n.id.ClusterID)
	hash := token.Hash()
	err := n.onLeader(ctx,
		func(ctx context.Context) (err error) {
			token.Pin, err = n.addToken(ctx, hash, nodeID, n.id.NodeID, ttl)
			return err
		},
		func(ctx context.Context, leader string) (err error) {
			req := &peerv1.AddTokenRequest{Hash: hash[:], TtlMs: ttl.Milliseconds(), NodeId: nodeID}
			resp := new(peerv1.AddTokenResponse)
			if err := n.call(ctx, leader, methodAddToken, req, resp); err != nil {
				return err
			}
			token.Pin, err = n.toldPin(resp.GetAuthority())
			return err
		})
	if err != nil {
		return "", fmt.Errorf("create join token: %w", err)
	}
	return token.Text(), nil
}

// addToken stores a token that maker asks for on the leader, whose clock decides
// when it expires, and returns the authority that it has to name, nil where that
// is not the cluster's own. That doesn't change meanwhile: else the token would
// outlive the tokens of its authority.
func (n *Node) addToken(ctx context.Context, hash fsm.TokenHash, nodeID, maker string, ttl time.Duration) (*authority.Pin, error) {
	if err := n.change(ctx); err != nil {
		return nil, err
	}
	defer n.changed()
	pin, err := n.pin()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	err = n.proposeToken(ctx, fsm.EncodeAddJoinToken(hash, nodeID, maker, now.Add(ttl), now))
	n.auditDone(ctx, auditTokenCreated, err, tokenAttr(hash.ID()), slog.String("server", nodeID), slog.Time("expires", now.Add(ttl)))
	return pin, err
}

// toldPin is the authority that the leader says a token has to name.
func (n *Node) toldPin(told []byte) (*authority.Pin, error) {
	if n.own == nil {
		return nil, nil
	}
	if len(told) != len(authority.Pin{}) {
		return nil, fmt.Errorf("%w: the leader names no authority for the token", store.ErrUnknownOutcome)
	}
	return (*authority.Pin)(told), nil
}

// proposeToken commits a command about a token.
func (n *Node) proposeToken(ctx context.Context, cmd []byte) error {
	result, err := n.proposer.propose(ctx, cmd)
	if err != nil {
		return err
	}
	if result.Outcome != fsm.Committed {
		return fmt.Errorf("%w: %s", store.ErrInvalid, result.Detail)
	}
	return nil
}

// JoinToken is a join token without its secret.
type JoinToken struct {
	ID      string
	Expires time.Time
	NodeID  string // the only node that may use it, empty if any may
	MadeBy  string // the node that it was made on; unused it goes with that one's removal
	UsedBy  string // the node that has used it, empty if none has
}

// ListJoinTokens returns the join tokens that nodes may still use, and those that
// members have used.
func (n *Node) ListJoinTokens(ctx context.Context) ([]JoinToken, error) {
	ctx, cancel := n.bound(ctx)
	defer cancel()
	if err := n.linearize(ctx); err != nil {
		return nil, fmt.Errorf("list join tokens: %w", err)
	}
	view, err := n.machine.View()
	if err != nil {
		return nil, n.explain(err)
	}
	defer view.Close()
	stored, err := view.JoinTokens()
	if err != nil {
		return nil, err
	}
	var tokens []JoinToken
	for _, t := range stored {
		expires := time.UnixMilli(t.ExpiresUnixMS)
		if t.UsedBy == "" && !expires.After(time.Now()) {
			continue // it goes with the next command about tokens
		}
		tokens = append(tokens, JoinToken{ID: t.ID.String(), Expires: expires, NodeID: t.NodeID, MadeBy: t.MadeBy, UsedBy: t.UserNode()})
	}
	return tokens, nil
}

// RevokeJoinToken drops the token with an id that ListJoinTokens tells. The error
// is store.ErrInvalid where there is none that a node could still use.
func (n *Node) RevokeJoinToken(ctx context.Context, id string) error {
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != len(fsm.TokenID{}) {
		return fmt.Errorf("%w: %q is not the id of a join token", store.ErrInvalid, id)
	}
	err = n.onLeader(ctx,
		func(ctx context.Context) error {
			return n.revokeToken(ctx, fsm.TokenID(raw))
		},
		func(ctx context.Context, leader string) error {
			return n.call(ctx, leader, methodRevoke, &peerv1.RevokeTokenRequest{Id: raw}, &peerv1.RevokeTokenResponse{})
		})
	if err != nil {
		return fmt.Errorf("revoke join token: %w", err)
	}
	return nil
}

func (n *Node) handleRevokeToken(ctx context.Context, req *peerv1.RevokeTokenRequest) error {
	if len(req.GetId()) != len(fsm.TokenID{}) {
		return fmt.Errorf("%w: token id of %d bytes", errBadRequest, len(req.GetId()))
	}
	return n.revokeToken(ctx, fsm.TokenID(req.GetId()))
}

// revokeToken drops a token on the leader.
func (n *Node) revokeToken(ctx context.Context, id fsm.TokenID) error {
	err := n.proposeToken(ctx, fsm.EncodeRevokeJoinToken(id))
	n.auditDone(ctx, auditTokenRevoked, err, tokenAttr(id))
	return err
}

// checkToken returns what the state knows the token by. It is ErrToken where the
// command that uses it would be refused, as far as the state tells now.
func (n *Node) checkToken(text string, who applicant) (fsm.TokenHash, error) {
	token, err := authority.ParseToken(text, n.id.ClusterID)
	if err != nil {
		return fsm.TokenHash{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	hash := fsm.TokenHash(token.Hash())
	view, err := n.machine.View()
	if err != nil {
		return hash, n.explain(err)
	}
	defer view.Close()
	if view.Position().TermStartTerm != n.raft.CurrentTerm() {
		return hash, fmt.Errorf("%w: node %s has just been elected", errNotLeader, n.id.NodeID) // it may not know all tokens yet
	}
	stored, found, err := view.JoinToken(hash)
	switch {
	case err != nil:
		return hash, err
	case !found, stored.UsedBy == "" && !time.UnixMilli(stored.ExpiresUnixMS).After(time.Now()):
		return hash, fmt.Errorf("%w: the join token is unknown or has expired: make a new one", ErrToken)
	case stored.NodeID != "" && stored.NodeID != who.node:
		return hash, fmt.Errorf("%w: it is for another node than %s: make one for this node, or for any", ErrToken, who.node)
	case stored.UsedBy != "" && stored.UsedBy != fsm.TokenUser(who.node, who.disk):
		return hash, fmt.Errorf("%w: the join token was used by another node: make a new one", ErrToken)
	}
	admission, found, err := view.Admission(who.node)
	if err == nil && found && admission.DiskID == who.disk && !admission.Takes(stored, who.key) {
		err = fmt.Errorf("%w: node %s is admitted with another key, and keeps it: remove it, and give the node a new id", ErrToken, who.node)
	}
	return hash, err
}
