package scenario

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
)

// What chaos must show for the run to count.
const (
	failoverEvery = 15 * time.Second // at least one in this time
	diskLossEvery = 30 * time.Second // one in this time
	ackedPerSec   = 50               // at least, on average
)

// How chaos goes. A pause outlasts the election timeout, so that a paused
// leader comes back to a cluster that has another one.
const (
	holdMin, holdMax = 1500 * time.Millisecond, 3 * time.Second
	calmMin, calmMax = 500 * time.Millisecond, 1500 * time.Millisecond

	// chaosCertificates is how long the servers' certificates live, so that they
	// are renewed all the time.
	chaosCertificates = 10 * time.Second

	// forceAfter without a failover, chaos turns to the leader.
	forceAfter = failoverEvery / 2
)

// action is what chaos does to a server: away takes it from the cluster, back
// brings it back.
type action struct {
	name string
	away func(context.Context, *cluster.Server) error
	back func(context.Context, *cluster.Server) error

	// abrupt actions leave the cluster to find out that the server is gone.
	abrupt bool
}

// actions are what chaos picks from. The abrupt ones come first.
var actions = []action{
	{
		name:   "kill -9",
		away:   func(_ context.Context, s *cluster.Server) error { s.Kill(); return nil },
		back:   func(ctx context.Context, s *cluster.Server) error { return s.Start(ctx) },
		abrupt: true,
	},
	{
		name:   "SIGSTOP",
		away:   func(_ context.Context, s *cluster.Server) error { return s.Pause() },
		back:   func(_ context.Context, s *cluster.Server) error { return s.Resume() },
		abrupt: true,
	},
	{
		name: "graceful restart",
		away: func(ctx context.Context, s *cluster.Server) error { return s.Stop(ctx) },
		back: func(ctx context.Context, s *cluster.Server) error { return s.Start(ctx) },
	},
}

const abruptActions = 2 // of actions

// chaos disturbs a minority of the servers, again and again. What it does to which
// of them follows from the seed, as far as the cluster takes the same turns.
func chaos(ctx context.Context, s *session) error {
	s.Display.Printf("Setting up agents and loading the registration entries")
	if err := s.setUp(ctx); err != nil {
		return err
	}
	if err := s.loadEntries(ctx); err != nil {
		return err
	}
	s.Display.Printf("Chaos for %v with seed %d: kill -9, SIGSTOP, graceful restarts and lost disks, never of a majority; other authorities; certificates that live for %v",
		s.Duration, s.Seed, chaosCertificates)
	before, begun := s.ledger.Counts().Acknowledged, time.Now()
	m, r := newMonkey(s, begun), newRotator(s, begun)
	s.load.Start(ctx)
	s.agents.Start(ctx)
	rotating, stop := context.WithCancel(ctx)
	defer r.wg.Wait()
	defer stop()
	r.start(rotating)
	if err := s.calm(ctx, calmMax); err != nil {
		return err
	}
	for time.Since(begun) < s.Duration {
		if err := m.disturb(ctx); err != nil {
			return err
		}
		if err := s.calm(ctx, between(m.rng, calmMin, calmMax)); err != nil {
			return err
		}
	}
	took, acked := time.Since(begun), s.ledger.Counts().Acknowledged-before
	r.wg.Wait() // the load goes on
	s.load.Stop()
	s.agents.Stop()
	s.assess(took, acked, m)
	return nil
}

