package load

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
)

const (
	// askPace is the least time between two questions of an agent. A real one
	// asks every 5 s.
	askPace = 20 * time.Millisecond

	// askTimeout is how long an agent waits for its answer.
	askTimeout = 2 * time.Second
)

// Agents ask their servers over and over which entries they are authorised for.
type Agents struct {
	Fleet  *Fleet
	Ledger *check.Ledger

	// Propagation takes the times from the sending of a new entry to one server
	// until an agent of another server is given it.
	Propagation *check.Latencies

	answers atomic.Int64
	begun   time.Time
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu   sync.Mutex    // guards the fields below
	took time.Duration // from Start to Stop, 0 until then
}

// Start has the agents begin. Stop them.
func (a *Agents) Start(ctx context.Context) {
	ctx, a.cancel = context.WithCancel(ctx)
	a.begun = time.Now()
	for _, agent := range a.Fleet.Agents {
		a.wg.Go(func() { a.run(ctx, agent) }) // ends with Stop
	}
}

// Stop has the agents end and waits for them. It may be called again, and
// without Start.
func (a *Agents) Stop() {
	if a.cancel == nil {
		return
	}
	a.cancel()
	a.wg.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.took == 0 {
		a.took = time.Since(a.begun)
	}
}

// Answers returns how many answers the agents got, and how many in a second.
// Both are zero until the agents have stopped.
func (a *Agents) Answers() (n int, perSecond float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.took == 0 {
		return 0, 0
	}
	n = int(a.answers.Load())
	return n, float64(n) / a.took.Seconds()
}

// run is one agent, until ctx ends.
func (a *Agents) run(ctx context.Context, agent Agent) {
	tick := time.NewTicker(askPace)
	defer tick.Stop()
	known := make(map[string]bool) // the entries of its last answer
	for ctx.Err() == nil {
		if next, err := a.ask(ctx, agent, known); err == nil {
			known = next
		} else {
			pause(ctx, backoff)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// ask returns the entries of an answer, and measures how long those have taken
// that were not known before.
func (a *Agents) ask(ctx context.Context, agent Agent, known map[string]bool) (map[string]bool, error) {
	cl, err := agent.Server.Client()
	if err != nil {
		return nil, err
	}
	answer, err := cl.Authorized(ctx, agent.ID, askTimeout)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	a.answers.Add(1)
	next := make(map[string]bool, len(answer.Entries))
	for _, e := range answer.Entries {
		next[e.ID] = true
		if known[e.ID] {
			continue
		}
		if sent, via, ok := a.Ledger.Sent(e.ID); ok && via != "" && via != agent.Server.Name() {
			a.Propagation.Add(sent, now)
		}
	}
	return next, nil
}
