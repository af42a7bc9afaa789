package fsm

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"sort"

	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

// finalWrite is a write with its numbers filled in.
type finalWrite struct {
	kind  store.EventKind
	key   []byte
	value []byte
}

// counterValue is a counter that a transaction changes.
type counterValue struct {
	name  []byte
	old   []byte // its body before, nil if it is new
	value uint64
}

// transaction validates t against the state and, if nothing that it read has
// changed, does it. Everything that can refuse it comes before the first
// change.
func (b *batch) transaction(t *fsmv1.Transaction) (Result, error) {
	if rev := store.Revision(t.ReadRevision); rev > b.state.revision && len(t.Points)+len(t.Ranges) > 0 {
		return b.refuse(Invalid, fmt.Sprintf("the transaction has read revision %d, the newest is %d", rev, b.state.revision)), nil
	}
	conflict, err := b.conflicts(t)
	if err != nil {
		return Result{}, err
	}
	if conflict {
		return b.refuse(Conflict, ""), nil
	}
	numbers, detail, err := b.count(t)
	if err != nil {
		return Result{}, err
	}
	if detail == "" {
		detail = b.fill(t.Writes, numbers)
	}
	if detail != "" {
		return b.refuse(Invalid, detail), nil
	}
	for i := range b.scratch.numbers {
		c := &b.scratch.numbers[i]
		b.put(bucketCounters, c.name, c.old, uint64Bytes(c.value))
	}
	if err := b.write(); err != nil {
		return Result{}, err
	}
	return Result{Outcome: Committed, Revision: b.state.revision, Numbers: numbers}, nil
}

func (b *batch) refuse(o Outcome, detail string) Result {
	return Result{Outcome: o, Revision: b.state.revision, Detail: detail}
}

// conflicts tells whether something that t read has changed since.
func (b *batch) conflicts(t *fsmv1.Transaction) (bool, error) {
	for _, p := range t.Points {
		rev, err := b.modRevision(p.Key)
		if err != nil {
			return false, err
		}
		if rev != store.Revision(p.ModRevision) {
			return true, nil
		}
	}
	if len(t.Ranges) == 0 || store.Revision(t.ReadRevision) == b.state.revision {
		return false, nil
	}
	if store.Revision(t.ReadRevision) < b.state.compact {
		return true, nil // what happened since is not known any more
	}
	return b.changedSince(store.Revision(t.ReadRevision), b.disjoint(t.Ranges))
}

// disjoint returns the union of ranges as disjoint ranges in order, so that a
// key is found among many of them by binary search.
func (b *batch) disjoint(ranges []*fsmv1.Range) []store.Range {
	out := b.scratch.ranges[:0]
	for _, r := range ranges {
		if r.End == nil || bytes.Compare(r.Start, r.End) < 0 {
			out = append(out, store.Range{Start: r.Start, End: r.End})
		}
	}
	b.scratch.ranges = out
	slices.SortFunc(out, func(x, y store.Range) int { return bytes.Compare(x.Start, y.Start) })
	n := 0
	for _, r := range out {
		if n > 0 && (out[n-1].End == nil || bytes.Compare(r.Start, out[n-1].End) <= 0) {
			if out[n-1].End != nil && (r.End == nil || bytes.Compare(r.End, out[n-1].End) > 0) {
				out[n-1].End = r.End
			}
			continue
		}
		out[n] = r
		n++
	}
	return out[:n]
}

// changedSince tells whether a key in the ranges, which are disjoint and in
// order, was put or deleted after rev, which is not compacted. Its cost is that
// of the keys changed since, however many the ranges hold.
func (b *batch) changedSince(rev store.Revision, ranges []store.Range) (bool, error) {
	history := &b.buckets[bucketHistory]
	want := revisionKey(rev + 1)
	key, record, err := history.seek(want[:])
	if err != nil {
		return false, err
	}
	for rev++; rev <= b.state.revision; rev++ {
		if want = revisionKey(rev); !bytes.Equal(key, want[:]) {
			return false, corrupt(bucketHistory, want[:], "the record is missing")
		}
		changed, err := changedIn(ranges, key, record)
		if err != nil || changed {
			return changed, err
		}
		if key, record, err = history.next(); err != nil {
			return false, err
		}
	}
	return false, nil
}

