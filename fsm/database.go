package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/spire-raft/spire-raft/internal/boltfile"
	"github.com/spire-raft/spire-raft/store"
)

// TempPrefix begins the names of files in the machine's directory that are not,
// or not yet, the database. Open removes them.
const TempPrefix = "state.tmp-"

// Names in the machine's directory.
const (
	stateName = "state.db"

	// lockName is a file of its own since state.db is replaced by installs, and
	// a lock on a file that was replaced keeps nobody out.
	lockName = "state.lock"
)

// database is an open state.db. Views keep it open by references, so that an
// install can replace it under them.
type database struct {
	bolt  *bbolt.DB
	refs  atomic.Int64
	epoch atomic.Pointer[epoch] // of transactions that begin now
	space space

	// closed is called when the last reference is gone and bolt is closed.
	closed func(error)
}

func (d *database) acquire() { d.refs.Add(1) }

func (d *database) release() {
	if d.refs.Add(-1) == 0 {
		d.closed(boltfile.Guard("close", d.bolt.Close))
	}
}

// view runs fn in a read transaction.
func (d *database) view(what string, fn func(*bbolt.Tx) error) error {
	return boltfile.Guard(what, func() error { return d.bolt.View(fn) })
}

// writer writes to a database. It is an interface for tests of disks that fail.
type writer interface {
	// update runs fn in a transaction, commits and syncs it. After an error it
	// is not known what was written.
	update(fn func(*bbolt.Tx) error) error
}

// update implements [writer].
func (d *database) update(fn func(*bbolt.Tx) error) error {
	return boltfile.Guard("write", func() error {
		var stats bbolt.TxStats
		err := d.bolt.Update(func(tx *bbolt.Tx) error {
			tx.OnCommit(func() { stats = tx.Stats() })
			return fn(tx)
		})
		if err == nil {
			d.wrote(uint64(stats.PageAlloc))
		}
		return err
	})
}

// createDatabase makes a database without entries at path. It either exists in
// full afterwards or not at all.
func createDatabase(path string, opts *Options) (err error) {
	f, err := os.CreateTemp(opts.Dir, TempPrefix)
	if err != nil {
		return err
	}
	temp := f.Name()
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp))
		}
	}()
	if err := f.Close(); err != nil {
		return err
	}
	db, err := openBolt(temp, opts)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error { return initialise(tx, opts.ClusterID) })
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(opts.Dir)
}

func initialise(tx *bbolt.Tx, clusterID string) error {
	for _, id := range storedBuckets {
		if _, err := tx.CreateBucket([]byte(id.String())); err != nil {
			return err
		}
	}
	s := newState()
	body, err := s.encode()
	if err != nil {
		return err
	}
	return errors.Join(
		putMeta(tx, keyFormat, binary.BigEndian.AppendUint32(nil, FormatVersion)),
		putMeta(tx, keyCluster, []byte(clusterID)),
		putMeta(tx, keyState, body),
	)
}

// openDatabase opens the file at path, verifies all of it, and returns it with
// its state.
func openDatabase(path string, opts *Options) (*database, state, error) {
	img, err := checkImage(path)
	if err != nil {
		return nil, state{}, err
	}
	bolt, err := openBolt(path, opts)
	if err != nil {
		return nil, state{}, err
	}
	db := &database{bolt: bolt}
	db.epoch.Store(new(epoch))
	db.space.largest = img.largest
	s, err := db.load(opts.ClusterID, img)
	if err != nil {
		return nil, state{}, errors.Join(err, boltfile.Guard("close", bolt.Close))
	}
	return db, s, nil
}

// load reads the state. The format comes first: what checkImage found wrong in
// the records may be right in a later one.
func (d *database) load(clusterID string, img *image) (s state, err error) {
	err = d.view("open", func(tx *bbolt.Tx) error {
		if err := checkFormat(tx, clusterID); err != nil {
			return err
		}
		if img.recordErr != nil {
			return img.recordErr
		}
		if s, err = loadState(tx); err != nil {
			return err
		}
		if s.level > FeatureLevelMax {
			return fmt.Errorf("%w: the cluster is at feature level %d, this program knows %d", ErrTooNew, s.level, FeatureLevelMax)
		}
		for _, id := range storedBuckets {
			if id != bucketMeta && img.records[id] != s.sums[id].records {
				return fmt.Errorf("%w: bucket %v has %d records, not %d; restore this server from the others",
					store.ErrCorrupt, id, img.records[id], s.sums[id].records)
			}
		}
		return nil
	})
	return s, err
}

const (
	// boltLockWait is how long to wait for a tool that has the file open. The
	// directory's lock keeps other machines away.
	boltLockWait = time.Second

	// mmapBytes is the address space reserved for a database: 32 GiB, or 1 GiB
	// where addresses have 32 bits. Growth beyond it waits for open views and
	// stops new ones meanwhile. It takes no memory.
	mmapBytes = 1 << (30 + 5*(^uint(0)>>63))
)

func openBolt(path string, opts *Options) (db *bbolt.DB, err error) {
	err = boltfile.Guard("open", func() error {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:         boltLockWait,
			PageSize:        boltfile.PageBytes,
			FreelistType:    bbolt.FreelistMapType,
			InitialMmapSize: mmapBytes,
			NoSync:          opts.noSync,
			NoStatistics:    true,
		})
		return err
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("%s is %w: stop it first", path, ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Base(path), err)
	}
	return db, nil
}

// syncDir makes created, renamed and removed names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
