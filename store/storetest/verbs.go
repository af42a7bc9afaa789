package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/spire-raft/spire-raft/store"
)

func testPutGet(e *env) {
	for i := range e.stores {
		before := e.revision()
		rev := e.put(i, "k=one")
		equal(e, rev, before+1, "revision of a put through handle %d", i)
		rev = e.put(i, "k=one")
		equal(e, rev, before+2, "revision of a put of the same value")

		for j := range e.stores {
			kvs, at, err := e.store(j).Get(e.ctx, store.Linearizable(), store.Key(e.key("k")))
			e.noError(err, "get through handle %d", j)
			equal(e, at, rev, "snapshot's revision through handle %d", j)
			e.equalList(e.format(kvs), "k=one", "pairs through handle %d", j)
			if len(kvs) == 1 {
				equal(e, kvs[0].ModRevision, rev, "ModRevision through handle %d", j)
			}
		}
	}
	e.equalList(e.get(0, store.Key(e.key("absent"))), "", "an absent key")
}

func testPutSeveral(e *env) {
	before := e.revision()
	rev := e.put(0, "b=1", "a=2", "b=3")
	equal(e, rev, before+1, "revision of a put of three pairs")
	kvs, _, err := e.store(1).Get(e.ctx, store.Linearizable(), e.all())
	e.noError(err, "get")
	e.equalList(e.format(kvs), "a=2 b=3", "the last pair of a key wins")
	for _, kv := range kvs {
		equal(e, kv.ModRevision, rev, "ModRevision of %q", kv.Key)
	}
	equal(e, e.put(1), rev, "revision of a put of no pairs")
}

func testPutEmptyValue(e *env) {
	_, err := e.store(0).Put(e.ctx, store.Pair{Key: e.key("nil")}, store.Pair{Key: e.key("empty"), Value: []byte{}})
	e.noError(err, "put")
	e.equalList(e.get(1, e.all()), "empty nil", "keys with empty values")
	equal(e, e.begin(1).get("nil"), "", "an empty value is not absent")
}

func testGetSeveralRanges(e *env) {
	e.put(0, "a=1", "b/1=2", "b/2=3", "b=4", "b0=5", "c=6")
	got := e.get(1, store.Key(e.key("c")), store.Prefix(e.key("b/")), store.Key(e.key("nothing")), e.span("a", "b/2"))
	e.equalList(got, "c=6 b/1=2 b/2=3 a=1 b=4 b/1=2", "range by range as given, repeats included")
	e.equalList(e.get(1), "", "no range")
	e.equalList(e.get(1, e.span("c", "a")), "", "a range that ends before it starts")
	e.equalList(e.get(1, e.span("b", "b")), "", "an empty range")
	e.equalList(e.get(0, e.all().After(e.key("b/1"))), "b/2=3 b0=5 c=6", "the rest of a range")
}

func testDelete(e *env) {
	e.put(0, "a", "b/1", "b/2", "c", "d", "e")
	before := e.revision()

	n, rev, err := e.store(1).Delete(e.ctx, store.Key(e.key("a")))
	e.noError(err, "delete one")
	equal(e, n, 1, "keys deleted")
	equal(e, rev, before+1, "revision")

	n, rev, err = e.store(0).Delete(e.ctx, store.Prefix(e.key("b/")), store.Key(e.key("c")), store.Key(e.key("absent")))
	e.noError(err, "delete several")
	equal(e, n, 3, "keys deleted by prefix and key")
	equal(e, rev, before+2, "revision of a delete of several keys")

	n, _, err = e.store(1).Delete(e.ctx, e.span("d", "e"), store.Prefix(e.key("d")), store.Key(e.key("d")))
	e.noError(err, "delete overlapping ranges")
	equal(e, n, 1, "keys deleted by overlapping ranges")
	e.equalList(e.get(0, e.all()), "e", "what is left")
}

func testDeleteNothing(e *env) {
	rev := e.put(0, "kept")
	for i := range e.stores {
		n, at, err := e.store(i).Delete(e.ctx, store.Prefix(e.key("absent")), store.Key(e.key("absent")))
		e.noError(err, "delete of nothing")
		equal(e, n, 0, "keys deleted")
		equal(e, at, rev, "revision of a delete of nothing")
	}
	equal(e, e.revision(), rev, "revision after deletes of nothing")
}

