package cache

import (
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// Status tells how a cache is doing.
type Status struct {
	// Cursor is what the cache has reached. It is zero once it is closed.
	Cursor store.Cursor
	// Age bounds how long ago the oldest change was committed that the cache
	// may lack.
	Age time.Duration
	// Lost is why the cache has no watch at the moment, so that its answers
	// become stale. It is nil while it follows the store.
	Lost error
	// Rebuilds counts rebuilds from a listing.
	Rebuilds uint64
	// Sizes are the numbers of objects, by [Kind], without malformed ones.
	Sizes [kinds]int
	// Malformed is the number of records that don't decode.
	Malformed int
	// Refresh tells about full refreshes.
	Refresh RefreshStatus
}

// Status returns the status of the cache.
func (c *Cache) Status() Status {
	c.mu.Lock()
	st := Status{Lost: c.lost, Rebuilds: c.rebuilds, Refresh: c.refresh}
	c.mu.Unlock()
	st.Age = c.age()
	if s := c.state.Load(); s != nil {
		st.Cursor, st.Sizes, st.Malformed = s.cursor, s.sizes, s.malformed.len
	}
	return st
}
