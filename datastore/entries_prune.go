package datastore

import (
	"context"
	"time"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store"
)

// PruneRegistrationEntries deletes the entries whose expiry, if they have one,
// is before the second of expiresBefore, and logs each.
//
// Each is deleted together with its event. Many take several transactions, so
// some may be gone when the call fails. Those that can't be decoded stay, and are
// named in a [MalformedRecordsError] when all others are gone.
func (d *DataStore) PruneRegistrationEntries(ctx context.Context, expiresBefore time.Time) error {
	limit := expiresBefore.Unix()
	deleted, err := prune(ctx, d, func(tx store.Tx, bad *MalformedRecordsError) ([]string, error) {
		return entries.ids(ctx, tx, bad, entries.expiresBefore(limit))
	}, func(tx store.Tx, id string) (*spirev1.RegistrationEntry, bool, error) {
		old, ok, err := entries.get(ctx, tx, id)
		if e := old.Object; err != nil || !ok || e.EntryExpiry == 0 || e.EntryExpiry >= limit {
			return nil, false, err // changed since it was found
		}
		return old.Object, true, deleteEntry(tx, entries.stored(old), d.clock())
	})
	for _, e := range deleted {
		d.log.Info("Pruned an expired registration", "spiffe_id", e.SpiffeId, "parent_id", e.ParentId, "entry_id", e.EntryId)
	}
	return err
}
