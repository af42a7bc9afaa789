package check_test

import (
	"slices"
	"testing"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
	"github.com/spire-raft/spire-raft/store"
)

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
			seen[3].Events[0].Value = []byte("x")
			return seen
		}, check.StreamCounts{Gaps: 1}, "revision 4 did not bring the changes that the history has"},
		{"keys of a revision are not in order", func(seen []api.Batch) []api.Batch {
			seen[3].Events = slices.Clone(seen[3].Events)
			seen[3].Events[0], seen[3].Events[1] = seen[3].Events[1], seen[3].Events[0]
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

func TestStream_ProgressMarksInPlaceAreFine(t *testing.T) {
	r := soundRun()
	r.seen = slices.Insert(r.seen, 4, api.Batch{Cursor: cursor(4)}, api.Batch{Cursor: cursor(4)})
	if v, _ := r.judge(); len(v.Problems) > 0 {
		t.Errorf("problems: %q", v.Problems)
	}
}

func TestStream_RetiredMayEndEarlyAndNothingElse(t *testing.T) {
	r := soundRun()
	history, short, wrong, ahead := check.NewHistory(), check.NewStream("short"), check.NewStream("wrong"), check.NewStream("ahead")
	for i, b := range r.batches {
		history.Add(b)
		ahead.Add(b)
		if i < 5 {
			short.Add(b)
		}
		if i < 3 {
			wrong.Add(b)
		}
	}
	wrong.Add(batch(4, r.create("write-lost")...))
	ahead.Add(batch(12, r.create("write-lost-too")...))
	for _, s := range []*check.Stream{short, wrong, ahead} {
		s.Retire()
	}
	if v := check.Judge(r.ledger, history, []*check.Stream{short}); len(v.Problems) > 0 {
		t.Errorf("problems: %q", v.Problems)
	}
	v := check.Judge(r.ledger, history, []*check.Stream{wrong, ahead})
	wantProblem(t, v.Problems, "wrong: revision 4 did not bring the changes that the history has")
	wantProblem(t, v.Problems, "ahead: was given revision 12, the history ends at 11")
}

func TestStream_BreakCountsAsAGap(t *testing.T) {
	s := check.NewStream("watcher")
	s.Break(store.ErrCompacted)
	if got := s.Counts().Gaps; got != 1 {
		t.Errorf("%d gaps, want 1", got)
	}
}
