package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// testWatch checks what each kind of change looks like.
func testWatch(e *env) {
	start := e.put(0, "before")
	h := history{}
	h.add(e.put(0, "a=1"), putEvent(e.key("a"), "1"))
	h.add(e.put(1, "c=1", "b=1", "c=2"), putEvent(e.key("b"), "1"), putEvent(e.key("c"), "2"))
	h.add(e.put(0, "a=1"), putEvent(e.key("a"), "1"))
	h.add(e.put(1, "empty"), putEvent(e.key("empty"), ""))
	h.add(e.delete(0, "c", "absent"), deleteEvent(e.key("c")))

	tx := e.begin(1)
	tx.delete("a")
	tx.put("a=back", "gone=1")
	tx.delete("gone", "b")
	h.add(tx.commit().Revision, putEvent(e.key("a"), "back"), deleteEvent(e.key("b")))

	tx = e.begin(0)
	tx.sequence("counter", "s/") // sorts before the next key, once it has its number
	tx.put("s/\x00\x01")
	end := tx.commit().Revision
	h.add(end, putEvent(e.key("s/\x00\x01"), ""), putEvent(e.key("s/\x00\x00\x00\x00\x00\x00\x00\x01"), ""))

	for i := range e.stores {
		for _, prefixes := range [][]string{nil, {""}, {e.prefix}, {e.prefix, ""}} {
			got := e.collect(e.watch(i, store.Cursor{Revision: start}, prefixes...), end)
			e.noError(h.check(start, got), "watch of %q through handle %d", prefixes, i)
		}
	}
}

func testWatchPrefixes(e *env) {
	start := e.revision()
	both := e.put(0, "a/1=1", "b/1=1")
	onlyA := e.put(1, "a/2=2")
	onlyC := e.put(0, "c=3")
	key := e.put(1, "a/=4")
	beside := e.put(0, "a=5", "a\xff=5", "b=5")
	end := e.put(1, "a/3=6", "a\xff/=6", "b/3=6")

	underA := history{
		both: {putEvent(e.key("a/1"), "1")}, onlyA: {putEvent(e.key("a/2"), "2")}, key: {putEvent(e.key("a/"), "4")},
		end: {putEvent(e.key("a/3"), "6")},
	}
	for _, c := range []struct {
		name     string
		prefixes []string
		want     history
	}{
		{"one prefix", []string{"a/"}, underA},
		{"overlapping prefixes", []string{"a/", "a/1", "a/"}, underA},
		{"two prefixes", []string{"c", "b/"}, history{
			both: {putEvent(e.key("b/1"), "1")}, onlyC: {putEvent(e.key("c"), "3")}, end: {putEvent(e.key("b/3"), "6")},
		}},
		{"a prefix that ends in 0xff", []string{"a\xff"}, history{
			beside: {putEvent(e.key("a\xff"), "5")}, end: {putEvent(e.key("a\xff/"), "6")},
		}},
	} {
		var prefixes []string
		for _, p := range c.prefixes {
			prefixes = append(prefixes, e.prefix+p)
		}
		for i := range e.stores {
			got := e.collect(e.watch(i, store.Cursor{Revision: start}, prefixes...), end)
			e.noError(c.want.check(start, got), "%s through handle %d", c.name, i)
		}
	}
}

