package check_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/client"
	"github.com/spire-raft/spire-raft/keys"
	"github.com/spire-raft/spire-raft/store"
)

// run is a made-up run that a test spoils.
type run struct {
	ledger  *check.Ledger
	batches []api.Batch           // the history
	seen    []api.Batch           // what the watcher saw
	held    map[string][]api.Pair // what each server holds
}

// soundRun has ten acknowledged writes, of which each third is an increment,
// one that failed, and two of unknown outcome, of which one happened.
func soundRun() *run {
	r := &run{ledger: check.NewLedger(), held: map[string][]api.Pair{}}
	increments := uint64(0)
	for i := 1; i <= 10; i++ {
		id := fmt.Sprintf("w%d", i)
		r.ledger.Begin(id, "n1")
		if i%3 == 0 {
			increments++
			r.batches = append(r.batches, batch(i, counterEvent(id, increments)))
		} else {
			r.batches = append(r.batches, batch(i, itemEvents(id, uint64(i)-increments)...))
		}
		r.ledger.End(id, time.Now(), client.Acknowledged, store.Revision(i))
	}
	r.ledger.Begin("refused", "n1")
	r.ledger.End("refused", time.Now(), client.Failed, 0)
	r.ledger.Begin("unknown-never", "n2")
	r.ledger.End("unknown-never", time.Now(), client.Ambiguous, 0)
	r.ledger.Begin("unknown-done", "n2")
	r.batches = append(r.batches, batch(11, itemEvents("unknown-done", 8)...))
	r.seen = slices.Clone(r.batches)
	state := map[string]api.Pair{}
	for _, b := range r.batches {
		for _, e := range b.Events {
			state[string(e.Key)] = api.Pair{Key: e.Key, Value: e.Value, ModRevision: b.Cursor.Revision}
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

func value(v api.Value) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

func counterEvent(id string, n uint64) api.Event {
	return api.Event{Kind: "put", Key: keys.AppendItem(nil, "counter", "hot"), Value: value(api.Value{Write: id, N: n})}
}

func itemEvents(id string, number uint64) []api.Event {
	return []api.Event{
		{Kind: "put", Key: keys.AppendItem(nil, "write", id), Value: value(api.Value{Write: id})},
		{Kind: "put", Key: keys.AppendIndex(nil, "write", "client", "c1", number), Value: []byte(id)},
	}
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
	if want := (check.StreamCounts{Events: 19}); counts != want {
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
			r.ledger.Begin("gone", "n1")
			r.ledger.End("gone", time.Now(), client.Acknowledged, 5)
		}, 1, 0, "write gone was acknowledged at revision 5 and is lost"},
		{"an acknowledged write shows twice", func(r *run) {
			r.add(batch(12, itemEvents("w1", 9)...))
		}, 0, 1, "write w1 was acknowledged once and shows at revisions [1 12]"},
		{"an acknowledged write shows elsewhere", func(r *run) {
			r.ledger.End("w1", time.Now(), client.Acknowledged, 7)
		}, 0, 0, "write w1 was acknowledged at revision 7 and shows at 1"},
		{"a refused write happened", func(r *run) {
			r.add(batch(12, itemEvents("refused", 9)...))
		}, 0, 0, "write refused was refused and shows"},
		{"a write of unknown outcome happened twice", func(r *run) {
			r.add(batch(12, itemEvents("unknown-done", 9)...))
		}, 0, 0, "write unknown-done had an unknown outcome and shows at revisions [11 12]"},
		{"a write comes from nowhere", func(r *run) {
			r.add(batch(12, itemEvents("ghost", 9)...))
		}, 0, 0, `write "ghost" at revisions [12] was never sent`},
		{"an increment overwrites another", func(r *run) {
			r.ledger.Begin("late", "n1")
			r.add(batch(12, counterEvent("late", 3)))
		}, 0, 0, "counter hot goes to 3, not 4: an update was lost"},
		{"a number is left out", func(r *run) {
			r.ledger.Begin("late", "n1")
			r.add(batch(12, itemEvents("late", 10)...))
		}, 0, 0, "write has number 10, not 9"},
		{"an index comes without its item", func(r *run) {
			r.add(batch(12, itemEvents("late", 9)[1]))
		}, 0, 0, `has an index of write "late" without the item`},
		{"the history leaves a revision out", func(r *run) {
			r.ledger.Begin("late", "n1")
			r.add(batch(13, itemEvents("late", 9)...))
		}, 0, 0, "revision 13 stands where 12 should"},
		{"a server holds less", func(r *run) {
			r.held["n2"] = r.held["n1"][1:]
		}, 0, 0, "n2 holds 16 keys, the history adds up to 17"},
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

func TestJudge_FindsWhatIsWrongWithAWatch(t *testing.T) {
	for _, test := range []struct {
		name    string
		spoil   func(seen []api.Batch) []api.Batch
		want    check.StreamCounts // but for Events
		problem string
	}{
		{"a revision is missing", func(seen []api.Batch) []api.Batch {
			return slices.Delete(seen, 4, 5)
		}, check.StreamCounts{Gaps: 1}, "revisions 5 to 5 are missing"},
		{"the last revisions are missing", func(seen []api.Batch) []api.Batch {
			return seen[:9]
		}, check.StreamCounts{Gaps: 2}, "revisions 10 to 11 are missing"},
		{"a revision comes twice", func(seen []api.Batch) []api.Batch {
			return slices.Insert(seen, 4, seen[3])
		}, check.StreamCounts{Duplicates: 1}, "revision 4 comes twice"},
		{"two revisions change places", func(seen []api.Batch) []api.Batch {
			seen[4], seen[5] = seen[5], seen[4]
			return seen
		}, check.StreamCounts{Gaps: 1, OutOfOrder: 1}, "revision 5 comes after 6"},
		{"a revision is split", func(seen []api.Batch) []api.Batch {
			first, second := seen[3], seen[3]
			first.Events, second.Events = first.Events[:1], second.Events[1:]
			return slices.Replace(seen, 3, 4, first, second)
		}, check.StreamCounts{Gaps: 1, Duplicates: 1}, "revision 4 comes in two different parts"},
		{"a revision lacks a change", func(seen []api.Batch) []api.Batch {
			seen[3].Events = seen[3].Events[:1]
			return seen
		}, check.StreamCounts{Gaps: 1}, "revision 4 did not bring the changes that the history has"},
		{"a value differs", func(seen []api.Batch) []api.Batch {
			seen[3].Events = slices.Clone(seen[3].Events)
			seen[3].Events[0].Value = []byte("{}")
			return seen
		}, check.StreamCounts{Gaps: 1}, "revision 4 did not bring the changes that the history has"},
		{"keys of a revision are not in order", func(seen []api.Batch) []api.Batch {
			seen[3].Events = slices.Clone(seen[3].Events)
			slices.Reverse(seen[3].Events)
			return seen
		}, check.StreamCounts{Gaps: 1, OutOfOrder: 1}, "revision 4 is not in key order"},
		{"a key comes twice in a revision", func(seen []api.Batch) []api.Batch {
			seen[3].Events = slices.Insert(slices.Clone(seen[3].Events), 0, seen[3].Events[0])
			return seen
		}, check.StreamCounts{Gaps: 1, Duplicates: 1}, "revision 4 has a key twice"},
		{"a progress mark runs ahead", func(seen []api.Batch) []api.Batch {
			return slices.Replace(seen, 4, 5, api.Batch{Cursor: cursor(5)})
		}, check.StreamCounts{Gaps: 1}, "revisions 5 to 5 are missing"},
		{"a progress mark goes back", func(seen []api.Batch) []api.Batch {
			return slices.Insert(seen, 4, api.Batch{Cursor: cursor(2)})
		}, check.StreamCounts{OutOfOrder: 1}, "progress mark goes back from revision 4 to 2"},
		{"the epoch changes", func(seen []api.Batch) []api.Batch {
			seen[10].Cursor.Epoch = 2
			return seen
		}, check.StreamCounts{Gaps: 1}, "epoch changes from 1/10 to 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := soundRun()
			r.seen = test.spoil(r.seen)
			v, counts := r.judge()
			counts.Events = 0
			if counts != test.want {
				t.Errorf("counts %+v, want %+v", counts, test.want)
			}
			wantProblem(t, v.Problems, test.problem)
		})
	}
}

func wantProblem(t *testing.T, problems []string, want string) {
	t.Helper()
	if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, want) }) {
		t.Errorf("no problem says %q; there are %q", want, problems)
	}
}

