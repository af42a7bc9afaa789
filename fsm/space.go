package fsm

import (
	"path/filepath"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"github.com/spire-raft/spire-raft/internal/boltfile"
)

// The database file never gets smaller, so what is free in it has to be known
// where a disk is full: pages that nothing refers to are written to before the
// file grows. Those that an open view may still need are free, too, but not for
// bbolt.

// epoch is the time between two writes to the file. It counts the transactions
// that began in it and are open: they see the file as it was then.
type epoch struct{ open atomic.Int64 }

// readTx is a read transaction.
type readTx struct {
	*bbolt.Tx
	in *epoch
}

// begin begins a read transaction.
func (d *database) begin() (tx readTx, err error) {
	for { // until no write has come in between
		tx.in = d.epoch.Load()
		tx.in.open.Add(1)
		if d.epoch.Load() == tx.in {
			break
		}
		tx.in.open.Add(-1)
	}
	err = boltfile.Guard("begin", func() error {
		tx.Tx, err = d.bolt.Begin(false)
		return err
	})
	if err != nil {
		tx.in.open.Add(-1)
	}
	return tx, err
}

// end ends the transaction.
func (tx *readTx) end() {
	// A read transaction's Rollback fails only where it was rolled back before.
	_ = tx.Rollback()
	tx.in.open.Add(-1)
}

// space is what is known of the free pages of a database file. Machine.flushMu
// guards it.
type space struct {
	past    []*epoch // those that may have transactions open
	largest uint64   // bytes of the largest record that was ever in the file
	written uint64   // bytes that were written to the file
	quiet   bool     // the last write was an empty one

	// What could be reused when no view was open that a page was kept for, and
	// largest and written at that time.
	reusable, reusableLargest, reusableWritten uint64
}

// wrote notes a write.
func (d *database) wrote(bytes uint64) {
	d.space.past = append(d.space.past, d.epoch.Swap(new(epoch)))
	d.space.held() // so that there are few
	d.space.written += bytes
	d.space.quiet = false
}

// held tells whether a transaction is open that began before the last write. It
// forgets the times of which none is.
func (s *space) held() bool {
	kept := s.past[:0]
	for _, e := range s.past {
		if e.open.Load() > 0 {
			kept = append(kept, e)
		}
	}
	clear(s.past[len(kept):])
	s.past = kept
	return len(kept) > 0
}

// Reusable returns how many bytes of the database file's free pages are sure to
// be written to before the file grows. Records larger than any so far, in the
// file or on their way to it, are not counted on to find a place there, nor are
// pages that open views may need. While the file is being written the answer is
// that of before, less what may have been written.
//
// It may write to the file, and syncs it: call it where it matters, once a
// second or so. An error stops the machine.
func (m *Machine) Reusable() (uint64, error) {
	if !m.flushMu.TryLock() {
		return m.reusable.Load(), nil
	}
	defer m.flushMu.Unlock()
	if err := m.usable(); err != nil {
		return 0, err
	}
	bytes, err := m.findReusable()
	if err != nil {
		return 0, m.fail(err)
	}
	m.reusable.Store(bytes)
	return bytes, nil
}

// findReusable is Reusable for a caller that holds flushMu.
func (m *Machine) findReusable() (uint64, error) {
	s := &m.db.space
	path, largest := filepath.Join(m.opts.Dir, stateName), m.largestRecord()
	bytes, err := boltfile.Reusable(path, largest)
	if err != nil || bytes == 0 {
		return 0, err
	}
	if !s.quiet {
		// The pages that the last write has replaced are kept for views of before
		// it, and for those since, too, as long as it is the last.
		if err := m.writer.update(func(*bbolt.Tx) error { return nil }); err != nil {
			return 0, err
		}
		s.quiet = true
		if bytes, err = boltfile.Reusable(path, largest); err != nil {
			return 0, err
		}
	}
	if !s.held() {
		s.reusable, s.reusableLargest, s.reusableWritten = bytes, largest, s.written
		return bytes, nil
	}
	if largest > s.reusableLargest {
		return 0, nil
	}
	return s.reusable - min(s.reusable, s.written-s.reusableWritten), nil
}

// largestRecord is the size of the largest record in the file and the layers.
func (m *Machine) largestRecord() uint64 {
	m.applyMu.Lock()
	defer m.applyMu.Unlock()
	largest := max(m.db.space.largest, m.active.largest)
	if m.frozen != nil {
		largest = max(largest, m.frozen.largest)
	}
	return largest
}
