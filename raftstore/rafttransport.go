package raftstore

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/raftstore/internal/raftnet"
	"github.com/spire-raft/spire-raft/transport"
)

// raftIOTimeout bounds how long raft waits for an answer of a peer, and for a
// piece of a message to pass.
const raftIOTimeout = 5 * time.Second

// newRaftTransport gives raft the streams of the node's transport. An address
// is a node id here: the transport looks up where the node is and makes sure
// that it is that node, so that a change of address changes no configuration.
func (n *Node) newRaftTransport() *raftnet.Transport {
	return raftnet.New(n.base, raftnet.Config{
		NodeID:   n.id.NodeID,
		Listener: n.transport.Listener(transport.Raft),
		Dial: func(ctx context.Context, node string) (net.Conn, error) {
			return n.dial(ctx, transport.Raft, node)
		},
		PeerOf:    func(c net.Conn) string { return c.(*transport.Conn).Peer().Node },
		Term:      func() uint64 { return n.raft.CurrentTerm() }, // no stream comes in before raft is there
		LastIndex: func() uint64 { return n.raft.LastIndex() },
		Leader: func() string {
			_, leader := n.raft.LeaderWithID()
			return string(leader)
		},
		CheckCommand: fsm.CheckEntry,
		CheckAppend:  n.checkConfigurations,
		CheckSnapshot: func(r io.Reader, index, term uint64) error {
			return fsm.CheckSnapshot(r, n.id.ClusterID, index, term)
		},
		Dir:        n.cfg.Dir,
		TempPrefix: fsm.TempPrefix,
		Free:       n.spareSpace,
		Timeout:    raftIOTimeout,
		Log:        n.log,
	})
}

// spareSpace is how many bytes may be written to the disk until the reserve is
// touched.
func (n *Node) spareSpace() uint64 {
	free := n.disk.Free()
	return free - min(free, n.cfg.Disk.ReserveBytes)
}
