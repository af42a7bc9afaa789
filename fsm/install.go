package fsm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spire-raft/spire-raft/store"
)

// Install replaces the machine's state by that of the snapshot, after it has
// verified all of it: checksum, pages, records, cluster. Views that are open go
// on with what they see.
//
// The applied index never goes down: a snapshot behind it ends in
// [ErrOlderSnapshot]. One at the applied index changes nothing; it ends in
// [store.ErrCorrupt] if its state hash is another one. An error leaves the state
// as it was. It stops the machine only where it is not known what is on disk,
// and then Err returns it. The snapshot is used up either way.
//
// Install waits for a running Apply. Verifying does not hold Apply up.
func (in *Incoming) Install() error {
	err := in.complete()
	if err == nil {
		err = in.install()
	}
	if err = errors.Join(err, in.Discard()); err != nil {
		return fmt.Errorf("install snapshot: %w", err)
	}
	return nil
}

func (in *Incoming) install() (err error) {
	m := in.machine
	db, s, err := openDatabase(in.file.Name(), &m.opts)
	if err != nil {
		return err
	}
	installed := false
	defer func() {
		if !installed {
			err = errors.Join(err, guard("close", db.bolt.Close))
		}
	}()
	if hash := s.hash(); s.index != in.header.Index || s.term != in.header.Term || string(hash[:]) != string(in.header.StateHash) {
		return fmt.Errorf("%w: the image, of index %d, is not what the header says", store.ErrCorrupt, s.index)
	}

	m.applyMu.Lock()
	defer m.applyMu.Unlock()
	if err := m.usable(); err != nil {
		return err
	}
	if s.index < m.state.index {
		return older(s.index, m.state.index)
	}
	if s.index == m.state.index {
		if s.hash() != m.state.hash() {
			return fmt.Errorf("%w: the servers have diverged: at index %d the state hash is %v there and %v here",
				store.ErrCorrupt, s.index, s.hash(), m.state.hash())
		}
		return nil
	}
	// Once the name may stand for the new file, no other may be written to.
	if err := errors.Join(os.Rename(in.file.Name(), filepath.Join(m.opts.Dir, stateName)), syncDir(m.opts.Dir)); err != nil {
		return m.fail(err)
	}
	installed = true
	m.use(db, s)
	m.opts.Log.Info("installed snapshot", "index", s.index, "term", s.term, "revision", uint64(s.revision))
	return nil
}
