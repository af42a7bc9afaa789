package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/spire-raft/spire-raft/internal/boltfile"
	"github.com/spire-raft/spire-raft/store"
)

// Backend stores entries and values durably: what a write method was given is
// on disk when it returns nil. raft-boltdb's and raft-wal's stores are
// Backends. One that is a [raft.MonotonicLogStore] is treated as such.
type Backend interface {
	raft.LogStore

	// Get returns the value of key. Where there is none it returns an empty
	// value or raft-boltdb's ErrKeyNotFound.
	Get(key []byte) ([]byte, error)
	Set(key, value []byte) error

	io.Closer
}

// Store is a [raft.LogStore] and [raft.StableStore] that stops at the first
// error: see the package comment. Its methods may be called concurrently as far
// as raft does so.
//
// On raft's main goroutine, SetUint64 and GetLog don't return an error of the
// disk, since raft would panic: they end that goroutine with [runtime.Goexit].
// Raft's deferred functions run, so futures in flight are answered, and
// Shutdown works as ever, but the [raft.Raft] does nothing more and must be
// shut down. On other goroutines they return the error. That includes
// [raft.NewRaft], which panics with it: recover there.
type Store struct {
	backend   Backend
	onFailure func(error)

	failure atomic.Pointer[error] // the first failure, set once
	closed  atomic.Bool

	committed atomic.Uint64 // see Committed

	sizes *sizes
	file  *boltBackend // nil unless Open has opened it
}

var (
	_ raft.LogStore          = (*Store)(nil)
	_ raft.StableStore       = (*Store)(nil)
	_ raft.MonotonicLogStore = (*Store)(nil)
)

// New returns a Store on b, which it owns from now on. The first failure is
// passed to onFailure, which is called once at most, by the goroutine that met
// the failure, often raft's own: it must not wait for raft. It may be nil.
func New(b Backend, onFailure func(error)) *Store {
	if onFailure == nil {
		onFailure = func(error) {}
	}
	return &Store{backend: b, onFailure: onFailure, sizes: new(sizes)}
}

// Err returns the failure that stopped the store, or nil. It wraps
// [store.ErrFailed] and, where stored data is damaged, [store.ErrCorrupt].
func (s *Store) Err() error {
	if err := s.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Close releases the backend. Calls that come later fail with
// [store.ErrClosed]. It may be called again.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return boltfile.Guard("close log store", s.backend.Close)
}

// IsMonotonic tells raft whether the backend demands a log without gaps.
func (s *Store) IsMonotonic() bool {
	m, ok := s.backend.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// FirstIndex returns the index of the first entry, 0 if there is none.
func (s *Store) FirstIndex() (index uint64, err error) {
	err = s.do("first index", func() (err error) {
		index, err = s.backend.FirstIndex()
		return err
	})
	return index, err
}

// LastIndex returns the index of the last entry, 0 if there is none.
func (s *Store) LastIndex() (index uint64, err error) {
	err = s.do("last index", func() (err error) {
		index, err = s.backend.LastIndex()
		return err
	})
	return index, err
}

// GetLog reads the entry at index into log, or returns [raft.ErrLogNotFound].
func (s *Store) GetLog(index uint64, log *raft.Log) error {
	err := s.do("read entry", func() error {
		if err := s.backend.GetLog(index, log); err != nil {
			return err
		}
		mark, err := unsealLog(index, log)
		if err == nil {
			s.MarkCommitted(mark)
		}
		return err
	})
	if err != nil && !isNotFound(err) {
		endRaftLoop()
	}
	return err
}

// StoreLog stores one entry.
func (s *Store) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs stores entries, all or none. It leaves them unchanged.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	err := s.do("append entries", func() error { return s.backend.StoreLogs(sealLogs(logs, s.Committed())) })
	if err == nil {
		s.sizes.stored(logs)
	}
	return err
}

// MarkCommitted tells the store that the entries up to index are committed. The
// next entry that is stored keeps that, so it costs no sync of its own. It never
// goes down.
func (s *Store) MarkCommitted(index uint64) {
	for known := s.committed.Load(); index > known; known = s.committed.Load() {
		if s.committed.CompareAndSwap(known, index) {
			return
		}
	}
}

