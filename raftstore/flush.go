package raftstore

import (
	"context"
	"time"
)

// flushInterval is how often what is applied is written to the state's file, if
// the machine has not done so for its size. What a node applied since then it
// replays from the log when it is started after a crash; written at once, the
// same pages would be written again and again.
const flushInterval = 3 * time.Second

// flushState writes what is applied to disk from time to time. An error stops
// the node, as any of its disk does.
func (n *Node) flushState(ctx context.Context) {
	every(ctx, flushInterval, func() {
		if err := n.machine.Flush(); err != nil {
			n.fail(err)
		}
	})
}
