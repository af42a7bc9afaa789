package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
	"github.com/spire-raft/spire-raft/store"
)

// verifyMax bounds the checks at the end.
const verifyMax = 60 * time.Second

// errEnough ends a watch that has all that it was for.
var errEnough = errors.New("enough")

// verify compares what writers were told with what the servers hold, and with
// what the watchers saw. Nothing may write.
func (s *session) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, verifyMax)
	defer cancel()
	s.Display.Printf("Checking every write, every watcher's history, what each server holds, and what it tells each agent")
	statuses, err := s.Cluster.WaitSettled(ctx)
	if err != nil {
		return err
	}
	s.compareHashes(statuses)
	last := statuses[0].Revision
	if err := s.awaitStreams(ctx, last); err != nil {
		return err
	}
	history, err := s.readHistory(ctx, last)
	if err != nil {
		return err
	}
	for _, srv := range s.Cluster.Servers {
		pairs, err := dump(ctx, srv, last)
		if err != nil {
			return fmt.Errorf("what %s holds: %w", srv.Name(), err)
		}
		history.CompareState(srv.Name(), pairs)
		s.mu.Lock()
		s.keys = len(pairs)
		s.mu.Unlock()
	}
	if err := s.compareAgents(ctx, history); err != nil {
		return err
	}
	verdict := check.Judge(s.ledger, history, s.watchers.streams())
	s.mu.Lock()
	s.verdict, s.revision = verdict, last
	s.mu.Unlock()
	return nil
}

// compareHashes holds the state hashes of servers at one index together.
func (s *session) compareHashes(statuses []api.Status) {
	hash := statuses[0].Hash
	for _, status := range statuses {
		if status.Hash != hash {
			s.problem("at index %d, the state hash of %s is %s, that of %s is %s",
				status.AppliedIndex, statuses[0].Node, hash, status.Node, status.Hash)
			return
		}
		if status.Diverged {
			s.problem("%s has seen a server with a different state hash", status.Node)
		}
	}
	s.mu.Lock()
	s.hash, s.index = hash, statuses[0].AppliedIndex
	s.mu.Unlock()
}

// awaitStreams waits until the watchers have come to the end. One that does not
// is left to the checks, which say what is missing.
func (s *session) awaitStreams(ctx context.Context, last store.Revision) error {
	step, cancel := context.WithTimeout(ctx, stepMax/2)
	defer cancel()
	err := cluster.Poll(step, "the watchers", func() bool {
		for i := range s.Cluster.Servers {
			if s.watchers.stream(i).Cursor().Revision < last {
				return false
			}
		}
		return true
	})
	if ctx.Err() != nil {
		return err
	}
	return nil
}

// readHistory reads all changes up to the revision last from a server.
func (s *session) readHistory(ctx context.Context, last store.Revision) (*check.History, error) {
	srv := s.Cluster.Servers[0]
	cl, err := srv.Client()
	if err != nil {
		return nil, err
	}
	h := check.NewHistory()
	if last == 0 {
		return h, nil
	}
	err = cl.Watch(ctx, store.Cursor{}, func(b api.Batch) error {
		h.Add(b)
		if b.Cursor.Revision >= last {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("history of %s: %w", srv.Name(), err)
	}
	return h, nil
}

// compareAgents asks every server what it tells every agent, and holds that
// against the history.
func (s *session) compareAgents(ctx context.Context, h *check.History) error {
	fleet, err := h.Fleet()
	if err != nil {
		return err
	}
	compared := 0
	for _, srv := range s.Cluster.Servers {
		cl, err := srv.Client()
		if err != nil {
			return err
		}
		for _, agent := range s.fleet.Agents {
			var answer api.Authorized
			var refused error
			err := cluster.Poll(ctx, "the cache of "+srv.Name(), func() bool {
				answer, refused = cl.Authorized(ctx, agent.ID, requestTimeout)
				if errors.Is(refused, store.ErrStale) {
					return false // a cache says so until it knows how old it is
				}
				return refused != nil || answer.Revision >= h.Revision()
			})
			if err = errors.Join(err, refused); err != nil {
				return fmt.Errorf("what %s tells agent %s: %w", srv.Name(), agent.ID, err)
			}
			if wrong := fleet.Compare(agent.ID, answer.Entries); wrong != "" {
				s.problem("%s gives agent %s %s", srv.Name(), agent.ID, wrong)
			} else {
				compared++
			}
		}
	}
	s.mu.Lock()
	s.agentsCompared = compared
	s.mu.Unlock()
	return nil
}

// dump reads all that a server holds, from its own state.
func dump(ctx context.Context, srv *cluster.Server, at store.Revision) ([]api.Pair, error) {
	cl, err := srv.Client()
	if err != nil {
		return nil, err
	}
	pairs, cursor, err := cl.Dump(ctx, store.AtLeast(at))
	if err == nil && cursor.Revision != at {
		err = fmt.Errorf("it is at revision %d, not %d", cursor.Revision, at)
	}
	return pairs, err
}
