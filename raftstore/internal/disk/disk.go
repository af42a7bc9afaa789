// Package disk watches how much space is left for a data directory, so that
// writes can be refused before the disk is full: a log store that can't append
// has to stop, a server that refuses growth in time goes on.
package disk

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Free returns how many bytes this process's user can still write to the file
// system that holds dir.
func Free(dir string) (uint64, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(dir, &st)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("free space of %s: %w", dir, err)
		}
		return uint64(st.Bavail) * uint64(st.Bsize), nil //nolint:unconvert // the types differ between systems
	}
}
