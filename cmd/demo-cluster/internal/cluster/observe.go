package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
)

// Statuses asks every server how it is, all at the same time. A server that
// doesn't answer has a nil status.
func (c *Cluster) Statuses(ctx context.Context) []*api.Status {
	out := make([]*api.Status, len(c.Servers))
	var wg sync.WaitGroup
	for i, s := range c.Servers {
		wg.Go(func() {
			if status, err := s.Status(ctx); err == nil {
				out[i] = &status
			}
		})
	}
	wg.Wait()
	return out
}

// Leader returns the server that leads in the latest term known, what it says
// of itself, and whether there is one.
func (c *Cluster) Leader(ctx context.Context) (*Server, api.Status, bool) {
	var leader *Server
	var newest api.Status
	for i, status := range c.Statuses(ctx) {
		if status != nil && status.Term >= newest.Term && (status.Role == api.RoleLeader || status.Term > newest.Term) {
			leader, newest = nil, *status
			if status.Role == api.RoleLeader {
				leader = c.Servers[i]
			}
		}
	}
	return leader, newest, leader != nil
}

// WaitLeader waits until there is a leader.
func (c *Cluster) WaitLeader(ctx context.Context) (*Server, error) {
	var leader *Server
	err := Poll(ctx, "a leader", func() (found bool) {
		leader, _, found = c.Leader(ctx)
		return found
	})
	return leader, err
}

// WaitCaughtUp waits until s has applied all that the leader had applied when
// the wait began.
func (c *Cluster) WaitCaughtUp(ctx context.Context, s *Server) error {
	var target uint64
	return Poll(ctx, s.Name()+" to catch up", func() bool {
		if target == 0 {
			_, status, ok := c.Leader(ctx)
			if !ok {
				return false
			}
			target = status.AppliedIndex
		}
		status, err := s.Status(ctx)
		return err == nil && status.Leader != "" && status.AppliedIndex >= target
	})
}

// WaitSettled waits until every server has applied the same index, and nothing
// has moved for settleTime, and returns what the servers say then. Nothing may
// write.
func (c *Cluster) WaitSettled(ctx context.Context) ([]api.Status, error) {
	var settled []api.Status
	var index uint64
	var since time.Time
	err := Poll(ctx, "all servers to have the same state", func() bool {
		settled = settled[:0]
		for _, status := range c.Statuses(ctx) {
			if status == nil || (len(settled) > 0 && status.AppliedIndex != settled[0].AppliedIndex) {
				since = time.Time{}
				return false
			}
			settled = append(settled, *status)
		}
		if now := settled[0].AppliedIndex; since.IsZero() || now != index {
			index, since = now, time.Now()
		}
		return time.Since(since) >= settleTime
	})
	return settled, err
}

// Poll waits until done returns true.
func Poll(ctx context.Context, what string, done func() bool) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		}
	}
	return nil
}
