package scenario

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/report"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// Scenario is something that the demo can do.
type Scenario struct {
	Name string

	// NodesMin is the least number of servers that it makes sense with.
	NodesMin int

	// DurationDefault is how long it goes on unless it is told otherwise. Zero
	// means until interrupted, or that it has a length of its own.
	DurationDefault time.Duration

	// CertificateLifetime is that of the servers' certificates. Zero is the
	// default of the store, which outlasts every run.
	CertificateLifetime time.Duration

	// endless scenarios end in an interrupt as a matter of course. Servers that
	// end by themselves, which may be the user's doing, are started again.
	endless bool

	run func(ctx context.Context, s *session) error
}

// All are the scenarios, the default first.
var All = []Scenario{
	{Name: "story", NodesMin: 3, run: story},
	{Name: "chaos", NodesMin: 3, DurationDefault: time.Minute, CertificateLifetime: chaosCertificates, run: chaos},
	{Name: "serve", NodesMin: 1, endless: true, run: serve},
}

// Find returns the scenario of a name.
func Find(name string) (Scenario, error) {
	var names []string
	for _, s := range All {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Scenario{}, fmt.Errorf("unknown scenario %q: use one of %s", name, strings.Join(names, ", "))
}

// Config is what a scenario works on.
type Config struct {
	Cluster  *cluster.Cluster
	Display  report.Display
	Entries  []*spirev1.RegistrationEntry
	Duration time.Duration
	Clients  int
	Seed     uint64

	// Hurry is closed where an interrupted scenario must not take the time for
	// its checks.
	Hurry <-chan struct{}
}

// ErrInterrupted: the run was told to end before it was through.
var ErrInterrupted = errors.New("interrupted")

// errProblems ends a run that found broken promises.
var errProblems = errors.New("promises were broken")

// Run runs the scenario to its end and returns what came of it, also where
// that is an error.
func (sc Scenario) Run(ctx context.Context, cfg Config) report.Report {
	begun := time.Now()
	s := newSession(cfg)
	err := s.run(ctx, sc)
	r := s.report(sc)
	r.Took = time.Since(begun)
	if err == nil && len(r.Problems) > 0 {
		err = fmt.Errorf("%w: %s", errProblems, r.Problems[0])
	}
	r.OK = err == nil
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

// report is what is known of the run so far.
func (s *session) report(sc Scenario) report.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := s.ledger.Counts()
	r := report.Report{
		Result: report.Result{
			Scenario:  sc.Name,
			Nodes:     len(s.Cluster.Servers),
			Acked:     counts.Acknowledged,
			Ambiguous: counts.Ambiguous,
			Failovers: s.failovers,
			HashEqual: s.hash != "",
		},
		Keys:     s.keys,
		Revision: uint64(s.revision),
		Hash:     s.hash,
		Index:    s.index,
		Notes:    s.notes,
		Problems: slices.Concat(s.verdict.Problems, s.problems),
	}
	r.Agents, r.AgentsCompared = len(s.fleet.Agents), s.agentsCompared
	r.Answers, r.AuthorizedPerSecond = s.agents.Answers()
	r.AuthorizedPerSecond = math.Round(r.AuthorizedPerSecond*10) / 10
	r.DataStoreOps = s.Cluster.Operations()
	propagation := s.propagation.Percentiles(0.5, 0.99)
	r.Propagation = report.Percentiles{P50MS: milliseconds(propagation[0]), P99MS: milliseconds(propagation[1])}
	r.DisksReplaced, r.AuthorityRotations = s.disksReplaced, s.rotations
	r.CertificateRenewals = s.certificates.count()
	r.Lost, r.Duplicated = s.verdict.Lost, s.verdict.Duplicated
	watch := check.Total(s.watchers.streams())
	percentiles := s.latencies.Percentiles(0.5, 0.99)
	r.Watch = report.Watch{
		Events: watch.Events, Gaps: watch.Gaps, Duplicates: watch.Duplicates, OutOfOrder: watch.OutOfOrder,
		P50MS: milliseconds(percentiles[0]), P99MS: milliseconds(percentiles[1]),
	}
	return r
}

// milliseconds is d in milliseconds, to a hundredth.
func milliseconds(d time.Duration) float64 {
	return math.Round(d.Seconds()*1e5) / 100
}
