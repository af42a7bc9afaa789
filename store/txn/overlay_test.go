package txn_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

// overlay is a transaction next to the simplest thing that it could be: a copy
// of the snapshot that writes go to, and a list of what was read.
type overlay struct {
	ctx  context.Context
	fake *fake
	tx   store.Tx

	state map[string]store.KeyValue // what the transaction must see
	own   map[string]bool           // keys that it has written
	reads map[string]bool           // keys that it has read from its snapshot
	scans []store.Range             // with limits applied
}

// TestOverlay_AgainstMap compares a transaction's reads, and the intent that it
// commits, with a map.
func TestOverlay_AgainstMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFake()
		for _, key := range rapid.SliceOf(overlayKey).Draw(rt, "snapshot") {
			f.pairs[key] = store.KeyValue{Key: []byte(key), Value: []byte("old"), ModRevision: store.Revision(1 + len(f.pairs))}
		}
		tx, err := f.runner().Begin(t.Context(), store.TxOptions{})
		if err != nil {
			rt.Fatalf("begin: %v", err)
		}
		defer tx.Abort()
		o := &overlay{ctx: t.Context(), fake: f, tx: tx, state: maps.Clone(f.pairs), own: make(map[string]bool), reads: make(map[string]bool)}
		rt.Repeat(map[string]func(*rapid.T){
			"get": o.get, "scan": o.scan, "count": o.count, "put": o.put, "delete": o.delete, "deleteRange": o.deleteRange,
		})
		o.put(rt) // so that there is something to commit
		if _, err := tx.Commit(t.Context()); err != nil {
			rt.Fatalf("commit: %v", err)
		}
		o.checkIntent(rt, f.intents[0])
		if f.open != 0 {
			rt.Fatalf("%d snapshots are still open after the commit", f.open)
		}
	})
}

// overlayBytes are what keys are made of, so that many are neighbours.
var overlayBytes = []byte{0x00, 'a', 'b', 0xff}

var overlayKey = overlayText(1, 3)

func overlayText(least, most int) *rapid.Generator[string] {
	return rapid.Map(rapid.SliceOfN(rapid.SampledFrom(overlayBytes), least, most), func(b []byte) string { return string(b) })
}

func overlayRange(t *rapid.T) store.Range {
	r := store.Range{Start: []byte(overlayText(0, 2).Draw(t, "start"))}
	switch rapid.IntRange(0, 3).Draw(t, "range") {
	case 0:
		return store.Prefix(r.Start)
	case 1:
		return r
	default:
		r.End = []byte(overlayText(0, 2).Draw(t, "end"))
		return r
	}
}

// in returns what the transaction must see in r: all, or at most limit pairs.
func (o *overlay) in(r store.Range, limit int) []store.KeyValue {
	var out []store.KeyValue
	for _, key := range slices.Sorted(maps.Keys(o.state)) {
		if r.Contains([]byte(key)) {
			out = append(out, o.state[key])
		}
		if limit > 0 && len(out) == limit {
			r.End = append([]byte(key), 0)
			break
		}
	}
	o.scans = append(o.scans, r)
	return out
}

func (o *overlay) get(t *rapid.T) {
	key := overlayKey.Draw(t, "key")
	if !o.own[key] {
		o.reads[key] = true
	}
	want, wantFound := o.state[key]
	got, found, err := o.tx.Get(o.ctx, []byte(key))
	if err != nil || found != wantFound || format(got) != format(want) {
		t.Fatalf("get %q: got %v, %v and error %v, want %v, %v", key, format(got), found, err, format(want), wantFound)
	}
}

func (o *overlay) scan(t *rapid.T) {
	r, limit := overlayRange(t), rapid.IntRange(0, 3).Draw(t, "limit")
	for {
		want := o.in(r, limit)
		got, err := o.tx.Scan(o.ctx, r, limit)
		if err != nil || format(got...) != format(want...) {
			t.Fatalf("scan of %q to %q: got %v and error %v, want %v", r.Start, r.End, format(got...), err, format(want...))
		}
		if limit == 0 || len(got) < limit || rapid.Bool().Draw(t, "stop here") {
			return
		}
		r = r.After(got[limit-1].Key)
	}
}

