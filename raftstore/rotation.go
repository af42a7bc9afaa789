package raftstore

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
	"github.com/spire-raft/spire-raft/store"
)

// A rotation of the cluster's own authority is a sequence of entries, so that
// whoever leads goes on with it: a new authority is trusted beside the one that
// issues; when every server has said that it trusts it, it issues; when every
// server has said that it has a certificate of it, the old one is dropped. What a
// server says is about its disk: a restart takes nothing of it back.

// RotationStep is how far a rotation of the cluster's authority is.
type RotationStep string

// The steps of a rotation.
const (
	// RotationTrusting: there is a new authority, which all servers have to trust
	// before it issues.
	RotationTrusting RotationStep = "trusting"

	// RotationRenewing: the new authority issues, and all servers have to get a
	// certificate of it before the old one is dropped.
	RotationRenewing RotationStep = "renewing"
)

// stepOf returns the step that a rotation is at, empty where there is none.
func stepOf(a fsm.Authority) RotationStep {
	switch {
	case len(a.Next) > 0:
		return RotationTrusting
	case len(a.Old) > 0:
		return RotationRenewing
	}
	return ""
}

// rootsOf are the authorities that nodes trust.
func rootsOf(a fsm.Authority) authority.Roots {
	roots := [][]byte{a.Certificate}
	for _, other := range [][]byte{a.Next, a.Old} {
		if len(other) > 0 {
			roots = append(roots, other)
		}
	}
	return authority.Roots{Certificates: roots, Index: a.ChangedIndex}
}

// rotation is what a node knows of the authority and its rotation.
type rotation struct {
	renew chan struct{} // holds a token when another authority issues

	mu       sync.Mutex    // guards the fields below
	issuing  authority.Pin // zero as long as it is not known
	next     authority.Pin // that is to issue, zero if there is none
	waiting  []string      // on the leader: the servers that the step waits for
	waitedAt uint64        // ChangedIndex of the step that is waited for
	since    time.Time     // when the leader began to wait
	said     time.Time     // when it last said so

	sealChecked []byte // the key that checkSeal has looked at; belongs to followAuthority
}

// outdated tells whether certificates of issuer have to be renewed, as far as this
// node knows: the leader may have gone on to the next authority.
func (r *rotation) outdated(issuer authority.Pin) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.issuing != authority.Pin{} && issuer != r.issuing && issuer != r.next
}

// RotateAuthority replaces the cluster's own authority by a new one, while the
// cluster goes on. It returns when the new authority is committed. The rest
// happens by itself, under any leader: all servers trust both, then all get
// certificates of the new one, then nobody trusts the old one any more, which
// [Status].Authority tells. A server that is away holds that up until it comes back
// or is removed. Join tokens that were not used go with the old authority.
//
// It is ErrRotationUnderWay where a rotation is, and store.ErrInvalid where the
// cluster is not its own authority. Call it on any node.
func (n *Node) RotateAuthority(ctx context.Context) error {
	if n.own == nil {
		return fmt.Errorf("rotate authority: %w: the certificates come from elsewhere: replace the files of Credentials", store.ErrInvalid)
	}
	err := n.onLeader(ctx, n.beginRotation, func(ctx context.Context, leader string) error {
		return n.call(ctx, leader, methodRotate, &peerv1.RotateAuthorityRequest{}, &peerv1.RotateAuthorityResponse{})
	})
	if err != nil {
		return fmt.Errorf("rotate authority: %w", err)
	}
	return nil
}

// beginRotation commits a new authority beside the one that issues, on the leader.
func (n *Node) beginRotation(ctx context.Context) error {
	a, instance, err := n.authority()
	if err != nil {
		return err
	}
	if step := stepOf(a); step != "" {
		return fmt.Errorf("%w: it is %s, and waits for %q", ErrRotationUnderWay, step, n.rotation.waitsFor())
	}
	ca, err := authority.NewCA(n.id.ClusterID, instance, n.cfg.authorityLifetime)
	if err != nil {
		return err
	}
	key, err := n.sealKey(ctx, ca, instance)
	if err != nil {
		return err
	}
	return n.changeAuthority(ctx, fsm.AuthorityAdd, ca.Certificate(), key)
}

// rotationEvents name the steps in audit lines.
var rotationEvents = map[fsm.AuthorityStep]string{
	fsm.AuthorityAdd:     auditAuthorityAdded,
	fsm.AuthorityPromote: auditAuthorityPromoted,
	fsm.AuthorityDrop:    auditAuthorityDropped,
}

