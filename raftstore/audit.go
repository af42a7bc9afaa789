package raftstore

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
)

// Audit lines tell who changed the cluster's membership and trust: each has the
// attribute "audit" with one of these names, which are documented and stay as
// they are. The leader that did it writes the line, and nobody else.
const (
	auditFounded           = "cluster_founded"
	auditTokenCreated      = "token_created"
	auditTokenRevoked      = "token_revoked"
	auditJoinGranted       = "join_granted"
	auditJoinRefused       = "join_refused"
	auditServerAdded       = "server_added"
	auditServerPromoted    = "server_promoted"
	auditNodeBarred        = "node_barred"
	auditServerRemoved     = "server_removed"
	auditCertIssued        = "certificate_issued"
	auditCertRenewed       = "certificate_renewed"
	auditRenewalRefused    = "renewal_refused"
	auditAuthorityAdded    = "authority_added"
	auditAuthorityPromoted = "authority_promoted"
	auditAuthorityDropped  = "authority_dropped"
	auditWordTaken         = "word_taken"      // by a node that was away
	auditLearnedOfRemoval  = "removal_learned" // by the node that was removed
	auditGossipRotation    = "gossip_rotation_ordered"
)

// asker is who asked for what a node does.
type asker struct {
	node string   // empty for a stranger
	from net.Addr // nil for the node itself
}

// askerKey is where a context has the asker of a request.
type askerKey struct{}

// askedBy notes in ctx that a peer asked.
func askedBy(ctx context.Context, node string, from net.Addr) context.Context {
	return context.WithValue(ctx, askerKey{}, asker{node: node, from: from})
}

// audit writes one audit line: an event, who asked for it according to ctx, this
// node itself where ctx doesn't tell, and attributes. They must not have secrets.
func (n *Node) audit(ctx context.Context, event string, attributes ...slog.Attr) {
	by, asked := ctx.Value(askerKey{}).(asker)
	if !asked {
		by.node = n.id.NodeID
	}
	line := []slog.Attr{slog.String("audit", event)}
	if by.node != "" {
		line = append(line, slog.String("by", by.node))
	}
	if by.from != nil {
		line = append(line, slog.String("from", hostOf(by.from)))
	}
	n.log.LogAttrs(ctx, slog.LevelInfo, "audit", append(line, attributes...)...)
}

// auditDone is audit for what ended in err: nothing is written where it did not
// happen, and where nobody knows the line says so.
func (n *Node) auditDone(ctx context.Context, event string, err error, attributes ...slog.Attr) {
	switch {
	case err == nil:
		n.audit(ctx, event, attributes...)
	case errors.Is(err, store.ErrUnknownOutcome):
		n.audit(ctx, event, append(attributes, slog.String("outcome", "unknown"))...)
	}
}

// auditRefused is audit for a request that was refused. Whoever can ask can be
// refused as often as it likes: of one source a few lines a minute are written,
// and the next one tells how many were left out.
func (n *Node) auditRefused(ctx context.Context, event, source string, why error, attributes ...slog.Attr) {
	leftOut, ok := n.refusalLines.take(source, time.Now())
	if !ok {
		return
	}
	text := why.Error()
	attributes = append(attributes, slog.String("error", text[:min(len(text), auditTextMax)]))
	if leftOut > 0 {
		attributes = append(attributes, slog.Uint64("left_out", leftOut))
	}
	n.audit(ctx, event, attributes...)
}

// auditTextMax bounds a text that a stranger has a say in.
const auditTextMax = 256

// hostOf is the host of an address.
func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}

// tokenAttr names a join token without giving it away.
func tokenAttr(id fsm.TokenID) slog.Attr { return slog.String("token", id.String()) }

// keyAttr names a node's key: the SHA-256 of its SubjectPublicKeyInfo.
func keyAttr(key fsm.KeyHash) slog.Attr { return slog.String("key", hex.EncodeToString(key[:])) }

// certificateAttrs name a certificate that was issued.
func certificateAttrs(chain [][]byte) []slog.Attr {
	cert, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil // whoever gets it will say so
	}
	return []slog.Attr{slog.String("serial", cert.SerialNumber.Text(16)), slog.Time("not_after", cert.NotAfter)}
}

// Bounds of the lines about refusals within a window.
const (
	refusalLinesWindow    = time.Minute
	refusalLinesPerSource = 10
	refusalLinesMax       = 100 // of all sources, so also of sources remembered
)

// refusalLines bounds the lines about refusals.
type refusalLines struct {
	mu      sync.Mutex // guards the fields below
	since   time.Time  // when the window began
	written int
	sources map[string]int // lines written
	leftOut uint64         // since the last line
}

// take tells whether a line may be written now, and how many were not since the
// last one.
func (l *refusalLines) take(source string, now time.Time) (leftOut uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.since) >= refusalLinesWindow {
		l.since, l.written, l.sources = now, 0, make(map[string]int)
	}
	if l.written >= refusalLinesMax || l.sources[source] >= refusalLinesPerSource {
		l.leftOut++
		return 0, false
	}
	l.written++
	l.sources[source]++
	leftOut, l.leftOut = l.leftOut, 0
	return leftOut, true
}
