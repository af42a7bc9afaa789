package simtest_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/raftstore/internal/simtest"
	"github.com/spire-raft/spire-raft/store"
)

// story is a history that is right, which the rows of the tables below change.
type story struct {
	history []store.Batch
	ops     []*simtest.Op
}

func batch(revision store.Revision, events ...store.Event) store.Batch {
	return store.Batch{Cursor: store.Cursor{Epoch: 1, Revision: revision}, Events: events}
}

func put(key, value string) store.Event {
	return store.Event{Kind: store.EventPut, Key: []byte(key), Value: []byte(value)}
}

func del(key string) store.Event { return store.Event{Kind: store.EventDelete, Key: []byte(key)} }

func number(n byte) string { return "n/\x00\x00\x00\x00\x00\x00\x00" + string(rune(n)) }

func pair(key, value string) store.Pair { return store.Pair{Key: []byte(key), Value: []byte(value)} }

func read(prefix string, pairs ...string) simtest.Read {
	r := simtest.Read{Range: store.Prefix([]byte(prefix))}
	for i := 0; i < len(pairs); i += 2 {
		r.Pairs = append(r.Pairs, store.KeyValue{Key: []byte(pairs[i]), Value: []byte(pairs[i+1])})
	}
	return r
}

// newStory tells, one operation a second and each after the other:
//
//	1 w1 puts a and b
//	2 w2 reads a and increments it
//	3 w3 takes number 1
//	  r1 reads everything
//	4 w4 deletes b
//	5 w5 puts a, and is told that the outcome is unknown
//	  w6 fails
//	  r2 reads at most 3.5 seconds stale, and gets revision 4
func newStory() *story {
	s := &story{history: []store.Batch{
		batch(1, put("a", "w1 1"), put("b", "w1 1")),
		batch(2, put("a", "w2 2")),
		batch(3, put(number(1), "w3 ")),
		batch(4, del("b"), put("m", "w4 ")),
		batch(5, put("a", "w5 9")),
	}}
	var r simtest.Recorder
	for _, o := range []struct {
		op       simtest.Op
		revision store.Revision
		err      error
	}{
		{simtest.Op{ID: "w1", Puts: []store.Pair{pair("a", "w1 1"), pair("b", "w1 1")}}, 1, nil},
		{simtest.Op{ID: "w2", Puts: []store.Pair{pair("a", "w2 2")}, Reads: []simtest.Read{read("a", "a", "w1 1")}}, 2, nil},
		{simtest.Op{ID: "w3", Counter: "n/", Numbered: []byte("w3 "), Number: 1}, 3, nil},
		{simtest.Op{ID: "r1", Reads: []simtest.Read{read("", "a", "w2 2", "b", "w1 1", number(1), "w3 ")}}, 3, nil},
		{simtest.Op{ID: "w4", Puts: []store.Pair{pair("m", "w4 ")}, Deletes: [][]byte{[]byte("b"), []byte("none")}}, 4, nil},
		{simtest.Op{ID: "w5", Puts: []store.Pair{pair("a", "w5 9")}}, 0, store.ErrUnknownOutcome},
		{simtest.Op{ID: "w6", Puts: []store.Pair{pair("a", "w6 9")}}, 0, store.ErrNoLeader},
		{simtest.Op{ID: "r2", Freshness: store.BoundedStale(2500 * time.Millisecond), Reads: []simtest.Read{read("b")}}, 4, nil},
	} {
		op := o.op
		r.Begin(&op)
		time.Sleep(time.Second)
		r.End(&op, o.revision, o.err)
	}
	s.ops = r.Ops()
	return s
}

func (s *story) op(id string) *simtest.Op {
	return s.ops[slices.IndexFunc(s.ops, func(o *simtest.Op) bool { return o.ID == id })]
}

// stale makes r2, which begins 2 seconds after revision 4 was acknowledged, a
// read of some revision.
func (s *story) stale(age time.Duration, revision store.Revision) {
	o := s.op("r2")
	o.Freshness, o.Revision, o.Reads = store.BoundedStale(age), revision, nil
}

