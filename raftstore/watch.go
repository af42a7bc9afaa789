package raftstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// historyReadBytes is about how much history a watcher reads at a time.
const historyReadBytes = 1 << 20

// skipPause is how long a watcher stays silent that has passed over changes: it
// is told soon that there was nothing for it, since a cache may wait to hear that
// it is up to date, but not for every single change.
const skipPause = 2 * time.Millisecond

var _ store.Watcher = (*watcher)(nil)

// watcher is a cursor over the history. It holds no queue that could overflow:
// one that is slow falls behind in the history, and is told when it has fallen
// out of it.
type watcher struct {
	node     *Node
	prefixes []store.Range
	closed   chan struct{}
	close    func()

	// The fields below belong to the goroutine in Next.
	cursor   store.Cursor  // everything up to it is delivered or in pending
	pending  []store.Batch // read, filtered, not yet delivered
	told     store.Cursor  // that of the last batch that Next returned
	reported time.Time     // when that was, or when there was nothing to say
}

// Watch implements [store.Store].
func (n *Node) Watch(ctx context.Context, after store.Cursor, prefixes ...[]byte) (store.Watcher, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(prefixes) > store.WatchPrefixesMax {
		return nil, fmt.Errorf("%w: %d prefixes exceed WatchPrefixesMax %d", store.ErrTooLarge, len(prefixes), store.WatchPrefixesMax)
	}
	w := &watcher{node: n, cursor: after, told: after, closed: make(chan struct{}), reported: time.Now()}
	for _, p := range prefixes {
		w.prefixes = append(w.prefixes, store.Prefix(bytes.Clone(p)))
	}
	w.close = sync.OnceFunc(func() {
		close(w.closed)
		n.watchers.remove()
	})
	if err := n.live(); err != nil {
		return nil, err
	}
	if err := n.watchers.add(n.cfg.WatchersMax); err != nil {
		return nil, err
	}
	if err := w.fill(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// Close implements [store.Watcher].
func (w *watcher) Close() error {
	w.close()
	return nil
}

// Next implements [store.Watcher].
func (w *watcher) Next(ctx context.Context) (store.Batch, error) {
	mark := time.NewTimer(w.markIn())
	defer mark.Stop()
	for {
		advanced := w.node.machine.Advanced() // before reading, so that no change is missed
		if err := w.fill(ctx); err != nil {
			return store.Batch{}, err
		}
		if len(w.pending) > 0 {
			return w.report(w.pop()), nil
		}
		mark.Reset(w.markIn())
		select {
		case <-advanced:
		case <-mark.C:
			// A mark says that this node has everything up to the cursor, so a
			// node that is still behind the cursor has nothing to say.
			if w.cursor.Revision <= w.node.machine.Position().Cursor.Revision {
				return w.report(store.Batch{Cursor: w.cursor}), nil
			}
			w.reported = time.Now()
		case <-w.closed:
		case <-w.node.requests.Done():
		case <-ctx.Done():
		}
	}
}

// markIn is the time until the next progress mark is due.
func (w *watcher) markIn() time.Duration {
	pause := w.node.cfg.ProgressInterval
	if w.cursor != w.told {
		pause = min(pause, skipPause)
	}
	return max(0, pause-time.Since(w.reported))
}

func (w *watcher) usable(ctx context.Context) error {
	select {
	case <-w.closed:
		return fmt.Errorf("watcher: %w", store.ErrClosed)
	default:
	}
	if err := w.node.live(); err != nil {
		return err
	}
	return ctx.Err()
}

func (w *watcher) pop() store.Batch {
	b := w.pending[0]
	w.pending = w.pending[1:]
	return b
}

func (w *watcher) report(b store.Batch) store.Batch {
	w.told, w.reported = b.Cursor, time.Now()
	w.node.metrics.watchEvents.Add(float64(len(b.Events)))
	return b
}

// fill reads history until there is something to deliver or nothing more to
// read.
func (w *watcher) fill(ctx context.Context) error {
	for {
		if err := w.usable(ctx); err != nil || len(w.pending) > 0 {
			return err
		}
		batches, err := w.node.machine.History(w.cursor, historyReadBytes)
		if err != nil {
			return err
		}
		if len(batches) == 0 {
			return nil
		}
		w.cursor = batches[len(batches)-1].Cursor
		for _, b := range batches {
			b.Events = w.filter(b.Events)
			if len(b.Events) > 0 {
				w.pending = append(w.pending, b)
			}
		}
	}
}

// filter returns the events whose key has one of the prefixes.
func (w *watcher) filter(events []store.Event) []store.Event {
	if len(w.prefixes) == 0 {
		return events
	}
	return slices.DeleteFunc(events, func(e store.Event) bool {
		return !slices.ContainsFunc(w.prefixes, func(r store.Range) bool { return r.Contains(e.Key) })
	})
}

// watchers counts the open watchers.
type watchers struct {
	mu   sync.Mutex // guards open
	open int
}

func (w *watchers) add(limit int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open >= limit {
		return fmt.Errorf("%w: WatchersMax is %d", store.ErrTooManyWatchers, limit)
	}
	w.open++
	return nil
}

func (w *watchers) remove() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open--
}

func (w *watchers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open
}
