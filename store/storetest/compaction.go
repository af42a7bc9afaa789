package storetest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spire-raft/spire-raft/store"
)

const compactionBudget = 1 << 20

// testCompaction overruns the history and checks who is told.
func testCompaction(e *env) {
	start := e.put(0, "read=1", "other=1")
	slow := make([]store.Watcher, len(e.stores))
	for i := range slow {
		slow[i] = e.watch(i, store.Cursor{Revision: start})
	}
	byPoint, byRange := e.begin(0), e.begin(1)
	byPoint.get("read")
	byPoint.put("point=written")
	byRange.scan(store.Prefix(e.key("read")), 0)
	byRange.put("range=written")

	h := history{}
	const values = 64
	value := strings.Repeat("v", 4*compactionBudget/values)
	for i := range values {
		key := fmt.Sprintf("k%02d", i)
		h.add(e.put(i, key+"="+value), putEvent(e.key(key), value))
	}

	// Points need no history; ranges do, and whether it is there is all that
	// tells a range that didn't change from one that may have.
	h.add(byPoint.commit().Revision, putEvent(e.key("point"), "written"))
	end := e.revision()
	_, err := byRange.Commit(e.ctx)
	e.isError(err, store.ErrConflict, "commit of a range read before the retained history")
	if conflict, ok := errors.AsType[*store.ConflictError](err); ok && (conflict.Revision <= start || conflict.Revision > end) {
		e.Errorf("revision to retry at: got %d, want one after the snapshot's %d and not after the newest %d", conflict.Revision, start, end)
	}

	for i, w := range slow {
		e.checkSlowWatcher(w, h, start, end, i)
		e.checkCompacted(h, start, end, i)
	}
	if _, err := store.Update(e.ctx, e.store(1), func(tx store.Tx) error {
		if _, err := tx.Scan(e.ctx, store.Prefix(e.key("read")), 0); err != nil {
			return err
		}
		return tx.Put(e.key("range"), nil)
	}); err != nil {
		e.Errorf("update of the same range: %v", err)
	}
}

// checkSlowWatcher reads on with a watcher that has not kept up. It may get
// what was kept for it, without a gap; then it must be told.
func (e *env) checkSlowWatcher(w store.Watcher, h history, start, end store.Revision, i int) {
	e.Helper()
	got, err := collect(e.ctx, w, end)
	seen := start
	if len(got) > 0 {
		seen = got[len(got)-1].Cursor.Revision
	}
	if err != nil {
		e.isError(err, store.ErrCompacted, "a slow watcher on handle %d", i)
	}
	upTo := history{}
	for rev, events := range h {
		if rev <= seen {
			upTo[rev] = events
		}
	}
	e.noError(upTo.check(start, got), "what a slow watcher on handle %d got before it was told", i)
}

// checkCompacted checks what can be watched and what can't.
func (e *env) checkCompacted(h history, start, end store.Revision, i int) {
	e.Helper()
	if _, err := e.store(i).Revision(e.ctx, store.AtLeast(end)); err != nil {
		e.Fatalf("handle %d does not reach revision %d: %v", i, end, err)
	}
	for _, after := range []store.Cursor{{}, {Revision: start}} {
		err := e.watchError(i, after)
		e.isError(err, store.ErrCompacted, "watch after %v through handle %d", after, i)
		compacted, ok := errors.AsType[*store.CompactedError](err)
		if !ok {
			e.Fatalf("watch of a compacted history: got error %#v, want a CompactedError", err)
		}
		equal(e, compacted.Current, end, "current revision of the error")
		compact := compacted.Compact
		if compact.Revision < start || compact.Revision >= end {
			e.Fatalf("compact revision: got %d, want one from %d to %d", compact.Revision, start, end-1)
		}
		if compact.Epoch == 0 {
			e.Error("compact cursor has epoch 0, but epochs start at 1")
		}
		got := e.collect(e.watch(i, compact), end)
		e.noError(h.check(compact.Revision, got), "watch from the compact cursor through handle %d", i)
		err = e.watchError(i, store.Cursor{Revision: compact.Revision - 1})
		e.isError(err, store.ErrCompacted, "watch from one before the compact cursor")
	}
	// A sixteenth of what was written is a fourth of the budget.
	recent := end - store.Revision(len(h)/16)
	e.noError(h.check(recent, e.collect(e.watch(i, store.Cursor{Revision: recent}), end)), "watch of the newest fourth of the budget")
}
