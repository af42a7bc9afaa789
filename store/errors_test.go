package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

func TestErrors_TellWhatToDo(t *testing.T) {
	for _, c := range []struct {
		err  error
		is   error
		says []string
	}{
		{&store.ConflictError{Revision: 42}, store.ErrConflict, []string{"42", "retry"}},
		{
			&store.CompactedError{Compact: store.Cursor{Epoch: 3, Revision: 17}, Current: 42}, store.ErrCompacted,
			[]string{"17", "42", "epoch 3", "list again"},
		},
	} {
		wrapped := fmt.Errorf("while testing: %w", c.err)
		if !errors.Is(wrapped, c.is) {
			t.Errorf("%T is not %v", c.err, c.is)
		}
		for _, s := range c.says {
			if !strings.Contains(wrapped.Error(), s) {
				t.Errorf("%T does not say %q: %v", c.err, s, wrapped)
			}
		}
	}
}

func TestConsistency(t *testing.T) {
	for _, c := range []struct {
		c        store.Consistency
		text     string
		atLeast  bool
		revision store.Revision
		bounded  bool
		age      time.Duration
	}{
		{store.Consistency{}, "linearizable", false, 0, false, 0},
		{store.Linearizable(), "linearizable", false, 0, false, 0},
		{store.AtLeast(0), "at least revision 0", true, 0, false, 0},
		{store.AtLeast(7), "at least revision 7", true, 7, false, 0},
		{store.BoundedStale(time.Second), "at most 1s stale", false, 0, true, time.Second},
		{store.BoundedStale(-time.Second), "at most 0s stale", false, 0, true, 0},
	} {
		if got := c.c.String(); got != c.text {
			t.Errorf("text: got %q, want %q", got, c.text)
		}
		if rev, ok := c.c.MinRevision(); ok != c.atLeast || rev != c.revision {
			t.Errorf("MinRevision of %v: got %d, %v, want %d, %v", c.c, rev, ok, c.revision, c.atLeast)
		}
		if age, ok := c.c.MaxAge(); ok != c.bounded || age != c.age {
			t.Errorf("MaxAge of %v: got %v, %v, want %v, %v", c.c, age, ok, c.age, c.bounded)
		}
	}
	if store.Linearizable() != (store.Consistency{}) {
		t.Error("the zero Consistency is not linearizable")
	}
}

func TestText(t *testing.T) {
	for got, want := range map[fmt.Stringer]string{
		store.EventPut:                         "put",
		store.EventDelete:                      "delete",
		store.Cursor{Epoch: 2, Revision: 1234}: "2/1234",
	} {
		if got.String() != want {
			t.Errorf("text: got %q, want %q", got, want)
		}
	}
}
