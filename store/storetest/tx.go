package storetest

import (
	"fmt"

	"github.com/spire-raft/spire-raft/store"
)

func testTxReadYourWrites(e *env) {
	rev := e.put(0, "a=1", "b=2")
	tx := e.begin(1)
	equal(e, tx.get("a"), "1", "before any write")
	tx.put("a=mine")
	equal(e, tx.get("a"), "mine", "after put")
	tx.put("a=again")
	equal(e, tx.get("a"), "again", "after a second put")
	tx.delete("a")
	equal(e, tx.get("a"), "-", "after delete")
	tx.put("a=back")
	equal(e, tx.get("a"), "back", "after delete and put")
	tx.put("new=n")
	equal(e, tx.get("new"), "n", "a key that was absent")

	kv, _, err := tx.Get(e.ctx, e.key("a"))
	e.noError(err, "get")
	equal(e, kv.ModRevision, 0, "ModRevision of an own write")
	kv, _, err = tx.Get(e.ctx, e.key("b"))
	e.noError(err, "get")
	equal(e, kv.ModRevision, rev, "ModRevision of what was there")

	equal(e, e.begin(0).get("a"), "1", "what others see before commit")
	tx.commit()
	e.equalList(e.get(0, e.all()), "a=back b=2 new=n", "what others see after commit")
}

// testTxScanMerge scans a mix of what was there and own writes.
func testTxScanMerge(e *env) {
	e.put(0, "b=0", "d=0", "f=0", "h=0")
	tx := e.begin(1)
	tx.put("a=1", "d=1", "e=1", "i=1")
	tx.delete("f", "g")

	for _, c := range []struct {
		name  string
		r     store.Range
		limit int
		want  string
	}{
		{"all", e.all(), 0, "a=1 b=0 d=1 e=1 h=0 i=1"},
		{"own keys at both ends", e.span("a", "i"), 0, "a=1 b=0 d=1 e=1 h=0"},
		{"between own keys", e.span("b", "e"), 0, "b=0 d=1"},
		{"only deleted", e.span("f", "h"), 0, ""},
		{"a page that ends in an own key", e.all(), 3, "a=1 b=0 d=1"},
		{"a page that ends in a key that was there", e.all(), 2, "a=1 b=0"},
		{"a page over a deleted key", e.span("e", "z"), 2, "e=1 h=0"},
		{"a page of exactly all", e.all(), 6, "a=1 b=0 d=1 e=1 h=0 i=1"},
		{"a page that is not full", e.all(), 7, "a=1 b=0 d=1 e=1 h=0 i=1"},
		{"the rest behind a deleted key", e.all().After(e.key("f")), 0, "h=0 i=1"},
	} {
		e.equalList(tx.scan(c.r, c.limit), c.want, "%s", c.name)
	}
	equal(e, tx.count(e.all()), 6, "count of all")
	equal(e, tx.count(e.span("e", "h")), 1, "count with own put and delete")
	tx.commit()
	e.equalList(e.get(0, e.all()), "a=1 b=0 d=1 e=1 h=0 i=1", "after commit")
}

// testTxScanPages reads page by page, with pages of every size.
func testTxScanPages(e *env) {
	for i := range 10 {
		e.put(i, fmt.Sprintf("k%d", i))
	}
	tx := e.begin(0)
	tx.put("k45")
	tx.delete("k3", "k9")
	for limit := 1; limit <= 11; limit++ {
		var got []string
		for r := e.all(); ; {
			page, err := tx.Scan(e.ctx, r, limit)
			e.noError(err, "scan")
			got = append(got, e.format(page)...)
			if len(page) < limit {
				break
			}
			r = r.After(page[len(page)-1].Key)
		}
		e.equalList(got, "k0 k1 k2 k4 k45 k5 k6 k7 k8", "pages of %d", limit)
	}
	_, err := tx.Scan(e.ctx, e.all(), -1)
	e.isError(err, store.ErrInvalid, "a negative limit")
}

func testTxDeleteRange(e *env) {
	e.put(0, "a", "b/1", "b/2", "b/3", "c")
	tx := e.begin(1)
	tx.put("b/15", "b/4")
	tx.delete("b/2")
	equal(e, tx.deleteRange(store.Prefix(e.key("b/"))), 4, "keys deleted: two that were there and two of its own")
	equal(e, tx.deleteRange(store.Prefix(e.key("b/"))), 0, "keys deleted the second time")
	e.equalList(tx.scan(e.all(), 0), "a c", "inside the transaction")
	tx.put("b/2=new")
	before := e.revision()
	equal(e, tx.commit().Revision, before+1, "revision")
	e.equalList(e.get(0, e.all()), "a b/2=new c", "after commit")
}

// testTxSnapshot changes everything behind a transaction's back.
func testTxSnapshot(e *env) {
	rev := e.put(0, "a=1", "b=1", "c=1")
	tx := e.beginWith(1, store.TxOptions{ReadOnly: true})
	equal(e, tx.cursor().Revision, rev, "the snapshot's revision")
	if tx.cursor().Epoch == 0 {
		e.Error("the snapshot's epoch is 0, but epochs start at 1")
	}

	e.put(0, "a=2", "d=2")
	e.delete(1, "b")

	equal(e, tx.get("a"), "1", "a key put since")
	equal(e, tx.get("b"), "1", "a key deleted since")
	equal(e, tx.get("d"), "-", "a key created since")
	e.equalList(tx.scan(e.all(), 0), "a=1 b=1 c=1", "scan")
	equal(e, tx.count(e.all()), 3, "count")
	equal(e, tx.cursor().Revision, rev, "the snapshot's revision, still")
	equal(e, tx.commit().Revision, rev, "revision of a commit that writes nothing")
}

