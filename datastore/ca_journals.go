package datastore

import (
	"bytes"
	"context"
	"crypto/rand"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	recordsv1 "github.com/spire-raft/spire-raft/proto/records/v1"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// Journals have a random key: their id is their number, which isn't known when
// they are written. So no id is ever taken.
var journals = collection[*recordsv1.CAJournal]{kind: records.CAJournals}

// SetCAJournal stores a new journal if its ID is 0, and else replaces the one
// with its ID. It returns the journal with its ID. The error is NotFound if there
// is none with that ID.
func (d *DataStore) SetCAJournal(ctx context.Context, j *CAJournal) (*CAJournal, error) {
	if j == nil {
		return nil, failure(codes.InvalidArgument, "ca journal is required")
	}
	stored := &CAJournal{ID: j.ID, Data: bytes.Clone(j.Data), ActiveX509AuthorityID: j.ActiveX509AuthorityID}
	if j.ID == 0 {
		number, res, err := updateNumbered(ctx, d, func(tx store.Tx) (store.Sequence, error) {
			return journals.create(ctx, tx, journalRecord(rand.Text(), j))
		})
		if err != nil {
			return nil, err
		}
		stored.ID = uint(res.Number(number))
		return stored, nil
	}
	return update(ctx, d, func(tx store.Tx) (*CAJournal, error) {
		old, ok, err := journals.byNumber(ctx, tx, uint64(j.ID))
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, errNotFound()
		}
		return stored, journals.update(tx, old, journalRecord(old.Object.Key, j))
	})
}

// FetchCAJournal returns the journal of the server whose active X.509 authority
// is given, or nil. If there are several it is the newest.
func (d *DataStore) FetchCAJournal(ctx context.Context, activeX509AuthorityID string) (*CAJournal, error) {
	if activeX509AuthorityID == "" {
		return nil, failure(codes.InvalidArgument, "active X509 authority ID is required")
	}
	return view(ctx, d, store.Linearizable(), func(tx store.Tx) (*CAJournal, error) {
		keys, err := journals.ids(ctx, tx, 0, journals.equals(records.FieldAuthority, activeX509AuthorityID))
		if err != nil || len(keys) == 0 {
			return nil, err
		}
		item, err := journals.mustGet(ctx, tx, keys[len(keys)-1])
		if err != nil {
			return nil, err
		}
		return toJournal(item), nil
	})
}

// PruneCAJournals deletes the journals in which all authorities expire at or
// before a time in Unix seconds. The error is Internal, and nothing is deleted,
// if the data of one can't be decoded.
func (d *DataStore) PruneCAJournals(ctx context.Context, allCAsExpireBefore int64) error {
	stale, err := view(ctx, d, store.Linearizable(), func(tx store.Tx) ([]string, error) {
		items, _, err := journals.list(ctx, tx, query[*recordsv1.CAJournal]{})
		if err != nil {
			return nil, err
		}
		var stale []string
		for _, item := range items {
			alive, err := journalAlive(item.Object.Data, allCAsExpireBefore)
			if err != nil {
				return nil, failure(codes.Internal, "unable to unmarshal entries from CA journal record: %w", err)
			}
			if !alive {
				stale = append(stale, item.Object.Key)
			}
		}
		return stale, nil
	})
	if err != nil {
		return err
	}
	pruned, err := inChunks(ctx, d, stale, func(tx store.Tx, keys []string) ([]uint64, error) {
		return pruneJournals(ctx, tx, keys, allCAsExpireBefore)
	})
	for _, id := range pruned {
		d.log.Info("Pruned stale CA journal record", "ca_journal_id", id)
	}
	return err
}

// ListCAJournalsForTesting returns all journals in the order of their IDs, or
// nil.
func (d *DataStore) ListCAJournalsForTesting(ctx context.Context) ([]*CAJournal, error) {
	return view(ctx, d, store.Linearizable(), func(tx store.Tx) ([]*CAJournal, error) {
		items, _, err := journals.list(ctx, tx, query[*recordsv1.CAJournal]{})
		var all []*CAJournal
		for _, item := range items {
			all = append(all, toJournal(item))
		}
		return all, err
	})
}

// pruneJournals deletes those of keys that are still stale, and returns their
// IDs.
func pruneJournals(ctx context.Context, tx store.Tx, keys []string, limit int64) ([]uint64, error) {
	var pruned []uint64
	for _, key := range keys {
		item, ok, err := journals.get(ctx, tx, key)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if alive, err := journalAlive(item.Object.Data, limit); err != nil || alive {
			continue // it has changed, and what can't be decoded is kept
		}
		if err := journals.delete(tx, item); err != nil {
			return nil, during(codes.Internal, "failed to delete CA journal", err)
		}
		pruned = append(pruned, item.Number)
	}
	return pruned, nil
}

// journalAlive tells whether any authority of a journal expires after the Unix
// second limit.
func journalAlive(data []byte, limit int64) (bool, error) {
	var entries spirev1.CAJournalEntries
	if err := proto.Unmarshal(data, &entries); err != nil {
		return false, err
	}
	for _, ca := range entries.X509CAs {
		if ca.NotAfter > limit {
			return true, nil
		}
	}
	for _, key := range entries.JwtKeys {
		if key.NotAfter > limit {
			return true, nil
		}
	}
	for _, key := range entries.WitKeys {
		if key.NotAfter > limit {
			return true, nil
		}
	}
	return false, nil
}

func journalRecord(key string, j *CAJournal) *recordsv1.CAJournal {
	return &recordsv1.CAJournal{Key: key, Data: j.Data, ActiveX509AuthorityId: j.ActiveX509AuthorityID}
}

func toJournal(item records.Item[*recordsv1.CAJournal]) *CAJournal {
	return &CAJournal{
		ID:                    uint(item.Number),
		Data:                  item.Object.Data,
		ActiveX509AuthorityID: item.Object.ActiveX509AuthorityId,
	}
}
