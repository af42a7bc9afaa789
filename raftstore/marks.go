package raftstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spire-raft/spire-raft/raftstore/internal/sealedfile"
	"github.com/spire-raft/spire-raft/store"
)

// mark is an empty file that bars a data directory from being opened again.
type mark struct {
	file  string
	err   error  // what Open returns
	cure  string // what helps then
	stops string // the line in the log of a node that stops for it
}

var (
	// markLeft is for a node that has left, or was removed.
	markLeft = mark{
		file:  "left",
		err:   ErrRemoved,
		cure:  "delete its data directory, and Init a new one with a new node id",
		stops: "this node was removed from the cluster, and stops for good",
	}

	// markCopied is for a directory that the cluster has refused as a copy.
	markCopied = mark{
		file: "copied",
		err:  ErrCopied,
		cure: "if this is not the only process of the node, delete this data directory; else the node has lost data: remove it from the cluster, " +
			"delete the directory and join again with a new node id",
		stops: "this node runs on a copy, or on an older state, of its data directory, and stops for good",
	}
)

// check returns an error where dir has the mark.
func (m mark) check(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, m.file)); err == nil {
		return fmt.Errorf("data directory %s: %w; %s", dir, m.err, m.cure)
	}
	return nil
}

// put makes the mark. Whatever has its name already is the mark: it is neither
// followed nor written to.
func (m mark) put(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, m.file), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), sealedfile.SyncDir(dir))
}

// retireAs marks the directory of this node and stops it for good.
func (n *Node) retireAs(m mark, cause error) {
	cause = fmt.Errorf("%w; %s", cause, m.cure)
	if err := m.put(n.cfg.Dir); err != nil {
		cause = fmt.Errorf("%w; it can't be marked as such: %w", cause, err)
	}
	why := fmt.Errorf("%w: node %s: %w", store.ErrFailed, n.id.NodeID, cause)
	n.halt(why, m.stops, cause)
}
