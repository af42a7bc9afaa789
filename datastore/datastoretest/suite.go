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
func Run(t *testing.T, open Open) { run(t, open, nil) }

// RunCached is [Run] for DataStores that read through a cache, one for each
// handle. The handles must have a Watch.
func RunCached(t *testing.T, open Open) { run(t, open, openCached) }

func run(t *testing.T, open Open, prepare prepare) {
	for _, tests := range [][]conformanceTest{
		bundleTests, updateBundleTests, pruneBundleTests, deleteBundleTests, authorityTests,
		entryTests, nodeTests, updateNodeTests, nodeListTests, nodeFilterTests, nodeDeleteTests, nodePruneTests,
		nodeSelectorTests, modelNodeTests, longTextTests, joinTokenTests,
		federationTests, listFederationTests, updateFederationTests, caJournalTests, eventTests, contextTests, nilTests,
	} {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) { test.run(newEnv(t, open, prepare)) })
		}
	}
}

// env is what a test works with.
type env struct {
	*testing.T
	*datastore.DataStore // on the first handle

	all     []*datastore.DataStore // on every handle
	stores  []store.Store          // the handles
	configs []datastore.Config     // of the DataStores
	clock   *clock                 // of every DataStore
}

// testTime bounds a test: what hangs must not hang the suite.
const testTime = time.Minute

// prepare changes what a DataStore is given. Nil changes nothing.
type prepare func(t *testing.T, s store.Store, cfg *datastore.Config) store.Store

func newEnv(t *testing.T, open Open, prepare prepare) *env {
	t.Helper()
	e := &env{T: t, clock: &clock{now: time.Unix(1_700_000_000, 0)}}
	for _, s := range open(t) {
		cfg, under := datastore.Config{Clock: e.clock.Now}, s
		if prepare != nil {
			under = prepare(t, s, &cfg)
		}
		ds, err := datastore.New(under, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := ds.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		e.all, e.stores, e.configs = append(e.all, ds), append(e.stores, s), append(e.configs, cfg)
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
