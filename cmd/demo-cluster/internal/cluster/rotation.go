package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
)

// RotateAuthority has the cluster's authority replaced by a new one, and waits
// until nobody trusts the old one any more. No server may join before begun is
// called: its token would go with the old authority.
func (c *Cluster) RotateAuthority(ctx context.Context, begun func()) error {
	before, err := c.beginRotation(ctx)
	begun()
	if err != nil {
		return err
	}
	return c.waitRotated(ctx, before)
}

// beginRotation asks one server after the other until one says that the rotation
// has begun. It returns when the authority before would have ended.
func (c *Cluster) beginRotation(ctx context.Context) (before time.Time, err error) {
	var last error
	next := 0
	err = Poll(ctx, "a rotation of the authority to begin", func() bool {
		_, status, ok := c.Leader(ctx)
		if before.IsZero() && !ok {
			return false
		}
		if before.IsZero() {
			before = status.AuthorityNotAfter
		}
		s := c.Servers[next%len(c.Servers)]
		next++
		cl, err := s.Client()
		if err != nil {
			return false
		}
		last = cl.RotateAuthority(ctx, requestTimeout)
		if last == nil || errors.Is(last, api.ErrRotating) { // an attempt before may have begun it
			c.cfg.Say("%s: POST /v1/rotation: the cluster gets another authority", s.Name())
			return true
		}
		return false
	})
	if err != nil {
		err = errors.Join(err, last)
	}
	return before, err
}

// waitRotated waits until the authority that would have ended at before is
// replaced and forgotten.
func (c *Cluster) waitRotated(ctx context.Context, before time.Time) error {
	var seen api.Status
	err := Poll(ctx, "the authority to be replaced", func() bool {
		_, status, ok := c.Leader(ctx)
		if ok {
			seen = status
		}
		return ok && status.Rotation == "" && status.AuthorityNotAfter.After(before)
	})
	if err != nil {
		return fmt.Errorf("%w: it is %q and waits for %q", err, seen.Rotation, seen.RotationWaitsFor)
	}
	return nil
}

// WaitNoRotation waits until the authority is not being replaced.
func (c *Cluster) WaitNoRotation(ctx context.Context) error {
	return Poll(ctx, "the end of a rotation of the authority", func() bool {
		_, status, ok := c.Leader(ctx)
		return ok && status.Rotation == ""
	})
}
