package fsm_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
)

// A crash in the middle of applying, writing and reading leaves a state that is
// whole at its index, and not behind what was reported as durable.
func TestCrash_AtAnyMoment(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	log, hashes := changes(t, rnd, 2000)
	last := log[len(log)-1].Index
	for range 3 {
		opts := options(t.TempDir())
		opts.FlushBytes = 1 + rnd.IntN(20000)
		durable := uint64(0)
		for at := uint64(0); at < last; {
			m := openWith(t, opts)
			at = m.Position().Index
			if m.Position().Hash != hashes[at] || at < durable {
				t.Fatalf("opened at %+v, where %d was durable and the hash %v", m.Position(), durable, hashes[at])
			}
			scrub(t, m)
			use(m, log[at:], rnd)
			durable = m.DurableIndex()
		}
	}
}

// changes returns a log whose indexes begin at 1, and the hash at each.
func changes(t *testing.T, rnd *rand.Rand, n int) ([]fsm.Entry, map[uint64]fsm.StateHash) {
	m := openWith(t, held(t.TempDir()))
	hashes := map[uint64]fsm.StateHash{0: m.Position().Hash}
	var log []fsm.Entry
	for range n {
		w := put(fmt.Sprint(rnd.IntN(200)), strings.Repeat("v", rnd.IntN(200)))
		if rnd.IntN(3) == 0 {
			w = del(string(w.Key))
		}
		cmds := [][]byte{writes(t, w)}
		if rnd.IntN(100) == 0 {
			cmds = append(cmds, fsm.EncodeSetHistoryBudget(uint64(rnd.IntN(10000))))
		}
		log = append(log, entry(uint64(len(log)+1), cmds...))
		applyAll(t, m, log[len(log)-1])
		hashes[m.Position().Index] = m.Position().Hash
	}
	return log, hashes
}

// use does everything at once with a machine, until it crashes.
func use(m *fsm.Machine, log []fsm.Entry, rnd *rand.Rand) {
	size, moment := 1+rnd.IntN(16), time.Duration(1+rnd.IntN(20))*time.Millisecond
	var users sync.WaitGroup
	users.Go(func() {
		for len(log) > 0 {
			n := min(size, len(log))
			if _, err := m.Apply(log[:n]); err != nil {
				return
			}
			log = log[n:]
		}
	})
	users.Go(func() {
		for m.Flush() == nil {
			time.Sleep(time.Millisecond)
		}
	})
	users.Go(func() {
		for {
			if _, err := scan(m, store.Range{}); err != nil {
				return
			}
		}
	})
	time.Sleep(moment)
	_ = fsm.Crash(m) // the machine is opened again, which shows
	users.Wait()
}
