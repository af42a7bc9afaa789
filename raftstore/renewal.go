package raftstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
	"github.com/spire-raft/spire-raft/transport"
)

// renewFor issues another certificate for a node, on the leader. The key is the
// one that it was admitted with. A leader that has lost its office without knowing
// it issues nothing: the authority may have been replaced.
func (n *Node) renewFor(ctx context.Context, node string, request []byte) (*peerv1.RenewResponse, error) {
	_, key, err := authority.CheckRequest(request)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadRequest, err)
	}
	if err := n.linearize(ctx); err != nil {
		return nil, err
	}
	view, err := n.machine.View()
	if err != nil {
		return nil, n.explain(err)
	}
	defer view.Close()
	admission, found, err := view.Admission(node)
	if err != nil {
		return nil, err
	}
	if !found || admission.Key != key {
		err := fmt.Errorf("%w: node %s is not admitted with this key", ErrNotMember, node)
		n.auditRefused(ctx, auditRenewalRefused, node, err, slog.String("server", node), keyAttr(key))
		return nil, err
	}
	chain, _, err := n.issue(ctx, applicant{node: node, disk: admission.DiskID, request: request})
	if err != nil {
		return nil, err
	}
	n.audit(ctx, auditCertRenewed, append(certificateAttrs(chain), slog.String("server", node), keyAttr(key))...)
	return &peerv1.RenewResponse{Chain: chain}, nil
}

// renewTries is how often a certificate's last third has room for a renewal
// that fails.
const renewTries = 60

// renewWaitMax bounds the wait for the next try.
const renewWaitMax = time.Minute

// rotationRetryWait is the same where the authority was replaced: everybody waits
// for this node then.
const rotationRetryWait = time.Second

// renewCertificate renews the certificate at two thirds of its life, or when
// another authority issues, and tries again until that succeeds.
func (n *Node) renewCertificate(ctx context.Context) {
	if n.own == nil {
		return
	}
	for least := time.Duration(0); ; { // the first time at once, if need be
		issued, end := n.own.Validity()
		life := end.Sub(issued)
		wait := time.Until(issued.Add(life * 2 / 3))
		outdated := n.rotation.outdated(n.own.Issuer())
		if outdated {
			wait, least = 0, min(least, rotationRetryWait)
		}
		select {
		case <-time.After(max(least, wait)):
		case <-n.rotation.renew:
			least = 0
			continue
		case <-ctx.Done():
			return
		}
		least = min(life/3/renewTries, renewWaitMax)
		switch err := n.renew(ctx); {
		case err == nil && outdated:
			// What is under way on streams with the old certificate ends before
			// peers cut them.
			n.clients.ReplaceWhere(func(string) bool { return true }, replaceGrace)
		case err != nil && ctx.Err() == nil:
			n.log.Warn("certificate not renewed, trying again", "expires", end, "error", err)
		}
	}
}

func (n *Node) renew(ctx context.Context) error {
	request, err := n.own.Request()
	err = errors.Join(err, n.cfg.beforeRenewal())
	if err != nil {
		return err
	}
	var resp *peerv1.RenewResponse
	err = n.onLeader(ctx,
		func(ctx context.Context) (err error) {
			resp, err = n.renewFor(ctx, n.id.NodeID, request)
			return err
		},
		func(ctx context.Context, leader string) error {
			resp = new(peerv1.RenewResponse)
			return n.call(ctx, leader, methodRenew, &peerv1.RenewRequest{CertificateRequest: request}, resp)
		})
	if err != nil {
		return err
	}
	if err := n.own.Renew(resp.GetChain()); err != nil {
		return err
	}
	if n.rotation.outdated(n.own.Issuer()) {
		return fmt.Errorf("%w: it is of an authority that is being replaced", transport.ErrUntrusted)
	}
	return nil
}
