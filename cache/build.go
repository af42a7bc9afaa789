package cache

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"github.com/spire-raft/spire-raft/store"
)

// collectBytesMax bounds the changes that are held while a listing goes on.
const collectBytesMax = 256 << 20

// build makes a new state from a listing and a watch that goes on from it without
// a gap. The state is not older than prev, if that is of the same epoch. It isn't
// published.
//
// A listing of several segments mixes revisions. The watch starts at the first
// one's, and is replayed over the listing up to the last one's: changes that the
// listing already has are made again, which ends in the same.
func (c *Cache) build(ctx context.Context, prev store.Cursor) (*state, store.Watcher, error) {
	s := &state{roles: c.roles, own: true}
	l := newListing(c.store, store.AtLeast(0), c.segmentMax)
	defer l.end()
	if err := l.begin(ctx); err != nil {
		return nil, nil, err
	}
	w, err := c.store.Watch(ctx, l.first, prefixes[:]...)
	if err != nil {
		return nil, nil, err
	}
	if err := c.fill(ctx, s, l, w, prev); err != nil {
		_ = w.Close() // its error would hide the first one
		return nil, nil, err
	}
	return s, w, nil
}

// fill loads a listing into a state and replays its watch.
func (c *Cache) fill(ctx context.Context, s *state, l *listing, w store.Watcher, prev store.Cursor) error {
	batches, err := collectDuring(ctx, w, func() error { return c.load(ctx, l, s) })
	if err != nil {
		return err
	}
	s.cursor = l.first
	for _, b := range batches {
		c.applyBatch(s, b)
	}
	target := l.cursor.Revision
	if prev.Epoch == l.cursor.Epoch {
		target = max(target, prev.Revision)
	}
	for s.cursor.Revision < target {
		b, err := w.Next(ctx)
		if err != nil {
			return err
		}
		c.applyBatch(s, b)
	}
	return nil
}

// collectDuring runs fn, and meanwhile takes batches off a watcher, so that they
// aren't compacted while a long listing goes on. What it holds is bounded by
// collectBytesMax: a watcher that then falls behind ends in ErrCompacted, later.
func collectDuring(ctx context.Context, w store.Watcher, fn func() error) ([]store.Batch, error) {
	var batches []store.Batch
	var watchErr error
	collecting, stop := context.WithCancel(ctx)
	var collector sync.WaitGroup
	collector.Go(func() {
		for bytes := 0; bytes < collectBytesMax; {
			b, err := w.Next(collecting)
			if err != nil {
				if collecting.Err() == nil {
					watchErr = err
				}
				return
			}
			batches = append(batches, b)
			for _, e := range b.Events {
				bytes += len(e.Key) + len(e.Value)
			}
		}
	})
	err := fn()
	stop()
	collector.Wait()
	return batches, errors.Join(err, watchErr)
}

// load puts a whole listing into a state: this goroutine reads, others decode,
// one puts in.
func (c *Cache) load(ctx context.Context, l *listing, s *state) error {
	type page struct {
		kind Kind
		kvs  []store.KeyValue
	}
	pages := make(chan page, 2)
	decoded := make(chan []change, 2)

	var decoders sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		decoders.Go(func() {
			for p := range pages {
				changes := make([]change, len(p.kvs))
				for i, kv := range p.kvs {
					changes[i] = c.roles.decode(p.kind, kv.Key, kv.Value)
				}
				decoded <- changes
			}
		})
	}
	var applier sync.WaitGroup
	applier.Go(func() {
		for changes := range decoded {
			for i := range changes {
				c.apply(s, &changes[i])
			}
		}
	})

	err := l.each(ctx, func(kind Kind, kvs []store.KeyValue) { pages <- page{kind, kvs} })
	close(pages)
	decoders.Wait()
	close(decoded)
	applier.Wait()
	return err
}

// each calls fn with every page of every segment.
func (l *listing) each(ctx context.Context, fn func(Kind, []store.KeyValue)) error {
	for !l.done() {
		if err := l.begin(ctx); err != nil {
			return err
		}
		for {
			kind, kvs, err := l.page(ctx)
			if err != nil {
				return err
			}
			if len(kvs) == 0 {
				break
			}
			fn(kind, kvs)
		}
		l.end()
	}
	return nil
}

// applyBatch makes one revision's changes, and moves the state there.
func (c *Cache) applyBatch(s *state, b store.Batch) {
	for _, e := range b.Events {
		kind, ok := kindOf(e.Key)
		if !ok {
			continue
		}
		ch := decodeDelete(kind, e.Key)
		if e.Kind == store.EventPut {
			ch = c.roles.decode(kind, e.Key, e.Value)
		}
		c.apply(s, &ch)
	}
	s.cursor = b.Cursor
}

// apply makes a change, and speaks of a record that doesn't decode.
func (c *Cache) apply(s *state, ch *change) {
	if ch.malformed != nil {
		c.metrics.malformed.WithLabelValues(ch.kind.String()).Inc()
		c.cfg.Logger.Error("malformed record in the store is not served", "kind", ch.kind.String(), "error", ch.malformed.err)
	}
	s.apply(ch)
}
