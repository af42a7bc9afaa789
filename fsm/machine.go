package fsm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spire-raft/spire-raft/internal/boltfile"
	"github.com/spire-raft/spire-raft/internal/filelock"
	"github.com/spire-raft/spire-raft/store"
)

// Options configure a [Machine].
type Options struct {
	// Dir holds the database and what belongs to it. It must exist.
	Dir string

	// ClusterID names the cluster that the data belongs to. It is written into
	// a new database and compared with that of an existing one.
	ClusterID string

	// FlushBytes is how many bytes of records, with 1 KiB more for each, are kept
	// in memory until they are written to the database file in the background;
	// twice as many make Apply wait. Zero means 32 MiB. Negative means that
	// Apply writes, and syncs, what it applies before it returns.
	FlushBytes int

	// CheckConfiguration refuses the configuration of a snapshot to be installed.
	// Nil takes any: to the machine a configuration is bytes.
	CheckConfiguration func([]byte) error

	// Log is told about installs and failures. Nil means no log.
	Log *slog.Logger

	// noSync leaves out the syncs of the disk, and lockWait is how long Open
	// waits for another process to release Dir, 1 second where it is zero. They
	// make tests faster.
	noSync   bool
	lockWait time.Duration
}

func (o Options) withDefaults() Options {
	if o.lockWait == 0 {
		o.lockWait = time.Second
	}
	if o.FlushBytes == 0 {
		o.FlushBytes = flushBytesDefault
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) validate() error {
	if o.Dir == "" || o.ClusterID == "" {
		return fmt.Errorf("%w: fsm.Options needs Dir and ClusterID", store.ErrInvalid)
	}
	return nil
}

// Machine is the state machine of one server. Its methods may be called
// concurrently.
type Machine struct {
	opts   Options
	unlock func() error

	// flushMu serialises what writes the database file or replaces it. It comes
	// before applyMu, which comes before mu.
	flushMu sync.Mutex

	// applyMu serialises what changes the state. It guards the fields below. Of
	// these db, writer and frozen change under flushMu too.
	applyMu    sync.Mutex
	moved      sync.Cond // on applyMu: there is room in active, or no use to wait for it
	db         *database
	writer     writer
	state      state
	active     *layer // takes changes
	frozen     *layer // is being written, nil if none is
	generation uint64 // see version
	flushing   bool   // in the background
	scratch    *scratch

	durable    atomic.Uint64  // the applied index of the file
	reusable   atomic.Uint64  // what Reusable has returned last
	background sync.WaitGroup // of flushing

	hashes hashRing

	databases sync.WaitGroup // those that are not closed yet

	mu       sync.RWMutex // guards the fields below
	advanced chan struct{}
	failed   error
	closed   bool

	version atomic.Pointer[version] // changes under mu
	done    chan struct{}           // closed when Close has finished
}

// Exists tells whether a directory has a machine's database.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, stateName))
	return !errors.Is(err, fs.ErrNotExist)
}

// Open opens the machine in a directory, and creates it where there is none.
//
// It reads the whole database file and verifies it, which takes about a second
// for each 1-2 GB, so what it lets through was undamaged. It ends in ErrLocked
// where the directory is in use, ErrOtherCluster, ErrTooNew, and in
// [store.ErrCorrupt] where the file is truncated or damaged.
func Open(opts Options) (*Machine, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	m := &Machine{
		opts:     opts.withDefaults(),
		scratch:  &scratch{hasher: newHasher()},
		advanced: make(chan struct{}),
		done:     make(chan struct{}),
	}
	m.moved.L = &m.applyMu
	var err error
	if m.unlock, err = filelock.Lock(filepath.Join(opts.Dir, lockName), m.opts.lockWait); err != nil {
		return nil, err
	}
	if err := m.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", opts.Dir, err), m.unlock())
	}
	return m, nil
}

