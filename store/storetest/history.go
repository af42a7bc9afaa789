package storetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spire-raft/spire-raft/store"
)

// watch opens a watcher through handle i. The prefixes are whole ones.
func (e *env) watch(i int, after store.Cursor, prefixes ...string) store.Watcher {
	e.Helper()
	var ps [][]byte
	for _, p := range prefixes {
		ps = append(ps, []byte(p))
	}
	w, err := e.store(i).Watch(e.ctx, after, ps...)
	e.noError(err, "watch after %v through handle %d", after, i)
	e.Cleanup(func() { w.Close() })
	return w
}

// collect returns batches until one is at revision until.
func (e *env) collect(w store.Watcher, until store.Revision) []store.Batch {
	e.Helper()
	batches, err := collect(e.ctx, w, until)
	e.noError(err, "watch until revision %d", until)
	return batches
}

func collect(ctx context.Context, w store.Watcher, until store.Revision) ([]store.Batch, error) {
	var batches []store.Batch
	for {
		b, err := w.Next(ctx)
		if err != nil {
			return batches, fmt.Errorf("next after %d batches: %w", len(batches), err)
		}
		batches = append(batches, b)
		if b.Cursor.Revision >= until {
			return batches, nil
		}
	}
}

// collectUntilKey returns batches until one has an event of key.
func collectUntilKey(ctx context.Context, w store.Watcher, key []byte) ([]store.Batch, error) {
	var batches []store.Batch
	for {
		b, err := w.Next(ctx)
		if err != nil {
			return batches, fmt.Errorf("next after %d batches: %w", len(batches), err)
		}
		batches = append(batches, b)
		if slices.ContainsFunc(b.Events, func(ev store.Event) bool { return bytes.Equal(ev.Key, key) }) {
			return batches, nil
		}
	}
}

// history is what was committed, by revision.
type history map[store.Revision][]store.Event

// add notes events in any order.
func (h history) add(rev store.Revision, events ...store.Event) {
	h[rev] = slices.SortedFunc(slices.Values(append(h[rev], events...)), func(a, b store.Event) int { return bytes.Compare(a.Key, b.Key) })
}

func putEvent(key []byte, value string) store.Event {
	return store.Event{Kind: store.EventPut, Key: key, Value: []byte(value)}
}

func deleteEvent(key []byte) store.Event {
	return store.Event{Kind: store.EventDelete, Key: key}
}

// check compares what a watcher that began after a revision got with all that
// was committed after it.
func (h history) check(after store.Revision, got []store.Batch) error {
	var want []store.Revision
	for _, rev := range slices.Sorted(maps.Keys(h)) {
		if rev > after {
			want = append(want, rev)
		}
	}
	last := after
	for _, b := range got {
		rev := b.Cursor.Revision
		if b.Cursor.Epoch == 0 {
			return fmt.Errorf("the batch of revision %d has epoch 0, but epochs start at 1", rev)
		}
		if len(b.Events) == 0 {
			if rev < last {
				return fmt.Errorf("a progress mark at revision %d comes behind revision %d", rev, last)
			}
			if len(want) > 0 && want[0] <= rev {
				return fmt.Errorf("a progress mark at revision %d comes before the events of revision %d", rev, want[0])
			}
			last = rev
			continue
		}
		if rev <= last {
			return fmt.Errorf("the events of revision %d come again, or out of order, behind revision %d", rev, last)
		}
		if len(want) == 0 || want[0] != rev {
			return fmt.Errorf("events of revision %d, want those of revisions %v", rev, want[:min(len(want), 3)])
		}
		if err := sameEvents(b.Events, h[rev]); err != nil {
			return fmt.Errorf("revision %d: %w", rev, err)
		}
		last, want = rev, want[1:]
	}
	if len(want) > 0 {
		return fmt.Errorf("the watcher is at revision %d without the events of revisions %v", last, want)
	}
	return nil
}

func sameEvents(got, want []store.Event) error {
	if len(got) != len(want) {
		return fmt.Errorf("got %d events %v, want %d", len(got), formatEvents(got), len(want))
	}
	for i, g := range got {
		w := want[i]
		if g.Kind != w.Kind || !bytes.Equal(g.Key, w.Key) || !bytes.Equal(g.Value, w.Value) {
			return fmt.Errorf("event %d: got %v, want %v", i, formatEvents(got[i:i+1]), formatEvents(want[i:i+1]))
		}
		if g.Kind == store.EventDelete && g.Value != nil {
			return fmt.Errorf("event %d, a delete of %q, has a value", i, g.Key)
		}
	}
	return nil
}

func formatEvents(events []store.Event) []string {
	var out []string
	for _, e := range events {
		out = append(out, fmt.Sprintf("%v %q=%q", e.Kind, e.Key, e.Value))
	}
	return out
}

// eventful leaves out progress marks.
func eventful(batches []store.Batch) []store.Batch {
	return slices.DeleteFunc(slices.Clone(batches), func(b store.Batch) bool { return len(b.Events) == 0 })
}
