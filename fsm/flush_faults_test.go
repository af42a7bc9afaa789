package fsm_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
)

// A write in the background that fails stops the machine, an Apply that waits
// for it included.
func TestFlush_FailsInTheBackground(t *testing.T) {
	opts := options(t.TempDir())
	m := openWith(t, opts)
	broken := errors.New("broken disk")
	fsm.FailWrites(m, broken)
	var err error
	for i := uint64(1); err == nil; i++ {
		_, err = m.Apply([]fsm.Entry{entry(i, writes(t, put("a", strings.Repeat("v", 1000))))})
	}
	if !errors.Is(err, broken) || !errors.Is(m.Err(), broken) {
		t.Errorf("Apply returned %v, the machine has %v", err, m.Err())
	}
	if m.DurableIndex() != 0 {
		t.Errorf("index %d counts as durable", m.DurableIndex())
	}
}

// An install in the middle of it all: what is written then belongs to the old
// database.
func TestFlush_AndInstall(t *testing.T) {
	from := openWith(t, held(t.TempDir()))
	populate(t, from)
	for range 10 {
		apply(t, from, writes(t, put("a", "from")))
	}
	opts := held(t.TempDir())
	m := openWith(t, opts)
	apply(t, m, writes(t, put("gone", "1")))
	if err := install(m, stream(t, from)); err != nil {
		t.Fatal(err)
	}
	if m.DurableIndex() != from.Position().Index {
		t.Errorf("durable is %d, installed was %d", m.DurableIndex(), from.Position().Index)
	}
	apply(t, m, writes(t, put("next", "1")))
	apply(t, from, writes(t, put("next", "1")))
	closeMachine(t, m)
	m = openWith(t, opts)
	if m.Position() != from.Position() {
		t.Errorf("position %+v, want %+v", m.Position(), from.Position())
	}
	if got, want := contents(t, m), contents(t, from); !equalPairs(got, want) {
		t.Errorf("contents %v, want %v", got, want)
	}
}

// What an Apply that failed has left in the layer belongs to no index: a write
// that was about to begin must leave it alone.
func TestFlush_NothingOfAFailedApply(t *testing.T) {
	opts := held(t.TempDir())
	m := openWith(t, opts)
	file := filepath.Join(opts.Dir, "state.db")
	// There is as much history before and after, so only hashes would tell.
	apply(t, m, writes(t, put("a", "1"), put("b", "the-value")), fsm.EncodeSetHistoryBudget(0))
	apply(t, m, writes(t, put("a", "1")))
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	apply(t, m, writes(t, put("a", "1")))
	damage(t, file, "the-value", "The-value")
	half := entry(m.Position().Index+1, writes(t, put("a", "half")), writes(t, put("b", "2")))
	if _, err := m.Apply([]fsm.Entry{half}); !errors.Is(err, store.ErrCorrupt) {
		t.Fatalf("Apply over a damaged value: %v", err)
	}
	if err := fsm.Freeze(m)(); err != nil {
		t.Fatal(err)
	}
	if err := m.Flush(); !errors.Is(err, store.ErrFailed) {
		t.Errorf("Flush after a failure: %v", err)
	}
	closeMachine(t, m)
	damage(t, file, "The-value", "the-value")
	scrub(t, openWith(t, opts))
}

// An Apply that waits for room goes on when an install gives it some, and when
// an install fails.
func TestFlush_InstallEndsAWait(t *testing.T) {
	from := openWith(t, held(t.TempDir()))
	for range 50 {
		apply(t, from, writes(t, put("a", "from")))
	}
	snapshot := stream(t, from)
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			opts := options(t.TempDir())
			m := openWith(t, opts)
			fsm.HoldFlush(m)
			done := make(chan error)
			go func() {
				var err error
				for i := uint64(1); i <= 10 && err == nil; i++ {
					_, err = m.Apply([]fsm.Entry{entry(i, writes(t, put("a", strings.Repeat("v", 1000))))})
				}
				done <- err
			}()
			synctest.Wait()
			if got := m.Position().Index; got == 0 || got == 10 {
				t.Fatalf("%d entries were applied, so Apply doesn't wait", got)
			}
			if fails { // since a directory is where the file is to go
				err := errors.Join(os.Remove(filepath.Join(opts.Dir, "state.db")), os.MkdirAll(filepath.Join(opts.Dir, "state.db", "x"), 0o700))
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := install(m, snapshot); (err != nil) != fails {
				t.Errorf("Install returned %v", err)
			}
			if err := <-done; (err != nil) != fails {
				t.Errorf("Apply returned %v", err)
			}
		})
	}
}

// Whoever installs a snapshot drops the log up to its index, also where that was
// applied already.
func TestFlush_InstallOfWhatIsApplied(t *testing.T) {
	from, m := openWith(t, held(t.TempDir())), openWith(t, held(t.TempDir()))
	for _, to := range []*fsm.Machine{from, m} {
		apply(t, to, writes(t, put("a", "1")))
	}
	if err := install(m, stream(t, from)); err != nil {
		t.Fatal(err)
	}
	if got, want := m.DurableIndex(), from.Position().Index; got != want {
		t.Errorf("durable is %d, installed was %d", got, want)
	}
}
