package client

import (
	"errors"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/store"
)

// Outcome is what is known of a write.
type Outcome uint8

// The outcomes of a write.
const (
	// Acknowledged writes happened, and must never be lost.
	Acknowledged Outcome = iota

	// Failed writes did not happen, and must never show.
	Failed

	// Ambiguous writes happened, will yet happen, or never will.
	Ambiguous
)

// String returns the name of o.
func (o Outcome) String() string {
	return [...]string{"acknowledged", "failed", "ambiguous"}[o]
}

// OutcomeOf says what the error of a write means. A server that answers with
// an error says for certain that it did not write, unless the error is
// ErrUnknownOutcome. Without an answer, only a request that was never sent is
// certain.
func OutcomeOf(err error) Outcome {
	var answer *api.Error
	switch {
	case err == nil:
		return Acknowledged
	case errors.Is(err, store.ErrUnknownOutcome):
		return Ambiguous
	case errors.As(err, &answer), errors.Is(err, ErrNotSent):
		return Failed
	default:
		return Ambiguous
	}
}
