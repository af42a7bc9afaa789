package fsm

import (
	"github.com/spire-raft/spire-raft/store"
)

// layersMax is how many layers lie over the database file: the one that takes
// changes, and one that is being written to the file.
const layersMax = 2

// version is all data at one applied index. It never changes.
type version struct {
	// db has what the layers have not. It may have what the last of them has
	// too, and nothing newer, as long as the generation is the machine's.
	db     *database
	layers [layersMax]*layer // newest first, nil where there is none

	// generation counts the changes of db's and of the layers' roles.
	generation uint64

	state    state
	position Position
}

// publish makes the state and the layers what readers see. The caller holds
// applyMu or is alone.
func (m *Machine) publish() {
	v := &version{
		db:         m.db,
		layers:     [layersMax]*layer{m.active.copy(), m.frozen},
		generation: m.generation,
		state:      m.state,
		position:   m.state.position(),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.version.Swap(v)
	if old != nil && old.position == v.position {
		return // nobody waits for what moved from memory to disk
	}
	if !m.closed && m.failed == nil {
		close(m.advanced)
		m.advanced = make(chan struct{})
	}
}

// acquire returns the newest version, whose database stays open until it is
// released. Close waits for that.
func (m *Machine) acquire() (*version, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return nil, store.ErrClosed
	}
	if m.failed != nil {
		return nil, m.failed
	}
	v := m.version.Load()
	v.db.acquire()
	return v, nil
}
