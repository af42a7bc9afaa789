package datastore

import (
	"context"
	"errors"
	"time"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// PruneRegistrationEntries deletes the entries whose expiry, if they have one,
// is before the second of expiresBefore, and logs each.
//
// Each is deleted together with its event. Many take several transactions, so
// some may be gone when the call fails. Entries that can't be decoded stay, and
// are in the error; they don't keep the others.
func (d *DataStore) PruneRegistrationEntries(ctx context.Context, expiresBefore time.Time) error {
	limit := expiresBefore.Unix()
	expired, err := view(ctx, d, store.Linearizable(), func(tx store.Tx) ([]string, error) {
		var ids []string
		q := query[*spirev1.RegistrationEntry]{filters: []filter{entries.expiresBefore(limit)}}
		err := entries.each(ctx, tx, q, func(p records.Posting) (bool, error) {
			ids = append(ids, p.ID)
			return true, nil
		})
		return ids, err
	})
	var malformed []error
	for err == nil && len(expired) > 0 {
		var done prunedEntries
		done, err = update(ctx, d, func(tx store.Tx) (prunedEntries, error) {
			return pruneEntries(ctx, tx, expired, limit, d.clock())
		})
		for _, e := range done.deleted {
			d.log.Info("Pruned an expired registration", "spiffe_id", e.SpiffeId, "parent_id", e.ParentId, "entry_id", e.EntryId)
		}
		malformed = append(malformed, done.malformed...)
		expired = expired[done.tried:]
	}
	if err == nil {
		err = translate(errors.Join(malformed...))
	}
	return err
}

// prunedEntries is what became of the first of some expired entries.
type prunedEntries struct {
	tried     int
	deleted   []*spirev1.RegistrationEntry
	malformed []error
}

// pruneEntries deletes as many of the entries with the given ids as fit into a
// transaction, if they are there and still have an expiry before limit.
func pruneEntries(ctx context.Context, tx store.Tx, ids []string, limit int64, now time.Time) (prunedEntries, error) {
	var b batch
	var done prunedEntries
	for _, id := range ids {
		old, ok, err := entries.get(ctx, tx, id)
		switch e := old.Object; {
		case errors.Is(err, records.ErrMalformed):
			done.malformed = append(done.malformed, err)
		case err != nil:
			return done, err
		case !ok || e.EntryExpiry == 0 || e.EntryExpiry >= limit:
			// changed since it was found
		case !b.take(e):
			return done, nil
		default:
			if err := deleteEntry(tx, old, now); err != nil {
				return done, err
			}
			done.deleted = append(done.deleted, e)
		}
		done.tried++
	}
	return done, nil
}
