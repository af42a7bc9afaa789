package raftstore

import (
	"context"
	"log/slog"
	"time"
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
)

// certificateWatch tells of a certificate that ends: once when that begins, and
// again each day.
type certificateWatch struct {
	log   *slog.Logger
	state certificateState
	said  time.Time
}

func stateOfCertificate(notBefore, notAfter, now time.Time) certificateState {
	switch left := notAfter.Sub(now); {
	case left < 0:
		return certificateExpired
	case left < notAfter.Sub(notBefore)/certificateLifeLeft:
		return certificateEnding
	default:
		return certificateFine
	}
}

// look takes what the certificate says now.
func (w *certificateWatch) look(notBefore, notAfter, now time.Time) {
	state := stateOfCertificate(notBefore, notAfter, now)
	if state == w.state && (state == certificateFine || now.Sub(w.said) < certificateReminder) {
		return
	}
	w.state, w.said = state, now
	switch state {
	case certificateFine:
		w.log.Info("certificate is valid for long again", "not_after", notAfter)
	case certificateEnding:
		w.log.Warn("certificate expires, renew it: after that no other node takes a new connection of this one",
			"not_after", notAfter, "left", notAfter.Sub(now))
	case certificateExpired:
		w.log.Error("certificate has expired, renew it: no other node takes a new connection of this one, and what is open is not replaced",
			"not_after", notAfter)
	}
}

// watchCertificate looks at the node's certificate from time to time, which also
// takes up a new one without waiting for a handshake.
func (n *Node) watchCertificate(ctx context.Context) {
	w := certificateWatch{log: n.log}
	look := func() {
		notBefore, notAfter, err := n.transport.Validity()
		if err != nil {
			n.log.Error("certificate can't be looked at", "error", err)
			return
		}
		w.look(notBefore, notAfter, time.Now())
	}
	look()
	every(ctx, certificateInterval, look)
}