// Committed is the index up to which entries are known to be committed: what
// MarkCommitted was told, and what the entries that were read were stored with.
// After a crash that is what the last entry was stored with, if it has been
// read.
func (s *Store) Committed() uint64 { return s.committed.Load() }

// DeleteRange deletes the entries from first to last, both included.
func (s *Store) DeleteRange(first, last uint64) error {
	err := s.do("delete entries", func() error { return s.backend.DeleteRange(first, last) })
	if err == nil {
		s.sizes.deleted(first, last)
	}
	return err
}

// Bytes is about how many bytes the entries take: those that Open has found, and
// those stored since.
func (s *Store) Bytes() uint64 { return s.sizes.total() }

// Fit is how many entries at the end of the log take no more than so many bytes.
func (s *Store) Fit(bytes uint64) uint64 { return s.sizes.fit(bytes) }

// Reusable returns how many bytes of the file's free pages are sure to take
// entries that are no larger than those so far. It reads the file, which takes
// some milliseconds. A Store that New has made has no file, and returns 0.
func (s *Store) Reusable() (bytes uint64, err error) {
	if s.file == nil || s.closed.Load() {
		return 0, nil
	}
	err = boltfile.Guard("look for free pages", func() error {
		bytes, err = s.file.reusable(s.sizes.largestEver())
		return err
	})
	return bytes, err
}

// Set stores a value under key.
func (s *Store) Set(key, value []byte) error {
	return s.do("save value", func() error { return s.backend.Set(key, sealValue(key, value)) })
}

// Get returns the value of key. Where there is none the error is raft-boltdb's,
// since raft knows it by its text.
func (s *Store) Get(key []byte) (value []byte, err error) {
	err = s.do("read value", func() error {
		sealed, err := s.backend.Get(key)
		if err != nil {
			return err
		}
		if len(sealed) == 0 {
			return raftboltdb.ErrKeyNotFound
		}
		value, err = unsealValue(key, sealed)
		return err
	})
	return value, err
}

// SetUint64 stores a number under key.
func (s *Store) SetUint64(key []byte, n uint64) error {
	err := s.Set(key, binary.BigEndian.AppendUint64(nil, n))
	if err != nil {
		endRaftLoop()
	}
	return err
}

// GetUint64 returns the number stored under key, or an error as Get does.
func (s *Store) GetUint64(key []byte) (uint64, error) {
	value, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, s.fail("read number", fmt.Errorf("%q has %d bytes: %w", key, len(value), store.ErrCorrupt))
	}
	return binary.BigEndian.Uint64(value), nil
}

// do runs an operation of the backend unless the store has stopped, and stops
// it if the operation fails.
func (s *Store) do(op string, fn func() error) error {
	if s.closed.Load() {
		return fmt.Errorf("log store: %w", store.ErrClosed)
	}
	if err := s.Err(); err != nil {
		return err
	}
	err := boltfile.Guard(op, fn)
	switch {
	case err == nil || isNotFound(err):
		return err
	case s.closed.Load() && errors.Is(err, bbolterrors.ErrDatabaseNotOpen):
		return fmt.Errorf("log store: %w", store.ErrClosed)
	default:
		return s.fail(op, err)
	}
}

// fail latches the first failure and returns it.
func (s *Store) fail(op string, err error) error {
	err = fmt.Errorf("log store: %s: %w: %w", op, store.ErrFailed, err)
	if s.failure.CompareAndSwap(nil, &err) {
		s.onFailure(err)
	}
	return s.Err()
}

func isNotFound(err error) bool {
	return errors.Is(err, raft.ErrLogNotFound) || errors.Is(err, raftboltdb.ErrKeyNotFound)
}

// raftLoop is the function that raft's main goroutine runs.
const raftLoop = "github.com/hashicorp/raft.(*Raft).run"

// endRaftLoop ends the calling goroutine if it is raft's main one. Others, such
// as the replicators, handle errors, and some leave goroutines waiting when
// they vanish, so it matters which one it is. Go doesn't tell but by the stack;
// this runs after a failure only, so its cost doesn't count.
func endRaftLoop() {
	pcs := make([]uintptr, 128) // several times what raft needs
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		if strings.TrimSuffix(frame.Function, "-fm") == raftLoop {
			runtime.Goexit()
		}
		if !more {
			return
		}
	}
}
