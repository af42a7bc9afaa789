package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// RetriesMax bounds how often [Update] runs its function again after a conflict.
const RetriesMax = 64

// Waits of [Update] between attempts: a random part of a time that doubles
// from retryWaitMin to retryWaitMax.
const (
	retryWaitMin = time.Millisecond
	retryWaitMax = 64 * time.Millisecond
)

// View runs fn in a read-only transaction on one snapshot as fresh as c
// demands, and returns its error.
func View(ctx context.Context, s Transactor, c Consistency, fn func(Tx) error) error {
	tx, err := s.Begin(ctx, TxOptions{ReadOnly: true, Consistency: c})
	if err != nil {
		return err
	}
	defer tx.Abort()
	return fn(tx)
}

// Update runs fn in a transaction and commits it. On conflict it waits a
// little and runs fn again on a snapshot that has the conflicting change, at
// most [RetriesMax] times and until ctx ends: fn must have no effect but
// through its transaction, which it must neither commit nor abort.
//
// The first attempt reads what this server has, which may lag: a commit is
// checked against the newest state, and where there is nothing to commit,
// because fn returned an error or wrote nothing, its result stands only if the
// snapshot turns out to have been the newest. Else fn runs again on a
// linearizable one. So Update is linearizable either way, and fn's error is
// returned as it is.
func Update(ctx context.Context, s Transactor, fn func(Tx) error) (Result, error) {
	c := AtLeast(0)
	wait := retryWaitMin
	for retries := 0; ; {
		res, verdict, err := attempt(ctx, s, c, fn)
		if verdict == final {
			return res, err
		}
		if verdict == lagged {
			c = Linearizable()
			continue
		}
		var conflict *ConflictError
		if errors.As(err, &conflict) {
			c = AtLeast(conflict.Revision)
		} else {
			c = Linearizable()
		}
		if retries++; retries > RetriesMax {
			return Result{}, fmt.Errorf("gave up after %d attempts: %w", retries, err)
		}
		if sleep(ctx, rand.N(wait)) != nil {
			return Result{}, fmt.Errorf("%w: %w", err, ctx.Err())
		}
		wait = min(2*wait, retryWaitMax)
	}
}

type verdict uint8

const (
	final    verdict = iota // the result stands
	conflict                // Commit found a conflict
	lagged                  // fn saw an old snapshot and wrote nothing
)

// attempt runs fn once.
func attempt(ctx context.Context, s Transactor, c Consistency, fn func(Tx) error) (Result, verdict, error) {
	tx, err := s.Begin(ctx, TxOptions{Consistency: c})
	if err != nil {
		return Result{}, final, err
	}
	defer tx.Abort()

	fnErr := fn(tx)
	var res Result
	if fnErr != nil {
		cursor, err := tx.Cursor(ctx)
		if err != nil {
			return Result{}, final, errors.Join(fnErr, err)
		}
		res.Revision = cursor.Revision
	} else {
		res, err = tx.Commit(ctx)
		if errors.Is(err, ErrConflict) {
			return Result{}, conflict, err
		}
		refused := errors.Is(err, ErrTooLarge) || errors.Is(err, ErrInvalid)
		if refused && c != Linearizable() {
			return Result{}, lagged, nil // of writes that an old snapshot led to
		}
		if err != nil || res.Written {
			return res, final, err
		}
	}

	if c == Linearizable() {
		return res, final, fnErr
	}
	newest, err := s.Revision(ctx, Linearizable())
	if err != nil {
		return Result{}, final, errors.Join(fnErr, err)
	}
	if newest > res.Revision {
		return Result{}, lagged, nil
	}
	return res, final, fnErr
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
