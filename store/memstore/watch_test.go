package memstore_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

func put(t *testing.T, s store.Store, key string, value []byte) store.Revision {
	t.Helper()
	rev, err := s.Put(t.Context(), store.Pair{Key: []byte(key), Value: value})
	if err != nil {
		t.Fatalf("put: %v", err)
	}
	return rev
}

func TestWatch_TooManyWatchers(t *testing.T) {
	s := memstore.New(memstore.Config{WatchersMax: 2})
	defer s.Close()
	first, err := s.Watch(t.Context(), store.Cursor{})
	if err != nil {
		t.Fatalf("first watcher: %v", err)
	}
	if _, err := s.Watch(t.Context(), store.Cursor{}); err != nil {
		t.Fatalf("second watcher: %v", err)
	}
	if _, err := s.Watch(t.Context(), store.Cursor{}); !errors.Is(err, store.ErrTooManyWatchers) {
		t.Errorf("third watcher: got error %v, want %v", err, store.ErrTooManyWatchers)
	}
	for range 2 { // closing one twice makes room for one
		if err := first.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if _, err := s.Watch(t.Context(), store.Cursor{}); err != nil {
		t.Errorf("a watcher in the place of a closed one: %v", err)
	}
	if _, err := s.Watch(t.Context(), store.Cursor{}); !errors.Is(err, store.ErrTooManyWatchers) {
		t.Errorf("one more: got error %v, want %v", err, store.ErrTooManyWatchers)
	}
}

// TestWatch_ProgressInterval reads marks by the clock.
func TestWatch_ProgressInterval(t *testing.T) {
	for configured, want := range map[time.Duration]time.Duration{
		0:                      memstore.DefaultProgressInterval,
		100 * time.Millisecond: 100 * time.Millisecond,
		time.Hour:              store.ProgressIntervalMax,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := memstore.New(memstore.Config{ProgressInterval: configured})
			defer s.Close()
			put(t, s, "k", nil)
			w, err := s.Watch(t.Context(), store.Cursor{Revision: 1})
			if err != nil {
				t.Fatalf("watch: %v", err)
			}
			for range 3 {
				start := time.Now()
				b, err := w.Next(t.Context())
				if err != nil || len(b.Events) > 0 || b.Cursor != (store.Cursor{Epoch: 1, Revision: 1}) {
					t.Fatalf("next: got %v and error %v, want a mark at 1/1", b, err)
				}
				if took := time.Since(start); took != want {
					t.Errorf("interval %v: a mark after %v, want %v", configured, took, want)
				}
			}
		})
	}
}

// TestWatch_MarkSoonAfterWhatIsNotAskedFor has a reader of the watcher, such as
// a cache, know at once that it is up to date, but not change by change.
func TestWatch_MarkSoonAfterWhatIsNotAskedFor(t *testing.T) {
	const pause = 2 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Config{})
		defer s.Close()
		w, err := s.Watch(t.Context(), store.Cursor{}, []byte("k"))
		if err != nil {
			t.Fatalf("watch: %v", err)
		}
		time.Sleep(pause)
		for revision, want := range []struct {
			key   string
			after time.Duration
		}{{"other", 0}, {"other", pause}, {"k", 0}, {"other", pause}} {
			put(t, s, want.key, nil)
			start := time.Now()
			b, err := w.Next(t.Context())
			if err != nil || int(b.Cursor.Revision) != revision+1 || time.Since(start) != want.after {
				t.Errorf("put %d of %s: got %v and error %v after %v, want it after %v", revision+1, want.key, b, err, time.Since(start), want.after)
			}
		}
		for range 100 {
			put(t, s, "other", nil)
		}
		if b, err := w.Next(t.Context()); err != nil || b.Cursor.Revision != 104 {
			t.Errorf("got %v and error %v, want one mark for all", b, err)
		}
	})
}

