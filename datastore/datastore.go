package datastore

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spire-raft/spire-raft/cache"
	"github.com/spire-raft/spire-raft/store"
)

// staleMaxDefault is how old data a read gets that tolerates stale data.
const staleMaxDefault = 5 * time.Second

// Config shapes a [DataStore].
type Config struct {
	// Logger takes what the DataStore logs. Nil means nothing is logged.
	Logger *slog.Logger

	// Clock gives the time at which entries and events are created, and that
	// events are pruned against. Nil means time.Now.
	Clock func() time.Time

	// StaleMax is how old data may be that is given to reads with
	// [TolerateStale]. Zero means 5 s.
	StaleMax time.Duration

	// Cache answers the reads that it can answer as the store would, and as
	// fresh: see docs/DATASTORE.md. It must be a cache of the store that the
	// DataStore is on. The DataStore doesn't own it: close it after the
	// DataStore. Nil means that the store answers all reads.
	Cache *cache.Cache
}

// DataStore is SPIRE's DataStore. Its methods may be called concurrently.
type DataStore struct {
	store    store.Store
	log      *slog.Logger
	clock    func() time.Time
	staleMax time.Duration

	cache *cache.Cache  // may be nil
	stuck atomic.Uint64 // 1 + the revision at which a wait for cache was in vain

	mu     sync.RWMutex   // guards the fields below, but not for calls' whole length
	closed bool           // no new calls
	calls  sync.WaitGroup // in progress
}

// New returns a DataStore on s. It doesn't own s: close s after the DataStore.
func New(s store.Store, cfg Config) (*DataStore, error) {
	if s == nil {
		return nil, errors.New("datastore: no store")
	}
	if cfg.StaleMax < 0 {
		return nil, errors.New("datastore: StaleMax is negative")
	}
	d := &DataStore{store: s, log: cfg.Logger, clock: cfg.Clock, staleMax: cfg.StaleMax, cache: cfg.Cache}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.clock == nil {
		d.clock = time.Now
	}
	if d.staleMax == 0 {
		d.staleMax = staleMaxDefault
	}
	return d, nil
}

// Close waits for the calls in progress and makes all later ones end in
// [store.ErrClosed], after they have validated their arguments. It may be called
// again.
func (d *DataStore) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.calls.Wait()
	return nil
}

// enter begins a call, which ends with d.calls.Done.
func (d *DataStore) enter() error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return store.ErrClosed
	}
	d.calls.Add(1)
	return nil
}

// consistency is what a request asks for, as the store understands it.
func (d *DataStore) consistency(c DataConsistency) store.Consistency {
	if c == TolerateStale {
		return store.BoundedStale(d.staleMax)
	}
	return store.Linearizable()
}

// update runs fn in a transaction, commits it, and returns what fn returned.
// On conflict fn runs again, as often as it takes until ctx ends: its result
// must come from its last run alone. On error nothing has changed, unless it is
// store.ErrUnknownOutcome. The error is one to return to the caller of a method.
func update[R any](ctx context.Context, d *DataStore, fn func(store.Tx) (R, error)) (R, error) {
	result, _, err := updateNumbered(ctx, d, fn)
	return result, err
}

// updateNumbered is [update] for who needs the numbers that the transaction has
// taken.
func updateNumbered[R any](ctx context.Context, d *DataStore, fn func(store.Tx) (R, error)) (R, store.Result, error) {
	var none R
	if err := d.enter(); err != nil {
		return none, store.Result{}, translate(err)
	}
	defer d.calls.Done()
	for {
		var result R
		var fnErr error
		committed, err := store.Update(ctx, d.store, func(tx store.Tx) error {
			result, fnErr = fn(tx)
			return fnErr
		})
		switch {
		case err == nil:
			return result, committed, nil
		case errors.Is(err, store.ErrConflict) && ctx.Err() == nil:
			continue // Update gave up; contention is not for callers to see
		}
		return none, store.Result{}, translate(confirmed(err, fnErr))
	}
}

// view runs fn in a read-only transaction and returns what it returned. The
// error is one to return to the caller of a method. If it is a
// [MalformedRecordsError] of fn, the result comes with it; with any other there
// is none.
func view[R any](ctx context.Context, d *DataStore, c store.Consistency, fn func(store.Tx) (R, error)) (R, error) {
	var none R
	if err := d.enter(); err != nil {
		return none, translate(err)
	}
	defer d.calls.Done()
	var result R
	err := store.View(ctx, d.store, c, func(tx store.Tx) error {
		var err error
		result, err = fn(tx)
		return err
	})
	if _, partly := errors.AsType[*MalformedRecordsError](err); err != nil && !partly {
		return none, translate(err)
	}
	return result, translate(err)
}
