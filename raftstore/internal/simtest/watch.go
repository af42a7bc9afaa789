package simtest

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/spire-raft/spire-raft/store"
)

// Stream is what a watcher has received, across nodes and resumptions. Its
// methods may be called concurrently.
type Stream struct {
	Prefixes [][]byte

	mu       sync.Mutex // guards the fields below
	segments []segment
}

// segment is what came after a cursor without the watcher listing anew.
type segment struct {
	start   store.Cursor
	batches []store.Batch
}

// Restart notes that the watcher begins, or begins anew, behind a cursor that a
// listing gave it.
func (s *Stream) Restart(at store.Cursor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments = append(s.segments, segment{start: at})
}

// Add notes the next batch.
func (s *Stream) Add(b store.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := &s.segments[len(s.segments)-1]
	last.batches = append(last.batches, b)
}

// Cursor is where the watcher would resume.
func (s *Stream) Cursor() store.Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := &s.segments[len(s.segments)-1]
	if n := len(last.batches); n > 0 {
		return last.batches[n-1].Cursor
	}
	return last.start
}

// Restarts counts how often the watcher had to list anew.
func (s *Stream) Restarts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.segments) - 1
}

// Check demands that the stream holds what the history does behind each
// restart and under its prefixes: every batch once, whole and in order, up to
// its cursor; and that no progress mark promised more than was delivered.
func (s *Stream) Check(history []store.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, seg := range s.segments {
		errs = append(errs, s.check(seg, history))
	}
	return errors.Join(errs...)
}

func (s *Stream) check(seg segment, history []store.Batch) error {
	at := seg.start.Revision // everything up to it was delivered
	for _, b := range seg.batches {
		if b.Cursor.Revision < at || len(b.Events) > 0 && b.Cursor.Revision == at || int(b.Cursor.Revision) > len(history) {
			return fmt.Errorf("watch: revision %d after %d, of %d", b.Cursor.Revision, at, len(history))
		}
		for at < b.Cursor.Revision {
			want := history[at]
			at++
			want.Events = slices.DeleteFunc(slices.Clone(want.Events), func(e store.Event) bool { return !s.wants(e.Key) })
			switch {
			case at < b.Cursor.Revision && len(want.Events) > 0:
				return fmt.Errorf("watch: revision %d was not delivered before %d", at, b.Cursor.Revision)
			case at == b.Cursor.Revision && !slices.EqualFunc(b.Events, want.Events, sameEvent):
				return fmt.Errorf("watch: revision %d came as %v, want %v", at, b.Events, want.Events)
			case at == b.Cursor.Revision && b.Cursor.Epoch != want.Cursor.Epoch:
				return fmt.Errorf("watch: revision %d came with epoch %d, want %d", at, b.Cursor.Epoch, want.Cursor.Epoch)
			}
		}
	}
	return nil
}

func (s *Stream) wants(key []byte) bool {
	return len(s.Prefixes) == 0 || slices.ContainsFunc(s.Prefixes, func(p []byte) bool { return store.Prefix(p).Contains(key) })
}

func sameEvent(a, b store.Event) bool {
	return a.Kind == b.Kind && string(a.Key) == string(b.Key) && string(a.Value) == string(b.Value)
}

// SameHistory demands that two nodes tell the same history.
func SameHistory(a, b []store.Batch) error {
	same := func(a, b store.Batch) bool {
		return a.Cursor == b.Cursor && slices.EqualFunc(a.Events, b.Events, sameEvent)
	}
	if !slices.EqualFunc(a, b, same) {
		return fmt.Errorf("histories differ: %d and %d batches", len(a), len(b))
	}
	return nil
}
