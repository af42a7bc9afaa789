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
//
// A bundle that can't be decoded is deleted all the same, and so are such entries.
// None of these loses its trust domain: then the error is that of the entry.
func (d *DataStore) DeleteBundle(ctx context.Context, trustDomainID string, mode DeleteMode) error {
	for {
		done, err := updateWrecks(ctx, d, func(tx store.Tx, w wrecks) (bool, error) {
			return d.deleteBundle(ctx, tx, w, trustDomainID, mode)
		})
		if err != nil || done {
			return err
		}
	}
}

// deleteBundle does as much of DeleteBundle as fits into a transaction, and
// tells whether that was all. An entry that begins to federate with the bundle
// meanwhile is a conflict with the deletion of the bundle.
func (d *DataStore) deleteBundle(ctx context.Context, tx store.Tx, w wrecks, trustDomainID string, mode DeleteMode) (bool, error) {
	bundle, err := bundles.mustFind(ctx, tx, trustDomainID, w)
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
		return true, bundle.delete(tx)
	}
	found, err := tx.Scan(ctx, federated, batchEntriesMax)
	if err != nil {
		return false, err
	}
	var b batch
	for _, kv := range found {
		if ok, err := d.endFederation(ctx, tx, w, &b, kv, trustDomainID, mode); err != nil || !ok {
			return false, err
		}
	}
	if len(found) == batchEntriesMax {
		return false, nil // there may be more
	}
	return true, bundle.delete(tx)
}

// endFederation deletes or dissociates the entry of an index record, if that
// fits into b, and tells whether it does.
func (d *DataStore) endFederation(ctx context.Context, tx store.Tx, w wrecks, b *batch, kv store.KeyValue, trustDomainID string, mode DeleteMode) (bool, error) {
	posting, err := entries.kind.Posting(kv.Key, kv.Value)
	if err != nil {
		return false, err
	}
	if mode == Delete {
		old, err := entries.mustFind(ctx, tx, string(posting.ID), w)
		if err != nil || !b.take(old.object) {
			return false, err
		}
		return true, deleteEntry(tx, old, d.clock())
	}
	old, err := entries.mustGet(ctx, tx, string(posting.ID))
	if err != nil || !b.take(old.Object) {
		return false, err
	}
	e := records.CopyEntry(old.Object)
	e.RevisionNumber++
	e.FederatesWith = slices.DeleteFunc(e.FederatesWith, func(id string) bool { return id == trustDomainID })
	return true, replaceEntry(tx, old, e, d.clock())
}
