package raftstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

// A node learns that it was removed in two ways: it applies its removal, or,
// where it was down or cut off at the time, a member tells it. Either way it
// stops for good.

// leftFile marks the directory of a node that has left, or was removed.
const leftFile = "left"

// removedCure is what helps whoever runs a node that was removed.
const removedCure = "delete its data directory, and Init a new one with a new node id"

// markLeft bars dir from being opened again.
func markLeft(dir string) error { return mark(dir, leftFile) }

// mark makes an empty file in dir.
func mark(dir, name string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// checkLeft returns ErrRemoved where dir is marked.
func checkLeft(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, leftFile)); err == nil {
		return fmt.Errorf("data directory %s: %w; delete it, and Init a new one with a new node id", dir, ErrRemoved)
	}
	return nil
}

// retire stops this node for good, since it was removed, as toldBy says: a
// member, or this node where its own state does. Callers get ErrRemoved.
func (n *Node) retire(toldBy string) {
	n.retired.Do(func() {
		n.audit(n.base, auditLearnedOfRemoval, slog.String("server", n.id.NodeID), slog.String("told_by", toldBy))
	})
	cause := fmt.Errorf("%w; %s", ErrRemoved, removedCure)
	if err := markLeft(n.cfg.Dir); err != nil {
		cause = fmt.Errorf("%w; it can't be marked as such: %w", cause, err)
	}
	why := fmt.Errorf("%w: node %s: %w", store.ErrFailed, n.id.NodeID, cause)
	n.halt(why, "this node was removed from the cluster, and stops for good", cause)
}

// retireIfLeftOut stops this node where a configuration that was applied lacks
// it, and so does the state: it was removed, other than a node that is still on
// its way to the configuration that takes it in.
func (n *Node) retireIfLeftOut(c raft.Configuration) {
	for _, s := range c.Servers {
		if string(s.ID) == n.id.NodeID {
			return
		}
	}
	if removed, err := n.removed(n.id.NodeID); err == nil && removed {
		n.spawn(func(context.Context) { n.retire(n.id.NodeID) }) // raft waits for its state machine
	}
}

// askWhyRefused asks a server of the configuration that takes no streams of this
// node whether that is because this one was removed. Nobody else is believed.
func (n *Node) askWhyRefused(ctx context.Context, node string) {
	conn, err := n.transport.Dial(ctx, transport.Join, node)
	if err != nil {
		return
	}
	client := rpc.NewClient(conn, rpcConfig)
	defer client.Close()
	send := func(body []byte) ([]byte, error) { return client.Call(ctx, methodHello, body) }
	if err := roundTrip(send, &peerv1.HelloRequest{}, &peerv1.HelloResponse{}); errors.Is(err, ErrRemoved) {
		n.retire(node)
	}
}
