package raftstore

import (
	"context"
	"log/slog"
	"time"

	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
)

const (
	// certificateInterval is the time between two looks at the certificate.
	certificateInterval = time.Minute

	// certificateReminder is the time between two lines about the same state.
	certificateReminder = 24 * time.Hour

	// certificateLifeLeft: with less than this part of its life left a
	// certificate should have been renewed.
	certificateLifeLeft = 3
)

// certificateState is what there is to say about the node's certificate.
type certificateState int

const (
	certificateFine certificateState = iota
	certificateEnding
	certificateExpired
	certificateUnknown // the roots may not vouch for it any more
)

// certificateWatch tells of a certificate that ends: once when that begins, and
// again each day.
type certificateWatch struct {
	log   *slog.Logger
	texts certificateTexts
	state certificateState
	said  time.Time
}

// certificateTexts are the lines about one kind of certificate.
type certificateTexts struct{ fine, ending, expired, unknown string }

var (
	nodeTexts = certificateTexts{
		fine:    "certificate is valid for long again",
		ending:  "certificate expires, renew it: after that no other node takes a new connection of this one",
		expired: "certificate has expired, renew it: no other node takes a new connection of this one, and what is open is not replaced",
		unknown: "certificate can't be looked at",
	}
	authorityTexts = certificateTexts{
		fine:    "the authority of the node certificates is valid for long again",
		ending:  "the authority of the node certificates expires, replace it: what it has issued ends with it",
		expired: "the authority of the node certificates has expired, replace it: it issues nothing, and what it has issued has ended with it",
		unknown: "the authority of this node's certificate can't be looked at",
	}
)

func stateOfCertificate(issued, notAfter, now time.Time) certificateState {
	switch left := notAfter.Sub(now); {
	case left < 0:
		return certificateExpired
	case left < notAfter.Sub(issued)/certificateLifeLeft:
		return certificateEnding
	default:
		return certificateFine
	}
}

// look takes what the certificate says now.
func (w *certificateWatch) look(issued, notAfter, now time.Time) {
	state := stateOfCertificate(issued, notAfter, now)
	if !w.says(state, now) {
		return
	}
	switch state {
	case certificateFine:
		w.log.Info(w.texts.fine, "not_after", notAfter)
	case certificateEnding:
		w.log.Warn(w.texts.ending, "not_after", notAfter, "left", notAfter.Sub(now))
	case certificateExpired:
		w.log.Error(w.texts.expired, "not_after", notAfter)
	}
}

// fail takes why there is nothing to look at.
func (w *certificateWatch) fail(err error, now time.Time) {
	if w.says(certificateUnknown, now) {
		w.log.Error(w.texts.unknown, "error", err)
	}
}

// says takes a state, and tells whether there is a line to write about it.
func (w *certificateWatch) says(state certificateState, now time.Time) bool {
	if state == w.state && (state == certificateFine || now.Sub(w.said) < certificateReminder) {
		return false
	}
	w.state, w.said = state, now
	return true
}

// watchCertificate looks at the node's certificate and at its authority's from time
// to time, which also takes up new ones without waiting for a handshake.
func (n *Node) watchCertificate(ctx context.Context) {
	own := certificateWatch{log: n.log, texts: nodeTexts}
	issuer := certificateWatch{log: n.log, texts: authorityTexts}
	issued := func(notBefore time.Time) time.Time { return notBefore } // as far as anybody knows
	if n.own != nil {
		issued = authority.Issued
	}
	look := func() {
		for w, validity := range map[*certificateWatch]func() (time.Time, time.Time, error){
			&own: n.transport.Validity, &issuer: n.transport.AuthorityValidity,
		} {
			notBefore, notAfter, err := validity()
			if err != nil {
				w.fail(err, time.Now())
				continue
			}
			w.look(issued(notBefore), notAfter, time.Now())
		}
	}
	look()
	every(ctx, certificateInterval, look)
}