// TestWaiters_WakeAtOnce wants no waiter to sleep on until the next mark.
func TestWaiters_WakeAtOnce(t *testing.T) {
	const waits = "still waits"
	for name, c := range map[string]struct {
		wake       func(ctx context.Context, s store.Store, w store.Watcher) error
		next, read string // how a waiting Next and a read of the next revision end
	}{
		"put": {
			wake: func(ctx context.Context, s store.Store, _ store.Watcher) error {
				_, err := s.Put(ctx, store.Pair{Key: []byte("k")})
				return err
			},
			next: "<nil>", read: "<nil>",
		},
		"close of the store": {
			wake: func(_ context.Context, s store.Store, _ store.Watcher) error { return s.Close() },
			next: store.ErrClosed.Error(), read: store.ErrClosed.Error(),
		},
		"close of the watcher": {
			wake: func(_ context.Context, _ store.Store, w store.Watcher) error { return w.Close() },
			next: store.ErrClosed.Error(), read: waits,
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := memstore.New(memstore.Config{})
			defer s.Close()
			w, err := s.Watch(t.Context(), store.Cursor{})
			if err != nil {
				t.Fatalf("watch: %v", err)
			}
			next, read := waits, waits
			go func() { _, err := w.Next(t.Context()); next = fmt.Sprint(err) }()
			go func() { _, err := s.Revision(t.Context(), store.AtLeast(1)); read = fmt.Sprint(err) }()
			synctest.Wait()
			if next != waits || read != waits {
				t.Errorf("before %s: next %s, read %s", name, next, read)
			}
			if err := c.wake(t.Context(), s, w); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			synctest.Wait()
			if next != c.next || read != c.read {
				t.Errorf("after %s: next %s, read %s, want %s, %s", name, next, read, c.next, c.read)
			}
		})
	}
}

// TestWatch_MarkAtOnceWhenOverdue serves a caller that is slower than the marks.
func TestWatch_MarkAtOnceWhenOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Config{})
		defer s.Close()
		w, err := s.Watch(t.Context(), store.Cursor{})
		if err != nil {
			t.Fatalf("watch: %v", err)
		}
		time.Sleep(time.Minute)
		start := time.Now()
		if _, err := w.Next(t.Context()); err != nil || time.Since(start) != 0 {
			t.Errorf("next: got error %v after %v, want a mark at once", err, time.Since(start))
		}
	})
}

// TestWatch_FarAhead has no mark and no event, not even by overflow.
func TestWatch_FarAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Config{})
		defer s.Close()
		put(t, s, "k", nil)
		w, err := s.Watch(t.Context(), store.Cursor{Revision: math.MaxUint64})
		if err != nil {
			t.Fatalf("watch: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if b, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("next: got %v and error %v, want %v", b, err, context.DeadlineExceeded)
		}
	})
}

// TestHistory_KeepsTheNewest also where that alone is over the budget: a watcher
// that is up to date must not lose its place by one large transaction.
func TestHistory_KeepsTheNewest(t *testing.T) {
	s := memstore.New(memstore.Config{HistoryBytesMax: 10})
	defer s.Close()
	for range 3 {
		rev := put(t, s, "k", make([]byte, 1000))
		w, err := s.Watch(t.Context(), store.Cursor{Revision: rev - 1})
		if err != nil {
			t.Fatalf("watch: %v", err)
		}
		if b, err := w.Next(t.Context()); err != nil || b.Cursor.Revision != rev || len(b.Events) != 1 {
			t.Errorf("next: got %v and error %v, want the event of revision %d", b.Cursor, err, rev)
		}
		if _, err = s.Watch(t.Context(), store.Cursor{}); err != nil {
			t.Fatalf("watch: %v", err)
		}
	}
	w, err := s.Watch(t.Context(), store.Cursor{Revision: 1})
	if err != nil {
		t.Fatalf("watch: %v", err)
	}
	_, err = w.Next(t.Context())
	compacted, ok := errors.AsType[*store.CompactedError](err)
	if !ok || compacted.Compact != (store.Cursor{Epoch: 1, Revision: 2}) || compacted.Current != 3 {
		t.Errorf("next: got error %v, want compacted up to 1/2 at 3", err)
	}
}

// TestAtLeast_EndsWithoutADeadline does not let a caller wait for ever.
func TestAtLeast_EndsWithoutADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Config{})
		defer s.Close()
		start := time.Now()
		_, err := s.Revision(t.Context(), store.AtLeast(1))
		if !errors.Is(err, store.ErrStale) || time.Since(start) != store.TxDurationMax {
			t.Errorf("got error %v after %v, want %v after %v", err, time.Since(start), store.ErrStale, store.TxDurationMax)
		}
	})
}
