package scenario

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/load"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/report"
	"github.com/spire-raft/spire-raft/store"
)

const (
	// stepMax bounds what the cluster needs for one step. A cluster that needs
	// longer is broken.
	stepMax = 30 * time.Second

	// writePace is the least time between two writes of one client: enough of
	// them for a steady load that leaves processor time to the servers.
	writePace = 50 * time.Millisecond

	// revivalPause is how long a server that ended by itself stays down.
	revivalPause = 2 * time.Second
)

// session is one run of a scenario.
type session struct {
	Config

	ledger      *check.Ledger
	watchers    *watchers
	latencies   check.Latencies // of writes, to the watchers
	propagation check.Latencies // of entries, to the agents

	certificates certificates
	fleet        *load.Fleet
	load         *load.Steady
	agents       *load.Agents

	background sync.WaitGroup // the guard, and the refreshing of the display
	probes     sync.WaitGroup // writes besides the load
	probed     atomic.Int64   // how many of them there have been

	// joining is held while a server gets a token and joins with it, and while a
	// rotation of the authority begins: that ends the tokens that are not used.
	joining sync.Mutex

	mu        sync.Mutex // guards the fields below
	failovers []report.Failover
	notes     []string
	problems  []string // besides those of the verdict
	verdict   check.Verdict
	hash      string // of all servers, once it is known to be the same
	index     uint64 // that they had then
	keys      int
	revision  store.Revision

	agentsCompared int // answers to agents that are what they should be
	disksReplaced  int // servers that lost their disk, and were replaced
	rotations      int // of the cluster's authority
}

func newSession(cfg Config) *session {
	s := &session{Config: cfg, ledger: check.NewLedger(), fleet: load.NewFleet(cfg.Cluster)}
	s.watchers = newWatchers(cfg.Cluster.Servers, s.measure)
	s.load = &load.Steady{
		Servers: cfg.Cluster.Servers,
		Ledger:  s.ledger,
		Fleet:   s.fleet,
		Clients: cfg.Clients,
		Pace:    writePace,
		Seed:    cfg.Seed,
	}
	s.agents = &load.Agents{Fleet: s.fleet, Ledger: s.ledger, Propagation: &s.propagation}
	return s
}

// run forms the cluster, has the scenario do its part, and checks what came of
// it. It ends early where ctx does, or a server ends by itself.
func (s *session) run(ctx context.Context, sc Scenario) error {
	// The watchers go on through an interrupt, which is how an endless
	// scenario comes to its checks.
	background, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer s.background.Wait()
	defer s.watchers.wait()
	defer stop(nil)
	steps, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.background.Go(func() { // ends with background
		if err := s.guard(background, sc.endless); err != nil {
			cancel(err)
			stop(err)
		}
	})

	s.background.Go(func() { // ends with background
		select {
		case <-s.Hurry:
			stop(ErrInterrupted)
		case <-background.Done():
		}
	})

	err := s.form(steps, background)
	if err == nil {
		err = sc.run(steps, s)
	}
	s.load.Stop()
	s.agents.Stop()
	s.probes.Wait()
	if err == nil && sc.endless {
		err = s.verify(background)
	} else if err == nil {
		err = s.verify(steps)
	}
	switch cause := context.Cause(background); {
	case cause != nil:
		return cause // says more than the error that followed from it
	case ctx.Err() != nil && err != nil:
		return ErrInterrupted
	}
	return err
}

// guard waits for servers that end by themselves until ctx ends. It starts them
// again if it may, else it returns how the first one ended.
func (s *session) guard(ctx context.Context, revive bool) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case crash := <-s.Cluster.Crashed():
			if !revive {
				return crash.Err
			}
			s.Display.Printf("%v; starting it again in %v", crash.Err, revivalPause)
			if pause(ctx, revivalPause) != nil {
				return nil
			}
			took, err := s.start(ctx, crash.Server)
			if err != nil {
				return err
			}
			s.Display.Printf("%s is back with pid %d and caught up after %.1f s", crash.Server.Name(), crash.Server.PID(), took.Seconds())
		}
	}
}

// form starts the servers and a watcher on each.
func (s *session) form(ctx, background context.Context) error {
	s.Display.Printf("Forming a cluster of %d servers: processes of their own that talk to each other over mutual TLS, with certificates of the cluster's own", len(s.Cluster.Servers))
	begun := time.Now()
	step, cancel := context.WithTimeout(ctx, stepMax)
	defer cancel()
	s.background.Go(func() { s.refresh(background) })
	s.watchers.start(background)
	if err := s.Cluster.Form(step); err != nil {
		return err
	}
	leader, err := s.Cluster.WaitLeader(step)
	if err != nil {
		return err
	}
	s.Display.Printf("      %s leads; all %d servers vote, after %.1f s; a watcher is connected to each", leader.Name(), len(s.Cluster.Servers), time.Since(begun).Seconds())
	return nil
}

// note adds a line to the report, and shows it.
func (s *session) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.mu.Lock()
	s.notes = append(s.notes, text)
	s.mu.Unlock()
	s.Display.Printf("      %s", text)
}

// problem notes a promise that was not kept.
func (s *session) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.mu.Lock()
	s.problems = append(s.problems, text)
	s.mu.Unlock()
	s.Display.Printf("      PROBLEM: %s", text)
}

// pause lets the load go on for a while.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
