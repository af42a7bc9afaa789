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
// It is one transaction up to 1000 nodes, or as many as fit into one. A node that
// can't be decoded stays, and so does one whose selectors or aliases can't: what
// can't is in a [MalformedRecordsError] when the others are gone.
func (d *DataStore) PruneAttestedExpiredNodes(ctx context.Context, expiredBefore time.Time, includeNonReattestable bool, batchSize int) error {
	if batchSize <= 0 {
		batchSize = pruneNodesDefault
	}
	expired := expiredNodes{before: ceilSeconds(expiredBefore), final: includeNonReattestable}
	pruned, err := prune(ctx, d, func(tx store.Tx, bad *MalformedRecordsError) ([]string, error) {
		return expired.find(ctx, tx, batchSize, bad)
	}, func(tx store.Tx, id string) (deletedNode, bool, error) {
		item, ok, err := nodes.get(ctx, tx, id)
		if err != nil || !ok || !expired.has(item.Object) {
			return deletedNode{}, false, err // changed since it was found
		}
		deleted, err := d.deleteNode(ctx, tx, nodes.stored(item), nil)
		return deleted, true, err
	})
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

// find returns the ids of at most limit of them, in the order of their expiry. It
// reads none that indexes rule out. What keeps one from being deleted, since it
// can't be decoded, is added to bad.
func (x expiredNodes) find(ctx context.Context, tx store.Tx, limit int, bad *MalformedRecordsError) ([]string, error) {
	var ids []string
	enough := errors.New("enough")
	r := store.Range{}
	r.Start, r.End = nodes.kind.ExpiryBefore(x.before)
	err := scanAll(ctx, tx, r, func(kv store.KeyValue) error {
		p, err := nodes.kind.Posting(kv.Key, kv.Value)
		if bad.collect(err) {
			return nil
		}
		if err != nil {
			return err
		}
		prunable, err := hasValue(ctx, tx, records.FieldBanned, records.ValueFalse, p.Number)
		if err == nil && prunable && !x.final {
			prunable, err = hasValue(ctx, tx, records.FieldCanReattest, records.ValueTrue, p.Number)
		}
		if err == nil && prunable {
			err = readable(ctx, tx, p)
		}
		if bad.collect(err) {
			return nil
		}
		if err != nil || !prunable {
			return err
		}
		if ids = append(ids, string(p.ID)); len(ids) == limit {
			return enough
		}
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		return nil, err
	}
	return ids, nil
}

// readable returns the error of what can't be decoded of a node and of what goes
// with it.
func readable(ctx context.Context, tx store.Tx, p records.Posting) error {
	item, err := nodes.itemOf(ctx, tx, p)
	if err == nil {
		_, _, err = belongings(ctx, tx, item.Object, nil)
	}
	return err
}

// hasValue tells whether the node with a number has value in field.
func hasValue(ctx context.Context, tx store.Tx, field, value string, number uint64) (bool, error) {
	_, ok, err := tx.Get(ctx, nodes.kind.IndexKey(records.IndexRecord{Field: field, Value: value}, number))
	return ok, err
}