// testDeleteConcurrent has eight callers delete the same keys: none sees a
// conflict, and each key is deleted once.
func testDeleteConcurrent(e *env) {
	const keys = 40
	for i := range keys {
		e.put(i, fmt.Sprintf("%02d", i))
	}
	var (
		wg      sync.WaitGroup
		deleted atomic.Int64
	)
	for i := range 8 {
		wg.Go(func() {
			// From one end or the other, in halves, so that they meet.
			for _, r := range [][]store.Range{{e.span("00", "20"), e.span("20", "40")}, {e.span("20", "40"), e.span("00", "20")}}[i%2] {
				n, _, err := e.store(i).Delete(e.ctx, r)
				if err != nil {
					e.Errorf("delete through handle %d: %v", i, err)
				}
				deleted.Add(int64(n))
			}
		})
	}
	wg.Wait()
	equal(e, deleted.Load(), keys, "keys deleted by all callers")
	e.equalList(e.get(0, e.all()), "", "keys left")
}

func testCount(e *env) {
	rev := e.put(0, "a", "b/1", "b/2", "c")
	for i := range e.stores {
		n, at, err := e.store(i).Count(e.ctx, store.Linearizable(), e.all(), store.Prefix(e.key("b/")), store.Key(e.key("a")), store.Key(e.key("x")))
		e.noError(err, "count")
		equal(e, n, 4+2+1, "keys counted range by range")
		equal(e, at, rev, "revision of the count")
	}
}

// testKeyOrder puts keys that sort differently as text, numbers or C strings.
func testKeyOrder(e *env) {
	sorted := []string{"\x00", "\x00\x00", "\x00\xff", "\x01", "\n", " ", "A", "Z", "a", "a\x00", "a\x00b", "aa", "b", "\x7f", "\x80", "é", "\xfe\xff", "\xff", "\xff\x00", "\xff\xff"}
	for i := range sorted {
		e.put(i, sorted[(i*7)%len(sorted)]) // 7 and 20 have no common factor: each key once
	}
	for i := range e.stores {
		got := e.get(i, e.all())
		if !slices.Equal(got, sorted) {
			e.Errorf("keys through handle %d: got %q, want %q", i, got, sorted)
		}
	}
	for _, k := range sorted {
		equal(e, e.begin(0).get(k), "", "key %q", k)
	}
}

// testPrefixEdges works at the ends of the key space, outside the test's prefix.
func testPrefixEdges(e *env) {
	edges := [][]byte{{0x00}, {0xfe, 0xff}, {0xff}, {0xff, 0x00}, {0xff, 0xff}, {0xff, 0xff, 0x00}, {0xff, 0xff, 0xff}}
	var pairs []store.Pair
	var ranges []store.Range
	for _, k := range edges {
		pairs = append(pairs, store.Pair{Key: k, Value: []byte("edge")})
		ranges = append(ranges, store.Key(k))
	}
	_, err := e.store(0).Put(e.ctx, pairs...)
	e.noError(err, "put")
	e.put(0, "p=1", "p\xff=2", "p\xff\xff=3", "q=4")

	keys := func(r store.Range) [][]byte {
		kvs, _, err := e.store(1).Get(e.ctx, store.Linearizable(), r)
		e.noError(err, "get")
		var out [][]byte
		for _, kv := range kvs {
			if bytes.Equal(kv.Value, []byte("edge")) {
				out = append(out, kv.Key)
			}
		}
		return out
	}
	for _, c := range []struct {
		name string
		r    store.Range
		want [][]byte
	}{
		{"the empty prefix", store.Prefix(nil), edges},
		{"the zero range", store.Range{}, edges},
		{"a prefix of one 0xff byte", store.Prefix([]byte{0xff}), edges[2:]},
		{"a prefix of two 0xff bytes", store.Prefix([]byte{0xff, 0xff}), edges[4:]},
		{"a prefix that ends in 0xff", store.Prefix([]byte{0xfe, 0xff}), edges[1:2]},
		{"a prefix of a zero byte", store.Prefix([]byte{0x00}), edges[:1]},
		{"the key 0xff alone", store.Key([]byte{0xff}), edges[2:3]},
		{"an empty, not absent, end", store.Range{Start: nil, End: []byte{}}, nil},
	} {
		if got := keys(c.r); !slices.EqualFunc(got, c.want, bytes.Equal) {
			e.Errorf("%s: got keys %x, want %x", c.name, got, c.want)
		}
	}
	e.equalList(e.get(1, store.Prefix(e.key("p"))), "p=1 p\xff=2 p\xff\xff=3", "a prefix that is a key")
	e.equalList(e.get(1, store.Prefix(e.key("p\xff"))), "p\xff=2 p\xff\xff=3", "a prefix that is a key and ends in 0xff")

	n, _, err := e.store(1).Delete(e.ctx, ranges...)
	e.noError(err, "delete the edges")
	equal(e, n, len(edges), "edges deleted")
}

