package fsm_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

// The suite of package storetest covers what a transaction can do through the
// interface of store.Store. These are what it can't reach there.

func key(k string) store.Range { return store.Key([]byte(k)) }

func TestTransaction_Outcomes(t *testing.T) {
	patchKey := func(k string) txn.Write {
		return txn.Write{Kind: store.EventPut, Key: []byte(k), Patches: []store.Patch{{Target: store.PatchKey, Offset: len(k) - 8}}}
	}
	one := [][]byte{[]byte("seq")}
	for _, c := range []struct {
		name     string
		in       txn.Intent
		want     fsm.Outcome
		revision store.Revision // the state has revision 3
		numbers  []uint64
	}{
		{"a put", txn.Intent{Writes: []txn.Write{put("x", "")}}, fsm.Committed, 4, nil},
		{"a delete of what is there", txn.Intent{Writes: []txn.Write{del("a")}}, fsm.Committed, 4, nil},
		{"a delete of what is absent", txn.Intent{Writes: []txn.Write{del("x")}}, fsm.Committed, 3, nil},
		{"nothing at all", txn.Intent{}, fsm.Committed, 3, nil},
		{"a raise alone", txn.Intent{Raises: []txn.Raise{{Counter: []byte("x"), Floor: 5}}}, fsm.Committed, 3, nil},
		{"a number without a patch", txn.Intent{Counters: one}, fsm.Committed, 3, []uint64{11}},
		{"a raise below the counter, then a number", txn.Intent{Counters: one, Raises: []txn.Raise{{Counter: one[0], Floor: 3}}}, fsm.Committed, 3, []uint64{11}},
		{"a raise above the counter, then numbers", txn.Intent{Counters: slices.Repeat(one, 2), Raises: []txn.Raise{{Counter: one[0], Floor: 20}}}, fsm.Committed, 3, []uint64{21, 22}},
		{"the last number of a counter", txn.Intent{Counters: one, Raises: []txn.Raise{{Counter: one[0], Floor: math.MaxUint64 - 1}}}, fsm.Committed, 3, []uint64{math.MaxUint64}},
		{"more numbers than a counter has", txn.Intent{Counters: one, Raises: []txn.Raise{{Counter: one[0], Floor: math.MaxUint64}}}, fsm.Invalid, 3, nil},
		{"patched keys that meet", txn.Intent{Counters: one, Writes: []txn.Write{patchKey("k/........"), patchKey("k/12345678")}}, fsm.Invalid, 3, nil},
		{"a patched key that meets a plain one", txn.Intent{Counters: one, Writes: []txn.Write{put("k\x00\x00\x00\x00\x00\x00\x00\x0b", ""), patchKey("k........")}}, fsm.Invalid, 3, nil},
		{"a point as it was read", txn.Intent{ReadRevision: 3, Points: []txn.Point{{Key: []byte("b"), ModRevision: 2}}, Writes: []txn.Write{put("x", "")}}, fsm.Committed, 4, nil},
		{"a point that changed", txn.Intent{ReadRevision: 3, Points: []txn.Point{{Key: []byte("b"), ModRevision: 1}}, Writes: []txn.Write{put("x", "")}}, fsm.Conflict, 3, nil},
		{"a point that appeared", txn.Intent{ReadRevision: 1, Points: []txn.Point{{Key: []byte("b")}}, Writes: []txn.Write{put("x", "")}}, fsm.Conflict, 3, nil},
		{"a point that vanished", txn.Intent{ReadRevision: 3, Points: []txn.Point{{Key: []byte("x"), ModRevision: 1}}, Writes: []txn.Write{put("x", "")}}, fsm.Conflict, 3, nil},
		{"a range that changed", txn.Intent{ReadRevision: 2, Ranges: []store.Range{{Start: []byte("b")}}, Writes: []txn.Write{put("x", "")}}, fsm.Conflict, 3, nil},
		{"a range beside the change", txn.Intent{ReadRevision: 2, Ranges: []store.Range{key("b"), {Start: []byte("d"), End: []byte("e")}}, Writes: []txn.Write{put("x", "")}}, fsm.Committed, 4, nil},
		{"ranges of which one changed", txn.Intent{ReadRevision: 2, Ranges: []store.Range{{Start: []byte("d"), End: []byte("e")}, {Start: []byte("a"), End: []byte("b")}, key("c")}, Writes: []txn.Write{put("x", "")}}, fsm.Conflict, 3, nil},
		{"ranges that hold one another", txn.Intent{ReadRevision: 2, Ranges: []store.Range{key("a"), {}, key("b")}, Writes: []txn.Write{put("x", "")}}, fsm.Conflict, 3, nil},
		{"an empty range", txn.Intent{ReadRevision: 2, Ranges: []store.Range{{Start: []byte("c"), End: []byte("c")}, {Start: []byte("d"), End: []byte{}}}, Writes: []txn.Write{put("x", "")}}, fsm.Committed, 4, nil},
		{"a read of a revision to come", txn.Intent{ReadRevision: 4, Ranges: []store.Range{key("a")}, Writes: []txn.Write{put("x", "")}}, fsm.Invalid, 3, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := open(t)
			apply(t, m,
				transaction(t, &txn.Intent{Raises: []txn.Raise{{Counter: one[0], Floor: 10}}, Writes: []txn.Write{put("a", "1")}}),
				writes(t, put("b", "2")), writes(t, put("c", "3")))
			before := m.Position().Hash
			res := apply(t, m, transaction(t, &c.in))[0]
			if res.Outcome != c.want || res.Revision != c.revision || !slices.Equal(res.Numbers, c.numbers) {
				t.Errorf("result %+v, want %v at revision %d with numbers %v", res, c.want, c.revision, c.numbers)
			}
			if (res.Detail != "") != (c.want == fsm.Invalid) {
				t.Errorf("detail %q", res.Detail)
			}
			if c.want != fsm.Committed && m.Position().Hash != before {
				t.Error("a transaction that was not committed changed the state")
			}
			scrub(t, m)
		})
	}
}

