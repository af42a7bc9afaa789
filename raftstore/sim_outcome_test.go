package raftstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
)

// errExists is what who creates something is told that is there.
var errExists = errors.New("exists already")

// create puts a key that must not be there.
func create(ctx context.Context, n *raftstore.Node, key string) error {
	_, err := store.Update(ctx, n, func(tx store.Tx) error {
		if _, found, err := tx.Get(ctx, []byte(key)); err != nil || found {
			return errors.Join(err, errExists)
		}
		return tx.Put([]byte(key), []byte("v"))
	})
	return err
}

// there is what a linearizable read finds.
func (s *sim) there(n *raftstore.Node, key string) bool {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, electMax)
	defer cancel()
	kvs, _, err := n.Get(ctx, store.Linearizable(), store.Key([]byte(key)))
	if err != nil {
		s.tb.Fatalf("get %s: %v", key, err)
	}
	return len(kvs) > 0
}

// lost is how many answers a node has lost, by what it found out.
func lost(tb testing.TB, r *prometheus.Registry, found string) int {
	return int(gathered(tb, r)["spire_raft_lost_answers_total/"+found])
}

// TestSim_LostAnswersAreFoundOut breaks the connection to the leader again and
// again, at every moment of a write through it. The leader stays, so that every
// write has its answer in the end: it has happened, once.
func TestSim_LostAnswersAreFoundOut(t *testing.T) {
	t.Parallel()
	regs := make(map[string]*prometheus.Registry)
	simulate(t, 51, 3, registries(regs), func(s *sim) {
		leader := s.elected()
		asked := s.others(leader)[0]
		rng := rand.New(rand.NewPCG(51, 0))
		for i := range 150 {
			broken := make(chan struct{})
			go func() {
				defer close(broken)
				time.Sleep(time.Duration(rng.Int64N(int64(20 * time.Millisecond))))
				s.net.Reset(s.name(asked), s.name(leader))
			}()
			ctx, cancel := context.WithTimeout(s.ctx, electMax)
			if err := create(ctx, s.node(asked), fmt.Sprint(i)); err != nil {
				t.Fatalf("write %d: %v", i, err)
			}
			cancel()
			<-broken
		}
		reg := regs[s.name(asked)]
		applied, not, unknown := lost(t, reg, "applied"), lost(t, reg, "not_applied"), lost(t, reg, "unknown")
		t.Logf("answers lost: of %d that were applied, %d that were not, %d unknown", applied, not, unknown)
		if applied < 5 || not < 2 || unknown > 0 {
			t.Error("want some of the first two, and none of the last")
		}
	})
}

// TestSim_ReadsSettleUnknownOutcomes has writers that wait for an answer too
// short a time to get it, on the leader and on a follower, while connections
// break, and messages are late. What a read on the same node finds after such a
// write must stay: whoever creates what was not found succeeds.
func TestSim_ReadsSettleUnknownOutcomes(t *testing.T) {
	t.Parallel()
	for seed, where := range []string{"the leader", "a follower"} {
		t.Run(where, func(t *testing.T) {
			simulate(t, uint64(60+seed), 3, nil, func(s *sim) {
				s.net.SetLatency(simLatency, 10*simJitter)
				rng := rand.New(rand.NewPCG(uint64(60+seed), 0))
				unknown, found := 0, 0
				for i := range 150 {
					leader := s.elected()
					asked := leader
					if where == "a follower" {
						asked = s.others(leader)[0]
					}
					s.breakSome(rng, leader, asked)
					n, key := s.node(asked), fmt.Sprint(i)
					ctx, cancel := context.WithTimeout(s.ctx, time.Duration(rng.Int64N(int64(80*time.Millisecond))))
					err := create(ctx, n, key)
					cancel()
					if !errors.Is(err, store.ErrUnknownOutcome) {
						continue
					}
					unknown++
					if s.there(n, key) {
						found++
						continue
					}
					ctx, cancel = context.WithTimeout(s.ctx, electMax)
					if err := create(ctx, n, key); err != nil {
						t.Errorf("write %d: unknown outcome, not found, and then: %v", i, err)
					}
					cancel()
				}
				t.Logf("%d writes of unknown outcome, %d were there", unknown, found)
				if unknown < 15 || found < 3 {
					t.Error("too few of them, so the test tests little")
				}
			})
		})
	}
}

// breakSome breaks the connections between two nodes soon, or hands over
// leadership.
func (s *sim) breakSome(rng *rand.Rand, leader, other int) {
	when := time.Duration(rng.Int64N(int64(40 * time.Millisecond)))
	how := rng.IntN(10)
	s.work.Go(func() {
		time.Sleep(when)
		switch {
		case how == 0:
			ctx, cancel := context.WithTimeout(s.ctx, time.Second)
			defer cancel()
			_ = s.node(leader).TransferLeadership(ctx) // or not
		case how < 6 && leader != other:
			s.net.Reset(s.name(leader), s.name(other))
		case how < 8:
			for _, i := range s.others(leader) {
				s.net.Reset(s.name(leader), s.name(i))
			}
		}
	})
}

// TestSim_LateRequestsDoNothing delivers the request of a write after a read on
// the same node, which did not find it. It must be refused, whoever leads then.
func TestSim_LateRequestsDoNothing(t *testing.T) {
	t.Parallel()
	handOver := func(s *sim, to int) {
		s.tb.Helper()
		for s.elected() != to {
			ctx, cancel := context.WithTimeout(s.ctx, electMax)
			err := s.node(s.elected()).TransferLeadership(ctx)
			cancel()
			if err != nil {
				s.tb.Fatal(err)
			}
			s.settled()
		}
	}
	for name, c := range map[string]struct {
		before, after func(s *sim, old, asked, third int) // the read
	}{
		"the same leader": {},
		"the leader was deposed, and leads again": {
			before: func(s *sim, _, _, third int) { handOver(s, third) },
			after:  func(s *sim, old, _, _ int) { handOver(s, old) },
		},
		"the leader was killed, and leads again": {
			before: func(s *sim, old, asked, third int) {
				s.crash(old)
				s.elected(asked, third)
			},
			after: func(s *sim, old, _, _ int) {
				s.restart(old)
				s.settled()
				handOver(s, old)
			},
		},
		"the node itself has led between": {
			before: func(s *sim, _, asked, _ int) { handOver(s, asked) },
			after:  func(s *sim, old, _, _ int) { handOver(s, old) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, 70, 3, nil, func(s *sim) {
				old := s.elected()
				asked, third := s.others(old)[0], s.others(old)[1]
				n := s.node(asked)
				deliver, err := n.LateWrite(store.Pair{Key: []byte("k")})
				if err != nil {
					t.Fatal(err)
				}
				if c.before != nil {
					c.before(s, old, asked, third)
				}
				if s.there(n, "k") {
					t.Fatal("the write happened before it was sent")
				}
				if c.after != nil {
					c.after(s, old, asked, third)
				}
				if err := s.bounded(electMax, func(ctx context.Context) error { return deliver(ctx, s.name(old)) }); err == nil {
					t.Error("a request that was given up is acknowledged")
				}
				if err := s.bounded(electMax, func(ctx context.Context) error { return create(ctx, n, "k") }); err != nil {
					t.Errorf("not found, and then: %v", err)
				}
			})
		})
	}
}