// testWatchConcurrentCommits watches, through each handle, what eight writers
// commit at once.
func testWatchConcurrentCommits(e *env) {
	const writers, rounds = 8, 20
	start := e.revision()
	got := make([][]store.Batch, 2*len(e.stores)) // two watchers for each handle
	var watchers sync.WaitGroup
	for i := range got {
		w := e.watch(i, store.Cursor{Revision: start}, [][]string{nil, {e.prefix}}[i/len(e.stores)]...)
		watchers.Go(func() {
			var err error
			if got[i], err = collectUntilKey(e.ctx, w, e.key("end")); err != nil {
				e.Errorf("watcher %d: %v", i, err)
			}
		})
	}

	var (
		wg sync.WaitGroup
		mu sync.Mutex // guards h
		h  = history{}
	)
	for writer := range writers {
		wg.Go(func() {
			for round := range rounds {
				rev, events, err := e.commitMix(writer, round)
				if err != nil {
					e.Errorf("writer %d, round %d: %v", writer, round, err)
					return
				}
				mu.Lock()
				h.add(rev, events...)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	equal(e, len(h), writers*rounds, "revisions of the writers")
	h.add(e.put(0, "end"), putEvent(e.key("end"), ""))
	watchers.Wait()
	for i := range got {
		if err := h.check(start, got[i]); err != nil {
			e.Errorf("watcher %d, through handle %d: %v", i, i%len(e.stores), err)
		}
	}
}

// commitMix commits puts and deletes of keys of one writer and a key that all
// of them write. It returns the events that this makes.
func (e *env) commitMix(writer, round int) (store.Revision, []store.Event, error) {
	tx, err := e.store(writer).Begin(e.ctx, store.TxOptions{})
	if err != nil {
		return 0, nil, err
	}
	defer tx.Abort()
	value := fmt.Sprintf("%d.%d", writer, round)
	var events []store.Event
	for _, key := range [][]byte{e.key("hot"), e.key("key/" + value), e.key("z/" + value)} {
		if err := tx.Put(key, []byte(value)); err != nil {
			return 0, nil, err
		}
		events = append(events, putEvent(key, value))
	}
	if round > 0 {
		old := e.key(fmt.Sprintf("key/%d.%d", writer, round-1))
		if err := tx.Delete(old); err != nil {
			return 0, nil, err
		}
		events = append(events, deleteEvent(old))
	}
	res, err := tx.Commit(e.ctx)
	return res.Revision, events, err
}

// testWatchResumeEverywhere resumes behind every revision of a history, on
// every handle, and once more behind a batch of each of these watchers.
func testWatchResumeEverywhere(e *env) {
	start := e.put(0, "k0", "k1", "k2", "k3", "k4")
	h := history{}
	for i := range 24 {
		key, value := fmt.Sprintf("k%d", i%5), fmt.Sprint(i)
		switch i % 3 {
		case 0:
			h.add(e.put(i, key+"="+value), putEvent(e.key(key), value))
		case 1:
			h.add(e.put(i, key+"="+value, "z="+value), putEvent(e.key(key), value), putEvent(e.key("z"), value))
		case 2:
			h.add(e.delete(i, key), deleteEvent(e.key(key)))
			h.add(e.put(i, key), putEvent(e.key(key), ""))
		}
	}
	end := e.revision()
	for i := range e.stores {
		for after := start; after < end; after++ {
			w := e.watch(i, store.Cursor{Revision: after}, e.prefix)
			got := e.collect(w, end)
			e.noError(h.check(after, got), "resumed after revision %d through handle %d", after, i)
			w.Close()

			if middle := got[len(got)/2].Cursor; middle.Revision < end {
				w := e.watch(i+1, middle)
				e.noError(h.check(middle.Revision, e.collect(w, end)), "resumed with cursor %v through handle %d", middle, i+1)
				w.Close()
			}
		}
	}
}

// testWatchFromSnapshot joins a listing and a watch while others write: nothing
// is missed and nothing comes twice.
func testWatchFromSnapshot(e *env) {
	var wg sync.WaitGroup
	for writer := range 4 {
		wg.Go(func() {
			for round := range 25 {
				_, err := e.store(writer).Put(e.ctx, store.Pair{Key: e.key(fmt.Sprintf("%d.%d", writer, round%7)), Value: fmt.Append(nil, round)})
				if err != nil {
					e.Errorf("writer %d: %v", writer, err)
				}
			}
		})
	}
	for i := range 2 * len(e.stores) {
		tx := e.beginWith(i, store.TxOptions{ReadOnly: true})
		after := tx.cursor()
		state := make(map[string]string)
		kvs, err := tx.Scan(e.ctx, e.all(), 0)
		e.noError(err, "scan")
		for _, kv := range kvs {
			state[string(kv.Key)] = string(kv.Value)
		}
		tx.Abort()
		w := e.watch(i+1, after, e.prefix)

		if i == 2*len(e.stores)-1 {
			wg.Wait()
		}
		kvs, rev, err := e.store(i).Get(e.ctx, store.Linearizable(), e.all())
		e.noError(err, "get")
		if rev > after.Revision {
			for _, b := range e.collect(w, rev) {
				if b.Cursor.Revision > rev {
					break // a later listing's business
				}
				for _, ev := range b.Events {
					state[string(ev.Key)] = string(ev.Value)
				}
			}
		}
		equal(e, len(state), len(kvs), "keys of the followed listing at revision %d", rev)
		for _, kv := range kvs {
			equal(e, state[string(kv.Key)], string(kv.Value), "value of %q at revision %d, by listing at %v and watch", kv.Key, rev, after)
		}
	}
	wg.Wait()
}

// testWatchAhead watches from a revision that is still to come.
func testWatchAhead(e *env) {
	now := e.revision()
	ahead := now + 3
	for i := range e.stores {
		w := e.watch(i, store.Cursor{Revision: ahead}, e.prefix)
		got := make(chan store.Batch, 1)
		go func() {
			for {
				b, err := w.Next(e.ctx)
				if err != nil || len(b.Events) > 0 {
					got <- b
					return
				}
				if b.Cursor.Revision < ahead {
					e.Errorf("a progress mark at revision %d, before the cursor's %d", b.Cursor.Revision, ahead)
				}
			}
		}()
		for range 3 {
			e.put(i, "skipped")
		}
		rev := e.put(i, "seen")
		equal(e, rev, ahead+1, "revision of the first put behind the cursor")
		b := <-got
		e.noError(history{rev: {putEvent(e.key("seen"), "")}}.check(ahead, []store.Batch{b}), "first batch through handle %d", i)
		ahead = rev + 3
	}
	ended, end := context.WithCancel(e.ctx)
	end()
	for i := range e.stores { // as far ahead as it goes
		w := e.watch(i, store.Cursor{Revision: math.MaxUint64}, e.prefix)
		if b, err := w.Next(ended); !errors.Is(err, context.Canceled) {
			e.Errorf("next behind the last revision there can be, through handle %d: got %+v, %v", i, b, err)
		}
	}
}

// testWatchProgress waits for the marks of a watcher that nothing happens to,
// and resumes from one.
func testWatchProgress(e *env) {
	for i := range e.stores {
		start := e.put(i, "watched/k")
		end := e.put(i, "unwatched")
		w := e.watch(i, store.Cursor{Revision: start}, e.prefix+"watched/")
		mark := store.Cursor{Revision: start}
		for mark.Revision < end {
			asked := time.Now()
			b, err := w.Next(e.ctx)
			e.noError(err, "next through handle %d", i)
			// The interval is a promise about an idle machine; a test can't
			// hold a busy one to it.
			if took := time.Since(asked); took > 4*store.ProgressIntervalMax {
				e.Errorf("progress mark after %v, want one every %v", took, store.ProgressIntervalMax)
			}
			e.noError(history{}.check(mark.Revision, []store.Batch{b}), "mark through handle %d", i)
			mark = b.Cursor
		}
		equal(e, mark.Revision, end, "the newest mark's revision")

		rev := e.put(i, "watched/k=2")
		got := e.collect(e.watch(i+1, mark, e.prefix+"watched/"), rev)
		e.noError(history{rev: {putEvent(e.key("watched/k"), "2")}}.check(end, got), "resumed from a mark")
	}
}

func testWatchOtherEpoch(e *env) {
	rev := e.put(0, "k")
	epoch := e.begin(0).cursor().Epoch
	for i := range e.stores {
		err := e.watchError(i, store.Cursor{Epoch: epoch + 1, Revision: rev - 1})
		e.isError(err, store.ErrCompacted, "watch with the cursor of another epoch")
		compacted, ok := errors.AsType[*store.CompactedError](err)
		if !ok {
			e.Errorf("watch with the cursor of another epoch: got error %#v, want a CompactedError", err)
			continue
		}
		equal(e, compacted.Compact.Epoch, epoch, "the epoch to go on from")
		got := e.collect(e.watch(i, store.Cursor{Epoch: epoch, Revision: rev - 1}), rev)
		equal(e, len(eventful(got)), 1, "batches of a watch with the cursor of this epoch")
	}
}

// watchError returns the error of Watch or of the first Next.
func (e *env) watchError(i int, after store.Cursor) error {
	w, err := e.store(i).Watch(e.ctx, after)
	if err != nil {
		return err
	}
	defer w.Close()
	_, err = w.Next(e.ctx)
	return err
}

// testWatchContext checks that neither the context of Watch nor an interrupted
// Next ends a watcher.
func testWatchContext(e *env) {
	start := e.revision()
	ctx, cancel := context.WithCancel(e.ctx)
	w, err := e.store(1).Watch(ctx, store.Cursor{Revision: start}, e.key(""))
	e.noError(err, "watch")
	defer w.Close()
	cancel()

	_, err = w.Next(ctx)
	e.isError(err, context.Canceled, "next with a cancelled context")
	short, cancel := context.WithTimeout(e.ctx, 10*time.Millisecond)
	defer cancel()
	for err = nil; err == nil; { // there may be a progress mark or two
		_, err = w.Next(short)
	}
	e.isError(err, context.DeadlineExceeded, "next with a deadline")

	h := history{}
	h.add(e.put(0, "k"), putEvent(e.key("k"), ""))
	e.noError(h.check(start, e.collect(w, start+1)), "next after interrupted ones")
}

func testWatchClose(e *env) {
	w := e.watch(0, store.Cursor{Revision: e.revision()}, e.prefix)
	ended := make(chan error)
	go func() {
		for {
			if _, err := w.Next(e.ctx); err != nil {
				ended <- err
				return
			}
		}
	}()
	e.noError(w.Close(), "close")
	e.isError(<-ended, store.ErrClosed, "a waiting next")
	e.put(0, "k")
	_, err := w.Next(e.ctx)
	e.isError(err, store.ErrClosed, "next after close")
	e.noError(w.Close(), "close again")
}