func TestStream_ProgressMarksInPlaceAreFine(t *testing.T) {
	r := soundRun()
	r.seen = slices.Insert(r.seen, 4, api.Batch{Cursor: cursor(4)}, api.Batch{Cursor: cursor(4)})
	if v, _ := r.judge(); len(v.Problems) > 0 {
		t.Errorf("problems: %q", v.Problems)
	}
}

func TestStream_BreakCountsAsAGap(t *testing.T) {
	s := check.NewStream("watcher")
	s.Break(store.ErrCompacted)
	if got := s.Counts().Gaps; got != 1 {
		t.Errorf("%d gaps, want 1", got)
	}
}

func TestLedger_WaitAckTakesOnlyWritesThatBeganLater(t *testing.T) {
	l := check.NewLedger()
	start := time.Now()
	l.Begin("early", "n1")
	l.Begin("late", "n2")
	acked := make(chan error, 1)
	go func() {
		_, err := l.WaitAck(t.Context(), start)
		acked <- err
	}()
	l.End("early", start.Add(-time.Second), client.Acknowledged, 1)
	select {
	case <-acked:
		t.Fatal("a write that began before counts")
	default:
	}
	// The waiter may not have begun to wait: acknowledge until it has.
	for i := store.Revision(2); ; i++ {
		id := fmt.Sprint(i)
		l.Begin(id, "n2")
		l.End(id, start, client.Acknowledged, i)
		select {
		case err := <-acked:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}

func TestLedger_CountsByOutcomeAndServer(t *testing.T) {
	l := check.NewLedger()
	for i, o := range []client.Outcome{client.Acknowledged, client.Failed, client.Ambiguous, client.Acknowledged} {
		id := fmt.Sprint(i)
		l.Begin(id, "n1")
		l.End(id, time.Now(), o, 0)
	}
	l.Begin("under way", "n2")
	if got, want := l.Counts(), (check.Counts{Acknowledged: 2, Failed: 1, Ambiguous: 2}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	if n1, n2 := l.AcknowledgedVia("n1"), l.AcknowledgedVia("n2"); n1 != 2 || n2 != 0 {
		t.Errorf("acknowledged via n1 %d, n2 %d; want 2, 0", n1, n2)
	}
}

func TestLatencies_CountOnlyWhatBeginsAndEndsWhileOpen(t *testing.T) {
	var l check.Latencies
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	l.Add(at(1), at(2)) // never opened
	l.Open(at(10))
	l.Add(at(9), at(500)) // began before
	for i := 1; i <= 100; i++ {
		l.Add(at(10), at(10+i))
	}
	l.Shut()
	l.Add(at(11), at(900)) // ended after
	got := l.Percentiles(0.5, 0.99, 1)
	want := []time.Duration{51 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond}
	if !slices.Equal(got, want) {
		t.Errorf("percentiles %v, want %v", got, want)
	}
}

func TestLatencies_NoneIsZero(t *testing.T) {
	var l check.Latencies
	if got := l.Percentiles(0.5); got[0] != 0 {
		t.Errorf("got %v", got)
	}
}
