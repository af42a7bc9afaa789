package memstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// skipPause is how long a watcher stays silent that has passed over changes: it
// is told soon that there was nothing for it, since someone may wait to hear that
// it is up to date, but not for every single change.
const skipPause = 2 * time.Millisecond

// Watch implements [store.Store].
func (s *Store) Watch(ctx context.Context, after store.Cursor, prefixes ...[]byte) (store.Watcher, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(prefixes) > store.WatchPrefixesMax {
		return nil, fmt.Errorf("%w: %d prefixes exceed WatchPrefixesMax %d", store.ErrTooLarge, len(prefixes), store.WatchPrefixesMax)
	}
	w := &watcher{
		store:    s,
		done:     make(chan struct{}),
		after:    after.Revision,
		told:     after.Revision,
		reported: time.Now(),
	}
	for _, p := range prefixes {
		if len(p) > store.KeyBytesMax {
			return nil, fmt.Errorf("%w: prefix of %d bytes exceeds KeyBytesMax %d", store.ErrTooLarge, len(p), store.KeyBytesMax)
		}
		w.prefixes = append(w.prefixes, bytes.Clone(p))
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, store.ErrClosed
	case after.Epoch != 0 && after.Epoch != epoch:
		return nil, s.compacted()
	case len(s.watchers) >= s.cfg.WatchersMax:
		return nil, fmt.Errorf("%w: WatchersMax %d are open, close one", store.ErrTooManyWatchers, s.cfg.WatchersMax)
	}
	s.watchers[w] = struct{}{}
	return w, nil
}

// compacted is the error of a watcher that can't go on. The caller holds mu.
func (s *Store) compacted() error {
	return &store.CompactedError{
		Compact: store.Cursor{Epoch: epoch, Revision: s.history.compact},
		Current: s.revision,
	}
}

// since returns the changes after revision r, the newest revision, and the
// channel that the next one closes.
func (s *Store) since(r store.Revision) (changes []change, newest store.Revision, changed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, 0, nil, store.ErrClosed
	}
	changes, known := s.history.after(r)
	if !known {
		return nil, 0, nil, s.compacted()
	}
	return changes, s.revision, s.changed, nil
}

// watcher is a place in the history that moves on with Next.
type watcher struct {
	store    *Store
	prefixes [][]byte
	close    sync.Once
	done     chan struct{} // closed by Close

	// Only Next uses these.
	after    store.Revision // everything up to here is delivered or of no interest
	told     store.Revision // what the caller knows of after
	reported time.Time      // when Next last returned a batch
}

// Next implements [store.Watcher].
func (w *watcher) Next(ctx context.Context) (store.Batch, error) {
	for {
		select {
		case <-w.done:
			return store.Batch{}, store.ErrClosed
		default:
		}
		if err := ctx.Err(); err != nil {
			return store.Batch{}, err
		}
		changes, newest, changed, err := w.store.since(w.after)
		if err != nil {
			return store.Batch{}, err
		}
		for _, c := range changes {
			w.after = c.revision
			if events := w.matching(c); len(events) > 0 {
				return w.batch(events), nil
			}
		}
		upToDate := w.after == newest // not so for a cursor ahead of the store
		if upToDate && !time.Now().Before(w.markAt()) {
			return w.batch(nil), nil
		}
		w.wait(ctx, changed, upToDate)
	}
}

// wait returns when Next should look again.
func (w *watcher) wait(ctx context.Context, changed <-chan struct{}, upToDate bool) {
	var mark <-chan time.Time
	if upToDate {
		timer := time.NewTimer(time.Until(w.markAt()))
		defer timer.Stop()
		mark = timer.C
	}
	select {
	case <-changed:
	case <-mark:
	case <-w.done:
	case <-ctx.Done():
	}
}

// markAt is when the next progress mark is due.
func (w *watcher) markAt() time.Time {
	pause := w.store.cfg.ProgressInterval
	if w.after > w.told {
		pause = min(pause, skipPause)
	}
	return w.reported.Add(pause)
}

// batch is what Next returns at the watcher's place.
func (w *watcher) batch(events []store.Event) store.Batch {
	w.told, w.reported = w.after, time.Now()
	return store.Batch{Cursor: store.Cursor{Epoch: epoch, Revision: w.after}, Events: events}
}

// matching returns copies of the events that the watcher asked for.
func (w *watcher) matching(c change) []store.Event {
	var out []store.Event
	for _, e := range c.events {
		if !w.wants(e.Key) {
			continue
		}
		e.Key = bytes.Clone(e.Key)
		e.Value = bytes.Clone(e.Value) // stays nil for a delete
		out = append(out, e)
	}
	return out
}

func (w *watcher) wants(key []byte) bool {
	return len(w.prefixes) == 0 ||
		slices.ContainsFunc(w.prefixes, func(p []byte) bool { return bytes.HasPrefix(key, p) })
}

// Close implements [store.Watcher].
func (w *watcher) Close() error {
	w.close.Do(func() {
		close(w.done)
		w.store.mu.Lock()
		delete(w.store.watchers, w)
		w.store.mu.Unlock()
	})
	return nil
}
