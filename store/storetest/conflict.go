package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/spire-raft/spire-raft/store"
)

// conflictCase is what a transaction reads, and what another one changes before
// it commits.
type conflictCase struct {
	name   string
	read   func(tx *tx)
	change func(o *other)
	want   bool // whether the commit must conflict; if not, it must not
}

// other changes keys through a handle of its own.
type other struct {
	e      *env
	handle int
}

func (o *other) put(pairs ...string)   { o.e.put(o.handle, pairs...) }
func (o *other) delete(keys ...string) { o.e.delete(o.handle, keys...) }

// conflictKeys are there before each case.
var conflictKeys = []string{"b=1", "d=1", "f=1", "h=1"}

const (
	conflicts = true
	commits   = false
)

var pointCases = []conflictCase{
	{"a key that was read is put", func(tx *tx) { tx.get("b") }, func(o *other) { o.put("b=2") }, conflicts},
	{"a key that was read is put with the same value", func(tx *tx) { tx.get("b") }, func(o *other) { o.put("b=1") }, conflicts},
	{"a key that was read is deleted", func(tx *tx) { tx.get("b") }, func(o *other) { o.delete("b") }, conflicts},
	{"a key that was read is deleted and put back", func(tx *tx) { tx.get("b") }, func(o *other) { o.delete("b"); o.put("b=1") }, conflicts},
	{"a key that was read as absent is created", func(tx *tx) { tx.get("c") }, func(o *other) { o.put("c") }, conflicts},
	{"a key that was read as absent is created and deleted", func(tx *tx) { tx.get("c") }, func(o *other) { o.put("c"); o.delete("c") }, commits},
	{"a key that was read, then written, is put", func(tx *tx) { tx.get("b"); tx.put("b=mine") }, func(o *other) { o.put("b=2") }, conflicts},
	{"a key that was read twice is put", func(tx *tx) { tx.get("b"); tx.get("b") }, func(o *other) { o.put("b=2") }, conflicts},
	{"a key that was not read is put", func(tx *tx) { tx.get("b") }, func(o *other) { o.put("c", "a", "b\x00") }, commits},
	{"a key that was written blindly is put", func(tx *tx) { tx.put("b=mine") }, func(o *other) { o.put("b=2") }, commits},
	{"a key that was deleted blindly is put", func(tx *tx) { tx.delete("b") }, func(o *other) { o.put("b=2") }, commits},
	{"a key that was written, then read, is put", func(tx *tx) { tx.put("b=mine"); tx.get("b") }, func(o *other) { o.put("b=2") }, commits},
	{"a key that was deleted, then read, is put", func(tx *tx) { tx.delete("b"); tx.get("b") }, func(o *other) { o.put("b=2") }, commits},
	{"the cursor is not a read", func(tx *tx) { tx.cursor() }, func(o *other) { o.put("b=2") }, commits},
	{"an absent key that was read is deleted", func(tx *tx) { tx.get("c") }, func(o *other) { o.delete("c") }, commits},
}

