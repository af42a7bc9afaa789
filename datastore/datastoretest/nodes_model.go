package datastoretest

import (
	"slices"
	"time"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
)

// nodeModel is what nodes, their selectors and their events should be.
type nodeModel struct {
	nodes     []*spirev1.AttestedNode // in the order of their creation
	selectors map[string][]*spirev1.Selector
	events    []string
}

func (m *nodeModel) index(id string) int {
	return slices.IndexFunc(m.nodes, func(n *spirev1.AttestedNode) bool { return n.SpiffeId == id })
}

// create tells whether there was no such node.
func (m *nodeModel) create(n *spirev1.AttestedNode) bool {
	if m.index(n.SpiffeId) >= 0 {
		return false
	}
	m.nodes = append(m.nodes, n)
	m.events = append(m.events, n.SpiffeId)
	return true
}

// update returns the node as it is then, or nil.
func (m *nodeModel) update(n *spirev1.AttestedNode, mask *spirev1.AttestedNodeMask) *spirev1.AttestedNode {
	i := m.index(n.SpiffeId)
	if i < 0 {
		return nil
	}
	all := mask == nil
	updated := records.CopyNode(m.nodes[i])
	if all || mask.CertSerialNumber {
		updated.CertSerialNumber = n.CertSerialNumber
	}
	if all || mask.CertNotAfter {
		updated.CertNotAfter = n.CertNotAfter
	}
	if all || mask.CanReattest {
		updated.CanReattest = n.CanReattest
	}
	if all || mask.AgentVersion {
		updated.AgentVersion = n.AgentVersion
	}
	m.nodes[i] = updated
	m.events = append(m.events, n.SpiffeId)
	return updated
}

// remove returns the node, or nil.
func (m *nodeModel) remove(id string) *spirev1.AttestedNode {
	i := m.index(id)
	if i < 0 {
		return nil
	}
	removed := m.nodes[i]
	m.nodes = slices.Delete(m.nodes, i, i+1)
	delete(m.selectors, id)
	m.events = append(m.events, id)
	return removed
}

// setSelectors tells whether the selectors are different ones.
func (m *nodeModel) setSelectors(id string, selectors []*spirev1.Selector) bool {
	if len(modelSet(selectors)) < len(selectors) {
		return false
	}
	m.selectors[id] = selectors
	if len(selectors) == 0 {
		delete(m.selectors, id)
	}
	m.events = append(m.events, id)
	return true
}

// prune removes whom PruneAttestedExpiredNodes would.
func (m *nodeModel) prune(limit time.Time, final bool, batch int) {
	var expired []*spirev1.AttestedNode
	for _, n := range m.nodes {
		if time.Unix(n.CertNotAfter, 0).Before(limit) && n.CertSerialNumber != "" && (final || n.CanReattest) {
			expired = append(expired, n)
		}
	}
	slices.SortStableFunc(expired, func(a, b *spirev1.AttestedNode) int { return int(a.CertNotAfter - b.CertNotAfter) })
	for _, n := range expired[:min(batch, len(expired))] {
		m.remove(n.SpiffeId)
	}
}

// list returns the nodes that pass the filters of req.
func (m *nodeModel) list(req *datastore.ListAttestedNodesRequest) []*spirev1.AttestedNode {
	var found []*spirev1.AttestedNode
	for _, n := range m.nodes {
		expires := time.Unix(n.CertNotAfter, 0)
		switch by := req.BySelectorMatch; {
		case req.ByAttestationType != "" && req.ByAttestationType != n.AttestationDataType:
		case req.ByBanned != nil && *req.ByBanned != (n.CertSerialNumber == ""):
		case req.ByCanReattest != nil && *req.ByCanReattest != n.CanReattest:
		case !req.ByExpiresBefore.IsZero() && !expires.Before(req.ByExpiresBefore):
		case !req.ValidAt.IsZero() && expires.Before(req.ValidAt):
		case len(req.BySpiffeIDs) > 0 && !slices.Contains(req.BySpiffeIDs, n.SpiffeId):
		case by != nil && !modelMatches(modelSet(m.selectors[n.SpiffeId]), modelSet(by.Selectors), by.Match):
		default:
			n = records.CopyNode(n)
			if req.FetchSelectors {
				n.Selectors = m.selectors[n.SpiffeId]
			}
			found = append(found, n)
		}
	}
	return found
}
