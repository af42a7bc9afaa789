package scenario

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestPlanLosses_OneInEachPartAndTheSameForASeed(t *testing.T) {
	plan := func(seed uint64, whole time.Duration) []loss {
		return planLosses(whole, rand.New(rand.NewPCG(seed, 1)))
	}
	if !slices.Equal(plan(7, time.Minute), plan(7, time.Minute)) {
		t.Error("one seed, two plans")
	}
	ofLeader := 0
	for seed := range uint64(200) {
		losses := plan(seed, 70*time.Second)
		if len(losses) != 2 {
			t.Fatalf("seed %d: %d losses in 70 s", seed, len(losses))
		}
		for i, l := range losses {
			if from := time.Duration(i) * 35 * time.Second; l.at < from || l.at > from+35*time.Second/2 {
				t.Errorf("seed %d: loss %d at %v", seed, i, l.at)
			}
			if l.ofLeader {
				ofLeader++
			}
		}
		if short := plan(seed, 4*time.Second); len(short) != 1 || short[0].at > 2*time.Second {
			t.Errorf("seed %d: losses of a short run %+v", seed, short)
		}
	}
	if ofLeader < 100 || ofLeader > 300 {
		t.Errorf("the leader's disk is lost %d times of 400", ofLeader)
	}
}
