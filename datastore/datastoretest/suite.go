package datastoretest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/datastore"
	"github.com/spire-raft/spire-raft/store"
)

// Open opens an empty backend and returns one or more handles on its data, such
// as those of a leader and its followers. It registers with tb.Cleanup what
// closes them, and ends the test with tb.Fatal where it can't open them.
//
// Nobody else may write to the backend.
type Open func(tb testing.TB) []store.Store

// conformanceTest is one test of the suite.
type conformanceTest struct {
	name string
	run  func(e *env)
}

// Run runs the suite, each test as a subtest of t.
func Run(t *testing.T, open Open) {
	for _, tests := range [][]conformanceTest{
		bundleTests, updateBundleTests, pruneBundleTests, deleteBundleTests, authorityTests,
		entryTests, nodeTests, nodeListTests, nodeFilterTests, nodeDeleteTests, nodePruneTests, nodeSelectorTests,
		joinTokenTests, federationTests, updateFederationTests, caJournalTests, eventTests, contextTests, modelNodeTests,
	} {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) { test.run(newEnv(t, open)) })
		}
	}
}

// env is what a test works with.
type env struct {
	*testing.T
	*datastore.DataStore // on the first handle

	all    []*datastore.DataStore // on every handle
	stores []store.Store          // the handles
	clock  *clock                 // of every DataStore
}

// testTime bounds a test: what hangs must not hang the suite.
const testTime = time.Minute

func newEnv(t *testing.T, open Open) *env {
	t.Helper()
	e := &env{T: t, clock: &clock{now: time.Unix(1_700_000_000, 0)}}
	for _, s := range open(t) {
		ds, err := datastore.New(s, datastore.Config{Clock: e.clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := ds.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		e.all, e.stores = append(e.all, ds), append(e.stores, s)
	}
	e.DataStore = e.all[0]
	return e
}

// ctx ends with the test, or when it takes too long.
func (e *env) ctx() context.Context {
	ctx, cancel := context.WithTimeout(e.Context(), testTime)
	e.Cleanup(cancel)
	return ctx
}

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

// Now returns the time.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// advance moves the clock.
func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