var rangeCases = []conflictCase{
	{"a key in a scanned range is put", func(tx *tx) { tx.scan(tx.e.span("b", "h"), 0) }, func(o *other) { o.put("d=2") }, conflicts},
	{"a key in a scanned range is deleted", func(tx *tx) { tx.scan(tx.e.span("b", "h"), 0) }, func(o *other) { o.delete("d") }, conflicts},
	{"a phantom appears in a scanned range", func(tx *tx) { tx.scan(tx.e.span("b", "h"), 0) }, func(o *other) { o.put("c") }, conflicts},
	{"a phantom appears and vanishes", func(tx *tx) { tx.scan(tx.e.span("b", "h"), 0) }, func(o *other) { o.put("c"); o.delete("c") }, conflicts},
	{"a phantom appears at the start of the range", func(tx *tx) { tx.scan(tx.e.span("c", "h"), 0) }, func(o *other) { o.put("c") }, conflicts},
	{"a phantom appears just before the range", func(tx *tx) { tx.scan(tx.e.span("c", "h"), 0) }, func(o *other) { o.put("b\xff\xff") }, commits},
	{"a phantom appears at the end of the range, which it excludes", func(tx *tx) { tx.scan(tx.e.span("b", "g"), 0) }, func(o *other) { o.put("g") }, commits},
	{"a phantom appears just inside the end", func(tx *tx) { tx.scan(tx.e.span("b", "g"), 0) }, func(o *other) { o.put("f\xff\xff") }, conflicts},
	{"a phantom appears in an empty range", func(tx *tx) { tx.scan(tx.e.span("i", "k"), 0) }, func(o *other) { o.put("j") }, conflicts},
	{"a phantom appears under a prefix", func(tx *tx) { tx.scan(store.Prefix(tx.e.key("b")), 0) }, func(o *other) { o.put("b\xff") }, conflicts},
	{"a phantom appears beside a prefix", func(tx *tx) { tx.scan(store.Prefix(tx.e.key("b")), 0) }, func(o *other) { o.put("c", "a\xff") }, commits},
	{"an absent key in a scanned range is deleted", func(tx *tx) { tx.scan(tx.e.span("b", "h"), 0) }, func(o *other) { o.delete("c") }, commits},
	{"a key in a counted range is deleted", func(tx *tx) { tx.count(tx.e.span("b", "h")) }, func(o *other) { o.delete("d") }, conflicts},
	{"a key in a counted range is replaced by another", func(tx *tx) { tx.count(tx.e.span("b", "h")) }, func(o *other) { o.delete("d"); o.put("e") }, conflicts},
	{"a phantom appears in a deleted range", func(tx *tx) { tx.deleteRange(tx.e.span("b", "h")) }, func(o *other) { o.put("c") }, conflicts},
	{"a phantom appears in an empty deleted range", func(tx *tx) { tx.deleteRange(tx.e.span("i", "k")) }, func(o *other) { o.put("j") }, conflicts},
	{"a phantom appears behind a deleted range", func(tx *tx) { tx.deleteRange(tx.e.span("b", "c")) }, func(o *other) { o.put("c") }, commits},
	{"a key in a scanned range that the transaction wrote is put", func(tx *tx) { tx.put("d=mine"); tx.scan(tx.e.span("b", "h"), 0) }, func(o *other) { o.put("d=2") }, conflicts},
	{"a key lands in a scanned range by its sequence number", func(tx *tx) { tx.scan(store.Prefix(tx.e.key("s/")), 0) }, func(o *other) {
		t := o.e.begin(o.handle)
		t.sequence("counter", "s/")
		t.commit()
	}, conflicts},
	{"a counter that nobody reads goes on", func(tx *tx) { tx.scan(tx.e.span("b", "h"), 0); tx.sequence("counter", "s/") }, func(o *other) {
		t := o.e.begin(o.handle)
		t.sequence("counter", "s/")
		t.commit()
	}, commits},
	{"a counter named like a key in a scanned range is raised", func(tx *tx) { tx.scan(tx.e.span("b", "h"), 0) }, func(o *other) {
		t := o.e.begin(o.handle)
		o.e.noError(t.RaiseSequence(o.e.key("c"), 7), "raise")
		t.commit()
	}, commits},
	{"a transaction on the scanned range is aborted", func(tx *tx) { tx.scan(tx.e.span("b", "h"), 0) }, func(o *other) {
		t := o.e.begin(o.handle)
		t.put("c")
		t.Abort()
	}, commits},
	{"the own writes in a scanned range", func(tx *tx) { tx.scan(tx.e.span("b", "h"), 0); tx.put("c"); tx.delete("d") }, func(*other) {}, commits},
}

