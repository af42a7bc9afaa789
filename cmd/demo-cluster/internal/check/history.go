package check

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/keys"
	"github.com/spire-raft/spire-raft/store"
)

// History is every change since the store was empty, in order, as one server
// has it. One goroutine may use it at a time.
type History struct {
	batches []api.Batch

	shown    map[string][]store.Revision // where each write shows
	state    map[string]api.Pair         // what the changes add up to
	counters map[string]uint64           // the last value of each counter
	numbers  map[string]uint64           // the last sequence number of each type
	problems
}

// NewHistory returns an empty history.
func NewHistory() *History {
	return &History{
		shown:    make(map[string][]store.Revision),
		state:    make(map[string]api.Pair),
		counters: make(map[string]uint64),
		numbers:  make(map[string]uint64),
	}
}

// Revision is the last revision of the history.
func (h *History) Revision() store.Revision {
	if len(h.batches) == 0 {
		return 0
	}
	return h.batches[len(h.batches)-1].Cursor.Revision
}

// Add takes the next batch. Progress marks add nothing.
func (h *History) Add(b api.Batch) {
	if len(b.Events) == 0 {
		return
	}
	if want := h.Revision() + 1; b.Cursor.Revision != want {
		h.report("history: revision %d stands where %d should", b.Cursor.Revision, want)
	}
	h.batches = append(h.batches, b)
	for _, e := range b.Events {
		h.apply(b.Cursor.Revision, e)
	}
	h.checkIndexes(b)
}

// apply adds one change to what the changes add up to.
func (h *History) apply(rev store.Revision, e api.Event) {
	if e.Kind == store.EventDelete.String() {
		delete(h.state, string(e.Key))
		return
	}
	h.state[string(e.Key)] = api.Pair{Key: e.Key, Value: e.Value, ModRevision: rev}
	item, err := keys.ParseItem(e.Key)
	if err != nil {
		return
	}
	var value api.Value
	if err := json.Unmarshal(e.Value, &value); err != nil {
		h.report("history: revision %d: value of %s %q: %v", rev, item.Type, item.ID, err)
		return
	}
	if value.Write != "" { // else someone's own, through the client API
		h.shown[value.Write] = append(h.shown[value.Write], rev)
	}
	if value.N == 0 {
		return
	}
	// Every increment must have seen the one before.
	if want := h.counters[string(item.ID)] + 1; value.N != want {
		h.report("history: revision %d: counter %s goes to %d, not %d: an update was lost", rev, item.ID, value.N, want)
	}
	h.counters[string(item.ID)] = value.N
}

// checkIndexes checks that the indexes of an item come with it, and that the
// items of a type are numbered 1, 2, 3 ... in the order of their creation.
func (h *History) checkIndexes(b api.Batch) {
	numbered := make(map[string]uint64)
	for _, e := range b.Events {
		ix, err := keys.ParseIndex(e.Key)
		if err != nil {
			continue
		}
		typ := string(ix.Type)
		itemKey := keys.AppendItem(nil, typ, e.Value)
		here := func(other api.Event) bool { return bytes.Equal(other.Key, itemKey) }
		if !slices.ContainsFunc(b.Events, here) {
			h.report("history: revision %d has an index of %s %q without the item", b.Cursor.Revision, typ, e.Value)
		}
		if n, ok := numbered[typ]; ok && n != ix.Sequence {
			h.report("history: revision %d numbers a %s both %d and %d", b.Cursor.Revision, typ, n, ix.Sequence)
		}
		numbered[typ] = ix.Sequence
	}
	for typ, n := range numbered {
		if want := h.numbers[typ] + 1; n != want {
			h.report("history: revision %d: %s has number %d, not %d", b.Cursor.Revision, typ, n, want)
		}
		h.numbers[typ] = n
	}
}

// CompareState checks that what a server holds is what the history adds up to.
func (h *History) CompareState(server string, pairs []api.Pair) {
	if len(pairs) != len(h.state) {
		h.report("%s holds %d keys, the history adds up to %d", server, len(pairs), len(h.state))
	}
	for _, p := range pairs {
		want, ok := h.state[string(p.Key)]
		switch {
		case !ok:
			h.report("%s holds key %q, which the history does not have", server, p.Key)
		case !bytes.Equal(p.Value, want.Value) || p.ModRevision != want.ModRevision:
			h.report("%s holds another value of key %q (revision %d) than the history (revision %d)", server, p.Key, p.ModRevision, want.ModRevision)
		}
	}
}
