package datastore_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/cache"
	"github.com/spire-raft/spire-raft/datastore"
)

// caches runs the reads that a cache answers without one, beside one that the
// process has for its agents, which the garbage collector has to mark, and through
// it.
func (d *bench) caches(b *testing.B) {
	b.Run("cache=none", d.cacheable)
	b.Run("cache=beside", func(b *testing.B) { d.withCache(b); d.cacheable(b) })
	b.Run("cache=through", func(b *testing.B) { d.withCache(b).cacheable(b) })
}

// withCache returns a DataStore on the same store that reads through a cache,
// until b ends.
func (d *bench) withCache(b *testing.B) *bench {
	b.Helper()
	c, err := cache.Open(b.Context(), d.store, cache.Config{TrustDomain: spiffeid.RequireTrustDomainFromString("example.org")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	cached, err := datastore.New(d.store, datastore.Config{Cache: c})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cached.Close() })
	return &bench{cached, d.store, d.fresh}
}

// cacheable are the reads that a cache answers, if there is one.
func (d *bench) cacheable(b *testing.B) {
	b.Run("fetch/callers=1", d.inCalls(1, d.fetchOne))
	b.Run("fetch/callers=16", d.inCalls(16, d.fetchOne))
	b.Run("count", d.count(datastore.CountRegistrationEntriesRequest{}))
	b.Run("list/pages=1000", d.listPages)
	b.Run("list/all", d.list(datastore.ListRegistrationEntriesRequest{}, *benchEntries))
}

// inCalls has callers do an operation b.N times, and tells how long one took.
func (d *bench) inCalls(callers int, op func(ctx context.Context, i int) error) func(*testing.B) {
	return func(b *testing.B) {
		b.ReportAllocs()
		took := make([]time.Duration, b.N)
		b.ResetTimer()
		d.inParallel(b, callers, b.N, func(ctx context.Context, i int) error {
			begun := time.Now()
			defer func() { took[i] = time.Since(begun) }()
			return op(ctx, i)
		})
		b.StopTimer()
		slices.Sort(took)
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
		b.ReportMetric(took[b.N/2].Seconds()*1000, "p50-ms")
		b.ReportMetric(took[b.N*99/100].Seconds()*1000, "p99-ms")
	}
}