// changedIn tells whether a history record has an event in the ranges.
func changedIn(ranges []store.Range, key, record []byte) (bool, error) {
	index, _, err := openHistoryIndex(key, record)
	for err == nil && len(index) > 0 {
		var e store.Event
		if e, _, index, err = nextEvent(key, index); err == nil && covers(ranges, e.Key) {
			return true, nil
		}
	}
	return false, err
}

// covers tells whether key lies in one of the ranges, disjoint and in order.
func covers(ranges []store.Range, key []byte) bool {
	i := sort.Search(len(ranges), func(i int) bool { return bytes.Compare(ranges[i].Start, key) > 0 })
	return i > 0 && ranges[i-1].Contains(key)
}

// count does the raises and takes the numbers of t, in scratch. detail says why
// the transaction is invalid.
func (b *batch) count(t *fsmv1.Transaction) (numbers []uint64, detail string, err error) {
	b.scratch.numbers = b.scratch.numbers[:0]
	if len(t.Raises)+len(t.Counters) == 0 {
		return nil, "", nil
	}
	place := make(map[string]int) // of each counter in scratch.numbers
	load := func(name []byte) (*counterValue, error) {
		i, ok := place[string(name)]
		if !ok {
			old, err := b.buckets[bucketCounters].findSealed(name)
			if err != nil {
				return nil, err
			}
			c := counterValue{name: name, old: old}
			if c.value, err = decodeCounter(name, old); err != nil {
				return nil, err
			}
			i = len(b.scratch.numbers)
			place[string(name)] = i
			b.scratch.numbers = append(b.scratch.numbers, c)
		}
		return &b.scratch.numbers[i], nil
	}
	for _, r := range t.Raises {
		c, err := load(r.Counter)
		if err != nil {
			return nil, "", err
		}
		c.value = max(c.value, r.Floor)
	}
	for _, name := range t.Counters {
		c, err := load(name)
		if err != nil {
			return nil, "", err
		}
		if c.value == math.MaxUint64 {
			return nil, fmt.Sprintf("counter %q has no more numbers", name), nil
		}
		c.value++
		numbers = append(numbers, c.value)
	}
	return numbers, "", nil
}

// fill puts the writes, with their numbers, into scratch in key order. It
// returns why that is invalid, if it is.
func (b *batch) fill(writes []*fsmv1.Write, numbers []uint64) string {
	out := b.scratch.writes[:0]
	patched := false
	var w txn.Write
	for _, m := range writes {
		if len(m.Patches) == 0 {
			out = append(out, finalWrite{kind: store.EventKind(m.Kind), key: m.Key, value: m.Value})
			continue
		}
		loadWrite(&w, m)
		key, value := w.Patched(numbers)
		out = append(out, finalWrite{kind: w.Kind, key: key, value: value})
		patched = patched || keyPatched(m)
	}
	b.scratch.writes = out
	if !patched {
		return "" // in order already, and no two alike
	}
	slices.SortFunc(out, func(x, y finalWrite) int { return bytes.Compare(x.key, y.key) })
	for i := 1; i < len(out); i++ {
		if bytes.Equal(out[i-1].key, out[i].key) {
			return fmt.Sprintf("two writes end on the key %q", out[i].key)
		}
	}
	return ""
}

// write does the writes in scratch and records what they changed.
func (b *batch) write() error {
	rev := b.state.revision + 1
	events := b.scratch.events[:0]
	for _, w := range b.scratch.writes {
		if w.kind == store.EventPut {
			if err := b.putPair(w.key, w.value, rev); err != nil {
				return err
			}
			events = append(events, store.Event{Kind: w.kind, Key: w.key, Value: w.value})
			continue
		}
		found, err := b.removePair(w.key)
		if err != nil {
			return err
		}
		if found {
			events = append(events, store.Event{Kind: w.kind, Key: w.key})
		}
	}
	b.scratch.events = events
	if len(events) == 0 {
		return nil
	}
	b.state.revision = rev
	return b.record(rev, events)
}
