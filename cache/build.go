package cache

import (
	"context"
	"runtime"
	"sync"

	"github.com/spire-raft/spire-raft/store"
)

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
	if err := c.load(ctx, l, s); err != nil {
		return nil, nil, err
	}
	l.end()

	w, err := c.store.Watch(ctx, l.first, prefixes[:]...)
	if err != nil {
		return nil, nil, err
	}
	s.cursor = l.first
	target := l.cursor.Revision
	if prev.Epoch == l.cursor.Epoch {
		target = max(target, prev.Revision)
	}
	for s.cursor.Revision < target {
		b, err := w.Next(ctx)
		if err != nil {
			_ = w.Close() // its error would hide the first one
			return nil, nil, err
		}
		c.applyBatch(s, b)
	}
	return s, w, nil
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
