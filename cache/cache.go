package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// Cache holds the objects of a store in memory. Its methods may be called
// concurrently.
type Cache struct {
	store   store.Store
	cfg     Config
	roles   roles
	metrics *metrics

	segmentMax   time.Duration // of a listing
	beforeRepair func()        // of a test, or nil

	state     atomic.Pointer[state] // nil once closed
	start     time.Time             // a monotonic clock's zero
	confirmed atomic.Int64          // nanoseconds after start: changes before are in state

	cancel context.CancelFunc // ends all goroutines
	done   sync.WaitGroup     // of all goroutines
	once   sync.Once          // Close
	closed chan struct{}      // closed when Close has ended them

	refreshing sync.Mutex // held by a refresh, so that there is one at a time

	write     sync.Mutex // held while a state follows another
	recording []*state   // guarded by write: see record
	record    bool       // guarded by write: states are kept for a refresh

	mu       sync.Mutex    // guards the fields below
	changed  chan struct{} // closed, and replaced, with each state and when lost changes
	lost     error         // why there is no watch, nil while there is
	rebuilds uint64
	refresh  RefreshStatus
}

// Open fills a cache from a store and keeps it up to date until Close. It returns
// when the cache holds all that this server's store held when Open began.
//
// The cache doesn't own the store: close the cache first.
func Open(ctx context.Context, s store.Store, cfg Config) (*Cache, error) {
	return open(ctx, s, cfg, segmentMax)
}

func open(ctx context.Context, s store.Store, cfg Config, segmentMax time.Duration) (*Cache, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("cache config: %w", err)
	}
	cfg.fill()
	c := newCache(s, cfg, segmentMax)
	first, w, err := c.openState(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.metrics.register(cfg.Registerer); err != nil {
		_ = w.Close() // its error would hide the first one
		return nil, err
	}
	c.publish(first)
	// run owns w; Close cancels background and waits for done.
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	c.done.Go(func() { c.run(background, w) })
	confirmed := make(chan struct{})
	c.done.Go(func() {
		c.confirmLoop(background, func() { close(confirmed) })
	})
	if cfg.RefreshInterval > 0 {
		c.done.Go(func() { c.refreshLoop(background) })
	}
	select {
	case <-confirmed:
	case <-ctx.Done():
	case <-time.After(cfg.StalenessMax / 4):
	}
	return c, nil
}

// newCache returns a cache without content.
func newCache(s store.Store, cfg Config, segmentMax time.Duration) *Cache {
	c := &Cache{
		store:      s,
		cfg:        cfg,
		roles:      newRoles(cfg.TrustDomain),
		segmentMax: segmentMax,
		start:      time.Now(),
		closed:     make(chan struct{}),
		changed:    make(chan struct{}),
	}
	c.confirmed.Store(-int64(cfg.StalenessMax) - 1) // never
	c.refresh.Interval = cfg.RefreshInterval
	c.metrics = newMetrics(c)
	return c
}

// openState builds the first state. A listing that the history has overtaken is
// worth another try, other errors are the caller's.
func (c *Cache) openState(ctx context.Context) (*state, store.Watcher, error) {
	for wait := backoffMin; ; wait = min(2*wait, backoffMax) {
		s, w, err := c.build(ctx, store.Cursor{})
		if err == nil || !errors.Is(err, store.ErrCompacted) && !errors.Is(err, errEpoch) {
			return s, w, err
		}
		if sleep(ctx, wait) != nil {
			return nil, nil, err
		}
	}
}

// Close ends the cache's goroutines and waits for them. Views remain good. It may
// be called again.
func (c *Cache) Close() error {
	c.once.Do(func() {
		c.cancel()
		c.done.Wait()
		c.metrics.unregister(c.cfg.Registerer)
		c.write.Lock()
		c.state.Store(nil)
		c.write.Unlock()
		close(c.closed)
	})
	<-c.closed
	return nil
}

// publish makes s the state that readers see.
func (c *Cache) publish(s *state) {
	c.write.Lock()
	defer c.write.Unlock()
	c.publishLocked(s)
}

// publishLocked is publish for a caller that holds write.
func (c *Cache) publishLocked(s *state) {
	s.own = false
	c.state.Store(s)
	if c.record {
		c.recording = append(c.recording, s)
	}
	c.mu.Lock()
	c.wake()
	c.mu.Unlock()
}

// wake lets everyone who waits look again. The caller holds mu.
func (c *Cache) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
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
