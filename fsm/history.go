package fsm

import (
	"bytes"
	"fmt"

	"github.com/spire-raft/spire-raft/internal/boltfile"
	"github.com/spire-raft/spire-raft/store"
)

// record appends the events of a revision to the history and trims it. Each
// revision is trimmed for by itself, so that what is retained doesn't depend on
// how revisions share batches.
func (b *batch) record(rev store.Revision, events []store.Event) error {
	size := historyHeadBytes
	for _, e := range events {
		size += eventHeadBytes + len(e.Key) + len(e.Value)
	}
	key := revisionKey(rev)
	record := appendHistory(b.scratch.arena.take(size), key[:], events)
	index, values, err := openHistoryIndex(key[:], record)
	if err != nil {
		return err
	}
	d := b.scratch.hasher.record(key[:], index, values)
	b.state.sums[bucketHistory].add(&d)
	b.layer.put(bucketHistory, bytes.Clone(key[:]), record)
	return b.trim()
}

// trim removes the oldest revisions until the history is within its budget or
// has one revision left. Every revision has one record, so the oldest is the
// one behind compact.
func (b *batch) trim() error {
	s := &b.state
	for s.sums[bucketHistory].bytes > s.historyBudget && s.compact+1 < s.revision {
		key := revisionKey(s.compact + 1)
		record, err := b.buckets[bucketHistory].find(key[:])
		if err != nil {
			return err
		}
		if record == nil {
			return corrupt(bucketHistory, key[:], "the record is missing")
		}
		index, values, err := openHistoryIndex(key[:], record)
		if err != nil {
			return err
		}
		d := b.scratch.hasher.record(key[:], index, values)
		s.sums[bucketHistory].sub(&d)
		b.layer.put(bucketHistory, bytes.Clone(key[:]), nil)
		s.compact++
	}
	return nil
}

// History returns the retained batches after a cursor, oldest first: whole
// revisions, at least one if there is any, and as many as fit into bytesMax of
// keys and values. It returns none where after is at or ahead of this machine.
// It ends in a [store.CompactedError] where revisions are missing or after is
// of another epoch. The batches belong to the caller.
func (m *Machine) History(after store.Cursor, bytesMax int) ([]store.Batch, error) {
	v, err := m.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	return v.History(after, bytesMax)
}

// History is [Machine.History] in the state of the view.
func (v *View) History(after store.Cursor, bytesMax int) (batches []store.Batch, err error) {
	pos := v.Position()
	if after.Revision < pos.Compact || after.Epoch != 0 && after.Epoch != pos.Cursor.Epoch {
		return nil, &store.CompactedError{
			Compact: store.Cursor{Epoch: pos.Cursor.Epoch, Revision: pos.Compact},
			Current: pos.Cursor.Revision,
		}
	}
	if after.Revision >= pos.Cursor.Revision {
		return nil, nil
	}
	err = boltfile.Guard("read history", func() error {
		b, err := v.bucket(bucketHistory)
		if err != nil {
			return err
		}
		size := 0
		for rev := after.Revision + 1; rev <= pos.Cursor.Revision; rev++ {
			key := revisionKey(rev)
			record, err := b.find(key[:])
			if err != nil {
				return err
			}
			if record == nil {
				return corrupt(bucketHistory, key[:], fmt.Sprintf("revision %d is missing", rev))
			}
			if size += len(record); size > bytesMax && len(batches) > 0 {
				return nil
			}
			batch := store.Batch{Cursor: store.Cursor{Epoch: pos.Cursor.Epoch, Revision: rev}}
			copied := append([]byte(nil), record...)
			if err := openHistory(key[:], copied, func(e store.Event) { batch.Events = append(batch.Events, e) }); err != nil {
				return err
			}
			batches = append(batches, batch)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return batches, nil
}