// assess holds the run against what it must show.
func (s *session) assess(took time.Duration, acked int, m *monkey) {
	rate := float64(acked) / took.Seconds()
	s.note("%d disturbances in %.0f s; %.0f acknowledged writes/s on average", m.count, took.Seconds(), rate)
	if rate < ackedPerSec {
		s.problem("%.0f acknowledged writes/s on average, at least %d were to be shown", rate, ackedPerSec)
	}
	s.assessCertificates(took)
	s.assessRotations()
	s.mu.Lock()
	failovers, disks := len(s.failovers), s.disksReplaced
	s.mu.Unlock()
	if want := int(s.Duration / failoverEvery); failovers < want {
		s.problem("%d failovers in %v, at least %d were to be shown", failovers, s.Duration, want)
	}
	s.note("%d servers that had lost their disk were replaced by others", disks)
	if want := int(s.Duration / diskLossEvery); disks < want {
		s.problem("%d lost disks in %v, at least %d were to be shown", disks, s.Duration, want)
	}
}

// monkey picks at random what to disturb, and how.
type monkey struct {
	*session
	rng          *rand.Rand
	begun        time.Time
	losses       []loss // that are still to come
	lastFailover time.Time
	count        int
}

func newMonkey(s *session, begun time.Time) *monkey {
	return &monkey{
		session:      s,
		rng:          rand.New(rand.NewPCG(s.Seed, 0)),
		begun:        begun,
		losses:       planLosses(s.Duration, rand.New(rand.NewPCG(s.Seed, 1))),
		lastFailover: begun,
	}
}

// disturb takes some servers away for a while, and waits until they are back
// and have caught up.
func (m *monkey) disturb(ctx context.Context) error {
	leader, err := m.leader(ctx)
	if err != nil {
		return err
	}
	if len(m.losses) > 0 && time.Since(m.begun) >= m.losses[0].at {
		return m.lose(ctx, leader)
	}
	act := actions[m.rng.IntN(len(actions))]
	victims := m.victims(leader)
	if time.Since(m.lastFailover) > forceAfter {
		act, victims = actions[m.rng.IntN(abruptActions)], []*cluster.Server{leader}
	}
	m.count += len(victims)
	hold := between(m.rng, holdMin, holdMax)
	for _, srv := range victims {
		if err := m.takeAway(ctx, act, srv, srv == leader); err != nil {
			return fmt.Errorf("%s of %s: %w", act.name, srv.Name(), err)
		}
	}
	if err := pause(ctx, hold); err != nil {
		return err
	}
	step, cancel := context.WithTimeout(ctx, stepMax)
	defer cancel()
	for _, srv := range victims {
		if err := act.back(step, srv); err != nil {
			return fmt.Errorf("return of %s after %s: %w", srv.Name(), act.name, err)
		}
		if err := m.Cluster.WaitCaughtUp(step, srv); err != nil {
			return fmt.Errorf("after %s: %w", act.name, err)
		}
	}
	return nil
}

// takeAway disturbs one server and, where it leads, waits for the failover.
func (m *monkey) takeAway(ctx context.Context, act action, srv *cluster.Server, leads bool) error {
	cause := fmt.Sprintf("%s of follower %s", act.name, srv.Name())
	if leads {
		cause = fmt.Sprintf("%s of leader %s", act.name, srv.Name())
	}
	away := func() error { return act.away(ctx, srv) }
	if !leads || !act.abrupt {
		m.Display.Printf("      %s", cause)
		return away()
	}
	f, err := m.failover(ctx, srv, cause, away)
	if err != nil {
		return err
	}
	m.lastFailover = time.Now()
	m.Display.Printf("      %s: next acknowledged write after %.0f ms", f.Cause, f.RecoveryMS)
	return nil
}

// victims are one or more servers, no majority, more often than not with the
// leader among them.
func (m *monkey) victims(leader *cluster.Server) []*cluster.Server {
	servers := m.Cluster.Servers
	count := 1 + m.rng.IntN(len(servers)-m.Cluster.Quorum())
	var out []*cluster.Server
	if m.rng.IntN(10) < 6 {
		out = append(out, leader)
	}
	for _, i := range m.rng.Perm(len(servers)) {
		if len(out) < count && (len(out) == 0 || servers[i] != out[0]) {
			out = append(out, servers[i])
		}
	}
	return out
}

func between(rng *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(rng.Int64N(int64(high-low)))
}
