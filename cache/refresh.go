package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// Drift is a difference between cache and store at one revision. There should
// never be one: it means a bug, or that someone changed a shared object.
type Drift struct {
	Kind     Kind
	Key      []byte
	Revision store.Revision
	// Cached and Stored are the digests of the values: of the object in the
	// cache as it would be stored, and of what is stored. The zero Hash means
	// that there is none. They are equal where the object is right and lists
	// or lookups of agents don't find it, or find another in its place.
	Cached, Stored Hash
}

// String shows the digest in hexadecimal digits, "none" for the zero Hash.
func (h Hash) String() string {
	if h == (Hash{}) {
		return "none"
	}
	return hex.EncodeToString(h[:])
}

// drift is a Drift with what repairs it.
type drift struct {
	Drift
	cached  change // what the cache held at Revision
	correct change
}

// RefreshStatus tells about full refreshes.
type RefreshStatus struct {
	// Interval is the time until the next one, counted from the end of the
	// last.
	Interval time.Duration
	// Completed and Failed count the refreshes.
	Completed, Failed uint64
	// Drift counts the differences found.
	Drift uint64
	// LastError is why the last one failed, nil if it did not.
	LastError error
}

// Refresh lists the store, compares it with the cache at the same revision, and
// repairs what differs, as happens by itself on an interval. It reports each
// difference to the log, the metrics and [Config.OnDrift], and returns how many
// there were, even if it then failed.
//
// A listing that takes longer than one transaction may is made of several, each
// compared at its own revision. The cache serves meanwhile.
func (c *Cache) Refresh(ctx context.Context) (int, error) {
	c.refreshing.Lock()
	defer c.refreshing.Unlock()
	found, err := c.compare(ctx)
	if err != nil {
		err = fmt.Errorf("refresh: %w", err)
	}
	if c.beforeRepair != nil {
		c.beforeRepair()
	}
	if len(found) > 0 {
		c.repair(found)
	}
	c.mu.Lock()
	if err != nil {
		c.refresh.Failed++
	} else {
		c.refresh.Completed++
	}
	c.refresh.Drift += uint64(len(found))
	c.refresh.LastError = err
	c.mu.Unlock()
	c.metrics.refreshed(err)
	for _, d := range found {
		c.metrics.drift.WithLabelValues(d.Kind.String()).Inc()
		c.cfg.Logger.Error("cache differed from the store and was repaired", "kind", d.Kind.String(), "key", fmt.Sprintf("%q", d.Key),
			"revision", d.Revision, "cached", d.Cached.String(), "stored", d.Stored.String())
		if c.cfg.OnDrift != nil {
			c.cfg.OnDrift(d.Drift)
		}
	}
	return len(found), err
}

// refreshLoop refreshes on an interval that adapts.
func (c *Cache) refreshLoop(ctx context.Context) {
	interval := c.cfg.RefreshInterval
	for sleep(ctx, interval) == nil {
		switch n, err := c.Refresh(ctx); {
		case ctx.Err() != nil:
			return
		case n > 0:
			interval = c.cfg.RefreshInterval
		case err != nil:
			c.cfg.Logger.Warn("full refresh of the cache failed, it is tried again", "error", err, "in", interval)
		default:
			interval = min(2*interval, c.cfg.RefreshIntervalMax)
		}
		c.mu.Lock()
		c.refresh.Interval = interval
		c.mu.Unlock()
	}
}

// compare returns all differences that it finds until it is done or fails.
func (c *Cache) compare(ctx context.Context) ([]drift, error) {
	var found []drift
	l := newListing(c.store, store.AtLeast(0), c.segmentMax)
	defer l.end()
	var s *state
	for !l.done() {
		first := c.startRecording()
		if first == nil {
			return found, store.ErrClosed
		}
		l.consistency = store.AtLeast(first.cursor.Revision)
		err := l.begin(ctx)
		if err == nil {
			s, err = c.stateAt(ctx, l.cursor)
		}
		c.stopRecording()
		if err != nil {
			return found, err
		}
		segment := comparison{cache: c, state: s, listing: l, from: l.mark()}
		err = segment.run(ctx)
		found = append(found, segment.found...)
		if err != nil {
			return found, err
		}
		l.end()
	}
	if len(found) == 0 && s != nil { // else what follows from wrong objects is wrong
		found = c.misplaced(s)
	}
	return found, nil
}

