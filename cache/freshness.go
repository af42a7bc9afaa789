package cache

import (
	"context"
	"fmt"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// View returns the content of the cache as fresh as fresh demands:
//
//   - [store.AtLeast] a revision waits until the cache has it. AtLeast(0) doesn't
//     wait. Either is at most StalenessMax old.
//   - [store.Linearizable] has every transaction that committed before the call,
//     on any server. It needs a quorum.
//   - [store.BoundedStale] has every transaction that committed longer ago than
//     the bound.
//
// A View that can't be had within WaitMax ends in ErrStale. While the cache has
// lost its watch, only AtLeast is served.
//
// Where the store is restored from a backup, revisions repeat: between the
// restore and the moment when the cache notices it, a linearizable View may be
// of the time before.
func (c *Cache) View(ctx context.Context, fresh store.Consistency) (View, error) {
	if least, ok := fresh.MinRevision(); ok {
		s := c.state.Load()
		if s == nil {
			return View{}, store.ErrClosed
		}
		if s.cursor.Revision < least {
			var err error
			if s, err = c.wait(ctx, least, false); err != nil {
				return View{}, err
			}
		}
		if age := c.age(); age > c.cfg.StalenessMax {
			return View{}, fmt.Errorf("%w: the cache is at revision %d, not confirmed for %v, StalenessMax is %v",
				store.ErrStale, s.cursor.Revision, age, c.cfg.StalenessMax)
		}
		return View{s}, nil
	}
	if c.state.Load() == nil {
		return View{}, store.ErrClosed
	}
	least, err := c.store.Revision(ctx, fresh)
	if err != nil {
		return View{}, err
	}
	s, err := c.wait(ctx, least, true)
	if err != nil {
		return View{}, err
	}
	return View{s}, nil
}

// Reached returns the content of the cache once that has everything up to a
// place in the store's history, such as the [store.Tx.Cursor] of a transaction:
// the View is as fresh as the transaction then. It waits at most for the given
// time, and not while the cache has lost its watch. It tells false where the cache
// is not there in time, is closed, or has content of another epoch.
//
// It asks nothing of the store, and doesn't look at StalenessMax.
func (c *Cache) Reached(ctx context.Context, at store.Cursor, wait time.Duration) (View, bool) {
	s := c.state.Load()
	if s.reached(at) {
		return View{s}, true
	}
	if wait <= 0 {
		return View{}, false
	}
	patience := time.NewTimer(wait)
	defer patience.Stop()
	for {
		c.mu.Lock()
		changed, lost := c.changed, c.lost
		c.mu.Unlock()
		s = c.state.Load()
		if s.reached(at) {
			return View{s}, true
		}
		if s == nil || lost != nil {
			return View{}, false
		}
		select {
		case <-changed:
		case <-c.closed:
		case <-ctx.Done():
			return View{}, false
		case <-patience.C:
			return View{}, false
		}
	}
}

// reached tells whether a state has everything up to a cursor. Revisions of
// another epoch say nothing.
func (s *state) reached(at store.Cursor) bool {
	return s != nil && s.cursor.Epoch == at.Epoch && s.cursor.Revision >= at.Revision
}

// Revision returns the revision that the cache has reached, 0 once it is closed.
func (c *Cache) Revision() store.Revision {
	if s := c.state.Load(); s != nil {
		return s.cursor.Revision
	}
	return 0
}

// wait returns a state at revision least or later, of a cache that watches if so
// demanded.
func (c *Cache) wait(ctx context.Context, least store.Revision, watching bool) (*state, error) {
	var patience *time.Timer
	for {
		c.mu.Lock()
		changed, lost := c.changed, c.lost
		c.mu.Unlock()
		s := c.state.Load()
		switch {
		case s == nil:
			return nil, store.ErrClosed
		case s.cursor.Revision >= least && (lost == nil || !watching):
			return s, nil
		}
		if patience == nil {
			patience = time.NewTimer(c.cfg.WaitMax)
			defer patience.Stop()
		}
		select {
		case <-changed:
		case <-c.closed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-patience.C:
			if lost != nil {
				return nil, fmt.Errorf("%w: the cache is at revision %d and has lost its watch: %w", store.ErrStale, s.cursor.Revision, lost)
			}
			return nil, fmt.Errorf("%w: revision %d was not reached in %v, the cache is at %d",
				store.ErrStale, least, c.cfg.WaitMax, s.cursor.Revision)
		}
	}
}

// age is the bound of how old the newest change is that the cache may lack.
func (c *Cache) age() time.Duration {
	return time.Since(c.start) - time.Duration(c.confirmed.Load())
}

// confirmLoop keeps age below StalenessMax while the store allows it. It calls
// first after the first attempt. Without a quorum that fails, and reads say so;
// then it tries again soon, since a server that has just started may only not
// know its leader yet.
func (c *Cache) confirmLoop(ctx context.Context, first func()) {
	pause := c.cfg.StalenessMax / 4
	for retry := backoffMin; ; {
		wait := pause
		switch err := c.confirm(ctx); {
		case err == nil:
			retry = backoffMin
		case ctx.Err() == nil:
			wait, retry = min(retry, pause), min(2*retry, backoffMax)
			c.cfg.Logger.Debug("the cache's age was not confirmed", "error", err)
		}
		if first != nil {
			first()
			first = nil
		}
		if sleep(ctx, wait) != nil {
			return
		}
	}
}

// confirm asks the store for a revision that has everything older than a known
// age, and waits until the cache has it.
func (c *Cache) confirm(ctx context.Context) error {
	bound := c.cfg.StalenessMax / 4
	// Beyond StalenessMax the answer is worth nothing.
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StalenessMax)
	defer cancel()
	begun := time.Since(c.start)
	least, err := c.store.Revision(ctx, store.BoundedStale(bound))
	if err != nil {
		return err
	}
	if _, err := c.wait(ctx, least, true); err != nil {
		return err
	}
	c.confirmed.Store(int64(begun - bound))
	return nil
}
