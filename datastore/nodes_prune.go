package datastore

import (
	"context"
	"errors"
	"time"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// pruneNodesDefault is how many nodes are pruned where the caller doesn't say.
const pruneNodesDefault = 1000

// PruneAttestedExpiredNodes deletes nodes whose certificate expired before
// expiredBefore, as DeleteAttestedNode does: at most batchSize of them, or 1000
// where that isn't positive, and first those that expired first. Banned nodes
// stay, and so do those that can't attest again unless includeNonReattestable is
// set.
//
// It is one transaction up to 1000 nodes, or as many as fit into one.
func (d *DataStore) PruneAttestedExpiredNodes(ctx context.Context, expiredBefore time.Time, includeNonReattestable bool, batchSize int) error {
	if batchSize <= 0 {
		batchSize = pruneNodesDefault
	}
	expired := expiredNodes{before: ceilSeconds(expiredBefore), final: includeNonReattestable}
	ids, err := view(ctx, d, store.Linearizable(), func(tx store.Tx) ([]string, error) {
		return expired.find(ctx, tx, batchSize)
	})
	var pruned []deletedNode
	if err == nil {
		pruned, err = inChunks(ctx, d, ids, func(tx store.Tx, ids []string) ([]deletedNode, error) {
			return d.pruneNodes(ctx, tx, ids, expired)
		})
	}
	for _, p := range pruned {
		d.logCascade(p.entries)
	}
	d.log.Info("Pruned expired agents", "count", len(pruned))
	return err
}

// expiredNodes are the nodes to prune.
type expiredNodes struct {
	before int64 // Unix seconds
	final  bool  // with those that can't attest again
}

func (x expiredNodes) has(n *spirev1.AttestedNode) bool {
	return n.CertNotAfter < x.before && n.CertSerialNumber != "" && (n.CanReattest || x.final)
}

// find returns the ids of at most limit of them, in the order of their expiry.
// It asks indexes alone.
func (x expiredNodes) find(ctx context.Context, tx store.Tx, limit int) ([]string, error) {
	var ids []string
	enough := errors.New("enough")
	r := store.Range{}
	r.Start, r.End = nodes.kind.ExpiryBefore(x.before)
	err := scanAll(ctx, tx, r, func(kv store.KeyValue) error {
		p, err := nodes.kind.Posting(kv.Key, kv.Value)
		if err != nil {
			return err
		}
		prunable, err := hasValue(ctx, tx, records.FieldBanned, records.ValueFalse, p.Number)
		if err == nil && prunable && !x.final {
			prunable, err = hasValue(ctx, tx, records.FieldCanReattest, records.ValueTrue, p.Number)
		}
		if err != nil || !prunable {
			return err
		}
		if ids = append(ids, p.ID); len(ids) == limit {
			return enough
		}
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		return nil, err
	}
	return ids, nil
}

// hasValue tells whether the node with a number has value in field.
func hasValue(ctx context.Context, tx store.Tx, field, value string, number uint64) (bool, error) {
	_, ok, err := tx.Get(ctx, nodes.kind.IndexKey(records.IndexRecord{Field: field, Value: value}, number))
	return ok, err
}

// pruneNodes deletes those of ids that are still expired, and returns them.
func (d *DataStore) pruneNodes(ctx context.Context, tx store.Tx, ids []string, expired expiredNodes) ([]deletedNode, error) {
	var pruned []deletedNode
	for _, id := range ids {
		item, ok, err := nodes.get(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		if !ok || !expired.has(item.Object) {
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