var pageCases = []conflictCase{
	{"a phantom appears inside a full page", func(tx *tx) { tx.scan(tx.e.all(), 2) }, func(o *other) { o.put("c") }, conflicts},
	{"a phantom appears before the first key of a full page", func(tx *tx) { tx.scan(tx.e.all(), 2) }, func(o *other) { o.put("a") }, conflicts},
	{"a phantom appears just before the last key of a full page", func(tx *tx) { tx.scan(tx.e.all(), 2) }, func(o *other) { o.put("c\xff\xff") }, conflicts},
	{"the last key of a full page is put", func(tx *tx) { tx.scan(tx.e.all(), 2) }, func(o *other) { o.put("d=2") }, conflicts},
	{"the last key of a full page is deleted", func(tx *tx) { tx.scan(tx.e.all(), 2) }, func(o *other) { o.delete("d") }, conflicts},
	{"a phantom appears just behind a full page", func(tx *tx) { tx.scan(tx.e.all(), 2) }, func(o *other) { o.put("d\x00") }, commits},
	{"a key behind a full page is put and another deleted", func(tx *tx) { tx.scan(tx.e.all(), 2) }, func(o *other) { o.put("f=2"); o.delete("h") }, commits},
	{"a phantom appears and vanishes behind a full page", func(tx *tx) { tx.scan(tx.e.all(), 2) }, func(o *other) { o.put("e"); o.delete("e") }, commits},
	{"a phantom appears behind a page that holds exactly all", func(tx *tx) { tx.scan(tx.e.all(), 4) }, func(o *other) { o.put("z") }, commits},
	{"a phantom appears behind the keys of a page that is not full", func(tx *tx) { tx.scan(tx.e.all(), 5) }, func(o *other) { o.put("z") }, conflicts},
	{"a phantom appears behind a page that ends in an own write", func(tx *tx) { tx.put("c"); tx.scan(tx.e.all(), 2) }, func(o *other) { o.put("c\x00") }, commits},
	{"a phantom appears inside a page that ends in an own write", func(tx *tx) { tx.put("c"); tx.scan(tx.e.all(), 2) }, func(o *other) { o.put("b0") }, conflicts},
	{"a phantom appears in a page full thanks to a skipped own delete", func(tx *tx) { tx.delete("d"); tx.scan(tx.e.all(), 2) }, func(o *other) { o.put("e") }, conflicts},
	{"a phantom appears in the second page", readPages(2, 2), func(o *other) { o.put("e") }, conflicts},
	{"a phantom appears between two pages", readPages(2, 2), func(o *other) { o.put("d\x00") }, conflicts},
	{"a phantom appears behind the second page", readPages(1, 2), func(o *other) { o.put("d\x00") }, commits},
	{"a phantom appears behind the last page, which is not full", readPages(2, 3), func(o *other) { o.put("z") }, conflicts},
	{"a phantom appears before a page that follows a range of nothing", func(tx *tx) {
		tx.scan(tx.e.span("e", "a"), 0) // ends before it starts
		tx.scan(tx.e.span("a", "h"), 0)
	}, func(o *other) { o.put("b0") }, conflicts},
	{"a phantom appears in a page that a range of nothing follows", func(tx *tx) {
		tx.scan(tx.e.span("b", "h"), 0)
		tx.scan(tx.e.span("h", "c"), 0) // ends before it starts
	}, func(o *other) { o.put("e") }, conflicts},
}

// readPages reads so many pages of limit keys, one behind the other.
func readPages(limit, pages int) func(tx *tx) {
	return func(tx *tx) {
		r := tx.e.all()
		for range pages {
			kvs, err := tx.Scan(tx.e.ctx, r, limit)
			tx.e.noError(err, "scan")
			if len(kvs) > 0 {
				r = r.After(kvs[len(kvs)-1].Key)
			}
		}
	}
}

