package gossip

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/memberlist"

	"github.com/spire-raft/spire-raft/raftstore/internal/identity"
	"github.com/spire-raft/spire-raft/store"
)

// MembersMax bounds the members that are remembered. When there are more, those
// that are down are forgotten first.
const MembersMax = 1024

// Member is another node as gossip knows it.
type Member struct {
	NodeID string

	// Address is the transport address that the node last told.
	Address string

	// Alive tells that the node answers, or did so a moment ago.
	Alive bool
}

// members holds what gossip has heard about others. It is memberlist's delegate
// for everything: memberlist calls it with locks held, so it calls nothing.
type members struct {
	nodeID    string
	clusterID string

	mu      sync.Mutex // guards the fields below
	self    meta
	known   map[string]Member
	changed map[string]struct{} // ids whose address is to be told

	wake chan struct{} // has room for one; filled when changed is not empty
}

func newMembers(cfg Config) *members {
	return &members{
		nodeID:    cfg.NodeID,
		clusterID: cfg.ClusterID,
		self:      meta{clusterID: cfg.ClusterID, address: cfg.Address},
		known:     map[string]Member{},
		changed:   map[string]struct{}{},
		wake:      make(chan struct{}, 1),
	}
}

// list returns all members by id.
func (m *members) list() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Member, 0, len(m.known))
	for _, member := range m.known {
		out = append(out, member)
	}
	slices.SortFunc(out, func(a, b Member) int { return cmp.Compare(a.NodeID, b.NodeID) })
	return out
}

// takeChanged returns the members to tell about and forgets that they changed.
func (m *members) takeChanged() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Member, 0, len(m.changed))
	for id := range m.changed {
		if member, ok := m.known[id]; ok {
			out = append(out, member)
		}
	}
	clear(m.changed)
	return out
}

func (m *members) setInstance(instance string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.self.instance = instance
}

func (m *members) setAddress(address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.self.address = address
}

// check tells why a node may not be a member. One that doesn't tell its instance
// of the cluster is about to join, and doesn't know yet.
func (m *members) check(n *memberlist.Node) (meta, error) {
	if err := identity.CheckID(n.Name); err != nil {
		return meta{}, err
	}
	got, err := decodeMeta(n.Meta)
	if err != nil {
		return got, err
	}
	m.mu.Lock()
	own := m.self.instance
	m.mu.Unlock()
	switch {
	case got.clusterID != m.clusterID:
		err = fmt.Errorf("%w: node %q is of cluster %q", store.ErrInvalid, n.Name, got.clusterID)
	case got.instance != "" && own != "" && got.instance != own:
		err = fmt.Errorf("%w: node %q is of another instance of this cluster: %s", store.ErrInvalid, n.Name, got.instance)
	}
	return got, err
}

func (m *members) update(n *memberlist.Node) {
	got, err := m.check(n)
	if err != nil || n.Name == m.nodeID {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.known[n.Name]
	if !ok && !m.makeRoom() {
		return
	}
	now := Member{NodeID: n.Name, Address: got.address, Alive: true}
	m.known[n.Name] = now
	if now == old {
		return
	}
	m.changed[n.Name] = struct{}{}
	select {
	case m.wake <- struct{}{}:
	default: // a wake-up is waiting already
	}
}

// makeRoom tells whether there is room for a new member, where need be after
// forgetting one that is down. The caller holds mu.
func (m *members) makeRoom() bool {
	if len(m.known) < MembersMax {
		return true
	}
	for id, member := range m.known {
		if !member.Alive {
			delete(m.known, id)
			return true
		}
	}
	return false
}

// NotifyJoin, NotifyUpdate and NotifyLeave are memberlist.EventDelegate.
func (m *members) NotifyJoin(n *memberlist.Node) { m.update(n) }

func (m *members) NotifyUpdate(n *memberlist.Node) { m.update(n) }

func (m *members) NotifyLeave(n *memberlist.Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if member, ok := m.known[n.Name]; ok {
		member.Alive = false
		m.known[n.Name] = member
	}
}

// NotifyAlive is memberlist.AliveDelegate: an error drops the message.
func (m *members) NotifyAlive(n *memberlist.Node) error {
	_, err := m.check(n)
	return err
}

// NotifyMerge is memberlist.MergeDelegate: an error refuses a join.
func (m *members) NotifyMerge(nodes []*memberlist.Node) error {
	for _, n := range nodes {
		if _, err := m.check(n); err != nil {
			return err
		}
	}
	return nil
}

// NodeMeta is memberlist.Delegate, as are the methods below, which decline to
// exchange anything else.
func (m *members) NodeMeta(int) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.self.encode()
}

func (m *members) NotifyMsg([]byte)                {}
func (m *members) GetBroadcasts(int, int) [][]byte { return nil }
func (m *members) LocalState(bool) []byte          { return nil }
func (m *members) MergeRemoteState([]byte, bool)   {}
