package check_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/client"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// run is a made-up run that a test spoils.
type run struct {
	ledger  *check.Ledger
	batches []api.Batch           // the history
	seen    []api.Batch           // what the watcher saw
	held    map[string][]api.Pair // what each server holds

	entries uint64                     // how many were created
	events  uint64                     // how many there are of SPIRE's
	hot     *spirev1.RegistrationEntry // that is updated
}

// soundRun has ten acknowledged writes, of which each third is an update, one
// that failed, and two of unknown outcome, of which one happened.
func soundRun() *run {
	r := &run{ledger: check.NewLedger(), held: map[string][]api.Pair{}}
	for i := 1; i <= 10; i++ {
		id := fmt.Sprintf("write-w%d", i)
		r.ledger.Begin(id, "n1")
		if i%3 == 0 {
			r.batches = append(r.batches, batch(i, r.update(id)...))
		} else {
			r.batches = append(r.batches, batch(i, r.create(id)...))
		}
		r.ledger.End(id, time.Now(), client.Acknowledged, store.Revision(i))
	}
	r.ledger.Begin("write-refused", "n1")
	r.ledger.End("write-refused", time.Now(), client.Failed, 0)
	r.ledger.Begin("write-never", "n2")
	r.ledger.End("write-never", time.Now(), client.Ambiguous, 0)
	r.ledger.Begin("write-unknown", "n2")
	r.batches = append(r.batches, batch(11, r.create("write-unknown")...))
	r.seen = slices.Clone(r.batches)
	state := map[string]api.Pair{}
	for _, b := range r.batches {
		for _, e := range b.Events {
			if delete(state, string(e.Key)); e.Kind == "put" {
				state[string(e.Key)] = api.Pair{Key: e.Key, Value: e.Value, ModRevision: b.Cursor.Revision}
			}
		}
	}
	for _, p := range state {
		r.held["n1"] = append(r.held["n1"], p)
	}
	return r
}

