package memstore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

// commit applies an intent. Everything that can fail comes before the first
// change, so a transaction that fails uses up no number.
func (s *Store) commit(_ context.Context, in *txn.Intent) (store.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.Result{}, store.ErrClosed
	}
	if !s.current(in) {
		return store.Result{}, &store.ConflictError{Revision: s.revision}
	}
	numbers, counters, err := s.number(in)
	if err != nil {
		return store.Result{}, err
	}
	events, err := s.events(in.Writes, numbers)
	if err != nil {
		return store.Result{}, err
	}

	maps.Copy(s.counters, counters)
	if len(events) > 0 {
		s.apply(events)
	}
	return store.Result{Revision: s.revision, Numbers: numbers}, nil
}

// current tells whether everything that the transaction read is still so.
func (s *Store) current(in *txn.Intent) bool {
	for _, p := range in.Points {
		it, _ := s.items.Get(string(p.Key)) // absent: mod 0
		if it.mod != p.ModRevision {
			return false
		}
	}
	if len(in.Ranges) == 0 {
		return true
	}
	changes, known := s.history.after(in.ReadRevision)
	if !known {
		return false
	}
	for _, c := range changes {
		for _, e := range c.events {
			if slices.ContainsFunc(in.Ranges, func(r store.Range) bool { return r.Contains(e.Key) }) {
				return false
			}
		}
	}
	return true
}

// number returns the number of each sequence taken, and the new values of the
// counters that were raised or counted up.
func (s *Store) number(in *txn.Intent) ([]uint64, map[string]uint64, error) {
	next := make(map[string]uint64)
	value := func(counter []byte) uint64 {
		if n, ok := next[string(counter)]; ok {
			return n
		}
		return s.counters[string(counter)]
	}
	for _, r := range in.Raises {
		next[string(r.Counter)] = max(value(r.Counter), r.Floor)
	}
	var numbers []uint64
	for _, c := range in.Counters {
		n := value(c)
		if n == math.MaxUint64 {
			return nil, nil, fmt.Errorf("%w: counter %q is at its end, it was raised too far", store.ErrInvalid, c)
		}
		next[string(c)] = n + 1
		numbers = append(numbers, n+1)
	}
	return numbers, next, nil
}

// events returns the changes that writes make, in key order. A delete of an
// absent key is none.
func (s *Store) events(writes []txn.Write, numbers []uint64) ([]store.Event, error) {
	var events []store.Event
	written := make(map[string]struct{}, len(writes))
	for i := range writes {
		w := &writes[i]
		key, value := w.Patched(numbers)
		if _, twice := written[string(key)]; twice {
			return nil, fmt.Errorf("%w: two writes of the transaction have key %q once it is patched", store.ErrInvalid, key)
		}
		written[string(key)] = struct{}{}

		e := store.Event{Kind: w.Kind, Key: bytes.Clone(key)}
		if w.Kind == store.EventPut {
			e.Value = append([]byte{}, value...)
		} else if _, found := s.items.Get(string(key)); !found {
			continue
		}
		events = append(events, e)
	}
	slices.SortFunc(events, func(a, b store.Event) int { return bytes.Compare(a.Key, b.Key) })
	return events, nil
}

// apply makes events the next revision.
func (s *Store) apply(events []store.Event) {
	s.revision++
	for _, e := range events {
		if e.Kind == store.EventPut {
			s.items.Set(string(e.Key), item{value: e.Value, mod: s.revision})
		} else {
			s.items.Delete(string(e.Key))
		}
	}
	s.history.add(change{revision: s.revision, events: events})
	close(s.changed)
	s.changed = make(chan struct{})
}

// history is the newest changes, one for each revision without a gap.
type history struct {
	bytesMax int64
	bytes    int64
	compact  store.Revision // the newest revision whose change is gone
	changes  []change       // of the revisions compact+1, compact+2 ...
}

// change is what one transaction changed. It is never modified.
type change struct {
	revision store.Revision
	events   []store.Event // in key order
}

func (c change) bytes() int64 {
	n := 0
	for _, e := range c.events {
		n += len(e.Key) + len(e.Value)
	}
	return int64(n)
}

// add appends the change of the next revision and drops the oldest ones that
// are over the budget.
func (h *history) add(c change) {
	h.changes = append(h.changes, c)
	h.bytes += c.bytes()
	for h.bytes > h.bytesMax && len(h.changes) > 1 {
		h.bytes -= h.changes[0].bytes()
		h.compact = h.changes[0].revision
		h.changes = h.changes[1:]
	}
}

// after returns the changes after revision r, and whether all of them are
// still known.
func (h *history) after(r store.Revision) ([]change, bool) {
	if r < h.compact {
		return nil, false
	}
	i, found := slices.BinarySearchFunc(h.changes, r, func(c change, r store.Revision) int {
		return cmp.Compare(c.revision, r)
	})
	if found {
		i++
	}
	return h.changes[i:], true
}
