package raftstore

import (
	"context"
	"errors"
	"fmt"

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