func batch(rev int, events ...api.Event) api.Batch {
	slices.SortFunc(events, func(a, b api.Event) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return api.Batch{Cursor: cursor(rev), Events: events}
}

func cursor(rev int) api.Cursor { return api.Cursor{Epoch: 1, Revision: store.Revision(rev)} }

// create returns the changes of a new entry. The first one is hot.
func (r *run) create(id string) []api.Event {
	e := &spirev1.RegistrationEntry{
		EntryId: id, SpiffeId: "spiffe://a/" + id, ParentId: "spiffe://a/p",
		Selectors: []*spirev1.Selector{{Type: "unix", Value: id}},
	}
	if r.hot == nil {
		r.hot = e
	}
	r.entries++
	events := []api.Event{entryPut(e, r.entries), r.event(id)}
	for _, ix := range records.Entries.Indexes(e) {
		events = append(events, api.Event{Kind: "put", Key: records.Entries.IndexKey(ix, r.entries), Value: []byte(ix.Data)})
	}
	return events
}

// update returns the changes of the next version of the hot entry.
func (r *run) update(write string) []api.Event {
	old := records.Entries.Indexes(r.hot)
	r.hot = records.CopyEntry(r.hot)
	r.hot.Hint = write
	r.hot.RevisionNumber++
	events := []api.Event{entryPut(r.hot, 1), r.event(r.hot.EntryId)}
	remove, put := records.Diff(old, records.Entries.Indexes(r.hot))
	for _, ix := range remove {
		events = append(events, api.Event{Kind: "delete", Key: records.Entries.IndexKey(ix, 1)})
	}
	for _, ix := range put {
		events = append(events, api.Event{Kind: "put", Key: records.Entries.IndexKey(ix, 1), Value: []byte(ix.Data)})
	}
	return events
}

func entryPut(e *spirev1.RegistrationEntry, number uint64) api.Event {
	value, err := records.Entries.Encode(records.Item[*spirev1.RegistrationEntry]{Number: number, Object: e})
	if err != nil {
		panic(err)
	}
	return api.Event{Kind: "put", Key: records.Entries.Key(e.EntryId), Value: value}
}

// event returns SPIRE's event of an entry.
func (r *run) event(id string) api.Event {
	r.events++
	value, err := records.EntryEvents.Encode(records.Event{ObjectID: id})
	if err != nil {
		panic(err)
	}
	return api.Event{Kind: "put", Key: records.EntryEvents.Key(r.events), Value: value}
}

// judge runs all checks.
func (r *run) judge() (check.Verdict, check.StreamCounts) {
	stream, history := check.NewStream("watcher"), check.NewHistory()
	for _, b := range r.seen {
		stream.Add(b)
	}
	for _, b := range r.batches {
		history.Add(b)
	}
	for server, pairs := range r.held {
		history.CompareState(server, pairs)
	}
	streams := []*check.Stream{stream}
	verdict := check.Judge(r.ledger, history, streams)
	return verdict, check.Total(streams)
}

func TestJudge_SoundRunHasNoProblems(t *testing.T) {
	v, counts := soundRun().judge()
	if len(v.Problems) > 0 {
		t.Errorf("problems in a sound run: %q", v.Problems)
	}
	if want := (check.Counts{Acknowledged: 10, Failed: 1, Ambiguous: 2}); v.Writes != want {
		t.Errorf("writes %+v, want %+v", v.Writes, want)
	}
	want := check.StreamCounts{}
	for _, b := range soundRun().batches {
		want.Events += len(b.Events)
	}
	if counts != want {
		t.Errorf("stream %+v, want %+v", counts, want)
	}
}

func TestJudge_FindsWhatIsWrongWithWrites(t *testing.T) {
	for _, test := range []struct {
		name             string
		spoil            func(r *run)
		lost, duplicated int
		problem          string
	}{
		{"an acknowledged write is lost", func(r *run) {
			r.ledger.Begin("write-gone", "n1")
			r.ledger.End("write-gone", time.Now(), client.Acknowledged, 5)
		}, 1, 0, "write write-gone was acknowledged at revision 5 and is lost"},
		{"an acknowledged write shows twice", func(r *run) {
			r.add(batch(12, r.create("write-w1")...))
		}, 0, 1, "write write-w1 was acknowledged once and shows at revisions [1 12]"},
		{"an acknowledged update shows twice", func(r *run) {
			r.add(batch(12, r.update("write-w9")...))
		}, 0, 1, "write write-w9 was acknowledged once and shows at revisions [9 12]"},
		{"an acknowledged write shows elsewhere", func(r *run) {
			r.ledger.End("write-w1", time.Now(), client.Acknowledged, 7)
		}, 0, 0, "write write-w1 was acknowledged at revision 7 and shows at 1"},
		{"a refused write happened", func(r *run) {
			r.add(batch(12, r.create("write-refused")...))
		}, 0, 0, "write write-refused was refused and shows"},
		{"a refused deletion happened", func(r *run) {
			r.ledger.Begin(check.DeletionOf("write-w2"), "n1")
			r.ledger.End(check.DeletionOf("write-w2"), time.Now(), client.Failed, 0)
			r.add(batch(12, api.Event{Kind: "delete", Key: records.Entries.Key("write-w2")}, r.event("write-w2")))
		}, 0, 0, "write delete write-w2 was refused and shows"},
		{"a write of unknown outcome happened twice", func(r *run) {
			r.add(batch(12, r.create("write-unknown")...))
		}, 0, 0, "write write-unknown had an unknown outcome and shows at revisions [11 12]"},
		{"a write comes from nowhere", func(r *run) {
			r.add(batch(12, r.create("write-ghost")...))
		}, 0, 0, `write "write-ghost" at revisions [12] was never sent`},
		{"an update overwrites another", func(r *run) {
			r.hot.RevisionNumber--
			r.add(batch(12, r.update("write-late")...))
		}, 0, 0, `entry "write-w1" goes to its revision 3, not 4: an update was lost`},
		{"a number is left out", func(r *run) {
			r.entries++
			r.add(batch(12, r.create("write-late")...))
		}, 0, 0, "entry has number 10, not 9"},
		{"an entry changes its number", func(r *run) {
			events := r.update("write-late")
			events[0] = entryPut(r.hot, 2)
			r.add(batch(12, events...))
		}, 0, 0, `changes the number of entry "write-w1" from 1 to 2`},
		{"an index comes without its entry", func(r *run) {
			r.add(batch(12, r.create("write-late")[2:]...))
		}, 0, 0, `has an index of entry "write-late" without the object`},
		{"a change comes without an event", func(r *run) {
			events := r.create("write-late")
			r.add(batch(12, slices.Delete(events, 1, 2)...))
		}, 0, 0, `changes entry "write-late" without an event`},
		{"an event is left out", func(r *run) {
			r.events++
			r.add(batch(12, r.create("write-late")...))
		}, 0, 0, "entry-event has number 13, not 12"},
		{"an entry does not decode", func(r *run) {
			events := r.create("write-late")
			events[0].Value = events[0].Value[:9]
			r.add(batch(12, events...))
		}, 0, 0, "history: revision 12: "},
		{"the history leaves a revision out", func(r *run) {
			r.add(batch(13, r.create("write-late")...))
		}, 0, 0, "revision 13 stands where 12 should"},
		{"a server holds less", func(r *run) {
			r.held["n2"] = r.held["n1"][1:]
		}, 0, 0, "keys, the history adds up to"},
		{"a server holds another value", func(r *run) {
			r.held["n2"] = slices.Clone(r.held["n1"])
			r.held["n2"][3].Value = []byte("x")
		}, 0, 0, "n2 holds another value of key"},
		{"a server holds another key", func(r *run) {
			r.held["n2"] = slices.Clone(r.held["n1"])
			r.held["n2"][3].Key = []byte("x")
		}, 0, 0, `n2 holds key "x", which the history does not have`},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := soundRun()
			test.spoil(r)
			v, _ := r.judge()
			if v.Lost != test.lost || v.Duplicated != test.duplicated {
				t.Errorf("lost %d, duplicated %d; want %d, %d", v.Lost, v.Duplicated, test.lost, test.duplicated)
			}
			wantProblem(t, v.Problems, test.problem)
		})
	}
}

// add appends a batch to the history and to what the watcher saw. The servers
// hold what they held: that they differ is a problem besides.
func (r *run) add(b api.Batch) {
	r.batches = append(r.batches, b)
	r.seen = append(r.seen, b)
}

func wantProblem(t *testing.T, problems []string, want string) {
	t.Helper()
	if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, want) }) {
		t.Errorf("no problem says %q; there are %q", want, problems)
	}
}
