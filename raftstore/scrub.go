package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/store"
)

// scrub verifies the whole state against its checksums and its hash, again and
// again. Damage stops the node: others have the data.
func (n *Node) scrub(ctx context.Context) {
	if n.cfg.ScrubInterval < 0 {
		return
	}
	every(ctx, n.cfg.ScrubInterval, func() {
		report, err := n.machine.Scrub(ctx)
		switch {
		case err == nil:
			n.log.Info("state verified", "records", report.Records, "index", report.Position.Index)
		case errors.Is(err, store.ErrCorrupt):
			n.fail(fmt.Errorf("scrub: %w", err))
		}
		if ctx.Err() == nil {
			n.metrics.scrubs.WithLabelValues(outcome(err)).Inc()
		}
	})
}

// compareHash holds a peer's state hash against this node's at the same index.
// A difference means that one of the two is wrong. Which one is for people to
// find out: stopping the wrong one would take the right data off line.
func (n *Node) compareHash(peer string, resp *peerv1.ProbeResponse) {
	own, known := n.machine.HashAt(resp.GetAppliedIndex())
	if !known || bytes.Equal(own[:], resp.GetStateHash()) {
		return
	}
	n.metrics.hashMismatch.Inc()
	if !n.diverged.Swap(true) {
		n.log.Error("state differs from a peer's at the same index: compare with the other nodes, and replace the one that differs",
			"peer", peer, "index", resp.GetAppliedIndex())
	}
}