// TestCheck plants one flaw a row.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name string
		ok   bool
		flaw func(s *story)
	}{
		{"nothing is wrong", true, func(*story) {}},
		{"an unknown write never landed", true, func(s *story) { s.history = s.history[:4] }},
		{"the last acknowledged write is lost", false, func(s *story) { s.history = s.history[:3] }},
		{"an acknowledged write is lost, another is in its place", false, func(s *story) { s.history[1] = batch(2, put("a", "w5 9")); s.history = s.history[:4] }},
		{"a revision is missing", false, func(s *story) { s.history = slices.Delete(s.history, 2, 3) }},
		{"events are out of order", false, func(s *story) { slices.Reverse(s.history[0].Events) }},
		{"a write is applied twice", false, func(s *story) { s.history = append(s.history, batch(6, put("a", "w2 2"))) }},
		{"an unknown write is applied twice", false, func(s *story) { s.history = append(s.history, batch(6, put("a", "w5 9"))) }},
		{"a failed write is applied", false, func(s *story) { s.history = append(s.history, batch(6, put("a", "w6 9"))) }},
		{"somebody else wrote", false, func(s *story) { s.history = append(s.history, batch(6, put("a", "x 1"))) }},
		{"half of a transaction is applied", false, func(s *story) { s.history[0].Events = s.history[0].Events[:1] }},
		{"a transaction is split", false, func(s *story) {
			s.history = append([]store.Batch{batch(1, put("a", "w1 1")), batch(2, put("b", "w1 1"))}, s.history[1:]...)
		}},
		{"two transactions are one", false, func(s *story) { s.history[4].Events = append(s.history[4].Events, put("z", "w6 9")) }},
		{"a value differs from what was written", false, func(s *story) { s.history[1] = batch(2, put("a", "w2 3")) }},
		{"a delete is missing", false, func(s *story) { s.history[3].Events = s.history[3].Events[1:] }},
		{"a number differs from what was told", false, func(s *story) { s.op("w3").Number = 2 }},
		{"a transaction read what was not there before it", false, func(s *story) { s.op("w2").Reads = []simtest.Read{read("a", "a", "w5 9")} }},
		{"a transaction missed a key in the range that it read", false, func(s *story) { s.op("w2").Reads = []simtest.Read{read("", "a", "w1 1")} }},
		{"a read misses a key", false, func(s *story) { s.op("r1").Reads[0].Pairs = s.op("r1").Reads[0].Pairs[1:] }},
		{"a read finds a deleted key", false, func(s *story) { s.op("r2").Reads = []simtest.Read{read("b", "b", "w1 1")} }},
		{"a linearizable read is of an old revision", false, func(s *story) {
			s.op("r1").Revision = 2
			s.op("r1").Reads = []simtest.Read{read("", "a", "w2 2", "b", "w1 1")}
		}},
		{"a read is of a revision that is not there", false, func(s *story) { s.op("r2").Revision = 7 }},
		{"a write took effect before one that had returned", false, func(s *story) {
			s.history[0], s.history[2] = batch(1, put(number(1), "w3 ")), batch(3, put("a", "w1 1"), put("b", "w1 1"))
			s.op("w1").Revision, s.op("w3").Revision = 3, 1
			s.op("w2").Reads = nil
		}},
		{"an unknown write is applied after a read that did not find it", false, func(s *story) { s.op("r2").Freshness = store.Linearizable() }},
		{"the same, but another process was read", true, func(s *story) { s.op("r2").Freshness, s.op("r2").Process = store.Linearizable(), 2 }},
		{"a stale read is as old as it may be", true, func(s *story) { s.stale(2*time.Second, 3) }},
		{"a stale read is older than it may be", false, func(s *story) { s.stale(1900*time.Millisecond, 3) }},
		{"a read of at least a revision is of one before", false, func(s *story) { s.op("r2").Freshness = store.AtLeast(5) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStory()
				c.flaw(s)
				if err := simtest.Check(s.history, s.ops); (err == nil) != c.ok {
					t.Errorf("got error %v, want none: %t", err, c.ok)
				}
			})
		})
	}
}

func TestCheckSequence(t *testing.T) {
	for _, c := range []struct {
		name    string
		numbers []byte
		ok      bool
	}{
		{"dense", []byte{1, 2, 3}, true},
		{"a gap", []byte{1, 3}, false},
		{"a number is given twice", []byte{1, 2, 2}, false},
		{"out of order", []byte{2, 1}, false},
		{"does not start at 1", []byte{2, 3}, false},
	} {
		var history []store.Batch
		for i, n := range c.numbers {
			history = append(history, batch(store.Revision(i+1), put("m", "x "), put(number(n), "x ")))
		}
		if err := simtest.CheckSequence(history, "n/"); (err == nil) != c.ok {
			t.Errorf("%s: got error %v", c.name, err)
		}
	}
}

func TestCheckInvariant(t *testing.T) {
	errBoth := errors.New("a and b are there")
	never := func(state map[string][]byte) error {
		if len(state["a"]) > 0 && len(state["b"]) > 0 {
			return errBoth
		}
		return nil
	}
	history := []store.Batch{batch(1, put("a", "1")), batch(2, del("a"), put("b", "1")), batch(3, del("b"))}
	if err := simtest.CheckInvariant(history, never); err != nil {
		t.Error(err)
	}
	history[1] = batch(2, put("b", "1"))
	if err := simtest.CheckInvariant(history, never); !errors.Is(err, errBoth) {
		t.Errorf("got error %v, want what the check found in the middle", err)
	}
}

