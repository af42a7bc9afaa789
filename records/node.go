package records

import (
	"google.golang.org/protobuf/proto"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// Nodes are attested nodes, without their selectors. They are found by
// [FieldID], which gives the number of an id without decoding the node,
// [FieldType] where it isn't empty, [FieldBanned], [FieldCanReattest] and
// [FieldExpiry], which is cert_not_after.
var Nodes = &Kind[*spirev1.AttestedNode]{
	typ:     "node",
	id:      func(n *spirev1.AttestedNode) string { return n.SpiffeId },
	message: func(n *spirev1.AttestedNode) proto.Message { return nodeLiteral(n) },
	decode: func(_ string, message []byte) (*spirev1.AttestedNode, error) {
		m, err := unmarshal[spirev1.AttestedNode](message)
		if err != nil {
			return nil, err
		}
		return nodeLiteral(m), nil
	},
	index: func(n *spirev1.AttestedNode, x *indexer) {
		x.add(FieldID, n.SpiffeId)
		if n.AttestationDataType != "" {
			x.add(FieldType, n.AttestationDataType)
		}
		x.add(FieldBanned, BoolValue(n.CertSerialNumber == ""))
		x.add(FieldCanReattest, BoolValue(n.CanReattest))
		x.add(FieldExpiry, OrderedInt64(n.CertNotAfter))
	},
}

// NodeSelectors are the selectors of a node, which need not exist.
type NodeSelectors struct {
	SpiffeID  string
	Selectors []*spirev1.Selector
}

// NodeSelectorSets has an item for each SPIFFE ID with selectors, whether or not
// there is a node. They are found by [FieldSelector]. Their numbers are not
// those of the nodes.
var NodeSelectorSets = &Kind[*NodeSelectors]{
	typ: "node-selectors",
	id:  func(s *NodeSelectors) string { return s.SpiffeID },
	message: func(s *NodeSelectors) proto.Message {
		return &spirev1.Selectors{Entries: CopySelectors(s.Selectors)}
	},
	decode: func(id string, message []byte) (*NodeSelectors, error) {
		m, err := unmarshal[spirev1.Selectors](message)
		if err != nil {
			return nil, err
		}
		return &NodeSelectors{SpiffeID: id, Selectors: m.Entries}, nil
	},
	index: func(s *NodeSelectors, x *indexer) { x.addSet(FieldSelector, SelectorValues(s.Selectors)) },
}
