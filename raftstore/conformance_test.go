package raftstore_test

import (
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/storetest"
)

// calmHeartbeat keeps a busy machine from costing elections, which the suite
// does not expect.
const calmHeartbeat = 2 * time.Second

// through returns a backend of three nodes whose handles are the leader, or two
// followers, or all.
func through(pick func(c *cluster) []int) storetest.Open {
	return func(tb testing.TB, opts storetest.Options) []store.Store {
		c := startClusterIn(tb, memoryDir(tb), 3, func(cfg *raftstore.Config) {
			cfg.HistoryBytesMax = uint64(opts.HistoryBytesMax)
			cfg.Timing.HeartbeatTimeout = calmHeartbeat
		})
		return c.stores(pick(c)...)
	}
}

func leaderOnly(c *cluster) []int { return []int{c.leader()} }

func followersOnly(c *cluster) []int {
	l := c.leader()
	return []int{(l + 1) % 3, (l + 2) % 3}
}

func TestStore_ThroughTheLeader(t *testing.T) {
	t.Parallel()
	storetest.Run(t, through(leaderOnly))
}

func TestStore_ThroughFollowers(t *testing.T) {
	t.Parallel()
	storetest.Run(t, through(followersOnly))
}

func TestModel_ThroughAFollower(t *testing.T) {
	t.Parallel()
	storetest.RunModel(t, through(followersOnly))
}

func BenchmarkStore_Leader(b *testing.B)   { storetest.Benchmark(b, through(leaderOnly)) }
func BenchmarkStore_Follower(b *testing.B) { storetest.Benchmark(b, through(followersOnly)) }
