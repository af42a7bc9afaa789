package cache

import (
	"context"
	"errors"

	"github.com/spire-raft/spire-raft/store"
)

// run follows the store until ctx ends, by one watcher after another. It owns w.
func (c *Cache) run(ctx context.Context, w store.Watcher) {
	wait := backoffMin
	for {
		followed, err := c.follow(ctx, w)
		_ = w.Close() // it is of no use any more
		if followed {
			wait = backoffMin
		}
		for w = nil; w == nil; wait = min(2*wait, backoffMax) {
			if ctx.Err() != nil {
				return
			}
			c.lose(err)
			if sleep(ctx, wait) != nil {
				return
			}
			w, err = c.rejoin(ctx, err)
		}
	}
}

// follow applies what a watcher brings, one revision at a time, until that ends.
// It tells whether there was anything.
func (c *Cache) follow(ctx context.Context, w store.Watcher) (followed bool, err error) {
	for {
		b, err := w.Next(ctx)
		if err != nil {
			return followed, err
		}
		followed = true
		c.step(b)
		c.found()
	}
}

// step makes a batch the next state.
func (c *Cache) step(b store.Batch) {
	c.write.Lock()
	defer c.write.Unlock()
	s := c.state.Load().next()
	c.applyBatch(s, b)
	c.publishLocked(s)
}

// rejoin starts a watch again after err: where the last one ended or, if the
// history is gone, behind a state that it builds anew.
func (c *Cache) rejoin(ctx context.Context, err error) (store.Watcher, error) {
	at := c.state.Load().cursor
	if !errors.Is(err, store.ErrCompacted) && !errors.Is(err, errEpoch) {
		return c.store.Watch(ctx, at, prefixes[:]...)
	}
	s, w, err := c.build(ctx, at)
	if err != nil {
		// A build that fails otherwise must be a build again.
		return nil, errors.Join(store.ErrCompacted, err)
	}
	c.mu.Lock()
	c.rebuilds++
	c.mu.Unlock()
	c.metrics.rebuilds.Inc()
	c.publish(s)
	c.found()
	c.cfg.Logger.Info("cache rebuilt from a listing", "cursor", s.cursor.String())
	return w, nil
}

// lose notes that there is no watch.
func (c *Cache) lose(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost == nil {
		c.metrics.lost.Inc()
		c.cfg.Logger.Warn("cache lost its watch and becomes stale", "error", err)
	}
	c.lost = err
}

// found notes that there is a watch.
func (c *Cache) found() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost != nil {
		c.lost = nil
		c.cfg.Logger.Info("cache follows the store again")
		c.wake()
	}
}
