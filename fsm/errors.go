package fsm

import (
	"errors"

	"github.com/spire-raft/spire-raft/internal/filelock"
)

// Errors that a caller acts on, besides those of package store.
var (
	// ErrTooNew: an entry, a snapshot or the database was written by a later
	// version of this program.
	ErrTooNew = errors.New("written by a later version: upgrade this node")

	// ErrLocked: another process, or another Machine, has the directory open.
	ErrLocked = filelock.ErrLocked

	// ErrOtherCluster: the data belongs to another cluster.
	ErrOtherCluster = errors.New("data of another cluster")

	// ErrOlderSnapshot: a snapshot to be installed is behind the machine.
	ErrOlderSnapshot = errors.New("snapshot is older than the state")
)
