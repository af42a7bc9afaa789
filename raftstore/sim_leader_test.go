package raftstore_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/simtest"
	"github.com/spire-raft/spire-raft/store"
)

// others are the places of all nodes but one.
func (s *sim) others(than int) []int {
	var out []int
	for i := range s.size() {
		if i != than {
			out = append(out, i)
		}
	}
	return out
}

// TestSim_DeposedLeader cuts the leader off with clients on it, while the
// others elect a new one and write. None of its linearizable reads may return
// what was there before, and it may acknowledge nothing.
func TestSim_DeposedLeader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		cut  func(s *sim, leader, other int)
	}{
		{"it neither sends nor hears", func(s *sim, leader, other int) {
			s.net.Cut(s.name(leader), s.name(other))
			s.net.Cut(s.name(other), s.name(leader))
		}},
		{"it sends but hears nothing", func(s *sim, leader, other int) { s.net.Cut(s.name(other), s.name(leader)) }},
		{"it hears but sends nothing", func(s *sim, leader, other int) { s.net.Cut(s.name(leader), s.name(other)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			simulate(t, 1, 3, nil, func(s *sim) {
				l := s.startLoad(1, 0)
				old := s.elected()
				for _, i := range s.others(old) {
					c.cut(s, old, i)
				}
				stuck, done := make([][]error, 4), make(chan struct{})
				for i := range stuck {
					go func() {
						stuck[i] = hammer(l, old, uint64(i), 4*time.Second)
						done <- struct{}{}
					}()
				}
				elected := s.elected(s.others(old)...)
				if accepted := len(hammer(l, elected, 99, 2*time.Second)); accepted > 0 {
					t.Errorf("%d operations failed on the new leader", accepted)
				}
				for range stuck {
					<-done
				}
				s.net.Heal()
				l.finish()

				errs := slices.Concat(stuck...)
				if !slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, store.ErrUnknownOutcome) }) {
					t.Error("no write was under way when the leader was cut off, so the test tests little")
				}
				for _, o := range l.recorder.Ops() {
					if o.Err == nil && o.Node == s.name(old) && o.Kind != "open accounts" {
						t.Errorf("succeeded on the old leader: %v", o)
					}
				}
			})
		})
	}
}

// hammer writes and reads on one node for a while, and returns the errors.
func hammer(l *load, node int, seed uint64, d time.Duration) (errs []error) {
	c := &client{load: l, rng: rand.New(rand.NewPCG(seed, 7))}
	ops := []operation{{kind: "put", run: putRegister}, {kind: "read", run: readRegisters}}
	for i, end := 0, time.Now().Add(d); time.Now().Before(end); i++ {
		if err := c.do(l.node(node), ops[i%len(ops)]); err != nil {
			errs = append(errs, err)
			if !errors.Is(err, store.ErrNoLeader) && !errors.Is(err, store.ErrUnknownOutcome) {
				l.tb.Errorf("got error %v, want %v or %v", err, store.ErrNoLeader, store.ErrUnknownOutcome)
			}
		}
		time.Sleep(time.Duration(c.rng.Int64N(int64(20 * time.Millisecond))))
	}
	return errs
}

// TestSim_StalledLeader stalls whatever the leader sends and receives, again
// and again, for longer than it takes to elect another, and then delivers it:
// answers that are late must confirm nothing.
func TestSim_StalledLeader(t *testing.T) {
	t.Parallel()
	simulate(t, 2, 3, nil, func(s *sim) {
		l := s.startLoad(2, 6)
		rng := rand.New(rand.NewPCG(2, 0))
		for range 8 {
			leader := s.elected()
			if rng.IntN(2) == 0 {
				s.net.SetLatency(200*time.Millisecond, 200*time.Millisecond)
				time.Sleep(time.Duration(rng.Int64N(int64(time.Second))))
			}
			s.isolate(leader)
			time.Sleep(400*time.Millisecond + time.Duration(rng.Int64N(int64(2*time.Second))))
			s.net.SetLatency(simLatency, simJitter)
			s.net.Heal()
			time.Sleep(time.Duration(rng.Int64N(int64(time.Second))))
		}
		l.finish()
		if terms := s.offices.Terms(); terms < 4 {
			t.Errorf("%d terms: the leader was hardly ever deposed", terms)
		}
	})
}

