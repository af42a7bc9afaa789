package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/spire-raft/spire-raft/internal/boltfile"
	"github.com/spire-raft/spire-raft/internal/filelock"
	"github.com/spire-raft/spire-raft/store"
)

// Options says which log to open.
type Options struct {
	// Path is the file. It is made, for its owner only, if it is missing.
	Path string

	// OnFailure is told the error that stops the store; see [New].
	OnFailure func(error)

	// Wrap, unless it is nil, returns what stands between the Store and the
	// disk: tests of what a failing disk leads to put their faults there.
	Wrap func(Backend) Backend
}

const (
	// mmapBytes is the address space to map at the start: 8 GiB, or 1 GiB where
	// addresses have 32 bits. A log that grows over it stalls writes once while
	// it is mapped anew. It costs no memory.
	mmapBytes = 1 << (30 + 3*(^uint(0)>>63))

	// lockTimeout is how long to wait for a process that is about to end.
	lockTimeout = time.Second
)

// Open opens a log kept by raft-boltdb. It reads the whole file and fails with
// [store.ErrCorrupt] if it is truncated or its structure is damaged; damage to
// an entry or a value shows when it is read. It fails with [filelock.ErrLocked]
// if another process, or another part of this one, has the file open.
//
// bbolt doesn't store its list of free pages here, since a log that was
// compacted has many: with 100 MB of them, appending takes three times as long.
// The price is that opening reads the file, which the check does anyway.
func Open(o Options) (*Store, error) {
	if err := check(o.Path); err != nil {
		return nil, fmt.Errorf("log store: %w", err)
	}
	backend, err := openBolt(o)
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("log store: %s is %w: stop it first", o.Path, filelock.ErrLocked)
	case err != nil:
		return nil, fmt.Errorf("log store: open %s: %w", o.Path, err)
	}
	if o.Wrap != nil {
		return New(o.Wrap(backend), o.OnFailure), nil
	}
	return New(backend, o.OnFailure), nil
}

// check verifies the file, unless there is none or an empty one: bbolt makes a
// new one then.
func check(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	return boltfile.Check(path, boltfile.Options{})
}

func openBolt(o Options) (*raftboltdb.BoltStore, error) {
	var (
		file    *os.File
		backend *raftboltdb.BoltStore
	)
	err := boltfile.Guard("open", func() (err error) {
		backend, err = raftboltdb.New(raftboltdb.Options{
			Path:                    o.Path,
			MsgpackUseNewTimeFormat: true,
			BoltOptions: &bbolt.Options{
				Timeout:         lockTimeout,
				PageSize:        boltfile.PageBytes,
				InitialMmapSize: mmapBytes,
				FreelistType:    bbolt.FreelistMapType,
				NoFreelistSync:  true,
				OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
					file, err = os.OpenFile(name, flag, mode)
					return file, err
				},
			},
		})
		return err
	})
	if errors.Is(err, store.ErrCorrupt) && file != nil {
		// bbolt panicked and left its file open and locked.
		err = errors.Join(err, file.Close())
	}
	return backend, err
}
