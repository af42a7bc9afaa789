package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/spire-raft/spire-raft/store"
)

// Errors of the client API that the store doesn't have.
var (
	// ErrExists: there is an object with this id already.
	ErrExists = errors.New("exists already")

	// ErrNotFound: there is no such object.
	ErrNotFound = errors.New("not found")

	// ErrBanned: the agent was banned.
	ErrBanned = errors.New("agent is banned")

	// ErrRotating: the cluster's authority is being replaced already.
	ErrRotating = errors.New("a rotation of the authority is under way")

	// ErrUnauthorized: the request doesn't carry the token of this run.
	ErrUnauthorized = errors.New("missing or wrong bearer token")
)

// wireErrors gives each error its name and HTTP status. The first match wins,
// since an error may wrap its cause: an unknown outcome that of a deadline,
// stale data the want of a leader.
var wireErrors = []struct {
	name   string
	err    error
	status int
}{
	{"unknown_outcome", store.ErrUnknownOutcome, http.StatusGatewayTimeout},
	{"failed", store.ErrFailed, http.StatusServiceUnavailable},
	{"closed", store.ErrClosed, http.StatusServiceUnavailable},
	{"stale", store.ErrStale, http.StatusServiceUnavailable},
	{"conflict", store.ErrConflict, http.StatusConflict},
	{"compacted", store.ErrCompacted, http.StatusGone},
	{"no_leader", store.ErrNoLeader, http.StatusServiceUnavailable},
	{"no_space", store.ErrNoSpace, http.StatusInsufficientStorage},
	{"too_large", store.ErrTooLarge, http.StatusRequestEntityTooLarge},
	{"invalid", store.ErrInvalid, http.StatusBadRequest},
	{"read_only", store.ErrReadOnly, http.StatusBadRequest},
	{"tx_done", store.ErrTxDone, http.StatusConflict},
	{"tx_expired", store.ErrTxExpired, http.StatusConflict},
	{"too_many_watchers", store.ErrTooManyWatchers, http.StatusTooManyRequests},
	{"corrupt", store.ErrCorrupt, http.StatusInternalServerError},
	{"exists", ErrExists, http.StatusConflict},
	{"not_found", ErrNotFound, http.StatusNotFound},
	{"banned", ErrBanned, http.StatusForbidden},
	{"rotating", ErrRotating, http.StatusConflict},
	{"unauthorized", ErrUnauthorized, http.StatusUnauthorized},
	{"deadline", context.DeadlineExceeded, http.StatusGatewayTimeout},
	{"canceled", context.Canceled, http.StatusGatewayTimeout},
}

// InternalError is the name of an error without a name of its own.
const InternalError = "internal"

// Error is an error as it crosses the wire.
type Error struct {
	Name    string `json:"error"`
	Message string `json:"message"`
}

// NewError names err. An error without a name of its own becomes "internal".
func NewError(err error) *Error {
	for _, w := range wireErrors {
		if errors.Is(err, w.err) {
			return &Error{Name: w.name, Message: err.Error()}
		}
	}
	return &Error{Name: InternalError, Message: err.Error()}
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Name, e.Message) }

// Unwrap returns the error that the name stands for, nil for "internal" and
// for a name that is not known.
func (e *Error) Unwrap() error {
	for _, w := range wireErrors {
		if w.name == e.Name {
			return w.err
		}
	}
	return nil
}

// HTTPStatus is the status code of an answer that holds e.
func (e *Error) HTTPStatus() int {
	for _, w := range wireErrors {
		if w.name == e.Name {
			return w.status
		}
	}
	return http.StatusInternalServerError
}