// changeAuthority commits a step about the authority with this certificate.
func (n *Node) changeAuthority(ctx context.Context, step fsm.AuthorityStep, certificate, key []byte) error {
	pin, err := authority.PinOf(certificate)
	if err != nil {
		return err
	}
	result, err := n.proposer.propose(ctx, fsm.EncodeChangeAuthority(step, certificate, key))
	if err == nil && result.Outcome != fsm.Committed {
		return fmt.Errorf("%w: %s", ErrRotationUnderWay, result.Detail)
	}
	n.auditDone(ctx, rotationEvents[step], err, slog.String("authority", hex.EncodeToString(pin[:])))
	return err
}

// rotate takes a rotation a step further on the leader, where it can, and begins
// one where the authority has used up two thirds of its life. It does nothing while
// somebody changes the configuration: which servers there are must not change.
func (n *Node) rotate(ctx context.Context) {
	if n.own == nil {
		return
	}
	select {
	case n.changes <- struct{}{}:
		defer n.changed()
	default:
		return
	}
	if n.live() != nil || n.raft.State() != raft.Leader {
		return
	}
	ctx, cancel := n.bound(ctx)
	defer cancel()
	a, _, err := n.authority()
	if err == nil {
		err = n.rotateOn(ctx, a)
	}
	if err != nil && !errors.Is(err, errNotLeader) && ctx.Err() == nil {
		n.log.Warn("authority not rotated, trying again", "step", string(stepOf(a)), "error", err)
	}
}

func (n *Node) rotateOn(ctx context.Context, a fsm.Authority) error {
	switch stepOf(a) {
	case RotationTrusting:
		next, err := authority.PinOf(a.Next)
		if err != nil {
			return err
		}
		if n.waitFor(a, func(told peerHealth) bool { return slices.Contains(told.Authorities, next) }) {
			return nil
		}
		return n.changeAuthority(ctx, fsm.AuthorityPromote, a.Next, nil)
	case RotationRenewing:
		issuing, err := authority.PinOf(a.Certificate)
		if err != nil {
			return err
		}
		if n.waitFor(a, func(told peerHealth) bool { return told.Issuer == issuing }) {
			return nil
		}
		return n.changeAuthority(ctx, fsm.AuthorityDrop, a.Old, nil)
	}
	due, err := authority.RotationDue(a.Certificate)
	if err != nil || time.Now().Before(due) {
		return err
	}
	return n.beginRotation(ctx)
}

const (
	// rotationPatience is how long a leader waits for servers before it says so,
	// and rotationReminder the time to the next line about it.
	rotationPatience = time.Minute
	rotationReminder = time.Hour
)

// waitFor notes which servers have not done yet what the step of a rotation asks
// of them, and tells whether there are any.
func (n *Node) waitFor(a fsm.Authority, done func(told peerHealth) bool) bool {
	waiting := n.serversBut(done)
	n.rotation.waits(a.ChangedIndex, waiting, func(since time.Time) {
		n.log.Warn("rotation of the cluster's authority waits for servers: bring them back, or remove them",
			"step", string(stepOf(a)), "servers", strings.Join(waiting, " "), "since", since)
	})
	return len(waiting) > 0
}

// waits notes whom the step that began at an index waits for, and has it said when
// that takes long.
func (r *rotation) waits(index uint64, waiting []string, say func(since time.Time)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if index != r.waitedAt {
		r.waitedAt, r.since, r.said = index, now, now.Add(rotationPatience-rotationReminder)
	}
	r.waiting = waiting
	if len(waiting) > 0 && now.Sub(r.said) >= rotationReminder {
		r.said = now
		say(r.since)
	}
}

func (r *rotation) waitsFor() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting
}

// tellAuthorities puts into an answer to the leader what it waits for.
func (n *Node) tellAuthorities(resp *peerv1.ProbeResponse) {
	if n.own == nil {
		return
	}
	for _, pin := range n.own.Roots() {
		resp.Authorities = append(resp.Authorities, pin[:])
	}
	issuer := n.own.Issuer()
	resp.Issuer = issuer[:]
}

// authoritiesMax is how many authorities a server trusts at the most.
const authoritiesMax = 3

// authoritiesOf is what tellAuthorities has put into an answer.
func authoritiesOf(resp *peerv1.ProbeResponse) (roots []authority.Pin, issuer authority.Pin) {
	told := resp.GetAuthorities()
	for _, pin := range told[:min(len(told), authoritiesMax)] {
		if len(pin) == len(issuer) {
			roots = append(roots, authority.Pin(pin))
		}
	}
	if len(resp.GetIssuer()) == len(issuer) {
		issuer = authority.Pin(resp.GetIssuer())
	}
	return roots, issuer
}
