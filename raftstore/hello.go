package raftstore

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore/internal/identity"
)

// A hello is what nodes say to each other that may be of different lives of a
// cluster, or of none yet. It is said on join streams, which are open to
// strangers, so nothing is believed of it but what a person is to be told.

// ownLife is what this node tells of its cluster.
func (n *Node) ownLife() *peerv1.Life {
	l := &peerv1.Life{ClusterId: n.id.ClusterID, NodeId: n.id.NodeID, Instance: n.instance()}
	if n.raft == nil {
		return l
	}
	l.Revision = uint64(n.machine.Position().Cursor.Revision)
	for _, s := range n.configuration().Servers {
		if s.Suffrage == raft.Voter {
			l.Voters++
		}
	}
	return l
}

// sayHello asks the node at address what it is.
func (n *Node) sayHello(ctx context.Context, address string) (*peerv1.HelloResponse, error) {
	conn, err := n.dialToAsk(ctx, address)
	if err != nil {
		return nil, err
	}
	var resp peerv1.HelloResponse
	if err := callOver(ctx, conn, methodHello, &peerv1.HelloRequest{Life: n.ownLife()}, &resp); err != nil {
		return nil, err
	}
	return &resp, checkTold(resp.GetLife())
}

// checkTold returns errBadRequest where what another node tells of its life can't
// be printed.
func checkTold(l *peerv1.Life) error {
	for _, id := range []string{l.GetClusterId(), l.GetNodeId(), l.GetInstance()} {
		if id != "" && identity.CheckID(id) != nil {
			return fmt.Errorf("%w: a hello with the id %.40q", errBadRequest, id)
		}
	}
	return nil
}

// handleHello answers who asks. A node that its certificate names is peer.
func (n *Node) handleHello(peer string, req *peerv1.HelloRequest) (*peerv1.HelloResponse, error) {
	told := req.GetLife()
	if err := checkTold(told); err != nil {
		return nil, err
	}
	resp := &peerv1.HelloResponse{
		Member:        len(n.configuration().Servers) > 0,
		AskerIsMember: n.isMember(peer),
		Life:          n.ownLife(),
	}
	switch removed, err := n.removed(told.GetNodeId()); {
	case err != nil:
		return nil, err
	case removed:
		resp.Asker = peerv1.HelloResponse_ASKER_REMOVED
	case n.isMember(told.GetNodeId()):
		resp.Asker = peerv1.HelloResponse_ASKER_MEMBER
	}
	if n.isOther(told) && n.encounters.begin("hello of "+peer) {
		n.reportOther(told)
	}
	return resp, nil
}
