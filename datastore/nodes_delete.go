package datastore

import (
	"context"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// DeleteAttestedNode deletes a node and its selectors, and returns it without
// them. The aliases of a node that was attested by a join token go with it. It
// emits a node event, and an entry event for each alias. The error is NotFound
// if there is no node.
//
// What of these can't be decoded is deleted as well. Of such a node, the id and
// the attestation type are returned.
func (d *DataStore) DeleteAttestedNode(ctx context.Context, spiffeID string) (*spirev1.AttestedNode, error) {
	deleted, err := updateWrecks(ctx, d, func(tx store.Tx, w wrecks) (deletedNode, error) {
		node, err := nodes.mustFind(ctx, tx, spiffeID, w)
		if err != nil {
			return deletedNode{}, err
		}
		return d.deleteNode(ctx, tx, node, w)
	})
	if err != nil {
		return nil, err
	}
	d.logCascade(deleted.entries)
	return deleted.node, nil
}

// deletedNode is a node and the entries that went with it.
type deletedNode struct {
	node    *spirev1.AttestedNode
	entries []*spirev1.RegistrationEntry
}

// deleteNode is DeleteAttestedNode in a transaction, but for the log. It writes
// nothing where something can't be decoded.
func (d *DataStore) deleteNode(ctx context.Context, tx store.Tx, node stored[*spirev1.AttestedNode], w wrecks) (deletedNode, error) {
	deleted := deletedNode{node: node.object}
	selectors, aliases, err := belongings(ctx, tx, node.object, w)
	if err != nil {
		return deleted, err
	}
	if err := node.delete(tx); err != nil {
		return deleted, err
	}
	if err := selectors.delete(tx); err != nil {
		return deleted, err
	}
	for _, alias := range aliases {
		if err := deleteEntry(tx, alias, d.clock()); err != nil {
			return deleted, err
		}
		deleted.entries = append(deleted.entries, alias.object)
	}
	return deleted, nodeEvents.emit(tx, d.clock(), node.object.SpiffeId)
}

// belongings returns what goes with a node: its selectors, which may be none, and
// its aliases.
func belongings(ctx context.Context, tx store.Tx, node *spirev1.AttestedNode, w wrecks) (
	selectors stored[*records.NodeSelectors], aliases []stored[*spirev1.RegistrationEntry], err error,
) {
	selectors, _, err = nodeSelectors.find(ctx, tx, node.SpiffeId, w)
	if err == nil {
		aliases, err = aliasesOf(ctx, tx, node, w)
	}
	return selectors, aliases, err
}

// joinTokenType is the attestation type of the nodes whose entries go with them.
const joinTokenType = "join_token"

// spiffeIDSelector is the type of the selector by which an entry names the one
// node that it is an alias of.
const spiffeIDSelector = "spiffe_id"

// aliasesOf returns the aliases that were made for a node that was attested by a
// join token, since nobody can use them without it: its children whose only
// selector is its SPIFFE ID.
func aliasesOf(ctx context.Context, tx store.Tx, node *spirev1.AttestedNode, w wrecks) ([]stored[*spirev1.RegistrationEntry], error) {
	if node.AttestationDataType != joinTokenType {
		return nil, nil
	}
	var bad MalformedRecordsError
	selector := []string{records.SelectorValue(spiffeIDSelector, node.SpiffeId)}
	ids, err := entries.ids(ctx, tx, &bad,
		entries.matches(records.FieldSelector, selector, Exact),
		entries.equals(records.FieldParentID, node.SpiffeId))
	if err == nil {
		err = bad.errOrNil() // it may be that of an alias, which must not be left
	}
	if err != nil {
		return nil, err
	}
	var aliases []stored[*spirev1.RegistrationEntry]
	for _, id := range ids {
		alias, err := entries.mustFind(ctx, tx, id, w)
		if err != nil {
			return nil, err
		}
		aliases = append(aliases, alias)
	}
	return aliases, nil
}

// logCascade logs the entries that were deleted with nodes.
func (d *DataStore) logCascade(entries []*spirev1.RegistrationEntry) {
	for _, e := range entries {
		d.log.Info("Cascade-deleted registration entry on attested node deletion",
			"spiffe_id", e.SpiffeId, "parent_id", e.ParentId, "entry_id", e.EntryId)
	}
}
