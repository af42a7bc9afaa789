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
func (d *DataStore) DeleteAttestedNode(ctx context.Context, spiffeID string) (*spirev1.AttestedNode, error) {
	deleted, err := update(ctx, d, func(tx store.Tx) (deletedNode, error) {
		item, err := nodes.mustGet(ctx, tx, spiffeID)
		if err != nil {
			return deletedNode{}, err
		}
		return d.deleteNode(ctx, tx, item)
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

// deleteNode is DeleteAttestedNode in a transaction, but for the log.
func (d *DataStore) deleteNode(ctx context.Context, tx store.Tx, item records.Item[*spirev1.AttestedNode]) (deletedNode, error) {
	if err := nodes.delete(tx, item); err != nil {
		return deletedNode{}, err
	}
	selectors, ok, err := nodeSelectors.get(ctx, tx, item.Object.SpiffeId)
	if err == nil && ok {
		err = nodeSelectors.delete(tx, selectors)
	}
	if err != nil {
		return deletedNode{}, err
	}
	entries, err := d.cascade(ctx, tx, item.Object)
	if err != nil {
		return deletedNode{}, err
	}
	return deletedNode{item.Object, entries}, nodeEvents.emit(tx, d.clock(), item.Object.SpiffeId)
}
