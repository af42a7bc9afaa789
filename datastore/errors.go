package datastore

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spire-raft/spire-raft/records"
)

// Beginnings of error texts.
const (
	storagePrefix    = "datastore-sql: "
	validationPrefix = "datastore-validation: "
)

// statusError is an error with a gRPC code, and what caused it.
type statusError struct {
	code    codes.Code
	message string
	cause   error // may be nil
}

func (e *statusError) Error() string { return e.GRPCStatus().Err().Error() }

// GRPCStatus gives the error to package status.
func (e *statusError) GRPCStatus() *status.Status { return status.New(e.code, e.message) }

func (e *statusError) Unwrap() error { return e.cause }

// Is tells that the error is one made by package status with the same code and
// text, as those are of each other.
func (e *statusError) Is(target error) bool { return errors.Is(e.GRPCStatus().Err(), target) }

// failure returns an error with a code and a text, which has no prefix added.
// What %w stands for is in its chain.
func failure(code codes.Code, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if errors.Unwrap(err) == nil {
		return status.Error(code, err.Error())
	}
	return &statusError{code: code, message: err.Error(), cause: errors.Unwrap(err)}
}

// errNotFound returns the error of most methods for what doesn't exist.
func errNotFound() error { return failure(codes.NotFound, storagePrefix+"record not found") }

// errUnique returns the error for what exists already. columns are the names
// that SQL has for what must be unique, such as "bundles.trust_domain".
func errUnique(columns string) error {
	return failure(codes.AlreadyExists, storagePrefix+"UNIQUE constraint failed: %s", columns)
}

// errValidation returns the error for an entry that is not valid.
func errValidation(text string) error {
	return failure(codes.InvalidArgument, validationPrefix+"%s", text)
}

// during puts what was being done before the text of err, as some methods do, and
// gives it a code. What is a status already, or an end of the context, stays as
// it is, and what can't be encoded is an invalid argument.
func during(code codes.Code, doing string, err error) error {
	var withStatus interface{ GRPCStatus() *status.Status }
	switch {
	case err == nil, errors.As(err, &withStatus):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, records.ErrInvalid):
		code = codes.InvalidArgument
	}
	return failure(code, "%s: %w", doing, err)
}

// translate turns an error into one for callers: a status within it is returned
// alone, an end of the context stays a plain error, and all else gets a code.
func translate(err error) error {
	if err == nil {
		return nil
	}
	var withStatus interface {
		error
		GRPCStatus() *status.Status
	}
	switch {
	case errors.As(err, &withStatus):
		return withStatus
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf(storagePrefix+"%w", err)
	case errors.Is(err, records.ErrInvalid):
		return &statusError{code: codes.InvalidArgument, message: storagePrefix + err.Error(), cause: err}
	}
	return &statusError{code: codes.Unknown, message: storagePrefix + err.Error(), cause: err}
}

// confirmed returns the error of [store.Update] for a function that returned
// fnErr. Joined with another error fnErr may come from an old snapshot: then it
// is left out, so that nobody takes it for an answer.
func confirmed(err, fnErr error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || fnErr == nil {
		return err
	}
	var rest []error
	for _, e := range joined.Unwrap() {
		if !errors.Is(e, fnErr) {
			rest = append(rest, e)
		}
	}
	if len(rest) == 0 || len(rest) == len(joined.Unwrap()) {
		return err
	}
	return errors.Join(rest...)
}
