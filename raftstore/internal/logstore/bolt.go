package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/raft"
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

	// Verified, unless it is nil, is what OpenReadOnly has just returned for the
	// file, closed by now: the file was verified, so it isn't read twice.
	Verified *Store
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
	var sizes *sizes
	if o.Verified != nil {
		sizes = o.Verified.sizes
	} else {
		var err error
		if sizes, _, err = check(o.Path); err != nil {
			return nil, fmt.Errorf("log store: %w", err)
		}
	}
	file, err := openBolt(o.Path, &bbolt.Options{InitialMmapSize: mmapBytes})
	if err != nil {
		return nil, err
	}
	backend := Backend(file)
	if o.Wrap != nil {
		backend = o.Wrap(file)
	}
	s := New(backend, o.OnFailure)
	s.file, s.sizes = file, sizes
	return s, nil
}

// OpenReadOnly opens a log as Open does, but leaves every byte of it as it is:
// Open has bbolt commit an empty transaction. Writes to the Store fail. A log
// that was never made, or not to the end, is an [fs.ErrNotExist].
func OpenReadOnly(path string) (*Store, error) {
	sizes, made, err := check(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("log store: %w", err)
	case !made:
		return nil, fmt.Errorf("log store: %s: %w", path, fs.ErrNotExist)
	}
	backend, err := openBolt(path, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	s := New(backend, nil)
	s.sizes = sizes
	return s, nil
}

// bucketLogs is raft-boltdb's bucket of entries, by index.
const bucketLogs = "logs"

// check verifies the file, unless there is none or an empty one: bbolt makes a
// new one then. made tells whether it has the buckets of a log, which are made
// right after the file.
func check(path string) (s *sizes, made bool, err error) {
	s = new(sizes)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return s, false, nil
	}
	var entries []found
	err = boltfile.Check(path, boltfile.Options{Bucket: func(name []byte) func(key, value []byte) {
		made = true
		if string(name) != bucketLogs {
			return nil
		}
		return func(key, value []byte) {
			if len(key) == 8 { // raft-boltdb has no others
				entries = append(entries, found{binary.BigEndian.Uint64(key), uint32(len(value))})
			}
		}
	}})
	if err == nil {
		s.load(entries)
	}
	return s, made, err
}

// openBolt opens the file with what o says besides the options of every log.
func openBolt(path string, o *bbolt.Options) (_ *boltBackend, err error) {
	var backend *raftboltdb.BoltStore
	var file *os.File
	o.Timeout = lockTimeout
	o.PageSize = boltfile.PageBytes
	o.FreelistType = bbolt.FreelistMapType
	o.NoFreelistSync = true
	o.OpenFile = func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
		file, err = os.OpenFile(name, flag, mode)
		return file, err
	}
	err = boltfile.Guard("open", func() (err error) {
		backend, err = raftboltdb.New(raftboltdb.Options{Path: path, MsgpackUseNewTimeFormat: true, BoltOptions: o})
		return err
	})
	switch {
	case errors.Is(err, store.ErrCorrupt) && file != nil:
		// bbolt panicked and left its file open and locked.
		err = errors.Join(err, file.Close())
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("log store: %s is %w: stop it first", path, filelock.ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("log store: open %s: %w", path, err)
	}
	return &boltBackend{BoltStore: backend, path: path}, nil
}

// boltBackend knows an entry that is damaged so that it can't be decoded, and
// how much of the file can be written to again.
type boltBackend struct {
	*raftboltdb.BoltStore
	path string

	// writing is held by whoever writes, and by who looks at the file's pages.
	writing sync.Mutex
}

// StoreLog implements [raft.LogStore].
func (b *boltBackend) StoreLog(log *raft.Log) error { return b.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements [raft.LogStore].
func (b *boltBackend) StoreLogs(logs []*raft.Log) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.BoltStore.StoreLogs(logs)
}

// DeleteRange implements [raft.LogStore].
func (b *boltBackend) DeleteRange(first, last uint64) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.BoltStore.DeleteRange(first, last)
}

// Set implements [Backend].
func (b *boltBackend) Set(key, value []byte) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.BoltStore.Set(key, value)
}

// reusable returns how many bytes of the file's free pages are sure to take
// records of which none has more than largest bytes. Readers that might still
// need such a page are in a call of this package, so they are gone soon.
func (b *boltBackend) reusable(largest uint64) (uint64, error) {
	b.writing.Lock()
	defer b.writing.Unlock()
	return boltfile.Reusable(b.path, largest)
}

// GetLog implements [Backend]. Besides these errors raft-boltdb has only those
// of its decoder.
func (b *boltBackend) GetLog(index uint64, log *raft.Log) error {
	err := b.BoltStore.GetLog(index, log)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) || errors.Is(err, bbolterrors.ErrDatabaseNotOpen) {
		return err
	}
	return fmt.Errorf("entry %d fails its checksum, it can't be decoded: %w: %w", index, err, store.ErrCorrupt)
}
