package raftstore

import (
	"cmp"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
)

// Role is what a node is in its cluster.
type Role string

// The roles of a node. One that is not part of a cluster yet is a non-voter.
const (
	RoleLeader    Role = "leader"
	RoleFollower  Role = "follower"
	RoleCandidate Role = "candidate"
	RoleNonVoter  Role = "non-voter"
	RoleFailed    Role = "failed"
	RoleClosed    Role = "closed"
)

// Status is what a node knows of itself and its cluster at one time.
type Status struct {
	ClusterID string
	NodeID    string
	Role      Role

	// Err says why the node has failed, if its role is RoleFailed.
	Err error

	// Term is raft's current term, Leader the node that leads it, empty where
	// none is known.
	Term   uint64
	Leader string

	// LastLogIndex is the end of the node's log. CommitIndex is what the node
	// knows to be committed. AppliedIndex is the last entry that changed its
	// state; entries that only raft uses are not counted, so it may stay
	// behind CommitIndex. DurableIndex is the last one whose changes are in the
	// state's file: what is behind it the node replays from its log when it is
	// started after a crash.
	LastLogIndex uint64
	CommitIndex  uint64
	AppliedIndex uint64
	DurableIndex uint64

	// Cursor is the newest revision and its epoch; StateHash the hash of the
	// whole state at AppliedIndex, the same on every node that has it.
	Cursor    store.Cursor
	StateHash fsm.StateHash

	// Staleness is how old the node's data is at most; negative before the
	// first confirmation. LastContact is how long ago the leader was heard;
	// zero on the leader.
	Staleness   time.Duration
	LastContact time.Duration

	DiskFreeBytes uint64
	DiskLow       bool
	Watchers      int

	// CertificateNotAfter is when the node's own certificate expires.
	CertificateNotAfter time.Time

	// AuthorityNotAfter is when the authority expires that vouches for it, the
	// cluster's own or one of the configured roots.
	AuthorityNotAfter time.Time

	// NotReady are the reasons why the node can't serve, or won't be able to go on
	// when a connection has to be made anew. Nothing should be sent to it then.
	NotReady []string

	// Authority is the cluster's own authority, nil where it has none.
	Authority *AuthorityStatus

	// Admission is what the cluster has admitted this node with, nil where the
	// state doesn't tell yet.
	Admission *AdmissionStatus

	// GossipKeyRotating tells that the key that the cluster has made for its
	// gossip is being replaced, or is to be.
	GossipKeyRotating bool

	// Diverged tells that another node had a different state hash at the same
	// index, and that no quorum tells which one is wrong; or that this one is,
	// and has stopped itself: see the log.
	Diverged bool

	// Peers are the other servers of the configuration, by node id.
	Peers []Peer
}

// Peer is another server as this node sees it.
type Peer struct {
	NodeID  string
	Address string // empty where it is not known
	Voter   bool

	// Alive tells whether gossip has heard of the peer lately. It is false
	// without gossip.
	Alive bool

	// The leader alone knows the rest. Contact is when the peer answered last,
	// zero if it has not.
	Contact      time.Time
	AppliedIndex uint64
	DiskLow      bool
}

// Status returns the node's status. It never blocks on the cluster.
func (n *Node) Status() Status {
	position := n.machine.Position()
	s := Status{
		ClusterID:     n.id.ClusterID,
		NodeID:        n.id.NodeID,
		Role:          n.role(),
		Err:           n.failure(),
		Term:          n.raft.CurrentTerm(),
		LastLogIndex:  n.raft.LastIndex(),
		CommitIndex:   n.raft.CommitIndex(),
		AppliedIndex:  position.Index,
		DurableIndex:  n.machine.DurableIndex(),
		Cursor:        position.Cursor,
		StateHash:     position.Hash,
		Staleness:     -1,
		DiskFreeBytes: n.disk.Free(),
		DiskLow:       n.disk.Low(),
		Watchers:      n.watchers.count(),
		Diverged:      n.diverged.Load(),
		Peers:         n.peerStatus(),

		GossipKeyRotating: n.gossipKeyRotating(),
	}
	if _, notAfter, err := n.transport.Validity(); err == nil {
		s.CertificateNotAfter = notAfter
	}
	if _, notAfter, err := n.transport.AuthorityValidity(); err == nil {
		s.AuthorityNotAfter = notAfter
	}
	s.Authority, s.Admission = n.trustStatus()
	_, leader := n.raft.LeaderWithID()
	s.Leader = string(leader)
	if age, known := n.freshness.age(); known {
		s.Staleness = age
	}
	if last := n.raft.LastContact(); s.Role != RoleLeader && !last.IsZero() {
		s.LastContact = time.Since(last)
	}
	s.NotReady = notReady(s, time.Now())
	return s
}

// notReady returns why a node with this status is not ready.
func notReady(s Status, now time.Time) (reasons []string) {
	if s.Err != nil {
		reasons = append(reasons, s.Err.Error()) // that it was removed, too
	}
	if s.Role == RoleClosed {
		reasons = append(reasons, "the node is closed")
	}
	if s.Role == RoleNonVoter {
		reasons = append(reasons, "the node has no vote: it is not caught up yet")
	}
	if s.Leader == "" {
		reasons = append(reasons, "no leader is known")
	}
	if !s.CertificateNotAfter.IsZero() && now.After(s.CertificateNotAfter) {
		reasons = append(reasons, "the node's certificate has expired")
	}
	return reasons
}

func (n *Node) role() Role {
	switch {
	case n.failure() != nil:
		return RoleFailed
	case n.live() != nil:
		return RoleClosed
	}
	switch n.raft.State() {
	case raft.Leader:
		return RoleLeader
	case raft.Candidate:
		return RoleCandidate
	}
	if _, voter := n.otherVoters(); !voter {
		return RoleNonVoter
	}
	return RoleFollower
}

func (n *Node) peerStatus() []Peer {
	health := n.peers.all()
	alive := n.heardOf()
	var out []Peer
	for _, s := range n.configuration().Servers {
		id := string(s.ID)
		if id == n.id.NodeID {
			continue
		}
		p := Peer{NodeID: id, Voter: s.Suffrage == raft.Voter, Alive: alive[id]}
		p.Address, _ = n.addresses.Get(id)
		if h, ok := health[id]; ok && n.raft.State() == raft.Leader {
			p.Contact, p.AppliedIndex, p.DiskLow = h.Contact, h.AppliedIndex, h.DiskLow
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Peer) int { return cmp.Compare(a.NodeID, b.NodeID) })
	return out
}

// heardOf are the nodes that gossip holds for alive.
func (n *Node) heardOf() map[string]bool {
	if n.gossip == nil {
		return nil
	}
	alive := make(map[string]bool)
	for _, m := range n.gossip.Members() {
		alive[m.NodeID] = m.Alive
	}
	return alive
}
