package scenario

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
)

// replacement is a server that took the place of one whose disk was lost.
type replacement struct {
	gone, came string // node ids

	// took is the time from the loss to the vote of the one that came, which has
	// all the data then.
	took time.Duration
}

// loseDisk has a server die and lose all that it has stored, and does what an
// operator does then: removes it from the cluster for good, and has another one,
// with a node id of its own, join in its place.
func (s *session) loseDisk(ctx context.Context, srv *cluster.Server) (replacement, error) {
	r := replacement{gone: srv.Name()}
	leader, err := s.leader(ctx)
	if err != nil {
		return r, err
	}
	begun := time.Now()
	if srv == leader {
		f, err := s.failover(ctx, srv, "loss of the disk of leader "+r.gone, srv.LoseDisk)
		if err != nil {
			return r, err
		}
		s.Display.Printf("      %s: next acknowledged write after %.0f ms", f.Cause, f.RecoveryMS)
	} else {
		s.Display.Printf("      loss of the disk of follower %s: kill -9, all it stored deleted", r.gone)
		if err := srv.LoseDisk(); err != nil {
			return r, err
		}
	}
	place := slices.Index(s.Cluster.Servers, srv)
	s.watchers.retire(place)
	if err := s.replace(ctx, srv); err != nil {
		return r, fmt.Errorf("replacement of %s: %w", r.gone, err)
	}
	s.watchers.renew(place)
	r.came, r.took = srv.Name(), time.Since(begun)
	s.mu.Lock()
	s.disksReplaced++
	s.mu.Unlock()
	return r, nil
}

// replace has another server join in the place of one that is gone, and waits
// until it votes and has caught up.
func (s *session) replace(ctx context.Context, srv *cluster.Server) error {
	ctx, cancel := context.WithTimeout(ctx, stepMax)
	defer cancel()
	if err := s.Cluster.Remove(ctx, srv.Name()); err != nil {
		return err
	}
	if err := s.joinAnew(ctx, srv); err != nil {
		return err
	}
	if err := s.Cluster.WaitVoters(ctx); err != nil {
		return err
	}
	return s.Cluster.WaitCaughtUp(ctx, srv)
}

// joinAnew has another server join in the place of srv. A rotation of the
// authority waits for servers that are away, and ends the tokens of the old one:
// an operator lets it come to its end before.
func (s *session) joinAnew(ctx context.Context, srv *cluster.Server) error {
	s.joining.Lock()
	defer s.joining.Unlock()
	if err := s.Cluster.WaitNoRotation(ctx); err != nil {
		return err
	}
	return s.Cluster.Replace(ctx, srv)
}
