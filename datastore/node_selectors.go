package datastore

import (
	"context"
	"errors"
	"slices"

	"github.com/spire-raft/spire-raft/cache"
	"github.com/spire-raft/spire-raft/keys"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

const selectorColumns = "node_resolver_map_entries.spiffe_id, " +
	"node_resolver_map_entries.type, node_resolver_map_entries.value"

// Selectors are kept by SPIFFE ID, whether or not it has a node. An id without
// selectors has no set.
var nodeSelectors = collection[*records.NodeSelectors]{
	kind: records.NodeSelectorSets, unique: selectorColumns,
	blank: func(id string, _ map[string]string) *records.NodeSelectors {
		return &records.NodeSelectors{SpiffeID: id}
	},
}

// SetNodeSelectors replaces the selectors of a SPIFFE ID, which need not have a
// node. It emits a node event, whatever changed. The error is AlreadyExists if a
// selector is given twice, and InvalidArgument if one is nil. A stored set that
// can't be decoded is replaced all the same.
func (d *DataStore) SetNodeSelectors(ctx context.Context, spiffeID string, selectors []*spirev1.Selector) error {
	if slices.Contains(selectors, nil) {
		return errValidation("invalid node selectors: selector is nil")
	}
	_, err := updateWrecks(ctx, d, func(tx store.Tx, w wrecks) (struct{}, error) {
		if err := setSelectors(ctx, tx, w, spiffeID, selectors); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, nodeEvents.emit(tx, d.clock(), spiffeID)
	})
	return err
}

// GetNodeSelectors returns the selectors of a SPIFFE ID in the order in which
// they were given, or nil.
func (d *DataStore) GetNodeSelectors(ctx context.Context, spiffeID string, dataConsistency DataConsistency) ([]*spirev1.Selector, error) {
	cached := func(v cache.View) ([]*spirev1.Selector, bool) {
		selectors, err := v.NodeSelectors(spiffeID)
		return fetched(selectors, err, records.CloneSelectors)
	}
	return cachedView(ctx, d, d.consistency(dataConsistency), pointWait, cached, func(tx store.Tx) ([]*spirev1.Selector, error) {
		return selectorsOf(ctx, tx, spiffeID)
	})
}

// ListNodeSelectors returns the selectors of all SPIFFE IDs or, if ValidAt is
// set, of the nodes whose certificate expires after it. The map is not nil, and
// has no id without selectors. With a [MalformedRecordsError] come all but those
// that it names.
func (d *DataStore) ListNodeSelectors(ctx context.Context, req *ListNodeSelectorsRequest) (*ListNodeSelectorsResponse, error) {
	req = orEmpty(req)
	return view(ctx, d, d.consistency(req.DataConsistency), func(tx store.Tx) (*ListNodeSelectorsResponse, error) {
		var bad MalformedRecordsError
		wanted := func(string) bool { return true }
		if !req.ValidAt.IsZero() {
			ids, err := nodes.ids(ctx, tx, &bad, nodes.expiresFrom(secondAfter(req.ValidAt)))
			if err != nil {
				return nil, err
			}
			valid := make(map[string]bool, len(ids))
			for _, id := range ids {
				valid[id] = true
			}
			wanted = func(id string) bool { return valid[id] }
		}
		found, err := listSelectors(ctx, tx, wanted, &bad)
		if err != nil {
			return nil, err
		}
		return &ListNodeSelectorsResponse{Selectors: found}, bad.errOrNil()
	})
}

// listSelectors returns the selectors of the wanted ids. It decodes no others.
func listSelectors(ctx context.Context, tx store.Tx, wanted func(id string) bool, bad *MalformedRecordsError) (map[string][]*spirev1.Selector, error) {
	found := make(map[string][]*spirev1.Selector)
	err := scanAll(ctx, tx, store.Prefix(nodeSelectors.kind.Prefix()), func(kv store.KeyValue) error {
		if key, err := keys.ParseItem(kv.Key); err == nil && !wanted(string(key.ID)) {
			return nil
		}
		item, err := nodeSelectors.kind.DecodePair(kv.Key, kv.Value)
		switch {
		case err == nil:
			found[item.Object.SpiffeID] = item.Object.Selectors
		case !bad.collect(err):
			return err
		}
		return nil
	})
	return found, err
}

// selectorsOf returns the selectors of a SPIFFE ID, or nil.
func selectorsOf(ctx context.Context, tx store.Tx, spiffeID string) ([]*spirev1.Selector, error) {
	item, ok, err := nodeSelectors.get(ctx, tx, spiffeID)
	if err != nil || !ok {
		return nil, err
	}
	return item.Object.Selectors, nil
}

// setSelectors is SetNodeSelectors in a transaction, but for the event.
func setSelectors(ctx context.Context, tx store.Tx, w wrecks, spiffeID string, selectors []*spirev1.Selector) error {
	if err := distinctSelectors(selectors); err != nil {
		return err
	}
	old, ok, err := nodeSelectors.get(ctx, tx, spiffeID)
	if errors.Is(err, records.ErrMalformed) {
		var left stored[*records.NodeSelectors]
		if left, _, err = nodeSelectors.find(ctx, tx, spiffeID, w); err == nil {
			err = left.delete(tx)
		}
	}
	if err != nil {
		return err
	}
	set := &records.NodeSelectors{SpiffeID: spiffeID, Selectors: selectors}
	switch {
	case ok && len(selectors) == 0:
		return nodeSelectors.delete(tx, old)
	case ok:
		return nodeSelectors.update(tx, old, set)
	case len(selectors) > 0:
		_, err = nodeSelectors.create(ctx, tx, set)
	}
	return err
}

// distinctSelectors refuses a list that has a selector twice.
func distinctSelectors(selectors []*spirev1.Selector) error {
	seen := make(map[string]bool, len(selectors))
	for _, value := range records.SelectorValues(selectors) {
		if seen[value] {
			return errUnique(selectorColumns)
		}
		seen[value] = true
	}
	return nil
}
