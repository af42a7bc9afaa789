package raftstore_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
)

// benchValueBytes is about the size of a registration entry.
const benchValueBytes = 512

// BenchmarkPut has clients put values that a quorum of three nodes syncs to
// disk. All nodes share this process and its disk.
func BenchmarkPut(b *testing.B) {
	for _, through := range []string{"leader", "follower"} {
		for _, clients := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("through=%s/clients=%d", through, clients), func(b *testing.B) {
				c := startCluster(b, 3, nil)
				n := c.through(through)
				v := value(benchValueBytes)
				c.measure(b, clients, func(ctx context.Context, i int) error {
					_, err := n.Put(ctx, store.Pair{Key: fmt.Appendf(nil, "key-%08d", i), Value: v})
					return err
				})
			})
		}
	}
}

// BenchmarkGet has clients read one of 10,000 keys, linearizably.
func BenchmarkGet(b *testing.B) {
	for _, through := range []string{"leader", "follower"} {
		for _, clients := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("through=%s/clients=%d", through, clients), func(b *testing.B) {
				c := startCluster(b, 3, nil)
				keys := c.fill(10_000)
				n := c.through(through)
				c.measure(b, clients, func(ctx context.Context, i int) error {
					_, _, err := n.Get(ctx, store.Linearizable(), store.Key(keys[i%len(keys)]))
					return err
				})
			})
		}
	}
}

// BenchmarkWatch measures from a put on the leader of an idle cluster to its
// event on a follower.
func BenchmarkWatch(b *testing.B) {
	c := startCluster(b, 3, nil)
	leader, follower := c.through("leader"), c.through("follower")
	ctx := c.ctx()
	start, err := follower.Revision(ctx, store.Linearizable())
	if err != nil {
		b.Fatal(err)
	}
	w, err := follower.Watch(ctx, store.Cursor{Revision: start})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	pause := time.NewTicker(20 * time.Millisecond) // lets the cluster fall idle
	defer pause.Stop()
	c.measure(b, 1, func(ctx context.Context, _ int) error {
		rev, err := leader.Put(ctx, store.Pair{Key: []byte("k"), Value: value(benchValueBytes)})
		for err == nil {
			var batch store.Batch
			if batch, err = w.Next(ctx); batch.Cursor.Revision >= rev {
				break
			}
		}
		return err
	}, pause.C)
}

// through is the leader, or one of its followers.
func (c *cluster) through(role string) *raftstore.Node {
	if role == "leader" {
		return c.nodes[c.leader()]
	}
	return c.nodes[c.follower()]
}

// fill puts n keys and returns them.
func (c *cluster) fill(n int) [][]byte {
	c.tb.Helper()
	var keys [][]byte
	v := value(benchValueBytes)
	for len(keys) < n {
		var pairs []store.Pair
		for range 1000 {
			key := fmt.Appendf(nil, "key-%08d", len(keys))
			keys = append(keys, key)
			pairs = append(pairs, store.Pair{Key: key, Value: v})
		}
		if _, err := c.nodes[0].Put(c.ctx(), pairs...); err != nil {
			c.tb.Fatal(err)
		}
	}
	return keys
}

// measure has clients do b.N operations, and reports how long they took one by
// one. Before each, a client waits for all that pauses send.
func (c *cluster) measure(b *testing.B, clients int, op func(ctx context.Context, i int) error, pauses ...<-chan time.Time) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	took := make([]time.Duration, b.N)
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range clients {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				for _, p := range pauses {
					<-p
				}
				begun := time.Now()
				if err := op(ctx, i); err != nil {
					b.Errorf("operation %d: %v", i, err)
					return
				}
				took[i] = time.Since(begun)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	if len(pauses) == 0 {
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
	}
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
}