// TestStream feeds watchers with flaws.
func TestStream(t *testing.T) {
	history := []store.Batch{
		batch(1, put("a", "1"), put("b", "1")),
		batch(2, put("b", "2")),
		batch(3, put("a", "3")),
		batch(4, del("a")),
	}
	mark := func(r store.Revision) store.Batch { return batch(r) }
	otherEpoch := batch(2, put("b", "2"))
	otherEpoch.Cursor.Epoch = 2
	for _, c := range []struct {
		name     string
		prefixes []string
		start    store.Revision
		got      []store.Batch
		ok       bool
	}{
		{"everything", nil, 0, history, true},
		{"marks between", nil, 0, []store.Batch{history[0], mark(1), history[1], history[2], mark(3), mark(3), history[3]}, true},
		{"from the middle", nil, 2, history[2:], true},
		{"filtered", []string{"a"}, 0, []store.Batch{batch(1, put("a", "1")), mark(2), history[2], history[3]}, true},
		{"filtered, without a mark for what is filtered out", []string{"a"}, 0, []store.Batch{batch(1, put("a", "1")), history[2], history[3]}, true},
		{"two prefixes", []string{"a", "b"}, 0, history, true},
		{"a gap", nil, 0, []store.Batch{history[0], history[2]}, false},
		{"a gap at the beginning", nil, 0, history[1:], false},
		{"a gap under a mark", nil, 0, []store.Batch{history[0], mark(2)}, false},
		{"a duplicate", nil, 0, []store.Batch{history[0], history[0]}, false},
		{"a duplicate after a mark", nil, 0, []store.Batch{history[0], mark(1), history[0]}, false},
		{"out of order", nil, 0, []store.Batch{history[1], history[0]}, false},
		{"a split batch", nil, 0, []store.Batch{batch(1, put("a", "1")), batch(1, put("b", "1"))}, false},
		{"an event is missing", nil, 0, []store.Batch{batch(1, put("a", "1"))}, false},
		{"an event of another prefix", []string{"b"}, 0, history[:1], false},
		{"another value", nil, 1, []store.Batch{batch(2, put("b", "3"))}, false},
		{"a delete as a put", nil, 3, []store.Batch{batch(4, put("a", ""))}, false},
		{"another epoch", nil, 1, []store.Batch{otherEpoch}, false},
		{"a mark goes back", nil, 0, []store.Batch{history[0], history[1], mark(1)}, false},
		{"ahead of the history", nil, 4, []store.Batch{mark(5)}, false},
	} {
		s := &simtest.Stream{}
		for _, p := range c.prefixes {
			s.Prefixes = append(s.Prefixes, []byte(p))
		}
		s.Restart(store.Cursor{Epoch: 1, Revision: c.start})
		for _, b := range c.got {
			s.Add(b)
		}
		if err := s.Check(history); (err == nil) != c.ok {
			t.Errorf("%s: got error %v", c.name, err)
		}
	}
}

func TestStream_Restart(t *testing.T) {
	history := []store.Batch{batch(1, put("a", "1")), batch(2, put("a", "2")), batch(3, put("a", "3"))}
	s := &simtest.Stream{}
	s.Restart(store.Cursor{})
	s.Add(history[0])
	s.Restart(store.Cursor{Epoch: 1, Revision: 2})
	s.Add(history[2])
	if err := s.Check(history); err != nil || s.Restarts() != 1 || s.Cursor().Revision != 3 {
		t.Errorf("error %v, %d restarts, cursor %v", err, s.Restarts(), s.Cursor())
	}
}

func TestSameHistory(t *testing.T) {
	a := []store.Batch{batch(1, put("a", "1")), batch(2, del("a"))}
	for i, b := range [][]store.Batch{a[:1], {a[0], batch(2, put("a", ""))}, {a[0], batch(3, del("a"))}} {
		if simtest.SameHistory(a, b) == nil {
			t.Errorf("history %d passes for another", i)
		}
	}
	if err := simtest.SameHistory(a, slices.Clone(a)); err != nil {
		t.Error(err)
	}
}

func TestOffices(t *testing.T) {
	var o simtest.Offices
	for term := range uint64(3) {
		o.Saw(fmt.Sprint("node ", term), term)
		o.Saw(fmt.Sprint("node ", term), term)
	}
	if err := o.Check(); err != nil || o.Terms() != 3 {
		t.Errorf("error %v, %d terms", err, o.Terms())
	}
	o.Saw("node 1", 2)
	if o.Check() == nil {
		t.Error("two leaders of one term pass")
	}
}
