package records

import (
	"google.golang.org/protobuf/proto"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// Entries are found by [FieldParentID], [FieldSpiffeID], [FieldHint] where there
// is one, [FieldDownstream] where it is true, [FieldSelector],
// [FieldFederatesWith], [FieldExpiry] where it isn't 0, and [FieldSimilar].
var Entries = &Kind[*spirev1.RegistrationEntry]{
	typ:     "entry",
	id:      func(e *spirev1.RegistrationEntry) string { return e.EntryId },
	message: func(e *spirev1.RegistrationEntry) proto.Message { return CopyEntry(e) },
	decode: func(_ string, message []byte) (*spirev1.RegistrationEntry, error) {
		m, err := unmarshal[spirev1.RegistrationEntry](message)
		if err != nil {
			return nil, err
		}
		return entryLiteral(m), nil
	},
	index: indexEntry,
}

func indexEntry(e *spirev1.RegistrationEntry, x *indexer) {
	x.add(FieldParentID, e.ParentId)
	x.add(FieldSpiffeID, e.SpiffeId)
	x.add(FieldSimilar, SimilarValue(e))
	if e.Hint != "" {
		x.add(FieldHint, e.Hint)
	}
	if e.Downstream {
		x.add(FieldDownstream, ValueTrue)
	}
	if e.EntryExpiry != 0 {
		x.add(FieldExpiry, OrderedInt64(e.EntryExpiry))
	}
	x.addSet(FieldSelector, SelectorValues(e.Selectors))
	x.addSet(FieldFederatesWith, e.FederatesWith)
}