func (o *overlay) count(t *rapid.T) {
	r := overlayRange(t)
	want := len(o.in(r, 0))
	if got, err := o.tx.Count(o.ctx, r); err != nil || got != want {
		t.Fatalf("count: got %d and error %v, want %d", got, err, want)
	}
}

func (o *overlay) put(t *rapid.T) {
	key, value := overlayKey.Draw(t, "key"), rapid.SampledFrom([]string{"", "new", "newer"}).Draw(t, "value")
	if err := o.tx.Put([]byte(key), []byte(value)); err != nil {
		t.Fatalf("put: %v", err)
	}
	o.own[key] = true
	o.state[key] = store.KeyValue{Key: []byte(key), Value: []byte(value)}
}

func (o *overlay) delete(t *rapid.T) {
	key := overlayKey.Draw(t, "key")
	if err := o.tx.Delete([]byte(key)); err != nil {
		t.Fatalf("delete: %v", err)
	}
	o.own[key] = true
	delete(o.state, key)
}

func (o *overlay) deleteRange(t *rapid.T) {
	r := overlayRange(t)
	want := o.in(r, 0)
	if got, err := o.tx.DeleteRange(o.ctx, r); err != nil || got != len(want) {
		t.Fatalf("delete range: got %d and error %v, want %d", got, err, len(want))
	}
	for _, kv := range want {
		o.own[string(kv.Key)] = true
		delete(o.state, string(kv.Key))
	}
}

// checkIntent checks that the intent leads from the snapshot to the state, and
// names what was read, no less and no more.
func (o *overlay) checkIntent(t *rapid.T, in txn.Intent) {
	if in.ReadRevision != o.fake.cursor.Revision && len(in.Points)+len(in.Ranges) > 0 {
		t.Fatalf("read revision: got %d, want %d", in.ReadRevision, o.fake.cursor.Revision)
	}
	state := maps.Clone(o.fake.pairs)
	var last []byte
	for _, w := range in.Writes {
		if last != nil && bytes.Compare(last, w.Key) >= 0 {
			t.Fatalf("write of %q comes behind that of %q", w.Key, last)
		}
		last = w.Key
		if w.Kind == store.EventDelete {
			delete(state, string(w.Key))
		} else {
			state[string(w.Key)] = store.KeyValue{Key: w.Key, Value: w.Value}
		}
	}
	if !maps.EqualFunc(state, o.state, func(a, b store.KeyValue) bool { return format(a) == format(b) }) {
		t.Fatalf("writes lead to %v, want %v", state, o.state)
	}

	points := make(map[string]bool)
	for _, p := range in.Points {
		points[string(p.Key)] = true
		if want := o.fake.pairs[string(p.Key)].ModRevision; p.ModRevision != want {
			t.Fatalf("point %q: got revision %d, want %d", p.Key, p.ModRevision, want)
		}
	}
	if !maps.Equal(points, o.reads) {
		t.Fatalf("points: got %v, want %v", points, o.reads)
	}
	for _, key := range overlayProbes {
		contains := func(r store.Range) bool { return r.Contains(key) }
		if got, want := slices.ContainsFunc(in.Ranges, contains), slices.ContainsFunc(o.scans, contains); got != want {
			t.Fatalf("key %q in the ranges read: got %v, want %v (ranges %q, scans %q)", key, got, want, in.Ranges, o.scans)
		}
	}
}

// overlayProbes are all keys that can tell one range from another.
var overlayProbes = func() [][]byte {
	probes, longest := [][]byte{}, [][]byte{{}}
	for range 4 {
		var longer [][]byte
		for _, key := range longest {
			for _, b := range overlayBytes {
				longer = append(longer, append(bytes.Clone(key), b))
			}
		}
		probes, longest = append(probes, longer...), longer
	}
	return probes
}()

func format(kvs ...store.KeyValue) string {
	var b bytes.Buffer
	for _, kv := range kvs {
		fmt.Fprintf(&b, "%q=%q@%d ", kv.Key, kv.Value, kv.ModRevision)
	}
	return b.String()
}
