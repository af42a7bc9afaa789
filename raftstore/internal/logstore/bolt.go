package logstore

import (
	"errors"
	"fmt"
	"os"
	"time"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/spire-raft/spire-raft/raftstore/internal/boltfile"
	"github.com/spire-raft/spire-raft/store"
)

// ErrLocked: another process, or another part of this one, has the file open.
var ErrLocked = errors.New("log store is in use")

// Options says which log to open.
type Options struct {
	// Path is the file. It is made, for its owner only, if it is missing.
	Path string

	// OnFailure is told the error that stops the store; see [New].
	OnFailure func(error)

	// MmapBytes is the address space to map at the start. A log that grows
	// over it stalls writes once while it is mapped anew. It costs no memory.
	// Zero means 8 GiB, or 1 GiB on 32-bit machines.
	MmapBytes int

	// Wrap, unless it is nil, returns what stands between the Store and the
	// disk: tests of what a failing disk leads to put their faults there.
	Wrap func(Backend) Backend
}

const (
	// mmapBytes is 8 GiB where an int has 64 bits and else 1 GiB.
	mmapBytes = 1 << (30 + 3*(^uint(0)>>63))

	// pageBytes is the same on every host, so that files can move.
	pageBytes = 4096

	// lockTimeout is how long to wait for a process that is about to end.
	lockTimeout = time.Second
)

// Open opens a log kept by raft-boltdb. It reads the whole file and fails with
// [store.ErrCorrupt] if it is truncated or its structure is damaged; damage to
// an entry or a value shows when it is read.
//
// bbolt doesn't store its list of free pages here, since a log that was
// compacted has many: with 100 MB of them, appending takes three times as long.
// The price is that opening reads the file, which the check does anyway.
func Open(o Options) (*Store, error) {
	if o.MmapBytes == 0 {
		o.MmapBytes = mmapBytes
	}
	if err := boltfile.CheckPages(o.Path); err != nil {
		return nil, fmt.Errorf("log store: %w", err)
	}
	backend, err := openBolt(o)
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: a live process has %s open: stop it first: %w", ErrLocked, o.Path, err)
	case err != nil:
		return nil, fmt.Errorf("log store: open %s: %w", o.Path, err)
	}
	if o.Wrap != nil {
		return New(o.Wrap(backend), o.OnFailure), nil
	}
	return New(backend, o.OnFailure), nil
}

func openBolt(o Options) (*raftboltdb.BoltStore, error) {
	var (
		file    *os.File
		backend *raftboltdb.BoltStore
	)
	err := guard(func() (err error) {
		backend, err = raftboltdb.New(raftboltdb.Options{
			Path:                    o.Path,
			MsgpackUseNewTimeFormat: true,
			BoltOptions: &bbolt.Options{
				Timeout:         lockTimeout,
				PageSize:        pageBytes,
				InitialMmapSize: o.MmapBytes,
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