func testTxAtomic(e *env) {
	before := e.revision()
	tx := e.begin(0)
	for i := range 100 {
		tx.put(fmt.Sprintf("k%02d", i))
	}
	res := tx.commit()
	equal(e, res.Revision, before+1, "one revision for 100 keys")
	equal(e, res.Written, true, "Written")
	kvs, _, err := e.store(1).Get(e.ctx, store.Linearizable(), e.all())
	e.noError(err, "get")
	equal(e, len(kvs), 100, "keys")
	for _, kv := range kvs {
		equal(e, kv.ModRevision, res.Revision, "ModRevision of %q", kv.Key)
	}
}

func testTxReadOnly(e *env) {
	rev := e.put(0, "k=1")
	tx := e.beginWith(1, store.TxOptions{ReadOnly: true})
	equal(e, tx.get("k"), "1", "get")
	e.isError(tx.Put(e.key("k"), nil), store.ErrReadOnly, "put")
	e.isError(tx.Delete(e.key("k")), store.ErrReadOnly, "delete")
	_, err := tx.DeleteRange(e.ctx, e.all())
	e.isError(err, store.ErrReadOnly, "delete range")
	_, err = tx.DeleteRange(e.ctx, store.Prefix(e.key("absent")))
	e.isError(err, store.ErrReadOnly, "delete of an empty range")
	_, err = tx.Sequence(e.key("counter"))
	e.isError(err, store.ErrReadOnly, "sequence")
	e.isError(tx.RaiseSequence(e.key("counter"), 1), store.ErrReadOnly, "raise")

	e.put(0, "k=2")
	res := tx.commit()
	equal(e, res.Revision, rev, "a read-only transaction doesn't conflict, and ends with its snapshot's revision")
	equal(e, res.Written, false, "Written")
	equal(e, e.begin(1).get("k"), "2", "the value after the refused writes")
}

func testTxDone(e *env) {
	e.put(0, "k=1")
	for _, end := range []struct {
		name string
		tx   func() *tx
	}{
		{"Commit", func() *tx { tx := e.begin(0); tx.put("k=2"); tx.commit(); return tx }},
		{"Commit of nothing", func() *tx { tx := e.begin(0); tx.commit(); return tx }},
		{"Abort", func() *tx { tx := e.begin(1); tx.put("k=3"); tx.Abort(); return tx }},
		{"a failed Commit", func() *tx {
			tx := e.begin(1)
			tx.get("k")
			e.put(0, "k=4")
			tx.put("k=5")
			_, err := tx.Commit(e.ctx)
			e.isError(err, store.ErrConflict, "commit")
			return tx
		}},
	} {
		tx := end.tx()
		rev := e.revision()
		for call, err := range callAll(e, tx) {
			e.isError(err, store.ErrTxDone, "%s after %s", call, end.name)
		}
		tx.Abort()
		equal(e, e.revision(), rev, "revision after calls after %s", end.name)
	}
	e.equalList(e.get(0, e.all()), "k=4", "what was committed")
}

// callAll calls every method of a transaction and returns their errors.
func callAll(e *env, tx store.Tx) map[string]error {
	errs := make(map[string]error)
	_, errs["Cursor"] = tx.Cursor(e.ctx)
	_, _, errs["Get"] = tx.Get(e.ctx, e.key("k"))
	_, errs["Scan"] = tx.Scan(e.ctx, e.all(), 0)
	_, errs["Count"] = tx.Count(e.ctx, e.all())
	errs["Put"] = tx.Put(e.key("k"), nil)
	errs["Delete"] = tx.Delete(e.key("k"))
	_, errs["DeleteRange"] = tx.DeleteRange(e.ctx, e.all())
	_, errs["Sequence"] = tx.Sequence(e.key("counter"))
	errs["RaiseSequence"] = tx.RaiseSequence(e.key("counter"), 1)
	_, errs["Commit"] = tx.Commit(e.ctx)
	return errs
}

// testTxNothingWritten commits transactions that only read, while what they
// read changes.
func testTxNothingWritten(e *env) {
	rev := e.put(0, "k=1")
	tx := e.begin(1)
	tx.get("k")
	tx.scan(e.all(), 0)
	e.put(0, "k=2")
	res := tx.commit()
	equal(e, res.Revision, rev, "the snapshot's revision")
	equal(e, res.Written, false, "Written")
}

// testHugeScan pages through more keys than one answer should hold, while half
// of them are deleted.
func testHugeScan(e *env) {
	const keys, chunk, page = 20_000, 2_000, 700
	name := func(i int) string { return fmt.Sprintf("%06d", i) }
	for from := 0; from < keys; from += chunk {
		tx := e.begin(from / chunk)
		for i := range chunk {
			tx.put(name(from + i))
		}
		tx.commit()
	}
	tx := e.beginWith(1, store.TxOptions{ReadOnly: true})
	equal(e, tx.count(e.all()), keys, "count")

	got := 0
	for r := e.all(); ; {
		kvs, err := tx.Scan(e.ctx, r, page)
		e.noError(err, "scan behind %d keys", got)
		for _, kv := range kvs {
			if string(kv.Key) != e.prefix+name(got) {
				e.Fatalf("key %d of the scan: got %q, want %q", got, kv.Key, e.prefix+name(got))
			}
			got++
		}
		if len(kvs) < page {
			break
		}
		if got == 4*page {
			n, _, err := e.store(0).Delete(e.ctx, e.span(name(0), name(keys/2)))
			e.noError(err, "delete half of the keys")
			equal(e, n, keys/2, "keys deleted")
		}
		r = r.After(kvs[len(kvs)-1].Key)
	}
	equal(e, got, keys, "keys in all pages")
	equal(e, e.begin(0).count(e.all()), keys/2, "keys left")
}
