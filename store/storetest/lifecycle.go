package storetest

import (
	"github.com/spire-raft/spire-raft/store"
)

// testClose closes one handle while all kinds of things are going on in it.
func testClose(e *env) {
	rev := e.put(0, "k=1")
	s := e.store(0)
	tx, idle := e.begin(0), e.begin(0)
	tx.get("k")
	tx.put("k=2")
	w := e.watch(0, store.Cursor{Revision: rev})
	unread := e.watch(0, store.Cursor{Revision: rev - 1})

	waiting := make(chan error, 2)
	go func() {
		for {
			if _, err := w.Next(e.ctx); err != nil {
				waiting <- err
				return
			}
		}
	}()
	go func() {
		_, err := s.Revision(e.ctx, store.AtLeast(rev+1000))
		waiting <- err
	}()

	e.noError(s.Close(), "close")
	for range 2 {
		e.isError(<-waiting, store.ErrClosed, "a call that waits when the store is closed")
	}
	_, err := unread.Next(e.ctx)
	e.isError(err, store.ErrClosed, "next after the store is closed")
	e.noError(unread.Close(), "close of a watcher after the store is closed")
	for call, err := range callAll(e, tx) {
		e.isError(err, store.ErrClosed, "Tx.%s after the store is closed", call)
	}
	idle.Abort()

	errs := make(map[string]error)
	_, errs["Put"] = s.Put(e.ctx, store.Pair{Key: e.key("k")})
	_, _, errs["Get"] = s.Get(e.ctx, store.Linearizable(), e.all())
	_, _, errs["Get, AtLeast(0)"] = s.Get(e.ctx, store.AtLeast(0), e.all())
	_, _, errs["Delete"] = s.Delete(e.ctx, e.all())
	_, _, errs["Count"] = s.Count(e.ctx, store.Linearizable(), e.all())
	_, errs["Revision"] = s.Revision(e.ctx, store.Linearizable())
	_, errs["Begin"] = s.Begin(e.ctx, store.TxOptions{})
	_, errs["Begin, AtLeast(0)"] = s.Begin(e.ctx, store.TxOptions{Consistency: store.AtLeast(0)})
	_, errs["Watch"] = s.Watch(e.ctx, store.Cursor{Revision: rev})
	_, errs["Update"] = store.Update(e.ctx, s, func(store.Tx) error { return nil })
	for call, err := range errs {
		e.isError(err, store.ErrClosed, "%s after Close", call)
	}
	e.noError(s.Close(), "close again")
}
