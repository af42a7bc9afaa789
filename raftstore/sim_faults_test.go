package raftstore_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
)

var (
	simSeed      = flag.Uint64("sim.seed", 0, "run the one schedule of faults with this seed")
	simSchedules = flag.Int("sim.schedules", defaultSchedules, "how many schedules of faults to run")
)

// A schedule has faultSteps, or longSteps where logs are compacted meanwhile.
const (
	faultSteps = 14
	longSteps  = 35
)

// TestSim_Faults runs random schedules of faults against clusters of three and
// five nodes under load. A seed stands for the schedule; what the clients do in
// between depends on the scheduler too, so repeat one that fails.
func TestSim_Faults(t *testing.T) {
	t.Parallel()
	first, count := uint64(1), *simSchedules
	if *simSeed != 0 {
		first, count = *simSeed, 1
	}
	for i := range count {
		seed := first + uint64(i)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			size, steps, adjust := 3, faultSteps, func(*raftstore.Config) {}
			if seed%3 == 0 {
				size = 5
			}
			if seed%4 == 0 {
				steps, adjust = longSteps, shortLog
			}
			simulate(t, seed, size, adjust, func(s *sim) {
				l := s.startLoad(seed, 2*size)
				f := &faults{sim: s, rng: rand.New(rand.NewPCG(seed, 1<<32))}
				for range steps {
					f.step()
				}
				s.heal()
				s.elected()
				l.finish()
				t.Logf("%d operations, %d writes acknowledged, %d terms", len(l.recorder.Ops()), l.recorder.Acknowledged(), s.offices.Terms())
			})
		})
	}
}

// faults breaks a cluster step by step.
type faults struct {
	*sim
	rng *rand.Rand
}

// step does one thing and then waits a random time.
func (f *faults) step() {
	kinds := []struct {
		weight int
		do     func()
	}{
		{3, f.partition},
		{2, f.isolateLeader},
		{3, f.cutOneWay},
		{3, f.crashSome},
		{2, f.restartSome},
		{1, f.reopen},
		{2, f.transfer},
		{2, f.slow},
		{2, f.reset},
		{3, f.mend},
	}
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	at := f.rng.IntN(total)
	for _, k := range kinds {
		if at -= k.weight; at < 0 {
			k.do()
			break
		}
	}
	time.Sleep(time.Duration(f.rng.Int64N(int64(1500 * time.Millisecond))))
}

// partition cuts the nodes into two groups, any of which may have a majority.
func (f *faults) partition() {
	var group []string
	for _, i := range f.rng.Perm(f.size())[:1+f.rng.IntN(f.size()-1)] {
		group = append(group, f.name(i))
	}
	f.net.Partition(group)
}

func (f *faults) isolateLeader() {
	if i := f.leading(); i >= 0 {
		f.isolate(i)
	}
}

// cutOneWay cuts what one node sends, or what it receives, or one link.
func (f *faults) cutOneWay() {
	victim, direction := f.rng.IntN(f.size()), f.rng.IntN(3)
	if i := f.leading(); i >= 0 && f.rng.IntN(2) == 0 {
		victim = i
	}
	for i := range f.size() {
		switch {
		case i == victim:
		case direction == 0:
			f.net.Cut(f.name(victim), f.name(i))
		case direction == 1:
			f.net.Cut(f.name(i), f.name(victim))
		default:
			f.net.Cut(f.name(victim), f.name(i))
			return
		}
	}
}

// crashSome crashes one node, sometimes a majority or all.
func (f *faults) crashSome() {
	n := 1
	if f.rng.IntN(4) == 0 {
		n = 1 + f.rng.IntN(f.size())
	}
	for _, i := range f.rng.Perm(f.size())[:n] {
		if f.node(i) != nil {
			f.crash(i)
		}
	}
}

func (f *faults) restartSome() {
	for i := range f.size() {
		if f.node(i) == nil && f.rng.IntN(3) > 0 {
			f.restart(i)
		}
	}
}

// reopen closes a node in good order.
func (f *faults) reopen() {
	if i := f.rng.IntN(f.size()); f.node(i) != nil {
		f.stop(i)
		f.restart(i)
	}
}

func (f *faults) transfer() {
	if i := f.leading(); i >= 0 {
		ctx, cancel := context.WithTimeout(f.ctx, time.Second)
		defer cancel()
		_ = f.node(i).TransferLeadership(ctx) // it may well fail in the middle of faults
	}
}

// slow makes every message late, up to beyond the election timeout.
func (f *faults) slow() {
	f.net.SetLatency(time.Duration(f.rng.Int64N(int64(300*time.Millisecond))), time.Duration(f.rng.Int64N(int64(400*time.Millisecond))))
	time.Sleep(time.Duration(f.rng.Int64N(int64(2 * time.Second))))
	f.net.SetLatency(simLatency, simJitter)
}

func (f *faults) reset() {
	a := f.rng.IntN(f.size())
	f.net.Reset(f.name(a), f.name((a+1)%f.size()))
}

func (f *faults) mend() { f.heal() }
