package fsm

import (
	"fmt"
	"runtime/debug"

	"github.com/spire-raft/spire-raft/store"
)

// guard runs fn and turns a panic or a memory fault in it into ErrCorrupt. bbolt
// reads its file through a memory map and trusts what it reads: damage shows as
// a panic, or as a fault at whatever address a damaged page points to.
func guard(what string, fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %s: the database can't be read: %v", store.ErrCorrupt, what, r)
		}
	}()
	return fn()
}
