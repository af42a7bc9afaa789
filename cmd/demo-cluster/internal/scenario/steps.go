package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/load"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/report"
	"github.com/spire-raft/spire-raft/store"
)

// signalGrace is how long a stop signal may take to reach every thread of a
// process.
const signalGrace = 10 * time.Millisecond

// requestTimeout bounds single requests of the scenarios.
const requestTimeout = 5 * time.Second

// loadEntries writes the registration entries through all servers, and reads
// some back through each.
func (s *session) loadEntries(ctx context.Context) error {
	step, cancel := context.WithTimeout(ctx, stepMax)
	defer cancel()
	begun := time.Now()
	if err := load.Entries(step, s.Cluster.Servers, s.ledger, s.Entries); err != nil {
		return err
	}
	s.Display.Printf("      %d registration entries written in %.1f s, each with its indexes in one transaction", len(s.Entries), time.Since(begun).Seconds())
	sample := s.Entries[len(s.Entries)-1].Indexes[0]
	for _, srv := range s.Cluster.Servers {
		cl, err := srv.Client()
		if err != nil {
			return err
		}
		count, err := cl.Count(step, load.EntryType, store.Linearizable(), requestTimeout)
		if err != nil {
			return fmt.Errorf("count through %s: %w", srv.Name, err)
		}
		found, err := cl.ListBy(step, load.EntryType, sample.Field, sample.Value, 10, store.Linearizable(), requestTimeout)
		if err != nil {
			return fmt.Errorf("list through %s: %w", srv.Name, err)
		}
		if count.Count != len(s.Entries) || len(found.Items) == 0 {
			s.problem("%s counts %d entries, not %d, and finds %d with %s %s", srv.Name, count.Count, len(s.Entries), len(found.Items), sample.Field, sample.Value)
		}
	}
	s.Display.Printf("      a linearizable count through each server finds all of them; so does a search by %s", sample.Field)
	return nil
}

// calm measures for a while how long changes take to the watchers.
func (s *session) calm(ctx context.Context, d time.Duration) error {
	s.latencies.Open(time.Now())
	defer s.latencies.Shut()
	return pause(ctx, d)
}

// failover has the leader disturbed and waits until a write that began after
// that is acknowledged, under a new leader.
func (s *session) failover(ctx context.Context, leader *cluster.Server, cause string, disturb func() error, grace time.Duration) (report.Failover, error) {
	step, cancel := context.WithTimeout(ctx, stepMax)
	defer cancel()
	begun := time.Now()
	if err := disturb(); err != nil {
		return report.Failover{}, err
	}
	acked, err := s.ledger.WaitAck(step, time.Now().Add(grace))
	if err != nil {
		return report.Failover{}, err
	}
	next, err := s.Cluster.WaitLeader(step)
	if err != nil {
		return report.Failover{}, err
	}
	if next == leader {
		return report.Failover{}, fmt.Errorf("%s leads although it does not run", leader.Name)
	}
	f := report.Failover{RecoveryMS: milliseconds(acked.Sub(begun)), Cause: fmt.Sprintf("%s (%s took over)", cause, next.Name)}
	s.mu.Lock()
	s.failovers = append(s.failovers, f)
	s.mu.Unlock()
	return f, nil
}

// kill is the disturbance of SIGKILL.
func kill(srv *cluster.Server) func() error {
	return func() error {
		srv.Kill()
		return nil
	}
}

// start starts a server and waits until it has caught up with the others.
func (s *session) start(ctx context.Context, srv *cluster.Server) (time.Duration, error) {
	step, cancel := context.WithTimeout(ctx, stepMax)
	defer cancel()
	begun := time.Now()
	if err := srv.Start(step); err != nil {
		return 0, err
	}
	if err := s.Cluster.WaitCaughtUp(step, srv); err != nil {
		return 0, err
	}
	return time.Since(begun), nil
}
