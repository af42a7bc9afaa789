package boltfile

import (
	"fmt"
	"runtime/debug"

	"github.com/spire-raft/spire-raft/store"
)

// Guard runs fn and turns a panic or a memory fault in it into an error that
// wraps [store.ErrCorrupt] and names what was done. Damage shows as a panic of
// bbolt, or as a fault at whatever address a damaged page points to, which is a
// panic only where the goroutine asks for it. bbolt's locks may stay locked
// after a panic: its database is then of no use but to be closed, with Guard.
func Guard(what string, fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %s: bbolt can't go on: %v", store.ErrCorrupt, what, p)
		}
	}()
	return fn()
}
