package datastore

import (
	"context"
	"errors"

	"github.com/spire-raft/spire-raft/cache"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// Nodes are stored without selectors, which SetNodeSelectors sets.
var nodes = collection[*spirev1.AttestedNode]{
	kind: records.Nodes, unique: "attested_node_entries.spiffe_id",
	blank: func(id string, fields map[string]string) *spirev1.AttestedNode {
		return &spirev1.AttestedNode{SpiffeId: id, AttestationDataType: fields[records.FieldType]}
	},
}

// CreateAttestedNode stores a new node and returns it, both without the
// selectors in n. It emits a node event. The error is AlreadyExists if its
// SPIFFE ID has a node.
func (d *DataStore) CreateAttestedNode(ctx context.Context, n *spirev1.AttestedNode) (*spirev1.AttestedNode, error) {
	if n == nil {
		return nil, errNoNode()
	}
	return update(ctx, d, func(tx store.Tx) (*spirev1.AttestedNode, error) {
		created := records.CopyNode(n)
		created.Selectors = nil
		if _, err := nodes.create(ctx, tx, created); err != nil {
			return nil, err
		}
		return created, nodeEvents.emit(tx, d.clock(), created.SpiffeId)
	})
}

// FetchAttestedNode returns a node without its selectors, or nil.
func (d *DataStore) FetchAttestedNode(ctx context.Context, spiffeID string) (*spirev1.AttestedNode, error) {
	cached := func(v cache.View) (*spirev1.AttestedNode, bool) {
		n, err := v.Node(spiffeID)
		if n == nil {
			return nil, err == nil
		}
		return records.CopyNode(n.Attested), true
	}
	return cachedView(ctx, d, store.Linearizable(), pointWait, cached, func(tx store.Tx) (*spirev1.AttestedNode, error) {
		item, _, err := nodes.get(ctx, tx, spiffeID)
		return item.Object, err
	})
}

// FetchAttestedNodes returns those nodes that exist, with their selectors, by
// their SPIFFE IDs. The map is not nil. With a [MalformedRecordsError] come all
// but those that it names, or whose selectors it names.
func (d *DataStore) FetchAttestedNodes(ctx context.Context, spiffeIDs []string) (map[string]*spirev1.AttestedNode, error) {
	return view(ctx, d, store.Linearizable(), func(tx store.Tx) (map[string]*spirev1.AttestedNode, error) {
		var bad MalformedRecordsError
		found := make(map[string]*spirev1.AttestedNode, len(spiffeIDs))
		for _, id := range distinct(spiffeIDs) {
			item, ok, err := nodes.get(ctx, tx, id)
			if err == nil && ok {
				err = withSelectors(ctx, tx, item.Object)
			}
			switch {
			case err == nil && ok:
				found[id] = item.Object
			case err != nil && !bad.collect(err):
				return nil, err
			}
		}
		return found, bad.errOrNil()
	})
}

// UpdateAttestedNode replaces the fields of a node that mask names; a nil mask
// names all but the attestation type, which never changes. It returns the node
// as it is then, without selectors, and emits a node event, whatever changed.
// The error is NotFound if there is none.
func (d *DataStore) UpdateAttestedNode(ctx context.Context, n *spirev1.AttestedNode, mask *spirev1.AttestedNodeMask) (*spirev1.AttestedNode, error) {
	if n == nil {
		return nil, errNoNode()
	}
	return update(ctx, d, func(tx store.Tx) (*spirev1.AttestedNode, error) {
		old, err := nodes.mustGet(ctx, tx, n.SpiffeId)
		if err != nil {
			return nil, err
		}
		updated := records.CopyNode(old.Object)
		replaceNodeFields(updated, n, mask)
		if err := nodes.update(tx, old, updated); err != nil {
			return nil, err
		}
		return updated, nodeEvents.emit(tx, d.clock(), updated.SpiffeId)
	})
}

func replaceNodeFields(to, from *spirev1.AttestedNode, mask *spirev1.AttestedNodeMask) {
	if mask == nil || mask.CertSerialNumber {
		to.CertSerialNumber = from.CertSerialNumber
	}
	if mask == nil || mask.CertNotAfter {
		to.CertNotAfter = from.CertNotAfter
	}
	if mask == nil || mask.NewCertSerialNumber {
		to.NewCertSerialNumber = from.NewCertSerialNumber
	}
	if mask == nil || mask.NewCertNotAfter {
		to.NewCertNotAfter = from.NewCertNotAfter
	}
	if mask == nil || mask.CanReattest {
		to.CanReattest = from.CanReattest
	}
	if mask == nil || mask.AgentVersion {
		to.AgentVersion = from.AgentVersion
	}
}

func errNoNode() error {
	return errors.New(storagePrefix + "invalid request: missing attested node")
}
