package check

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/keys"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// numberBytes is the size of an object's number, with which its value begins.
const numberBytes = 8

// History is every change since the store was empty, in order, as one server
// has it. One goroutine may use it at a time.
type History struct {
	batches []api.Batch

	shown   map[string][]store.Revision // where each write shows
	state   map[string]api.Pair         // what the changes add up to
	numbers map[string]uint64           // the last number of each type of object and event
	problems
}

// NewHistory returns an empty history.
func NewHistory() *History {
	return &History{
		shown:   make(map[string][]store.Revision),
		state:   make(map[string]api.Pair),
		numbers: make(map[string]uint64),
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
	h.checkNumbers(b)
	h.checkEvents(b)
	for _, e := range b.Events {
		h.apply(b.Cursor.Revision, e)
	}
}

// apply adds one change to what the changes add up to.
func (h *History) apply(rev store.Revision, e api.Event) {
	if write := WriteOf(e); write != "" {
		h.shown[write] = append(h.shown[write], rev)
	}
	if e.Kind == store.EventDelete.String() {
		delete(h.state, string(e.Key))
		return
	}
	old, existed := h.state[string(e.Key)]
	h.state[string(e.Key)] = api.Pair{Key: e.Key, Value: e.Value, ModRevision: rev}
	if !bytes.HasPrefix(e.Key, records.Entries.Prefix()) {
		return
	}
	entry, err := records.Entries.DecodePair(e.Key, e.Value)
	if err != nil {
		h.report("history: revision %d: %v", rev, err)
		return
	}
	// Every update must have seen the one before.
	want := int64(0)
	if existed {
		before, err := records.Entries.DecodePair(old.Key, old.Value)
		if err != nil {
			return // reported then
		}
		want = before.Object.RevisionNumber + 1
	}
	if got := entry.Object.RevisionNumber; got != want {
		h.report("history: revision %d: entry %q goes to its revision %d, not %d: an update was lost", rev, entry.Object.EntryId, got, want)
	}
}

// postings read the indexes of the types of object that the demo stores.
var postings = map[string]func(key, data []byte) (records.Posting, error){
	records.Entries.Type():          records.Entries.Posting,
	records.Nodes.Type():            records.Nodes.Posting,
	records.NodeSelectorSets.Type(): records.NodeSelectorSets.Posting,
	records.Bundles.Type():          records.Bundles.Posting,
}

// checkNumbers checks that the objects of a type are numbered 1, 2, 3 ... in the
// order of their creation, keep their number, and that their indexes come with
// them and have it too. The batch is not in the state yet.
func (h *History) checkNumbers(b api.Batch) {
	rev := b.Cursor.Revision
	numbers := make(map[string]uint64) // of the objects put, by key
	fresh := make(map[string][]uint64) // numbers of new objects, by type
	for _, e := range b.Events {
		item, err := keys.ParseItem(e.Key)
		if err != nil || e.Kind == store.EventDelete.String() || len(e.Value) < numberBytes {
			continue
		}
		n := binary.BigEndian.Uint64(e.Value)
		numbers[string(e.Key)] = n
		if old, existed := h.state[string(e.Key)]; !existed {
			fresh[string(item.Type)] = append(fresh[string(item.Type)], n)
		} else if before := binary.BigEndian.Uint64(old.Value); before != n {
			h.report("history: revision %d changes the number of %s %q from %d to %d", rev, item.Type, item.ID, before, n)
		}
	}
	for _, e := range b.Events {
		index, err := keys.ParseIndex(e.Key)
		if err != nil || e.Kind == store.EventDelete.String() || postings[string(index.Type)] == nil {
			continue
		}
		p, err := postings[string(index.Type)](e.Key, e.Value)
		if err != nil {
			h.report("history: revision %d: %v", rev, err)
			continue
		}
		n, here := numbers[string(keys.AppendItem(nil, string(index.Type), p.ID))]
		switch {
		case !here:
			h.report("history: revision %d has an index of %s %q without the object", rev, index.Type, p.ID)
		case n != p.Number:
			h.report("history: revision %d numbers %s %q both %d and %d", rev, index.Type, p.ID, n, p.Number)
		}
	}
	h.checkConsecutive(rev, fresh)
}

// checkConsecutive checks that numbers, by type, go on where the last ones were.
func (h *History) checkConsecutive(rev store.Revision, fresh map[string][]uint64) {
	for typ, numbers := range fresh {
		slices.Sort(numbers)
		for _, n := range numbers {
			if want := h.numbers[typ] + 1; n != want {
				h.report("history: revision %d: %s has number %d, not %d", rev, typ, n, want)
			}
			h.numbers[typ] = n
		}
	}
}

// eventStreams are SPIRE's own streams of events, and the types of object whose
// changes they tell.
var eventStreams = []struct {
	*records.Stream
	types []string
}{
	{records.EntryEvents, []string{records.Entries.Type()}},
	{records.NodeEvents, []string{records.Nodes.Type(), records.NodeSelectorSets.Type()}},
}

// checkEvents checks that every change of an entry, an agent or an agent's
// selectors comes with an event that tells it, and that events are numbered 1,
// 2, 3 ...
func (h *History) checkEvents(b api.Batch) {
	rev := b.Cursor.Revision
	numbers := make(map[string][]uint64)
	for _, stream := range eventStreams {
		told := make(map[string]bool)
		for _, e := range b.Events {
			if e.Kind == store.EventDelete.String() || !bytes.HasPrefix(e.Key, stream.Prefix()) {
				continue
			}
			event, err := stream.DecodePair(e.Key, e.Value)
			if err != nil {
				h.report("history: revision %d: %v", rev, err)
				continue
			}
			numbers[stream.Type()] = append(numbers[stream.Type()], event.Number)
			told[event.ObjectID] = true
		}
		for _, e := range b.Events {
			item, err := keys.ParseItem(e.Key)
			if err == nil && slices.Contains(stream.types, string(item.Type)) && !told[string(item.ID)] {
				h.report("history: revision %d changes %s %q without an event", rev, item.Type, item.ID)
			}
		}
	}
	h.checkConsecutive(rev, numbers)
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
