package cache_test

import (
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/cache"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

// TestReached: a cache answers for a place in the history once it is there, and
// never for a place in another epoch.
func TestReached(t *testing.T) {
	s := newStore(t, memstore.Config{})
	rev := put(t, s, entry(1, "e", "/a", "/w"))
	c := open(t, s, cache.Config{})
	at := view(t, c, rev).Cursor()
	ahead := store.Cursor{Epoch: at.Epoch, Revision: at.Revision + 1}
	reached := func(at store.Cursor, wait time.Duration) bool {
		v, ok := c.Reached(t.Context(), at, wait)
		return ok && v.Revision() >= at.Revision
	}

	if !reached(at, 0) || !reached(store.Cursor{Epoch: at.Epoch}, 0) {
		t.Error("not where it is")
	}
	if reached(store.Cursor{Epoch: at.Epoch + 1, Revision: at.Revision}, time.Millisecond) {
		t.Error("in another epoch")
	}
	if reached(ahead, 0) || reached(ahead, time.Millisecond) {
		t.Error("where the store is not yet")
	}
	waited := make(chan bool)
	go func() { waited <- reached(ahead, 10*time.Second) }()
	put(t, s, entry(2, "f", "/a", "/w"))
	if !<-waited {
		t.Error("not there although it waited")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if reached(at, time.Millisecond) {
		t.Error("there although it is closed")
	}
}
