package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/client"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
)

const (
	// writeTimeout is how long a write may take. It outlasts an election, so
	// that most writers see no more of one than a pause.
	writeTimeout = 3 * time.Second

	// backoff is how long a writer leaves a server alone that has refused or
	// not answered it, before it tries the next.
	backoff = 50 * time.Millisecond

	// hotEntries are updated by all writers, so that updates conflict.
	hotEntries = 4

	// One write in updateShare is an update. The others create an entry or,
	// once a writer has liveMax, delete its oldest.
	updateShare = 4
	liveMax     = 16
)

// Steady is a load that goes on until it is stopped.
type Steady struct {
	Servers []*cluster.Server
	Ledger  *check.Ledger
	Fleet   *Fleet // that has been set up

	// Clients write at the same time, each one write after another, spread
	// over the servers.
	Clients int

	// Pace is the least time from one write of a client to its next.
	Pace time.Duration

	Seed uint64

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Start begins the load. Stop it.
func (l *Steady) Start(ctx context.Context) {
	running, cancel := context.WithCancel(ctx)
	l.cancel = cancel
	for i := range l.Clients {
		w := &writer{load: l, number: i, rng: rand.New(rand.NewPCG(l.Seed, uint64(i)))}
		l.wg.Go(func() { w.run(ctx, running) }) // ends with Stop
	}
}

// Stop ends the load and waits until every write has come to its end. It may
// be called again, and without Start.
func (l *Steady) Stop() {
	if l.cancel != nil {
		l.cancel()
	}
	l.wg.Wait()
}

// writer is one client of the load.
type writer struct {
	load   *Steady
	number int
	rng    *rand.Rand
	writes int
	live   []string // the entries that it has created and not deleted, oldest first
}

// run writes until running ends. Writes themselves are only cut short by ctx.
func (w *writer) run(ctx, running context.Context) {
	tick := time.NewTicker(w.load.Pace)
	defer tick.Stop()
	server := w.number
	for running.Err() == nil {
		s := w.load.Servers[server%len(w.load.Servers)]
		if err := w.write(ctx, s); err != nil {
			server++ // to a server that is better off
			pause(running, backoff)
		}
		select {
		case <-tick.C:
		case <-running.Done():
		}
	}
}

// write sends one write and notes what became of it.
func (w *writer) write(ctx context.Context, s *cluster.Server) error {
	cl, err := s.Client()
	if err != nil {
		return err
	}
	w.writes++
	id := fmt.Sprintf("%sc%03d-%06d", check.WritePrefix, w.number, w.writes)
	switch {
	case w.rng.IntN(updateShare) == 0:
		entry := hotEntry(w.rng.IntN(hotEntries))
		return w.note(id, s, func() (api.Written, error) {
			return cl.UpdateEntry(ctx, entry, api.EntryUpdate{Hint: id}, writeTimeout)
		})
	case len(w.live) >= liveMax:
		oldest := w.live[0]
		w.live = w.live[1:] // also where the outcome is not known
		return w.note(check.DeletionOf(oldest), s, func() (api.Written, error) {
			return cl.DeleteEntry(ctx, oldest, writeTimeout)
		})
	}
	e := w.load.Fleet.newEntry(id, regions[w.rng.IntN(len(regions))])
	err = w.note(id, s, func() (api.Written, error) { return cl.CreateEntry(ctx, e, writeTimeout) })
	if err == nil {
		w.live = append(w.live, id)
	}
	return err
}

// note sends the write id and notes what became of it.
func (w *writer) note(id string, s *cluster.Server, send func() (api.Written, error)) error {
	begun := time.Now()
	w.load.Ledger.Begin(id, s.Name())
	written, err := send()
	w.load.Ledger.End(id, begun, client.OutcomeOf(err), written.Revision)
	return err
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
