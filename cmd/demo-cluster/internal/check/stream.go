package check

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"sync"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/store"
)

// digestSeed makes digests of this process comparable.
var digestSeed = maphash.MakeSeed()

// Stream checks the batches of one watcher of all keys, across all its
// resumptions: each revision must come once, whole, and right after the one
// before. Its methods may be called concurrently.
type Stream struct {
	Name string

	mu      sync.Mutex // guards the fields below
	cursor  store.Cursor
	digests map[store.Revision]uint64
	counts  StreamCounts
	retired bool
	problems
}

// StreamCounts are what a stream delivered and what was wrong with it.
type StreamCounts struct {
	Events, Gaps, Duplicates, OutOfOrder int
}

// NewStream returns the check of a watcher that begins at the zero cursor.
func NewStream(name string) *Stream {
	return &Stream{Name: name, digests: make(map[store.Revision]uint64)}
}

// Cursor is where to resume.
func (s *Stream) Cursor() store.Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursor
}

// Counts returns what the stream has delivered so far.
func (s *Stream) Counts() StreamCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// Total adds up what streams have delivered so far.
func Total(streams []*Stream) StreamCounts {
	var sum StreamCounts
	for _, s := range streams {
		c := s.Counts()
		sum.Events += c.Events
		sum.Gaps += c.Gaps
		sum.Duplicates += c.Duplicates
		sum.OutOfOrder += c.OutOfOrder
	}
	return sum
}

// Add takes the next batch.
func (s *Stream) Add(b api.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cursor.Epoch != 0 && b.Cursor.Epoch != s.cursor.Epoch {
		s.counts.Gaps++
		s.report("%s: epoch changes from %v to %v", s.Name, s.cursor, store.Cursor(b.Cursor))
	}
	if len(b.Events) == 0 {
		s.mark(b.Cursor)
	} else {
		s.batch(b)
	}
	if b.Cursor.Revision >= s.cursor.Revision {
		s.cursor = store.Cursor(b.Cursor)
	}
}

// Break notes that the stream can't go on: what follows its cursor is missing.
func (s *Stream) Break(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Gaps++
	s.report("%s: the watch can't go on after revision %d: %v", s.Name, s.cursor.Revision, err)
}

// Retire notes that the watcher's server is gone for good, and the watcher with
// it: what follows its cursor is not missing. It gets no more batches.
func (s *Stream) Retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = true
}

// mark checks a progress mark. Every revision has a change that this watcher
// watches, so that a mark can't be anywhere but where the last batch was.
func (s *Stream) mark(at api.Cursor) {
	switch last := s.cursor.Revision; {
	case at.Revision > last:
		s.gap(last, at.Revision+1)
	case at.Revision < last:
		s.counts.OutOfOrder++
		s.report("%s: progress mark goes back from revision %d to %d", s.Name, last, at.Revision)
	}
}

func (s *Stream) batch(b api.Batch) {
	rev, last := b.Cursor.Revision, s.cursor.Revision
	s.counts.Events += len(b.Events)
	s.keyOrder(b)
	digest := digestOf(b.Events)
	before, seen := s.digests[rev]
	switch {
	case rev > last+1:
		s.gap(last, rev)
	case seen && before == digest:
		s.counts.Duplicates++
		s.report("%s: revision %d comes twice", s.Name, rev)
	case seen:
		s.counts.Duplicates++
		s.report("%s: revision %d comes in two different parts", s.Name, rev)
	case rev <= last:
		s.counts.OutOfOrder++
		s.report("%s: revision %d comes after %d", s.Name, rev, last)
	}
	if !seen {
		s.digests[rev] = digest
	}
}

// gap reports that the revisions between from and to are missing.
func (s *Stream) gap(from, to store.Revision) {
	s.counts.Gaps += int(to - from - 1)
	s.report("%s: revisions %d to %d are missing", s.Name, from+1, to-1)
}

func (s *Stream) keyOrder(b api.Batch) {
	for i := 1; i < len(b.Events); i++ {
		switch bytes.Compare(b.Events[i-1].Key, b.Events[i].Key) {
		case 0:
			s.counts.Duplicates++
			s.report("%s: revision %d has a key twice", s.Name, b.Cursor.Revision)
		case 1:
			s.counts.OutOfOrder++
			s.report("%s: revision %d is not in key order", s.Name, b.Cursor.Revision)
		}
	}
}

// Compare checks the stream against the whole history: each revision must have
// brought the same changes, up to the last or, where the stream was retired, as
// far as it came.
func (s *Stream) Compare(h *History) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch last := h.Revision(); {
	case s.cursor.Revision > last:
		s.counts.OutOfOrder++
		s.report("%s: was given revision %d, the history ends at %d", s.Name, s.cursor.Revision, last)
	case s.cursor.Revision < last && !s.retired:
		s.gap(s.cursor.Revision, last+1)
	}
	for _, b := range h.batches {
		digest, seen := s.digests[b.Cursor.Revision]
		if seen && digest != digestOf(b.Events) {
			s.counts.Gaps++
			s.report("%s: revision %d did not bring the changes that the history has", s.Name, b.Cursor.Revision)
		}
	}
}

func digestOf(events []api.Event) uint64 {
	var h maphash.Hash
	h.SetSeed(digestSeed)
	for _, e := range events {
		fmt.Fprintf(&h, "%s %d %d ", e.Kind, len(e.Key), len(e.Value))
		_, _ = h.Write(e.Key)   // never fails
		_, _ = h.Write(e.Value) // never fails
	}
	return h.Sum64()
}
