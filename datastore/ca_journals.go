package datastore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

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
	data := append([]byte(nil), j.Data...) // empty is nil, as it is fetched
	stored := &CAJournal{ID: j.ID, Data: data, ActiveX509AuthorityID: j.ActiveX509AuthorityID}
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
		var bad MalformedRecordsError
		keys, err := journals.ids(ctx, tx, &bad, journals.equals(records.FieldAuthority, activeX509AuthorityID))
		if err == nil {
			err = bad.errOrNil() // one of these may be the newest
		}
		if err != nil || len(keys) == 0 {
			return nil, err
		}
		newest := records.Posting{ID: []byte(keys[len(keys)-1])}
		item, err := journals.itemOf(ctx, tx, newest)
		if err != nil {
			return nil, err
		}
		return toJournal(item), nil
	})
}

// PruneCAJournals deletes the journals in which all authorities expire at or
// before a time in Unix seconds. Those whose data can't be decoded stay: they are
// named in an error, which is Internal, once all others have been looked at.
func (d *DataStore) PruneCAJournals(ctx context.Context, allCAsExpireBefore int64) error {
	pruned, err := prune(ctx, d, func(tx store.Tx, bad *MalformedRecordsError) ([]string, error) {
		return staleJournals(ctx, tx, allCAsExpireBefore, bad)
	}, func(tx store.Tx, key string) (uint64, bool, error) {
		return pruneJournal(ctx, tx, key, allCAsExpireBefore)
	})
	for _, id := range pruned {
		d.log.Info("Pruned stale CA journal record", "ca_journal_id", id)
	}
	if bad, ok := errors.AsType[*MalformedRecordsError](err); ok {
		err = failure(codes.Internal, "unable to unmarshal entries from CA journal record: %w", bad)
	}
	return err
}

// ListCAJournalsForTesting returns all journals in the order of their IDs, or
// nil. With a [MalformedRecordsError] come all but those that it names.
func (d *DataStore) ListCAJournalsForTesting(ctx context.Context) ([]*CAJournal, error) {
	return view(ctx, d, store.Linearizable(), func(tx store.Tx) ([]*CAJournal, error) {
		var bad MalformedRecordsError
		items, _, err := journals.list(ctx, tx, query{}, &bad)
		if err != nil {
			return nil, err
		}
		var all []*CAJournal
		for _, item := range items {
			all = append(all, toJournal(item))
		}
		return all, bad.errOrNil()
	})
}

// staleJournals returns the keys of the journals without an authority that
// expires after limit.
func staleJournals(ctx context.Context, tx store.Tx, limit int64, bad *MalformedRecordsError) ([]string, error) {
	items, _, err := journals.list(ctx, tx, query{}, bad)
	if err != nil {
		return nil, err
	}
	var stale []string
	for _, item := range items {
		alive, err := journalAlive(item, limit)
		switch {
		case err == nil && !alive:
			stale = append(stale, item.Object.Key)
		case err != nil && !bad.collect(err):
			return nil, err
		}
	}
	return stale, nil
}

// pruneJournal deletes a journal if it is still stale, and returns its ID and
// whether it was.
func pruneJournal(ctx context.Context, tx store.Tx, key string, limit int64) (uint64, bool, error) {
	item, ok, err := journals.get(ctx, tx, key)
	if err != nil || !ok {
		return 0, false, err
	}
	if alive, err := journalAlive(item, limit); err != nil || alive {
		return 0, false, err
	}
	return item.Number, true, during(codes.Internal, "failed to delete CA journal", journals.delete(tx, item))
}

// journalAlive tells whether any authority of a journal expires after the Unix
// second limit. The error is a [records.MalformedError].
func journalAlive(item records.Item[*recordsv1.CAJournal], limit int64) (bool, error) {
	var entries spirev1.CAJournalEntries
	if err := proto.Unmarshal(item.Object.Data, &entries); err != nil {
		return false, journals.kind.Malformed(item.Object.Key, fmt.Errorf("data of journal %d: %w", item.Number, err))
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
