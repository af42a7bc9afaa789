package memstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

// The defaults of [Config].
const (
	DefaultHistoryBytesMax  = 64 << 20
	DefaultWatchersMax      = 1024
	DefaultProgressInterval = time.Second
)

// epoch is the only life that the data has: nothing restores it.
const epoch store.Epoch = 1

var _ store.Store = (*Store)(nil)

// Config shapes a Store. The zero value is ready for use.
type Config struct {
	// HistoryBytesMax bounds the keys and values of the changes that are kept
	// for watchers and for conflict checks of scanned ranges. The newest
	// change is kept whatever its size. Zero means [DefaultHistoryBytesMax].
	HistoryBytesMax int64

	// WatchersMax bounds the open watchers. Zero means [DefaultWatchersMax].
	WatchersMax int

	// ProgressInterval is how long a watcher stays silent before a progress
	// mark, where nothing happens at all: a mark for changes that it didn't ask
	// for comes within milliseconds. Zero means [DefaultProgressInterval], and
	// more than [store.ProgressIntervalMax] means that.
	ProgressInterval time.Duration
}

// Store is a [store.Store] in memory. A read of a revision that is still to come
// waits for it, at most [store.TxDurationMax], then ends in ErrStale; nothing
// else waits for long.
type Store struct {
	*txn.Runner

	cfg Config

	mu       sync.Mutex // guards the fields below
	closed   bool
	revision store.Revision
	items    btree.Map[string, item]
	counters map[string]uint64
	history  history
	watchers map[*watcher]struct{}
	changed  chan struct{} // closed by the next revision, which replaces it, and by Close
}

// item is a value and the revision that put it. Its bytes never change: the
// tree, the history and snapshots share them.
type item struct {
	value []byte
	mod   store.Revision
}

// New returns an empty store.
func New(cfg Config) *Store {
	if cfg.HistoryBytesMax == 0 {
		cfg.HistoryBytesMax = DefaultHistoryBytesMax
	}
	if cfg.WatchersMax == 0 {
		cfg.WatchersMax = DefaultWatchersMax
	}
	if cfg.ProgressInterval == 0 {
		cfg.ProgressInterval = DefaultProgressInterval
	}
	cfg.ProgressInterval = min(cfg.ProgressInterval, store.ProgressIntervalMax)
	s := &Store{
		cfg:      cfg,
		counters: make(map[string]uint64),
		history:  history{bytesMax: cfg.HistoryBytesMax},
		watchers: make(map[*watcher]struct{}),
		changed:  make(chan struct{}),
	}
	s.Runner = txn.NewRunner(s.snapshot, s.commit)
	return s
}

// Close implements [store.Store].
func (s *Store) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.changed)
	}
	s.mu.Unlock()
	// Only now: a transaction that waits for its snapshot can't be ended
	// before the wait is.
	s.Runner.End(store.ErrClosed)
	return nil
}

// snapshot returns the newest state, which is as fresh as anyone can demand,
// once that has reached a revision that c names.
func (s *Store) snapshot(ctx context.Context, c store.Consistency) (txn.Snapshot, error) {
	least, _ := c.MinRevision()
	patience := time.NewTimer(store.TxDurationMax)
	defer patience.Stop()
	for {
		snap, newest, changed, err := s.capture(least)
		if snap != nil || err != nil {
			return snap, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-patience.C:
			return nil, fmt.Errorf("%w: revision %d was not reached in %v, the store is at %d",
				store.ErrStale, least, store.TxDurationMax, newest)
		}
	}
}

// capture returns a snapshot or, while the store is not yet at revision least,
// its newest revision and the channel that the next one closes.
func (s *Store) capture(least store.Revision) (txn.Snapshot, store.Revision, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, 0, nil, store.ErrClosed
	}
	if s.revision < least {
		return nil, s.revision, s.changed, nil
	}
	return &snapshot{revision: s.revision, items: s.items.Copy()}, s.revision, nil, nil
}

// snapshot is one state of a Store.
type snapshot struct {
	revision store.Revision
	items    *btree.Map[string, item]
}

func (s *snapshot) Cursor() store.Cursor {
	return store.Cursor{Epoch: epoch, Revision: s.revision}
}

func (s *snapshot) Get(key []byte) (store.KeyValue, bool, error) {
	it, found := s.items.Get(string(key))
	if !found {
		return store.KeyValue{}, false, nil
	}
	return store.KeyValue{Key: key, Value: it.value, ModRevision: it.mod}, true, nil
}

func (s *snapshot) Scan(r store.Range, fn func(store.KeyValue) bool) error {
	s.items.Ascend(string(r.Start), func(key string, it item) bool {
		k := []byte(key)
		return r.Contains(k) && fn(store.KeyValue{Key: k, Value: it.value, ModRevision: it.mod})
	})
	return nil
}

func (s *snapshot) Close() {}
