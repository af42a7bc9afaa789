package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// testConsistency writes through one handle and reads through another at once.
func testConsistency(e *env) {
	for i := range 2 * len(e.stores) {
		rev := e.put(i, "k="+string(rune('a'+i)))
		for _, c := range []store.Consistency{{}, store.Linearizable(), store.AtLeast(rev)} {
			kvs, at, err := e.store(i+1).Get(e.ctx, c, e.all())
			e.noError(err, "get, %v", c)
			equal(e, at, rev, "revision read, %v", c)
			e.equalList(e.format(kvs), "k="+string(rune('a'+i)), "get, %v", c)

			n, at, err := e.store(i+1).Count(e.ctx, c, e.all())
			e.noError(err, "count, %v", c)
			equal(e, n, 1, "count, %v", c)
			equal(e, at, rev, "revision counted at, %v", c)

			at, err = e.store(i+1).Revision(e.ctx, c)
			e.noError(err, "revision, %v", c)
			equal(e, at, rev, "revision, %v", c)

			equal(e, e.beginWith(i+1, store.TxOptions{Consistency: c}).cursor().Revision, rev, "snapshot, %v", c)
		}
		for _, c := range []store.Consistency{store.AtLeast(0), store.BoundedStale(time.Hour)} {
			at, err := e.store(i+1).Revision(e.ctx, c)
			e.noError(err, "revision, %v", c)
			if at > rev {
				e.Errorf("revision, %v: got %d, want at most %d", c, at, rev)
			}
			tx := e.beginWith(i+1, store.TxOptions{Consistency: c})
			tx.get("k")
			if at := tx.cursor().Revision; at > rev {
				e.Errorf("snapshot, %v: got revision %d, want at most %d", c, at, rev)
			}
		}
	}
}

// testAtLeastWaits reads a revision that is still to come.
func testAtLeastWaits(e *env) {
	for i := range e.stores {
		next := e.revision() + 1
		short, cancel := context.WithTimeout(e.ctx, 10*time.Millisecond)
		_, err := e.store(i).Revision(short, store.AtLeast(next))
		cancel()
		e.isError(err, context.DeadlineExceeded, "revision that does not come in time")
	}
	// Often enough for some reads to wait before the write, and some not.
	for i := range 10 * len(e.stores) {
		e.readAhead(i)
	}
}

// readAhead reads the next revision through one handle while another writes it.
func (e *env) readAhead(i int) {
	e.Helper()
	type answer struct {
		kvs []store.KeyValue
		rev store.Revision
		err error
	}
	next := e.revision() + 1
	started, got := make(chan struct{}), make(chan answer, 1)
	go func() {
		close(started)
		kvs, rev, err := e.store(i).Get(e.ctx, store.AtLeast(next), e.all())
		got <- answer{kvs, rev, err}
	}()
	<-started
	pair := fmt.Sprintf("k=%d", i)
	e.put(i+1, pair)
	a := <-got
	e.noError(a.err, "get of a revision that comes")
	equal(e, a.rev, next, "revision read")
	e.equalList(e.format(a.kvs), pair, "get of a revision that comes")
}

// testCancelledContext calls everything with a context that has ended.
func testCancelledContext(e *env) {
	rev := e.put(0, "k=1")
	tx := e.begin(1)
	tx.put("k=2")
	reader := e.begin(1)

	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	s := e.store(1)
	errs := make(map[string]error)
	_, errs["Put"] = s.Put(ctx, store.Pair{Key: e.key("k")})
	_, _, errs["Get"] = s.Get(ctx, store.Linearizable(), e.all())
	_, _, errs["Get, AtLeast(0)"] = s.Get(ctx, store.AtLeast(0), e.all())
	_, _, errs["Delete"] = s.Delete(ctx, e.all())
	_, _, errs["Count"] = s.Count(ctx, store.Linearizable(), e.all())
	_, errs["Revision"] = s.Revision(ctx, store.Linearizable())
	_, errs["Begin"] = s.Begin(ctx, store.TxOptions{})
	_, errs["Watch"] = s.Watch(ctx, store.Cursor{})
	_, errs["Update"] = store.Update(ctx, s, func(tx store.Tx) error { return tx.Put(e.key("k"), nil) })
	_, _, errs["Tx.Get"] = reader.Get(ctx, e.key("k"))
	_, errs["Tx.Scan"] = reader.Scan(ctx, e.all(), 0)
	_, errs["Tx.Count"] = reader.Count(ctx, e.all())
	_, errs["Tx.DeleteRange"] = reader.DeleteRange(ctx, e.all())
	_, errs["Tx.Commit"] = tx.Commit(ctx)
	for call, err := range errs {
		e.isError(err, context.Canceled, "%s", call)
		if errors.Is(err, store.ErrUnknownOutcome) {
			e.Errorf("%s: got error %v, but nothing can have been sent", call, err)
		}
	}
	equal(e, e.revision(), rev, "revision after calls with a cancelled context")
	equal(e, reader.get("k"), "1", "a transaction goes on after a call with a cancelled context")
}
