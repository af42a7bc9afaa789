package identity

import (
	"fmt"
	"path/filepath"

	"github.com/spire-raft/spire-raft/internal/filelock"
)

// ErrLocked: a live process uses the directory.
var ErrLocked = filelock.ErrLocked

// Lock takes dir for this process, until unlock is called or the process ends,
// however it ends. A second Lock, also by this process, fails with ErrLocked;
// its text names the process that holds the lock where that is known. unlock
// may be called more than once.
func Lock(dir string) (unlock func() error, err error) {
	unlock, err = filelock.Lock(filepath.Join(dir, lockName), 0)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	return unlock, nil
}
