package fsm_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
)

func history(t *testing.T, m *fsm.Machine, after store.Cursor, bytesMax int) []store.Batch {
	t.Helper()
	batches, err := m.History(after, bytesMax)
	if err != nil {
		t.Fatal(err)
	}
	return batches
}

func TestHistory(t *testing.T) {
	m := open(t)
	apply(t, m,
		writes(t, put("a", "1"), put("b", "")),
		writes(t, del("a"), del("absent"), put("c", "3")),
		writes(t, del("absent")),
		writes(t, put("c", "4")),
	)
	const want = `[{1/1 [{put a=1} {put b=}]} {1/2 [{delete a} {put c=3}]} {1/3 [{put c=4}]}]`
	if got := describe(history(t, m, store.Cursor{}, 1<<20)); got != want {
		t.Errorf("history\n%s, want\n%s", got, want)
	}
	if got := describe(history(t, m, store.Cursor{Epoch: 1, Revision: 2}, 1<<20)); got != `[{1/3 [{put c=4}]}]` {
		t.Errorf("history after 2: %s", got)
	}
	for _, rev := range []store.Revision{3, 4, 100} {
		if got := history(t, m, store.Cursor{Epoch: 1, Revision: rev}, 1<<20); len(got) != 0 {
			t.Errorf("history after %d: %s", rev, describe(got))
		}
	}
}

func describe(batches []store.Batch) string {
	var out []string
	for _, b := range batches {
		var events []string
		for _, e := range b.Events {
			if e.Kind == store.EventDelete {
				if e.Value != nil {
					panic("a delete has a value")
				}
				events = append(events, fmt.Sprintf("{delete %s}", e.Key))
			} else {
				events = append(events, fmt.Sprintf("{put %s=%s}", e.Key, e.Value))
			}
		}
		out = append(out, fmt.Sprintf("{%v [%s]}", b.Cursor, strings.Join(events, " ")))
	}
	return "[" + strings.Join(out, " ") + "]"
}

func TestHistory_PagesAreWholeRevisions(t *testing.T) {
	m := open(t)
	for i := range 10 {
		apply(t, m, writes(t, put("a", strings.Repeat("x", 100*i)), put("b", strings.Repeat("y", 100))))
	}
	for _, bytesMax := range []int{0, 1, 300, 1000, 5000, 1 << 20} {
		var after store.Cursor
		for pages := 0; after.Revision < 10; pages++ {
			batches := history(t, m, after, bytesMax)
			size := 0
			for _, b := range batches {
				if b.Cursor.Revision != after.Revision+1 || len(b.Events) != 2 {
					t.Fatalf("batch %v with %d events after %v", b.Cursor, len(b.Events), after)
				}
				after = b.Cursor
				size += len(b.Events[0].Value) + len(b.Events[1].Value)
			}
			if len(batches) == 0 || len(batches) > 1 && size > bytesMax {
				t.Fatalf("%d batches of %d bytes with bytesMax %d", len(batches), size, bytesMax)
			}
		}
	}
}

func TestHistory_AheadIsEmpty(t *testing.T) {
	m := open(t)
	apply(t, m, writes(t, put("a", "1")))
	for _, ahead := range []store.Revision{1, 2, math.MaxUint64} {
		if got := history(t, m, store.Cursor{Revision: ahead}, 1<<20); len(got) != 0 {
			t.Errorf("after revision %d of 1: %v", ahead, got)
		}
	}
}

func TestHistory_Compacted(t *testing.T) {
	m := open(t)
	apply(t, m, fsm.EncodeSetHistoryBudget(1000))
	for range 20 {
		apply(t, m, writes(t, put("a", strings.Repeat("x", 150))))
	}
	p := m.Position()
	if p.HistoryBytes > 1000 || p.HistoryBytes < 800 || p.Compact == 0 || p.HistoryBudget != 1000 {
		t.Fatalf("position %+v", p)
	}
	edge := store.Cursor{Epoch: 1, Revision: p.Compact}
	if got := history(t, m, edge, 1<<20); len(got) != int(20-p.Compact) {
		t.Errorf("%d batches after %v", len(got), edge)
	}
	for _, c := range []store.Cursor{{}, {Epoch: 1, Revision: p.Compact - 1}, {Revision: p.Compact - 1}, {Epoch: 2, Revision: 20}} {
		_, err := m.History(c, 1<<20)
		var compacted *store.CompactedError
		if !errors.As(err, &compacted) || compacted.Compact != edge || compacted.Current != 20 {
			t.Errorf("history after %v: %v", c, err)
		}
	}

	apply(t, m, fsm.EncodeSetHistoryBudget(0))
	if p := m.Position(); p.Compact != 19 || len(history(t, m, store.Cursor{Revision: 19}, 0)) != 1 {
		t.Errorf("a budget of nothing keeps the newest revision: %+v", p)
	}
	scrub(t, m)
}
