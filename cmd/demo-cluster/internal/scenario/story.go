package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/client"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
	"github.com/spire-raft/spire-raft/store"
)

// How long parts of the story take, for the load to show what it goes through.
const (
	calmTime      = 5 * time.Second
	afterFailover = 2 * time.Second
	betweenStops  = time.Second
)

// Bounds of the stale reads that the story shows.
const (
	looseBound = time.Minute
	tightBound = time.Second
)

// story shows one thing after the other.
func story(ctx context.Context, s *session) error {
	steps := []struct {
		title string
		run   func(context.Context) error
	}{
		{"Set up bundles and agents, in parallel through all servers", s.setUp},
		{"Load the registration entries, in parallel through all servers", s.loadEntries},
		{"Create, update and delete entries through all servers, undisturbed, while agents ask for theirs", s.storyCalm},
		{"Kill the leader with SIGKILL, under load", s.storyKill},
		{"Rolling restart: stop and start every server in turn, under load", s.storyRolling},
		{"Lose a disk: remove its server, and join another one in its place, under load", s.storyDisk},
		{"Stop a majority: no writes, but reads that allow for old data", s.storyMinority},
	}
	for i, step := range steps {
		s.Display.Printf("[%d/%d] %s", i+1, len(steps), step.title)
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.title, err)
		}
	}
	return nil
}

func (s *session) storyCalm(ctx context.Context) error {
	s.load.Start(ctx)
	s.agents.Start(ctx)
	before, begun := s.ledger.Counts().Acknowledged, time.Now()
	if err := s.calm(ctx, calmTime); err != nil {
		return err
	}
	rate := float64(s.ledger.Counts().Acknowledged-before) / time.Since(begun).Seconds()
	s.note("undisturbed, %d clients had %.0f writes/s acknowledged", s.Clients, rate)
	return nil
}

func (s *session) storyKill(ctx context.Context) error {
	leader, err := s.leader(ctx)
	if err != nil {
		return err
	}
	f, err := s.failover(ctx, leader, "kill -9 of leader "+leader.Name(), kill(leader))
	if err != nil {
		return err
	}
	s.Display.Printf("      %s: the next write was acknowledged %.0f ms after the kill", f.Cause, f.RecoveryMS)
	if err := pause(ctx, afterFailover); err != nil {
		return err
	}
	took, err := s.start(ctx, leader)
	if err != nil {
		return err
	}
	s.note("%s, started again, had caught up after %.1f s, and its watcher went on where it was", leader.Name(), took.Seconds())
	return nil
}

// storyRolling restarts the followers first, so that leadership moves once.
func (s *session) storyRolling(ctx context.Context) error {
	leader, err := s.leader(ctx)
	if err != nil {
		return err
	}
	for _, srv := range append(s.followers(leader), leader) {
		acked, err := s.restart(ctx, srv)
		if err != nil {
			return err
		}
		if srv == leader {
			s.note("leader %s, told to stop, handed over: the next write was acknowledged %.0f ms after it was told", srv.Name(), milliseconds(acked))
		}
		if err := pause(ctx, betweenStops); err != nil {
			return err
		}
	}
	return nil
}

// restart stops a server and starts it again. It returns how long after the
// stop began a write that began later was acknowledged.
func (s *session) restart(ctx context.Context, srv *cluster.Server) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, stepMax)
	defer cancel()
	begun := time.Now()
	if err := srv.Stop(ctx); err != nil {
		return 0, err
	}
	acked, err := s.ledger.WaitAck(ctx, begun)
	if err != nil {
		return 0, err
	}
	took, err := s.start(ctx, srv)
	if err != nil {
		return 0, err
	}
	s.Display.Printf("      %s restarted, caught up after %.1f s", srv.Name(), took.Seconds())
	return acked.Sub(begun), nil
}

// storyDisk has a follower lose its disk.
func (s *session) storyDisk(ctx context.Context) error {
	leader, err := s.leader(ctx)
	if err != nil {
		return err
	}
	r, err := s.loseDisk(ctx, s.followers(leader)[0])
	if err != nil {
		return err
	}
	s.note("the disk of %s was lost; %s, with an empty one, had its vote and all the data %.1f s later", r.gone, r.came, r.took.Seconds())
	return nil
}

// storyMinority stops servers until those that are left are no majority, shows
// what works and what does not, and heals the cluster.
func (s *session) storyMinority(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepMax)
	defer cancel()
	left := s.Cluster.Quorum() - 1
	stopped, survivor := s.Cluster.Servers[left:], s.Cluster.Servers[0]
	for _, srv := range stopped {
		if err := srv.Stop(ctx); err != nil {
			return err
		}
	}
	s.Display.Printf("      %d of %d servers are stopped", len(stopped), len(s.Cluster.Servers))
	cl, err := survivor.Client()
	if err != nil {
		return err
	}
	if err := s.showRefusals(ctx, cl); err != nil {
		return err
	}

	begun := time.Now()
	if err := s.Cluster.StartAll(ctx, stopped...); err != nil {
		return err
	}
	acked, err := s.ledger.WaitAck(ctx, begun)
	if err != nil {
		return err
	}
	for _, srv := range s.Cluster.Servers {
		if err := s.Cluster.WaitCaughtUp(ctx, srv); err != nil {
			return err
		}
	}
	s.note("started again, the cluster acknowledged the next write after %.1f s and all servers caught up", acked.Sub(begun).Seconds())
	return nil
}

// showRefusals shows what a server without a majority does.
func (s *session) showRefusals(ctx context.Context, cl *client.Client) error {
	const attempt = 2 * time.Second
	agent := s.fleet.Agents[0] // of the first server, which survives
	if _, err := cl.Authorized(ctx, agent.ID, attempt); err != nil {
		return fmt.Errorf("question of agent %s: %w", agent.ID, err)
	}
	s.note("without a majority, agents are still told their entries, from memory")
	err := cluster.Poll(ctx, "writes to be refused for want of a leader", func() bool {
		return errors.Is(s.probe(ctx, cl, attempt), store.ErrNoLeader)
	})
	if err != nil {
		return err
	}
	s.note("a write is refused with %q", store.ErrNoLeader)

	read := func(bound time.Duration) error {
		found, err := cl.ListEntries(ctx, api.EntryFilter{SpiffeID: s.Entries[0].SpiffeId}, store.BoundedStale(bound), attempt)
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("entry %s is not found", s.Entries[0].SpiffeId)
		}
		return err
	}
	if err := read(looseBound); err != nil {
		return fmt.Errorf("read that allows for %v: %w", looseBound, err)
	}
	err = cluster.Poll(ctx, "reads with a tight bound to be refused", func() bool {
		return errors.Is(read(tightBound), store.ErrStale)
	})
	if err != nil {
		return err
	}
	if err := read(looseBound); err != nil {
		return fmt.Errorf("read that allows for %v: %w", looseBound, err)
	}
	s.note("reads that allow for data %v old go on; reads that allow for %v end in %q", looseBound, tightBound, store.ErrStale)
	return nil
}