func (m *Machine) open() error {
	path := filepath.Join(m.opts.Dir, stateName)
	if !Exists(m.opts.Dir) {
		if err := createDatabase(path, &m.opts); err != nil {
			return err
		}
	}
	db, s, err := openDatabase(path, &m.opts)
	if err != nil {
		return err
	}
	if err := removeTemps(m.opts.Dir); err != nil { // last, so that a refusal changes nothing
		return errors.Join(err, boltfile.Guard("close", db.bolt.Close))
	}
	if !m.opts.noSync {
		// What a process that was killed has written may not be on disk yet, and
		// counts as durable from now on.
		if err := boltfile.Guard("sync", db.bolt.Sync); err != nil {
			return errors.Join(err, boltfile.Guard("close", db.bolt.Close))
		}
	}
	m.use(db, s)
	return nil
}

// removeTemps removes what an interrupted install or creation has left.
func removeTemps(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), TempPrefix) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// use makes db, with its state s, the machine's database. The caller holds
// flushMu and applyMu or is alone.
func (m *Machine) use(db *database, s state) {
	db.refs.Store(1)
	m.databases.Add(1)
	db.closed = func(err error) {
		if err != nil {
			m.opts.Log.Error("database was not closed cleanly", "error", err)
		}
		m.databases.Done()
	}
	old := m.db
	m.db, m.writer, m.state = db, db, s
	m.active, m.frozen = newLayer(), nil
	m.generation++
	m.durable.Store(s.index)
	m.reusable.Store(0)
	m.hashes.reset(s.index, s.hash())
	m.publish()
	m.moved.Broadcast()
	if old != nil {
		old.release()
	}
}

// Err returns the error that has stopped the machine, or nil.
func (m *Machine) Err() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.failed
}

// usable returns an error if the machine has failed or is closed.
func (m *Machine) usable() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return store.ErrClosed
	}
	return m.failed
}

// fail stops the machine. The first error stays; it is returned. A caller that
// doesn't hold applyMu broadcasts moved when it does, or an Apply that has just
// seen no failure may wait for ever.
func (m *Machine) fail(err error) error {
	if !errors.Is(err, store.ErrFailed) {
		err = fmt.Errorf("%w: %w", store.ErrFailed, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	m.failed = err
	m.moved.Broadcast()
	m.opts.Log.Error("state machine has stopped", "error", err)
	if !m.closed {
		close(m.advanced)
	}
	return err
}

// Close writes what is applied to the database file, waits for open views and
// snapshots to be closed and for installs to end, and releases everything. It may
// be called again.
func (m *Machine) Close() error {
	m.mu.Lock()
	first := !m.closed
	m.closed = true
	if first && m.failed == nil {
		close(m.advanced)
	}
	m.mu.Unlock()
	if !first {
		<-m.done
		return nil
	}
	defer close(m.done)
	err := m.closeDatabase()
	m.background.Wait()
	m.databases.Wait()
	return errors.Join(err, m.unlock())
}

// closeDatabase writes what is not written yet, unless the machine has failed,
// and gives the database up.
func (m *Machine) closeDatabase() (err error) {
	m.flushMu.Lock()
	defer m.flushMu.Unlock()
	if m.Err() == nil {
		err = m.flush()
	}
	m.applyMu.Lock() // so that no Apply is under way, and there is none after
	defer m.applyMu.Unlock()
	m.moved.Broadcast()
	m.db.release()
	return err
}

// Advanced returns a channel that is closed when the position changes next,
// when the machine fails, and when it is closed. Get the channel before looking
// at the position.
func (m *Machine) Advanced() <-chan struct{} {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.advanced
}

// WaitIndex waits until the entry at index, or one behind it, is applied.
func (m *Machine) WaitIndex(ctx context.Context, index uint64) error {
	return m.wait(ctx, func(p *Position) bool { return p.Index >= index })
}

// WaitRevision waits until the machine has reached a revision.
func (m *Machine) WaitRevision(ctx context.Context, rev store.Revision) error {
	return m.wait(ctx, func(p *Position) bool { return p.Cursor.Revision >= rev })
}

func (m *Machine) wait(ctx context.Context, reached func(*Position) bool) error {
	for {
		advanced := m.Advanced()
		if err := m.usable(); err != nil {
			return err
		}
		if reached(&m.version.Load().position) {
			return nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
