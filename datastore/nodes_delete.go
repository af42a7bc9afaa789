package datastore

import (
	"context"
	"time"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// pruneNodesDefault is how many nodes are pruned where the caller doesn't say.
const pruneNodesDefault = 1000

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

// PruneAttestedExpiredNodes deletes nodes whose certificate expired before
// expiredBefore, as DeleteAttestedNode does: at most batchSize of them, or 1000
// where that isn't positive. Banned nodes stay, and so do those that can't
// attest again unless includeNonReattestable is set.
//
// It is one transaction up to 1000 nodes, or as many as fit into one.
func (d *DataStore) PruneAttestedExpiredNodes(ctx context.Context, expiredBefore time.Time, includeNonReattestable bool, batchSize int) error {
	if batchSize <= 0 {
		batchSize = pruneNodesDefault
	}
	limit := ceilSeconds(expiredBefore)
	filters := []filter{nodes.expiresBefore(limit), nodes.equals(records.FieldBanned, records.ValueFalse)}
	if !includeNonReattestable {
		filters = append(filters, nodes.equals(records.FieldCanReattest, records.ValueTrue))
	}
	prunable := func(n *spirev1.AttestedNode) bool {
		return n.CertNotAfter < limit && n.CertSerialNumber != "" && (n.CanReattest || includeNonReattestable)
	}

	ids, err := view(ctx, d, store.Linearizable(), func(tx store.Tx) ([]string, error) {
		return nodes.ids(ctx, tx, batchSize, filters...)
	})
	var pruned []deletedNode
	if err == nil {
		pruned, err = inChunks(ctx, d, ids, func(tx store.Tx, ids []string) ([]deletedNode, error) {
			return d.pruneNodes(ctx, tx, ids, prunable)
		})
	}
	for _, p := range pruned {
		d.logCascade(p.entries)
	}
	d.log.Info("Pruned expired agents", "count", len(pruned))
	return err
}

// pruneNodes deletes those of ids that are still prunable, and returns them.
func (d *DataStore) pruneNodes(ctx context.Context, tx store.Tx, ids []string, prunable func(*spirev1.AttestedNode) bool) ([]deletedNode, error) {
	var pruned []deletedNode
	for _, id := range ids {
		item, ok, err := nodes.get(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		if !ok || !prunable(item.Object) {
			continue
		}
		deleted, err := d.deleteNode(ctx, tx, item)
		if err != nil {
			return nil, err
		}
		pruned = append(pruned, deleted)
	}
	return pruned, nil
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
