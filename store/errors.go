package store

import (
	"errors"
	"fmt"
)

// Errors that a caller acts on. Backends wrap them with what happened and what
// helps: test with errors.Is.
var (
	// ErrConflict: something that the transaction read has changed since. It
	// changed nothing; run it again on a fresh snapshot, as [Update] does.
	// See [ConflictError].
	ErrConflict = errors.New("transaction conflicts with a concurrent change")

	// ErrCompacted: the history that a watcher asks for is gone. List again,
	// and watch from the cursor of the listing. See [CompactedError].
	ErrCompacted = errors.New("history is compacted")

	// ErrNoLeader: no leader was found in time, so the request changed nothing.
	// It may be sent again, here or to another server.
	ErrNoLeader = errors.New("no leader")

	// ErrUnknownOutcome: the write may have been applied, may be applied
	// later, or never. Read before writing again, linearizably and through the
	// same Store: what such a read finds stays.
	ErrUnknownOutcome = errors.New("outcome unknown")

	// ErrStale: this server can't show that its data is as fresh as the read
	// demands.
	ErrStale = errors.New("data too stale")

	// ErrNoSpace: a server's disk is too full for a write that adds data.
	// Reads and deletes still work.
	ErrNoSpace = errors.New("no space")

	// ErrTooLarge: a limit of this package, named in the error, is exceeded.
	ErrTooLarge = errors.New("too large")

	// ErrInvalid: the request can't be right, whatever the state of the store.
	ErrInvalid = errors.New("invalid request")

	// ErrReadOnly: a write in a read-only transaction.
	ErrReadOnly = errors.New("transaction is read-only")

	// ErrTxDone: the transaction has been committed or aborted.
	ErrTxDone = errors.New("transaction is already committed or aborted: begin another")

	// ErrTxExpired: the transaction was open for longer than [TxDurationMax].
	ErrTxExpired = errors.New("transaction was open for too long")

	// ErrTooManyWatchers: the server has all the watchers it allows.
	ErrTooManyWatchers = errors.New("too many watchers")

	// ErrCorrupt: stored data fails its checksum or can't be decoded.
	ErrCorrupt = errors.New("stored data is corrupt")

	// ErrFailed: the server's storage failed, and it has stopped itself rather
	// than go on with data that it can't trust. Other servers go on.
	ErrFailed = errors.New("store has failed and is stopped")

	// ErrClosed: the store, or this watcher, has been closed.
	ErrClosed = errors.New("store is closed")
)

// ConflictError is an [ErrConflict] that tells what to wait for.
type ConflictError struct {
	// Revision is a revision at which the conflict existed. A retry on a
	// snapshot at or after it sees the change.
	Revision Revision
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%v: retry at revision %d or later", ErrConflict, e.Revision)
}

// Unwrap makes errors.Is(e, ErrConflict) true.
func (e *ConflictError) Unwrap() error { return ErrConflict }

// CompactedError is an [ErrCompacted] that tells what history there is.
type CompactedError struct {
	// Compact is the cursor of the oldest state from which a watch can go on:
	// later revisions are retained, earlier ones are gone.
	Compact Cursor

	// Current is the newest revision of this server.
	Current Revision
}

func (e *CompactedError) Error() string {
	return fmt.Sprintf("%v up to revision %d (now at %d, epoch %d): list again and watch from there",
		ErrCompacted, e.Compact.Revision, e.Current, e.Compact.Epoch)
}

// Unwrap makes errors.Is(e, ErrCompacted) true.
func (e *CompactedError) Unwrap() error { return ErrCompacted }
