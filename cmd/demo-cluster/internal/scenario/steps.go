package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/client"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/load"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/report"
	"github.com/spire-raft/spire-raft/store"
)

// probeInterval is the time between probes, and how exact they are.
const probeInterval = 25 * time.Millisecond

// requestTimeout bounds single requests of the scenarios.
const requestTimeout = 5 * time.Second

// setUp writes what the load and the agents need.
func (s *session) setUp(ctx context.Context) error {
	if err := s.fleet.SetUp(ctx, s.Cluster.Servers, s.ledger, s.Entries); err != nil {
		return err
	}
	s.Display.Printf("      trust domain %s has %d agents, which talk to %d servers", s.fleet.TrustDomain.Name(), len(s.fleet.Agents), len(s.Cluster.Servers))
	return nil
}

// loadEntries writes the registration entries through all servers, and reads
// some back through each.
func (s *session) loadEntries(ctx context.Context) error {
	before, err := s.countEntries(ctx, s.Cluster.Servers[0])
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := load.Entries(ctx, s.Cluster.Servers, s.ledger, s.Entries); err != nil {
		return err
	}
	s.Display.Printf("      %d registration entries created in %.1f s, each with its indexes and SPIRE's event in one transaction", len(s.Entries), time.Since(begun).Seconds())
	step, cancel := context.WithTimeout(ctx, stepMax)
	defer cancel()
	sample := api.EntryFilter{SpiffeID: s.Entries[len(s.Entries)-1].SpiffeId}
	for _, srv := range s.Cluster.Servers {
		count, err := s.countEntries(step, srv)
		if err != nil {
			return err
		}
		cl, err := srv.Client()
		if err != nil {
			return err
		}
		found, err := cl.ListEntries(step, sample, store.Linearizable(), requestTimeout)
		if err != nil {
			return fmt.Errorf("list through %s: %w", srv.Name(), err)
		}
		if count != before+len(s.Entries) || len(found) == 0 {
			s.problem("%s counts %d entries, not %d, and finds %d with the SPIFFE ID %s", srv.Name(), count, before+len(s.Entries), len(found), sample.SpiffeID)
		}
	}
	s.Display.Printf("      a linearizable count through each server finds all of them; so does a search by SPIFFE ID")
	return nil
}

func (s *session) countEntries(ctx context.Context, srv *cluster.Server) (int, error) {
	cl, err := srv.Client()
	if err != nil {
		return 0, err
	}
	n, err := cl.CountEntries(ctx, store.Linearizable(), requestTimeout)
	if err != nil {
		return 0, fmt.Errorf("count through %s: %w", srv.Name(), err)
	}
	return n, nil
}

// calm measures for a while how long changes take to the watchers and agents.
func (s *session) calm(ctx context.Context, d time.Duration) error {
	for _, l := range []*check.Latencies{&s.latencies, &s.propagation} {
		l.Open(time.Now())
		defer l.Shut()
	}
	return pause(ctx, d)
}

// failover has the leader disturbed and waits until a write that began after
// that is acknowledged, under a new leader.
func (s *session) failover(ctx context.Context, leader *cluster.Server, cause string, disturb func() error) (report.Failover, error) {
	step, cancel := context.WithTimeout(ctx, stepMax)
	defer cancel()
	begun := time.Now()
	if err := disturb(); err != nil {
		return report.Failover{}, err
	}
	probing, stop := context.WithCancel(step)
	defer stop()
	s.probes.Go(func() { s.probeSteadily(ctx, probing) })
	acked, next, err := s.ackUnderAnother(step, leader)
	if err != nil {
		return report.Failover{}, err
	}
	f := report.Failover{RecoveryMS: milliseconds(acked.Sub(begun)), Cause: fmt.Sprintf("%s (%s took over)", cause, next.Name())}
	s.mu.Lock()
	s.failovers = append(s.failovers, f)
	s.mu.Unlock()
	return f, nil
}

// ackUnderAnother waits until a write that began after the call is
// acknowledged, under another leader. A signal takes a while to stop a process:
// until then the old leader may acknowledge some more.
func (s *session) ackUnderAnother(ctx context.Context, old *cluster.Server) (time.Time, *cluster.Server, error) {
	for {
		acked, err := s.ledger.WaitAck(ctx, time.Now())
		if err != nil {
			return time.Time{}, nil, err
		}
		if next, _, ok := s.Cluster.Leader(ctx); ok && next != old {
			return acked, next, nil
		}
	}
}

// probeSteadily begins a write every so often until probing ends, whatever has
// become of those before. The clients of the load wait for one write before
// they begin the next: all of them may be waiting for a leader that does not
// answer when another one could.
func (s *session) probeSteadily(ctx, probing context.Context) {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for i := 0; probing.Err() == nil; i++ {
		if cl, err := s.Cluster.Servers[i%len(s.Cluster.Servers)].Client(); err == nil {
			s.probes.Go(func() { _ = s.probe(ctx, cl, stepMax/10) }) // the ledger has the outcome
		}
		select {
		case <-tick.C:
		case <-probing.Done():
		}
	}
}

// probe creates an entry of its own, and notes what became of it.
func (s *session) probe(ctx context.Context, cl *client.Client, timeout time.Duration) error {
	id := fmt.Sprintf("%sprobe-%d", check.WritePrefix, s.probed.Add(1))
	begun := time.Now()
	s.ledger.Begin(id, "")
	written, err := cl.CreateEntry(ctx, s.fleet.NewProbe(id), timeout)
	s.ledger.End(id, begun, client.OutcomeOf(err), written.Revision)
	return err
}

// kill is the disturbance of SIGKILL.
func kill(srv *cluster.Server) func() error {
	return func() error {
		srv.Kill()
		return nil
	}
}

// leader waits until there is a leader.
func (s *session) leader(ctx context.Context) (*cluster.Server, error) {
	ctx, cancel := context.WithTimeout(ctx, stepMax)
	defer cancel()
	return s.Cluster.WaitLeader(ctx)
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
