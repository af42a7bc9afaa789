package fsm

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spire-raft/spire-raft/internal/boltfile"
	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
	"github.com/spire-raft/spire-raft/store"
)

// Install replaces the state by that of a snapshot, which it reads to its end
// and verifies in full before anything changes: the checksum, every page and
// record, and the cluster. Views that are open go on with what they see.
//
// The applied index never goes down: a snapshot behind it ends in
// [ErrOlderSnapshot]. One at the applied index changes nothing; it ends in an
// error if its state hash is another one. Without an error what is applied then
// is on disk. An error leaves the machine as it was, unless it has failed: see
// Err.
func (m *Machine) Install(r io.Reader) error {
	v, err := m.acquire() // so that Close waits
	if err != nil {
		return err
	}
	defer v.db.release()
	temp, header, err := m.receive(r)
	if err != nil {
		return fmt.Errorf("install snapshot: %w", err)
	}
	err = m.adopt(temp, header)
	if rmErr := os.Remove(temp); rmErr != nil && !errors.Is(rmErr, os.ErrNotExist) {
		err = errors.Join(err, rmErr) // where it was renamed there is nothing left to remove
	}
	return err
}

// receive reads a stream into a file, syncs it, and returns the file's name.
func (m *Machine) receive(r io.Reader) (temp string, header *fsmv1.SnapshotHeader, err error) {
	sr := &summingReader{r: r, sum: sha256.New()}
	if header, err = readHeader(sr); err != nil {
		return "", nil, err
	}
	if header.ClusterId != m.opts.ClusterID {
		return "", nil, fmt.Errorf("%w: the snapshot is of cluster %q, this server of %q", ErrOtherCluster, header.ClusterId, m.opts.ClusterID)
	}
	if have := m.Position().Index; header.Index < have {
		return "", nil, fmt.Errorf("%w: it is of index %d, applied is %d", ErrOlderSnapshot, header.Index, have)
	}
	if err := checkInstance(header.Instance, m.Position().Instance); err != nil {
		return "", nil, err
	}
	f, err := os.CreateTemp(m.opts.Dir, TempPrefix)
	if err != nil {
		return "", nil, err
	}
	err = readImage(f, sr, header.ImageBytes)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", nil, errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), header, nil
}

// adopt makes the file temp the database.
func (m *Machine) adopt(temp string, header *fsmv1.SnapshotHeader) error {
	db, s, err := openDatabase(temp, &m.opts)
	if err != nil {
		return fmt.Errorf("install snapshot: %w", err)
	}
	installed := false
	defer func() {
		if !installed {
			err := boltfile.Guard("close", db.bolt.Close)
			if err != nil {
				m.opts.Log.Error("refused snapshot was not closed cleanly", "error", err)
			}
		}
	}()
	if hash := s.hash(); s.index != header.Index || s.term != header.Term || s.instance != header.Instance || string(hash[:]) != string(header.StateHash) {
		return fmt.Errorf("install snapshot: %w: the image (index %d) is not what the header says (index %d)", store.ErrCorrupt, s.index, header.Index)
	}
	if check := m.opts.CheckConfiguration; check != nil {
		if err := check(s.configuration); err != nil {
			return fmt.Errorf("install snapshot: %w: %w", store.ErrCorrupt, err)
		}
	}

	m.flushMu.Lock()
	defer m.flushMu.Unlock()
	if installed, err = m.replace(temp, db, s); err != nil || installed {
		return err
	}
	// Whoever sent a snapshot counts on its index, so that must be durable.
	return m.flush()
}

// replace makes the file temp, which is open as db and has the state s, the
// database, unless s is applied already. The caller holds flushMu.
func (m *Machine) replace(temp string, db *database, s state) (installed bool, err error) {
	m.applyMu.Lock()
	defer m.applyMu.Unlock()
	if err := m.usable(); err != nil {
		return false, err
	}
	if err := checkInstance(s.instance, m.state.instance); err != nil {
		return false, fmt.Errorf("install snapshot: %w", err)
	}
	if s.index < m.state.index {
		return false, fmt.Errorf("%w: it is of index %d, applied is %d", ErrOlderSnapshot, s.index, m.state.index)
	}
	if s.index == m.state.index {
		if s.hash() != m.state.hash() {
			return false, fmt.Errorf("install snapshot: %w: its state at index %d has hash %v, the one here %v: the servers have diverged",
				store.ErrCorrupt, s.index, s.hash(), m.state.hash())
		}
		return false, nil
	}
	// Once the name may point to the new file, only that file may be used.
	if err := errors.Join(os.Rename(temp, filepath.Join(m.opts.Dir, stateName)), syncDir(m.opts.Dir)); err != nil {
		return false, m.fail(fmt.Errorf("install snapshot: %w", err))
	}
	m.use(db, s)
	m.opts.Log.Info("installed snapshot", "index", s.index, "term", s.term, "revision", uint64(s.revision))
	return true, nil
}

// checkInstance returns ErrOtherCluster where a snapshot is of another life of
// the cluster than the state here. A state without one takes any.
func checkInstance(snapshot, here string) error {
	if here != "" && snapshot != here {
		return fmt.Errorf("%w: the snapshot is of instance %q of the cluster, this server of %q: two clusters of one name have met", ErrOtherCluster, snapshot, here)
	}
	return nil
}