// testSliceOwnership scribbles over everything that passed between the caller
// and the store.
func testSliceOwnership(e *env) {
	scribble := func(b []byte) {
		for i := range b {
			b[i] = '#'
		}
	}
	start := e.revision()
	key, value := e.key("put"), []byte("v")
	_, err := e.store(0).Put(e.ctx, store.Pair{Key: key, Value: value})
	e.noError(err, "put")
	scribble(key)
	scribble(value)

	tx := e.begin(1)
	key, value = e.key("tx"), []byte("v")
	e.noError(tx.Put(key, value), "tx put")
	kvs, err := tx.Scan(e.ctx, e.all(), 0)
	e.noError(err, "tx scan")
	for _, kv := range kvs {
		scribble(kv.Key)
		scribble(kv.Value)
	}
	kv, _, err := tx.Get(e.ctx, e.key("put"))
	e.noError(err, "tx get")
	scribble(kv.Key)
	scribble(kv.Value)
	tx.commit()
	scribble(key)
	scribble(value)

	for i := range 2 * len(e.stores) {
		var keys []string
		for _, b := range e.collect(e.watch(i, store.Cursor{Revision: start}, e.prefix), start+2) {
			for _, ev := range b.Events {
				keys = append(keys, e.format([]store.KeyValue{{Key: ev.Key, Value: ev.Value}})...)
				scribble(ev.Key)
				scribble(ev.Value)
			}
		}
		e.equalList(keys, "put=v tx=v", "events after the caller changed its slices")
	}
	for range 2 {
		kvs, _, err := e.store(0).Get(e.ctx, store.Linearizable(), e.all())
		e.noError(err, "get")
		e.equalList(e.format(kvs), "put=v tx=v", "pairs after the caller changed its slices")
		for _, kv := range kvs {
			scribble(kv.Key)
			scribble(kv.Value)
		}
	}
}

// testRevisions checks that a revision is a change of a key and nothing else.
func testRevisions(e *env) {
	rev := e.put(0, "k")
	unchanged := func(what string) {
		e.Helper()
		equal(e, e.revision(), rev, "revision after %s", what)
	}

	aborted := e.begin(0)
	aborted.put("k=2")
	aborted.Abort()
	unchanged("an aborted transaction")

	absent := e.begin(1)
	absent.delete("absent")
	equal(e, absent.commit().Revision, rev, "revision of a delete of an absent key")
	unchanged("a delete of an absent key")

	both := e.begin(0)
	both.put("new")
	both.delete("new")
	equal(e, both.commit().Revision, rev, "revision of a put and delete of an absent key")
	unchanged("a put and delete of an absent key")

	raise := e.begin(1)
	e.noError(raise.RaiseSequence(e.key("counter"), 5), "raise")
	equal(e, raise.commit().Revision, rev, "revision of a raise")
	unchanged("a raise")

	some := e.begin(1)
	some.delete("absent")
	some.put("k=3")
	equal(e, some.commit().Revision, rev+1, "revision where one of two writes changes something")
	equal(e, e.delete(0, "k"), rev+2, "revision of a delete")
}

// testEmptyStore looks at a backend that nobody has written to.
func testEmptyStore(e *env) {
	for i := range e.stores {
		rev, err := e.store(i).Revision(e.ctx, store.Linearizable())
		e.noError(err, "revision")
		equal(e, rev, 0, "revision of the empty store through handle %d", i)
		e.equalList(e.get(i, store.Range{}), "", "pairs of the empty store")
	}
	equal(e, e.put(1, "k"), 1, "the first revision")
	got := e.collect(e.watch(0, store.Cursor{}), 1)
	e.noError(history{1: {putEvent(e.key("k"), "")}}.check(0, got), "watch from the zero cursor")
}