func testConflicts(e *env) {
	for _, group := range [][]conflictCase{pointCases, rangeCases, pageCases} {
		for _, c := range group {
			e.Run(c.name, func(t *testing.T) {
				for handle := range e.stores {
					sub := newEnv(t, e.stores)
					sub.prefix = fmt.Sprintf("%s%s/%d/", e.prefix, c.name, handle)
					c.run(sub, handle)
				}
			})
		}
	}
}

// run runs the case with the reader on handle i and the change on the next.
func (c *conflictCase) run(e *env, i int) {
	e.put(i+1, conflictKeys...)
	tx := e.begin(i)
	read := tx.cursor().Revision
	c.read(tx)
	tx.put("outcome")
	c.change(&other{e: e, handle: i + 1})
	changed := e.revision()

	res, err := tx.Commit(e.ctx)
	found := len(e.get(i+1, store.Key(e.key("outcome")))) == 1
	switch {
	case !c.want && err != nil:
		e.Errorf("commit through handle %d: got error %v, want none", i, err)
	case !c.want:
		equal(e, res.Revision, changed+1, "revision of the commit")
		equal(e, found, true, "what was committed is there")
	case !errors.Is(err, store.ErrConflict):
		e.Errorf("commit through handle %d: got error %v, want %v", i, err, store.ErrConflict)
	default:
		equal(e, found, false, "what failed to commit is there")
		if conflict, ok := errors.AsType[*store.ConflictError](err); ok && (conflict.Revision <= read || conflict.Revision > changed) {
			e.Errorf("revision to retry at: got %d, want one after the snapshot's %d and not after the newest %d", conflict.Revision, read, changed)
		}
	}
}

// testWriteSkew lets two transactions each read what the other writes: both may
// not commit.
func testWriteSkew(e *env) {
	for name, read := range map[string]func(tx *tx){
		"points": func(tx *tx) { tx.get("a"); tx.get("b") },
		"ranges": func(tx *tx) { tx.scan(tx.e.all(), 0) },
		"counts": func(tx *tx) { tx.count(tx.e.all()) },
	} {
		e.put(0, "a=on", "b=on")
		first, second := e.begin(0), e.begin(1)
		read(first)
		read(second)
		first.put("a=off")
		second.put("b=off")
		first.commit()
		_, err := second.Commit(e.ctx)
		e.isError(err, store.ErrConflict, "second of two crossing commits, by %s", name)
		e.equalList(e.get(0, e.all()), "a=off b=on", "after the crossing, by %s", name)
	}
}

// testLostUpdate lets all of several transactions read a key and write it: one
// may commit.
func testLostUpdate(e *env) {
	e.put(0, "n=0")
	var txs []*tx
	for i := range 5 {
		tx := e.begin(i)
		tx.get("n")
		tx.put(fmt.Sprintf("n=%d", i))
		txs = append(txs, tx)
	}
	txs[3].commit()
	for i, tx := range txs {
		if i != 3 {
			_, err := tx.Commit(e.ctx)
			e.isError(err, store.ErrConflict, "commit %d", i)
		}
	}
	e.equalList(e.get(1, e.all()), "n=3", "the one that committed")
}

func testConflictChangesNothing(e *env) {
	e.put(0, "a=1", "b=1", "c=1")
	tx := e.begin(1)
	tx.get("a")
	tx.put("b=2", "new=2")
	tx.delete("c")
	e.noError(tx.RaiseSequence(e.key("counter"), 100), "raise")
	tx.sequence("counter", "s/")
	rev := e.put(0, "a=2")
	_, err := tx.Commit(e.ctx)
	e.isError(err, store.ErrConflict, "commit")
	equal(e, e.revision(), rev, "revision after the conflict")
	e.equalList(e.get(0, e.all()), "a=2 b=1 c=1", "pairs after the conflict")

	next := e.begin(0)
	seq := next.sequence("counter", "s/")
	equal(e, next.commit().Number(seq), 1, "first number after a raise that failed")
}
