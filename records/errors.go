package records

import (
	"errors"
	"fmt"

	"github.com/spire-raft/spire-raft/keys"
)

var (
	// ErrMalformed: a stored record can't be decoded. See [MalformedError].
	ErrMalformed = errors.New("malformed record")

	// ErrInvalid: the object can't be encoded, since a string in it isn't
	// UTF-8.
	ErrInvalid = errors.New("object can't be encoded")
)

// MalformedError is an [ErrMalformed] that tells which record it is.
type MalformedError struct {
	Key    []byte
	Reason error

	secret bool // the id must not be shown
}

func (e *MalformedError) Error() string {
	if item, err := keys.ParseItem(e.Key); err == nil {
		if e.secret {
			return fmt.Sprintf("%v: item %q (its id is secret): %v", ErrMalformed, item.Type, e.Reason)
		}
		return fmt.Sprintf("%v: item %q %q: %v", ErrMalformed, item.Type, item.ID, e.Reason)
	}
	if e.secret {
		return fmt.Sprintf("%v: %v", ErrMalformed, e.Reason)
	}
	return fmt.Sprintf("%v: key %q: %v", ErrMalformed, e.Key, e.Reason)
}

// Unwrap makes errors.Is(e, ErrMalformed) true.
func (e *MalformedError) Unwrap() []error { return []error{ErrMalformed, e.Reason} }
