package raftstore_test

import (
	"fmt"
	"testing"

	"github.com/spire-raft/spire-raft/datastore/datastoretest"
	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
)

// dataStore runs a suite of the DataStore on the nodes that pick chooses of one
// cluster, each test below a prefix of its own.
func dataStore(t *testing.T, pick func(c *cluster) []int, suite func(*testing.T, datastoretest.Open)) {
	c := startClusterIn(t, memoryDir(t), 3, func(cfg *raftstore.Config) { cfg.Timing.HeartbeatTimeout = calmHeartbeat })
	tests := 0
	suite(t, func(testing.TB) (stores []store.Store) {
		tests++
		for _, s := range c.stores(pick(c)...) {
			stores = append(stores, below{s, fmt.Appendf(nil, "%d/", tests)})
		}
		return stores
	})
	c.converged()
}

func TestDataStore_CachedThroughFollowers(t *testing.T) {
	t.Parallel()
	dataStore(t, followersOnly, datastoretest.RunCached)
}