// TestSim_NewLeaderHasEverything cuts the leader off at the very moment at
// which it acknowledges a write, before any other node has been told that the
// write is committed. Who reads next, on the next leader or through it, must
// find it.
func TestSim_NewLeaderHasEverything(t *testing.T) {
	t.Parallel()
	simulate(t, 15, 3, nil, func(s *sim) {
		l := s.startLoad(15, 0)
		c := &client{load: l, rng: rand.New(rand.NewPCG(15, 7))}
		for range 6 {
			old := s.elected()
			s.net.SetLatency(20*time.Millisecond, 0)
			if err := c.do(s.node(old), operation{kind: "put", run: putRegister}); err != nil {
				t.Fatal(err)
			}
			s.isolate(old)
			done := make(chan struct{})
			for _, i := range s.others(old) {
				go func() {
					defer func() { done <- struct{}{} }()
					reader := &client{load: l, rng: rand.New(rand.NewPCG(uint64(i), 7))}
					for reader.do(s.node(i), operation{kind: "read", run: readRegisters}) != nil {
					}
				}()
			}
			for range s.others(old) {
				<-done
			}
			s.heal()
			s.settled()
		}
		l.finish()
	})
}

// TestSim_RestartOfAll takes all nodes down under load, at once or in turn, and
// wants all that was acknowledged back.
func TestSim_RestartOfAll(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		down func(s *sim, i int)
	}{
		{"crash", (*sim).crash},
		{"close", (*sim).stop},
	} {
		t.Run(c.name, func(t *testing.T) {
			simulate(t, 3, 3, nil, func(s *sim) {
				l := s.startLoad(3, 6)
				time.Sleep(time.Second)
				before := l.recorder.Acknowledged()
				for i := range s.size() {
					c.down(s, i)
				}
				time.Sleep(time.Second)
				s.heal()
				s.elected()
				time.Sleep(time.Second)
				l.finish()
				if after := l.recorder.Acknowledged(); before < 50 || after < before+50 {
					t.Errorf("%d writes were acknowledged before, %d in all", before, after)
				}
			})
		})
	}
}

// handOverMax is far below the 500 ms after which a follower would act by
// itself.
const handOverMax = 100 * time.Millisecond

// TestSim_CloseOfTheLeaderHandsOver closes leader after leader while another
// node writes without pause.
func TestSim_CloseOfTheLeaderHandsOver(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		size int
		cut  bool
	}{
		{"all are there", 3, false},
		{"a follower is cut off", 5, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			simulate(t, 4, c.size, nil, func(s *sim) {
				for round := range 6 {
					leader := s.elected()
					others := s.others(leader)
					if c.cut {
						s.isolate(others[round%len(others)])
						time.Sleep(50 * time.Millisecond) // less than what lets it stand for election
					}
					writer := s.node(others[(round+1)%len(others)])
					closed := make(chan struct{})
					go func() {
						defer close(closed)
						s.stop(leader)
					}()
					longest := longestWrite(s, writer, time.Second)
					<-closed
					if longest > handOverMax {
						t.Errorf("round %d: a write took %v while the leader was closed, want at most %v", round, longest, handOverMax)
					}
					s.heal()
					s.elected()
					s.settled()
				}
			})
		})
	}
}

// longestWrite writes for a while and returns the longest that a write took.
func longestWrite(s *sim, n *raftstore.Node, d time.Duration) (longest time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		begun := time.Now()
		ctx, cancel := context.WithTimeout(s.ctx, waitMax)
		_, err := n.Put(ctx, store.Pair{Key: []byte("k"), Value: simtest.Value("w", "")})
		cancel()
		// A write that the closed leader had taken may have an unknown outcome.
		if err != nil && !errors.Is(err, store.ErrUnknownOutcome) {
			s.tb.Errorf("put: %v", err)
		}
		longest = max(longest, time.Since(begun))
		time.Sleep(5 * time.Millisecond)
	}
	return longest
}
