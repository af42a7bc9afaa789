package fsm

import (
	"errors"

	"go.etcd.io/bbolt"
)

// flushBytesDefault is what the newest layer may cost before it is written. More
// of it writes a page fewer times under load, needs more memory and space for
// that, and takes longer to replay after a crash.
const flushBytesDefault = 32 << 20

// Flush writes everything that is applied to the database file and syncs it.
// Whoever feeds the machine must be able to replay what is not written, and
// calls Flush before it gives that up, and from time to time so that there is
// little to replay. An error stops the machine.
func (m *Machine) Flush() error {
	m.flushMu.Lock()
	defer m.flushMu.Unlock()
	if err := m.usable(); err != nil {
		return err
	}
	return m.flush()
}

// flush is Flush for a caller that holds flushMu.
func (m *Machine) flush() error {
	frozen := m.freeze()
	if frozen == nil {
		return m.Err()
	}
	err := m.writer.update(frozen.write)
	if err != nil {
		err = m.fail(err)
	}
	m.thaw(frozen, err == nil)
	return err
}

// freeze makes the layer that takes changes one that is written, and returns
// what is to be written, nil if all is or the machine has failed: what a failed
// Apply has left in the layer belongs to no index. The caller holds flushMu.
func (m *Machine) freeze() *version {
	m.applyMu.Lock()
	defer m.applyMu.Unlock()
	if m.Err() != nil || m.state.index == m.durable.Load() {
		return nil
	}
	m.frozen, m.active = m.active, newLayer()
	m.generation++
	m.publish() // before the file changes, which tells views that it may
	m.moved.Broadcast()
	return m.version.Load()
}

// thaw drops the layer that was written.
func (m *Machine) thaw(written *version, ok bool) {
	m.applyMu.Lock()
	defer m.applyMu.Unlock()
	if ok {
		m.durable.Store(written.state.index)
		m.db.space.largest = max(m.db.space.largest, m.frozen.largest)
		m.frozen = nil
		m.generation++
		m.publish()
	}
	m.moved.Broadcast()
}

// write puts the version's last layer and its state into a transaction. It goes
// through the keys in order, which touches each page once.
func (v *version) write(tx *bbolt.Tx) error {
	for id, t := range v.layers[layersMax-1].trees {
		b := tx.Bucket([]byte(bucketID(id).String()))
		if b == nil {
			return corrupt(bucketID(id), nil, "the bucket is missing")
		}
		if bucketID(id) == bucketHistory {
			// Revisions only ever go to the end, and split pages need no room
			// for more.
			b.FillPercent = 0.95
		}
		var err error
		t.Scan(func(it item) bool {
			if it.record == nil {
				err = b.Delete(it.key)
			} else {
				err = b.Put(it.key, it.record)
			}
			return err == nil
		})
		if err != nil {
			return err
		}
	}
	body, err := v.state.encode()
	if err != nil {
		return err
	}
	if v.state.configuration != nil {
		err = putMeta(tx, keyConfiguration, v.state.configuration)
	}
	return errors.Join(err, putMeta(tx, keyState, body))
}

// full tells whether the newest layer is to be written. The caller holds
// applyMu.
func (m *Machine) full() bool { return m.active.bytes >= m.opts.FlushBytes }

// makeRoom waits while both layers are full, or the newest one doubly. The
// caller holds applyMu.
func (m *Machine) makeRoom() {
	for m.opts.FlushBytes > 0 && m.full() && m.usable() == nil &&
		(m.frozen != nil || m.active.bytes >= 2*m.opts.FlushBytes) {
		m.moved.Wait()
	}
}

// flushIfFull begins to write the newest layer if that is full. The caller
// holds applyMu.
func (m *Machine) flushIfFull() {
	if m.opts.FlushBytes < 0 || m.flushing || !m.full() {
		return
	}
	m.flushing = true
	m.background.Go(func() { // ends when there is room, or with the machine
		for m.Flush() == nil && !m.rest() {
		}
	})
}

// rest tells that the newest layer need not be written now.
func (m *Machine) rest() bool {
	m.applyMu.Lock()
	defer m.applyMu.Unlock()
	m.flushing = m.full()
	return !m.flushing
}