func TestTransaction_ConflictsWithTheSameBatch(t *testing.T) {
	m := open(t)
	apply(t, m, writes(t, put("a", "1")))
	reading := func(in txn.Intent) []byte {
		in.ReadRevision = 1
		in.Writes = []txn.Write{put("b", "")}
		return transaction(t, &in)
	}
	point := reading(txn.Intent{Points: []txn.Point{{Key: []byte("a"), ModRevision: 1}}})
	phantom := reading(txn.Intent{Ranges: []store.Range{{Start: []byte("b")}}})
	res := applyAll(t, m,
		entry(2, point, phantom, writes(t, del("a")), point),
		entry(3, phantom))
	got := []fsm.Outcome{res[0][0].Outcome, res[0][1].Outcome, res[0][2].Outcome, res[0][3].Outcome, res[1][0].Outcome}
	want := []fsm.Outcome{fsm.Committed, fsm.Conflict, fsm.Committed, fsm.Conflict, fsm.Conflict}
	if !slices.Equal(got, want) {
		t.Fatalf("outcomes %v, want %v", got, want)
	}
}

func TestTransaction_ConflictsBelowTheHistory(t *testing.T) {
	m := open(t)
	apply(t, m, fsm.EncodeSetHistoryBudget(0))
	for range 3 {
		apply(t, m, writes(t, put("a", "1")))
	}
	if p := m.Position(); p.Compact != 2 {
		t.Fatalf("position %+v", p)
	}
	elsewhere := func(rev store.Revision) fsm.Outcome {
		in := &txn.Intent{ReadRevision: rev, Ranges: []store.Range{key("x")}, Raises: []txn.Raise{{Counter: []byte("c"), Floor: 1}}}
		return apply(t, m, transaction(t, in))[0].Outcome
	}
	if o := elsewhere(1); o != fsm.Conflict {
		t.Errorf("a read below the history: %v", o)
	}
	if o := elsewhere(2); o != fsm.Committed {
		t.Errorf("a read at the edge of the history: %v", o)
	}
}

func TestEncodeTransaction_ChecksLimits(t *testing.T) {
	for name, in := range map[string]*txn.Intent{
		"a long value":    {Writes: []txn.Write{put("k", strings.Repeat("v", store.ValueBytesMax+1))}},
		"a wide offset":   {Counters: [][]byte{{1}}, Writes: []txn.Write{{Kind: store.EventPut, Key: []byte("........"), Patches: []store.Patch{{Target: store.PatchKey, Offset: math.MaxInt}}}}},
		"a wide sequence": {Counters: [][]byte{{1}}, Writes: []txn.Write{{Kind: store.EventPut, Key: []byte("........"), Patches: []store.Patch{{Target: store.PatchKey, Sequence: store.Sequence{Nth: math.MaxInt - math.MaxUint32}}}}}},
		"no kind":         {Writes: []txn.Write{{Key: []byte("k")}}},
	} {
		if cmd, err := fsm.EncodeTransaction(in); err == nil {
			t.Errorf("%s: encoded as %d bytes", name, len(cmd))
		}
	}
}
