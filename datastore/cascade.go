package datastore

import (
	"context"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// joinTokenType is the attestation type of the nodes whose entries go with them.
const joinTokenType = "join_token"

// spiffeIDSelector is the type of the selector by which an entry names the one
// node that it is an alias of.
const spiffeIDSelector = "spiffe_id"

// cascade deletes the aliases that were made for a node that was attested by a
// join token, since nobody can use them without it: its children whose only
// selector is its SPIFFE ID. It returns them. Each has its event.
func (d *DataStore) cascade(ctx context.Context, tx store.Tx, node *spirev1.AttestedNode) ([]*spirev1.RegistrationEntry, error) {
	if node.AttestationDataType != joinTokenType {
		return nil, nil
	}
	selector := []string{records.SelectorValue(spiffeIDSelector, node.SpiffeId)}
	items, _, err := entries.list(ctx, tx, query[*spirev1.RegistrationEntry]{filters: []filter{
		entries.matches(records.FieldSelector, selector, Exact),
		entries.equals(records.FieldParentID, node.SpiffeId),
	}})
	if err != nil {
		return nil, err
	}
	for _, item := range items {
		if err := deleteEntry(tx, item, d.clock()); err != nil {
			return nil, err
		}
	}
	return objects(items), nil
}

// logCascade logs the entries that were deleted with nodes.
func (d *DataStore) logCascade(entries []*spirev1.RegistrationEntry) {
	for _, e := range entries {
		d.log.Info("Cascade-deleted registration entry on attested node deletion",
			"spiffe_id", e.SpiffeId, "parent_id", e.ParentId, "entry_id", e.EntryId)
	}
}
