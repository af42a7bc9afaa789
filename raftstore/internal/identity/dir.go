package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spire-raft/spire-raft/raftstore/internal/sealedfile"
)

// makeDir makes dir, and its parents where needed, for its owner only.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if err := sealedfile.SyncDir(filepath.Dir(filepath.Clean(dir))); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	return checkModes(dir)
}

// checkModes refuses a directory or identity file that others can get at: they
// hold what decides over trust, and gossip keys and tokens may follow. For the
// group that is in order where the directory has its setgid bit: at each mount
// Kubernetes gives a volume with an fsGroup to that group, 02770, which is the
// only way in for a process that doesn't own it, and would undo any chmod. The
// group is then part of whom the node's operator trusts.
func checkModes(dir string) error {
	forbidden := fs.FileMode(0o077)
	for _, path := range []string{dir, filepath.Join(dir, fileName)} {
		info, err := os.Stat(path)
		if err == nil && path == dir && info.Mode()&fs.ModeSetgid != 0 {
			forbidden = 0o007
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return fmt.Errorf("check permissions: %w", err)
		case path == dir && !info.IsDir():
			return fmt.Errorf("%s is not a directory: %w", dir, fs.ErrInvalid)
		case info.Mode().Perm()&forbidden != 0:
			return fmt.Errorf("%s has mode %04o: %w: run chmod go-rwx %s", path, info.Mode().Perm(), ErrPermissions, path)
		}
	}
	return nil
}
