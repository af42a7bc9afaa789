package cache

import (
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// View is the content of a cache at one revision. It never changes, so all
// answers of a View, and everything within one visit, belong to that revision,
// whatever is written meanwhile. Only the clock goes on: a node's selectors count
// until it expires.
//
// What a View returns is shared by everyone: never change it. A View is for one
// request; one that is kept keeps everything in memory that it holds. The
// zero View must not be used.
type View struct{ s *state }

// Node is what is stored under the SPIFFE ID of a node. It must not be changed.
type Node struct {
	// Attested is the node without its selectors: serial numbers, expiry.
	Attested *spirev1.AttestedNode
	// Selectors are in the order in which they were set. They are nil where
	// their record is malformed, as [View.NodeSelectors] tells.
	Selectors []*spirev1.Selector

	number    uint64
	stored    *records.NodeSelectors // nil where there is no record
	setNumber uint64
	set       []selectorRef // of Selectors
}

// Banned tells whether the node is banned: its serial number is empty.
func (n *Node) Banned() bool { return n.Attested.CertSerialNumber == "" }

// Cursor is the place of the View in the history of the store.
func (v View) Cursor() store.Cursor { return v.s.cursor }

// Revision is the revision of the View.
func (v View) Revision() store.Revision { return v.s.cursor.Revision }

// Size returns how many objects of a kind there are, without malformed ones.
func (v View) Size(k Kind) int { return v.s.sizes[k] }

// Unread returns how many records of a kind don't decode. What [View.Size] counts
// and [View.VisitEntries] visits lacks them.
func (v View) Unread(k Kind) int { return v.s.unread[k] }

// VisitEntries calls visit with the registration entries whose sequence number is
// greater than after, and their numbers, in the order of their creation, until it
// returns false. It tells whether there is such an order: in a damaged store two
// entries may have the same number or one may have none, and then it visits
// nothing.
func (v View) VisitEntries(after uint64, visit func(number uint64, e *spirev1.RegistrationEntry) bool) bool {
	if !v.s.order.total() {
		return false
	}
	v.s.order.visit(after, func(e *entry) bool { return visit(e.number, e.message) })
	return true
}

// Bundle returns the bundle of a trust domain, or nil. The id is that of the
// trust domain, such as "spiffe://example.org". Where the record doesn't decode,
// the error is a [records.MalformedError].
func (v View) Bundle(trustDomainID string) (*spirev1.Bundle, error) {
	if b := v.s.bundles.get(hashString(trustDomainID), trustDomainID); b != nil {
		return b.message, nil
	}
	return nil, v.s.malformedItem(records.Bundles.Key, trustDomainID)
}

// Entry returns the registration entry with an id, or nil. The error is as with
// [View.Bundle].
func (v View) Entry(id string) (*spirev1.RegistrationEntry, error) {
	if e := v.s.entries.get(hashString(id), id); e != nil {
		return e.message, nil
	}
	return nil, v.s.malformedItem(records.Entries.Key, id)
}

// Node returns the attested node with a SPIFFE ID, or nil. The error is as with
// [View.Bundle].
func (v View) Node(spiffeID string) (*Node, error) {
	if p := v.s.places.get(hashString(spiffeID), spiffeID); p != nil && p.node != nil && p.node.Attested != nil {
		return p.node, nil
	}
	return nil, v.s.malformedItem(records.Nodes.Key, spiffeID)
}

// NodeSelectors returns the selectors stored for a SPIFFE ID, whether or not
// there is a node. The error is as with [View.Bundle].
func (v View) NodeSelectors(spiffeID string) ([]*spirev1.Selector, error) {
	if p := v.s.places.get(hashString(spiffeID), spiffeID); p != nil && p.node != nil && p.node.stored != nil {
		return p.node.Selectors, nil
	}
	return nil, v.s.malformedItem(records.NodeSelectorSets.Key, spiffeID)
}

// Malformed returns the errors of all records that don't decode, in no order.
func (v View) Malformed() []error {
	var errs []error
	v.s.malformed.each(func(_ string, m **malformed) bool {
		errs = append(errs, (*m).err)
		return true
	})
	return errs
}

// malformedItem returns the error of an item that doesn't decode.
func (s *state) malformedItem(key func(id string) []byte, id string) error {
	if s.malformed.len == 0 {
		return nil // and no key to make
	}
	if m := s.malformedAt(key(id)); m != nil {
		return m.err
	}
	return nil
}

// Authorized returns the entries that VisitAuthorized visits.
func (v View) Authorized(agent spiffeid.ID) []*spirev1.RegistrationEntry {
	var out []*spirev1.RegistrationEntry
	v.VisitAuthorized(agent, func(e *spirev1.RegistrationEntry) bool {
		out = append(out, e)
		return true
	})
	return out
}

// AuthorizedOf returns the entries that VisitAuthorizedOf visits.
func (v View) AuthorizedOf(agent spiffeid.ID, ids []string) []*spirev1.RegistrationEntry {
	var out []*spirev1.RegistrationEntry
	v.VisitAuthorizedOf(agent, ids, func(e *spirev1.RegistrationEntry) bool {
		out = append(out, e)
		return true
	})
	return out
}