// startRecording keeps the current state, which it returns, and all that follow
// until stopRecording: the store's revision that is compared is known only when
// the cache may be past it.
func (c *Cache) startRecording() *state {
	c.write.Lock()
	defer c.write.Unlock()
	s := c.state.Load()
	c.record, c.recording = true, []*state{s}
	return s
}

func (c *Cache) stopRecording() {
	c.write.Lock()
	defer c.write.Unlock()
	c.record, c.recording = false, nil
}

// stateAt waits until the cache has reached a cursor not before the recording,
// and returns the state that it had there.
func (c *Cache) stateAt(ctx context.Context, at store.Cursor) (*state, error) {
	if _, err := c.wait(ctx, at.Revision, true); err != nil {
		return nil, err
	}
	c.write.Lock()
	defer c.write.Unlock()
	for i := len(c.recording) - 1; i >= 0; i-- {
		// A revision without changes of the cache's objects has the state before.
		if s := c.recording[i]; s.cursor.Epoch == at.Epoch && s.cursor.Revision <= at.Revision {
			return s, nil
		}
	}
	return nil, errEpoch
}

// comparison is of one segment of a listing.
type comparison struct {
	cache   *Cache
	state   *state
	listing *listing
	from    mark // where the segment began

	known [kinds]int // keys of the segment that both have
	found []drift
}

// mark is a place in the order of a listing.
type mark struct {
	kind Kind
	key  []byte // the first behind it
}

func (l *listing) mark() mark { return mark{kind: l.kind, key: l.rest.Start} }

func (p mark) before(kind Kind, key []byte) bool {
	return p.kind < kind || p.kind == kind && bytes.Compare(p.key, key) <= 0
}

func (m *comparison) run(ctx context.Context) error {
	for {
		kind, kvs, err := m.listing.page(ctx)
		if err != nil {
			return err
		}
		if len(kvs) == 0 {
			return m.surplus(ctx)
		}
		for _, kv := range kvs {
			m.pair(kind, kv)
		}
	}
}

// pair compares one stored pair.
func (m *comparison) pair(kind Kind, kv store.KeyValue) {
	id := decodeDelete(kind, kv.Key)
	cached := m.state.find(&id)
	if !cached.absent() {
		m.known[kind]++
	}
	stored := Hash(sha256.Sum256(kv.Value))
	if cached.malformed != nil && cached.malformed.hash == stored {
		return
	}
	var value []byte
	if cached.malformed == nil && !cached.absent() {
		value = encoded(&cached)
		if bytes.Equal(value, kv.Value) {
			return
		}
	}
	correct := m.cache.roles.decode(kind, kv.Key, kv.Value)
	if value != nil && correct.malformed == nil && bytes.Equal(value, encoded(&correct)) {
		return // the value has what decoding drops, or another order of fields
	}
	d := drift{Drift: Drift{Kind: kind, Key: kv.Key, Revision: m.state.cursor.Revision, Stored: stored}, cached: cached, correct: correct}
	d.Cached = cached.digest()
	m.found = append(m.found, d)
}

// surplus finds what the cache has in the segment and the store hasn't.
func (m *comparison) surplus(ctx context.Context) error {
	end := m.listing.mark()
	for kind := m.from.kind; kind < kinds && kind <= end.kind; kind++ {
		inside := func(key []byte) bool { return m.from.before(kind, key) && !end.before(kind, key) }
		n := 0
		m.state.each(kind, func(c change) bool {
			n += one(inside(c.key))
			return true
		})
		if n == m.known[kind] {
			continue
		}
		var err error
		m.state.each(kind, func(c change) bool {
			if !inside(c.key) {
				return true
			}
			var stored bool
			if _, stored, err = m.listing.tx.Get(ctx, c.key); err == nil && !stored {
				d := drift{Drift: Drift{Kind: kind, Key: c.key, Revision: m.state.cursor.Revision}, cached: c, correct: decodeDelete(kind, c.key)}
				d.Cached = c.digest()
				m.found = append(m.found, d)
			}
			return err == nil
		})
		if err != nil {
			return fmt.Errorf("look for what is only in the cache: %w", err)
		}
	}
	return nil
}

// encoded is encode for a comparison: what can't be encoded equals nothing.
func encoded(c *change) []byte {
	value, err := c.encode()
	if err != nil {
		return []byte(err.Error())
	}
	return value
}

// digest identifies the object's value.
func (c *change) digest() Hash {
	switch {
	case c.malformed != nil:
		return c.malformed.hash
	case c.absent():
		return Hash{}
	default:
		return sha256.Sum256(encoded(c))
	}
}
