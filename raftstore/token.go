package raftstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/spire-raft/spire-raft/fsm"
	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/store"
)

const (
	tokenVersion     = "v1"
	tokenSecretBytes = 32

	// tokenTTLMax bounds the life of a token.
	tokenTTLMax = 7 * 24 * time.Hour
)

// CreateJoinToken returns a token with which one node may join the cluster
// within ttl, at most a week. The cluster keeps only its hash. Call it on any
// node; keep the token secret, and don't log it.
func (n *Node) CreateJoinToken(ctx context.Context, ttl time.Duration) (string, error) {
	if ttl < time.Millisecond || ttl > tokenTTLMax {
		return "", fmt.Errorf("ttl %v of a join token is not between 1ms and %v", ttl, tokenTTLMax)
	}
	secret := make([]byte, tokenSecretBytes)
	_, _ = rand.Read(secret) // never fails, see its documentation
	token := strings.Join([]string{tokenVersion, n.id.ClusterID, base64.RawURLEncoding.EncodeToString(secret)}, "/")

	hash := sha256.Sum256(secret)
	err := n.onLeader(ctx,
		func(ctx context.Context) error { return n.addToken(ctx, hash, ttl) },
		func(ctx context.Context, leader string) error {
			req := &peerv1.AddTokenRequest{Hash: hash[:], TtlMs: ttl.Milliseconds()}
			return n.call(ctx, leader, methodAddToken, req, &peerv1.AddTokenResponse{})
		})
	if err != nil {
		return "", fmt.Errorf("create join token: %w", err)
	}
	return token, nil
}

// addToken stores a token on the leader, whose clock decides when it expires.
func (n *Node) addToken(ctx context.Context, hash fsm.TokenHash, ttl time.Duration) error {
	now := time.Now()
	result, err := n.proposer.propose(ctx, fsm.EncodeAddJoinToken(hash, "", now.Add(ttl), now))
	if err != nil {
		return err
	}
	if result.Outcome != fsm.Committed {
		return fmt.Errorf("%w: %s", store.ErrInvalid, result.Detail)
	}
	return nil
}

// tokenHash checks token against the cluster and returns what the state knows
// it by.
func tokenHash(token, clusterID string) ([sha256.Size]byte, error) {
	parts := strings.Split(token, "/")
	if len(parts) != 3 || parts[0] != tokenVersion {
		return [sha256.Size]byte{}, fmt.Errorf("%w: it is not of the form %s/<cluster>/<secret>: copy the whole token", ErrToken, tokenVersion)
	}
	if parts[1] != clusterID {
		return [sha256.Size]byte{}, fmt.Errorf("%w: it is for cluster %q, this is cluster %q: create one on a node of this cluster", ErrToken, parts[1], clusterID)
	}
	secret, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || len(secret) != tokenSecretBytes {
		return [sha256.Size]byte{}, fmt.Errorf("%w: its secret is damaged: copy the whole token", ErrToken)
	}
	return sha256.Sum256(secret), nil
}
