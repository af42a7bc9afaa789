package datastore

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// DeleteBundle deletes the bundle of a trust domain. mode says what happens to
// the entries that federate with it: they are deleted, or lose the trust domain
// and get the next revision number, in both cases with an event, or their being
// there is FailedPrecondition. The error is NotFound if there is no bundle.
//
// Up to some hundred entries and the bundle go in one transaction. More take
// several, the bundle in the last one: if the call fails between them, the
// bundle and some of the entries are left as they were.
func (d *DataStore) DeleteBundle(ctx context.Context, trustDomainID string, mode DeleteMode) error {
	for {
		done, err := update(ctx, d, func(tx store.Tx) (bool, error) {
			return d.deleteBundle(ctx, tx, trustDomainID, mode)
		})
		if err != nil || done {
			return err
		}
	}
}

// deleteBundle does as much of DeleteBundle as fits into a transaction, and
// tells whether that was all. An entry that begins to federate with the bundle
// meanwhile is a conflict with the deletion of the bundle.
func (d *DataStore) deleteBundle(ctx context.Context, tx store.Tx, trustDomainID string, mode DeleteMode) (bool, error) {
	bundle, err := bundles.mustGet(ctx, tx, trustDomainID)
	if err != nil {
		return false, err
	}
	federated := store.Prefix(entries.kind.IndexPrefix(records.FieldFederatesWith, trustDomainID))
	if mode != Delete && mode != Dissociate {
		n, err := tx.Count(ctx, federated)
		if err != nil {
			return false, err
		}
		if n > 0 {
			return false, failure(codes.FailedPrecondition,
				storagePrefix+"cannot delete bundle; federated with %d registration entries", n)
		}
		return true, bundles.delete(tx, bundle)
	}
	found, err := tx.Scan(ctx, federated, batchEntriesMax)
	if err != nil {
		return false, err
	}
	var b batch
	for _, kv := range found {
		if ok, err := d.endFederation(ctx, tx, &b, kv, trustDomainID, mode); err != nil || !ok {
			return false, err
		}
	}
	if len(found) == batchEntriesMax {
		return false, nil // there may be more
	}
	return true, bundles.delete(tx, bundle)
}

// endFederation deletes or dissociates the entry of an index record, if that
// fits into b, and tells whether it does.
func (d *DataStore) endFederation(ctx context.Context, tx store.Tx, b *batch, kv store.KeyValue, trustDomainID string, mode DeleteMode) (bool, error) {
	posting, err := entries.kind.Posting(kv.Key, kv.Value)
	if err != nil {
		return false, err
	}
	old, err := entries.mustGet(ctx, tx, posting.ID)
	if err != nil {
		return false, err
	}
	if !b.take(old.Object) {
		return false, nil
	}
	if mode == Delete {
		return true, deleteEntry(tx, old, d.clock())
	}
	e := records.CopyEntry(old.Object)
	e.RevisionNumber++
	e.FederatesWith = slices.DeleteFunc(e.FederatesWith, func(id string) bool { return id == trustDomainID })
	return true, replaceEntry(tx, old, e, d.clock())
}
