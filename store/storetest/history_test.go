package storetest

import (
	"strings"
	"testing"

	"github.com/spire-raft/spire-raft/store"
)

// TestHistory_Check makes sure that the judge of watchers sees each way in which
// a watcher can go wrong.
func TestHistory_Check(t *testing.T) {
	a, b, gone := putEvent([]byte("a"), "1"), putEvent([]byte("b"), "2"), deleteEvent([]byte("c"))
	h := history{}
	h.add(2, b, a) // any order
	h.add(4, gone)
	h.add(5, a)
	at := func(rev store.Revision, events ...store.Event) store.Batch {
		return store.Batch{Cursor: store.Cursor{Epoch: 1, Revision: rev}, Events: events}
	}
	batch2, batch4, batch5 := at(2, a, b), at(4, gone), at(5, a)

	for _, c := range []struct {
		name  string
		after store.Revision
		got   []store.Batch
		want  string // part of the complaint, or empty
	}{
		{"all", 0, []store.Batch{batch2, batch4, batch5}, ""},
		{"all after the first", 2, []store.Batch{batch4, batch5}, ""},
		{"all after a revision between", 3, []store.Batch{batch4, batch5}, ""},
		{"nothing where there is nothing", 5, nil, ""},
		{"marks between", 0, []store.Batch{at(1), batch2, at(2), at(3), at(3), batch4, batch5, at(9)}, ""},
		{"a gap", 0, []store.Batch{batch2, batch5}, "want those of revisions [4 5]"},
		{"the end missing", 0, []store.Batch{batch2, batch4}, "without the events of revisions [5]"},
		{"all missing", 0, nil, "without the events"},
		{"a batch twice", 0, []store.Batch{batch2, batch2, batch4, batch5}, "again, or out of order"},
		{"the wrong order", 0, []store.Batch{batch4, batch2, batch5}, "want those of revisions [2 4 5]"},
		{"more than was asked for", 2, []store.Batch{batch2, batch4, batch5}, "again, or out of order"},
		{"more than there was", 0, []store.Batch{batch2, at(3, a), batch4, batch5}, "events of revision 3"},
		{"half a revision", 0, []store.Batch{at(2, a), batch4, batch5}, "got 1 events"},
		{"a split revision", 0, []store.Batch{at(2, a), at(2, b), batch4, batch5}, "got 1 events"},
		{"events out of key order", 0, []store.Batch{at(2, b, a), batch4, batch5}, "event 0"},
		{"another value", 0, []store.Batch{at(2, a, putEvent([]byte("b"), "3")), batch4, batch5}, "event 1"},
		{"another key", 0, []store.Batch{at(2, a, putEvent([]byte("bb"), "2")), batch4, batch5}, "event 1"},
		{"a put for a delete", 0, []store.Batch{batch2, at(4, putEvent([]byte("c"), "")), batch5}, "event 0"},
		{"a delete with a value", 0, []store.Batch{batch2, at(4, store.Event{Kind: store.EventDelete, Key: []byte("c"), Value: []byte{}}), batch5}, "has a value"},
		{"a mark that passes over events", 0, []store.Batch{batch2, at(4), batch4, batch5}, "before the events of revision 4"},
		{"a mark that goes back", 0, []store.Batch{batch2, batch4, at(3), batch5}, "comes behind revision 4"},
		{"a mark before the cursor", 4, []store.Batch{at(3), batch5}, "comes behind revision 4"},
		{"no epoch", 4, []store.Batch{{Cursor: store.Cursor{Revision: 5}, Events: []store.Event{a}}}, "epoch 0"},
	} {
		err := h.check(c.after, c.got)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: got error %v, want none", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got error %v, want one that says %q", c.name, err, c.want)
		}
	}
}
