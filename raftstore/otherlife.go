package raftstore

import (
	"context"
	"errors"
	"time"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/transport"
)

const (
	// encounterPause is the time between two reports of one node of another life.
	encounterPause = time.Minute

	// encounterRetryWait is the same where it is not known yet what to report.
	encounterRetryWait = time.Second

	// encountersMax bounds the nodes that are remembered for that.
	encountersMax = 64

	// encounterTimeout bounds the question what a node is.
	encounterTimeout = 5 * time.Second
)

// isOther tells whether somebody tells of another life of this cluster.
func (n *Node) isOther(told *peerv1.Life) bool {
	own := n.instance()
	return own != "" && told.GetInstance() != "" && told.GetInstance() != own && told.GetClusterId() == n.id.ClusterID
}

// meetOther reports a node that claims another instance, or one of an authority
// that is not this cluster's own, which may mean the same. It finds out what that
// node is, and tells it what this one is, so that both sides say what has
// happened.
func (n *Node) meetOther(node, instance string) {
	if !n.encounters.begin(node) {
		return
	}
	n.spawn(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, encounterTimeout)
		defer cancel()
		told := &peerv1.Life{ClusterId: n.id.ClusterID, NodeId: node, Instance: instance}
		if address, ok := n.address(node); ok {
			resp, err := n.sayHello(ctx, address)
			if err == nil {
				told = resp.GetLife()
			} else if instance == "" {
				n.encounters.retry(node, encounterRetryWait)
			}
		}
		if n.isOther(told) {
			n.reportOther(told)
		}
	})
}

// reportOther says that two clusters of one name have met, which of them is the
// odd one as far as can be told, and what helps.
func (n *Node) reportOther(told *peerv1.Life) {
	own := n.ownLife()
	message := "two clusters of one name have met, and refuse each other: find out which one is wanted, and stop, delete and join anew the nodes of the other one"
	switch smaller := lessHappened(own, told); {
	case told.GetVoters() == 0: // nobody has asked it
	case smaller:
		message = "two clusters of one name have met, and refuse each other; less has happened in this node's, so that this one is the odd one: " +
			"stop it, delete its data directory, and join the other cluster with a new node id"
	case lessHappened(told, own):
		message = "two clusters of one name have met, and refuse each other; less has happened in the other one, so that the peer is the odd one: " +
			"stop it, delete its data directory, and join it to this cluster with a new node id"
	}
	n.log.Error(message, "instance", own.GetInstance(), "revision", own.GetRevision(), "voters", own.GetVoters(),
		"peer", told.GetNodeId(), "peer_instance", told.GetInstance(), "peer_revision", told.GetRevision(), "peer_voters", told.GetVoters())
}

// lessHappened tells whether a has the smaller history.
func lessHappened(a, b *peerv1.Life) bool {
	if a.GetRevision() != b.GetRevision() {
		return a.GetRevision() < b.GetRevision()
	}
	return a.GetVoters() < b.GetVoters()
}

// noteRefusal looks at why a stream to a server did not come about.
func (n *Node) noteRefusal(node string, err error) {
	other := errors.Is(err, transport.ErrOtherInstance) || n.own != nil && errors.Is(err, transport.ErrUntrusted)
	if other && n.instance() != "" {
		n.meetOther(node, "")
	}
}
