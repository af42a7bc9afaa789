package fsm_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
)

// held are options with which nothing reaches the file by itself.
func held(dir string) fsm.Options {
	opts := options(dir)
	opts.FlushBytes = 1 << 30
	return opts
}

func TestFlush_IsWhatACrashLeaves(t *testing.T) {
	opts := held(t.TempDir())
	m := openWith(t, opts)
	apply(t, m, writes(t, put("a", "1"), put("b", "1")))
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	flushed, want := m.Position(), contents(t, m)
	apply(t, m, writes(t, put("a", "2"), del("b"), put("c", "2")))
	if m.DurableIndex() != flushed.Index {
		t.Errorf("durable is %d, but %d was written", m.DurableIndex(), flushed.Index)
	}
	if err := fsm.Crash(m); err != nil {
		t.Fatal(err)
	}

	m = openWith(t, opts)
	if m.Position() != flushed || m.DurableIndex() != flushed.Index {
		t.Errorf("after a crash: position %+v, durable %d; want %+v", m.Position(), m.DurableIndex(), flushed)
	}
	if got := contents(t, m); !equalPairs(got, want) {
		t.Errorf("after a crash: contents %v, want %v", got, want)
	}
	apply(t, m, writes(t, put("a", "2"), del("b"), put("c", "2")))
	before := m.Position()
	closeMachine(t, m) // which writes the rest

	m = openWith(t, opts)
	if m.Position() != before || m.DurableIndex() != before.Index {
		t.Errorf("after Close: position %+v, durable %d; want %+v", m.Position(), m.DurableIndex(), before)
	}
	scrub(t, m)
}

// What a view sees is the same before, while and after its layers are written,
// whatever lies over a key: nothing, another value, a deletion.
func TestFlush_ChangesNoView(t *testing.T) {
	m := openWith(t, held(t.TempDir()))
	type seen struct {
		view *fsm.View
		want []store.KeyValue
	}
	var views []seen
	look := func() {
		v, err := m.View()
		if err != nil {
			t.Fatal(err)
		}
		views = append(views, seen{v, contents(t, m)})
	}
	for round := range 6 {
		for i := range 5 {
			key := fmt.Sprintf("key/%d", (round+i*i)%7)
			if (round+i)%3 == 0 {
				apply(t, m, writes(t, del(key)))
			} else {
				apply(t, m, writes(t, put(key, fmt.Sprint("round ", round))))
			}
			look()
		}
		if round%2 == 1 {
			if err := m.Flush(); err != nil {
				t.Fatal(err)
			}
			look()
		}
	}
	for i, s := range views {
		var got []store.KeyValue
		if err := s.view.Scan(store.Range{}, func(kv store.KeyValue) bool { got = append(got, kv); return true }); err != nil {
			t.Fatal(err)
		}
		if !equalPairs(got, s.want) {
			t.Errorf("view %d sees %v, want %v", i, got, s.want)
		}
		for n := range 7 {
			key := fmt.Appendf(nil, "key/%d", n)
			kv, found, err := s.view.Get(key)
			inScan := false
			for _, pair := range s.want {
				inScan = inScan || string(pair.Key) == string(key) && string(pair.Value) == string(kv.Value)
			}
			if err != nil || found != inScan {
				t.Errorf("view %d: Get(%s) = %q %v %v, but the scan said %v", i, key, kv.Value, found, err, s.want)
			}
		}
		s.view.Close()
	}
	scrub(t, m)
}

// A disk that is slower than entries come must not let memory grow: Apply waits
// for it.
func TestFlush_ApplyWaitsForASlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, value, entries = 64 << 10, 8 << 10, 64
		opts := options(t.TempDir())
		opts.FlushBytes = limit
		m := openWith(t, opts)
		release := fsm.StallWrites(m)
		done := make(chan error)
		go func() {
			for i := range entries {
				_, err := m.Apply([]fsm.Entry{entry(uint64(i+1), writes(t, put(fmt.Sprint("key/", i), strings.Repeat("v", value))))})
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		synctest.Wait() // until all that can go on has gone on
		// Each pair is there twice, in the history too. Two layers have room.
		if got, each := m.Position().Index, uint64(limit/(2*value)); got < each || got > 3*each {
			t.Errorf("%d entries were applied while the disk stood still, want about %d", got, 2*each)
		}
		release()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if m.Position().Index != entries || m.DurableIndex() == 0 {
			t.Errorf("position %+v, durable %d", m.Position(), m.DurableIndex())
		}
		scrub(t, m)
	})
}

// What was overwritten takes memory as long as anything that came with it.
func TestFlush_OverwrittenValuesTakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := options(t.TempDir())
		opts.FlushBytes = 64 << 10
		m := openWith(t, opts)
		apply(t, m, fsm.EncodeSetHistoryBudget(0))
		fsm.HoldFlush(m)
		done := make(chan error)
		go func() {
			var err error
			for i := uint64(2); i < 100 && err == nil; i++ {
				_, err = m.Apply([]fsm.Entry{entry(i, writes(t, put("a", strings.Repeat("v", 8<<10))))})
			}
			done <- err
		}()
		synctest.Wait()
		if got := m.Position().Index; got > 20 {
			t.Errorf("%d entries were applied before the file was due", got)
		}
		closeMachine(t, m)
		if err := <-done; !errors.Is(err, store.ErrClosed) {
			t.Errorf("Apply returned %v", err)
		}
	})
}

// A view that begins while the file gets a newer state must not mix the two.
func TestFlush_BesideViews(t *testing.T) {
	opts := options(t.TempDir())
	opts.FlushBytes = 1
	m := openWith(t, opts)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				v, err := m.View()
				if err != nil {
					t.Error(err)
					return
				}
				kv, _, err := v.Get([]byte("a"))
				if want := v.Position().Cursor.Revision; err != nil || kv.ModRevision != want {
					t.Errorf("a view of revision %d has revision %d, %v", want, kv.ModRevision, err)
				}
				v.Close()
			}
		})
	}
	for range 1000 {
		apply(t, m, writes(t, put("a", "1")))
	}
	close(stop)
	readers.Wait()
}
