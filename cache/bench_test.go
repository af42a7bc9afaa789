package cache_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/cache"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

// fleet is a store with agents, each with entries of its own, and with aliases
// of 10 agents each, which have entries too.
type fleet struct {
	agents, entries, aliases int
	common                   bool // a selector that all agents and aliases have
}

func (f fleet) String() string {
	s := fmt.Sprintf("agents=%d/entries=%d/aliases=%d/selectors=unique", f.agents, f.entries, f.aliases)
	if f.common {
		s = s[:len(s)-len("unique")] + "common"
	}
	return s
}

func agentPath(i int) string { return fmt.Sprintf("/spire/agent/k8s_psat/cluster/%08d", i) }

func (f fleet) fill(b *testing.B) store.Store {
	s := newStore(b, memstore.Config{HistoryBytesMax: 1})
	var batch []store.Pair
	add := func(pairs ...store.Pair) {
		if batch = append(batch, pairs...); len(batch) > 4000 {
			put(b, s, batch...)
			batch = batch[:0]
		}
	}
	for i := range f.agents {
		selectors := []string{fmt.Sprint("node:", i), fmt.Sprint("rack:", i%max(f.aliases, 1)), fmt.Sprint("zone:", i%3)}
		if f.common {
			selectors = append(selectors, "common")
		}
		add(node(uint64(i+1), agentPath(i), selectors...)...)
	}
	for i := range f.aliases {
		selectors := []string{fmt.Sprint("rack:", i)}
		if f.common {
			selectors = append(selectors, "common")
		}
		add(entry(uint64(i+1), fmt.Sprintf("alias-%08d", i), "/spire/server", fmt.Sprint("/racks/", i), selectors...))
	}
	for i := range f.entries {
		parent := agentPath(i % f.agents)
		if f.aliases > 0 && i%10 == 0 {
			parent = fmt.Sprint("/racks/", i/10%f.aliases)
		}
		number := uint64(f.aliases + i + 1)
		add(pair(records.Entries, number, &spirev1.RegistrationEntry{
			EntryId:  fmt.Sprintf("%08x-1111-4222-8333-%012x", i, i),
			ParentId: id(parent), SpiffeId: id(fmt.Sprintf("/ns/production/sa/workload-%08d", i)),
			Selectors: sel(fmt.Sprint("ns:production-", i%100), fmt.Sprint("sa:workload-", i)),
			CreatedAt: 1700000000, X509SvidTtl: 3600,
		}))
	}
	put(b, s, batch...)
	return s
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func openBench(b *testing.B, s store.Store) *cache.Cache {
	c, err := cache.Open(b.Context(), s, cache.Config{TrustDomain: td, RefreshInterval: -1, StalenessMax: time.Hour})
	if err != nil {
		b.Fatalf("open: %v", err)
	}
	return c
}

// BenchmarkAuthorized is what every agent asks every five seconds, by random
// agents, on all processors. build-s and B/entry are of the cache it
// asks. cpu-ns/op counts all processors: two of them idle do 2e9 divided by it per
// second.
func BenchmarkAuthorized(b *testing.B) {
	for _, f := range []fleet{
		{agents: 100_000, entries: 100_000, aliases: 10_000},
		{agents: 100_000, entries: 100_000, aliases: 10_000, common: true},
		{agents: 100_000, entries: 1_000_000, aliases: 10_000},
		{agents: 100_000, entries: 1_000_000, aliases: 10_000, common: true},
	} {
		var s store.Store
		var c *cache.Cache
		var build, buildCPU time.Duration
		var used uint64
		prepare := func(b *testing.B) {
			if c != nil {
				return
			}
			s = f.fill(b)
			before := heap()
			begun, cpu := time.Now(), cpuTime()
			c = openBench(b, s)
			build, buildCPU = time.Since(begun), cpuTime()-cpu
			used = heap() - before
		}
		b.Run(f.String(), func(b *testing.B) {
			b.Run("visit", func(b *testing.B) {
				prepare(b)
				agents := make([]spiffeid.ID, f.agents)
				for i := range agents {
					agents[i] = spiffeid.RequireFromString(id(agentPath(i)))
				}
				b.ReportAllocs()
				b.ResetTimer()
				cpu := cpuTime()
				b.RunParallel(func(pb *testing.PB) {
					random := rand.New(rand.NewPCG(1, rand.Uint64()))
					visited := 0
					visit := func(*spirev1.RegistrationEntry) bool { visited++; return true }
					for pb.Next() {
						v, err := c.View(b.Context(), store.AtLeast(0))
						if err != nil {
							b.Errorf("view: %v", err)
							return
						}
						v.VisitAuthorized(agents[random.IntN(len(agents))], visit)
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lookups/s")
				b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
				b.ReportMetric(build.Seconds(), "build-s")
				b.ReportMetric(buildCPU.Seconds(), "build-cpu-s")
				b.ReportMetric(float64(used)/float64(f.entries), "B/entry")
			})
		})
		if c != nil {
			c.Close()
		}
	}
}

// BenchmarkApply is from the commit of a change to the view that has it, in a
// store of 100,000 agents and entries.
func BenchmarkApply(b *testing.B) {
	f := fleet{agents: 100_000, entries: 100_000, aliases: 10_000, common: true}
	s := f.fill(b)
	c := openBench(b, s)
	defer c.Close()
	for name, change := range map[string]func(i int) []store.Pair{
		"entry": func(i int) []store.Pair {
			return []store.Pair{entry(uint64(1_000_000+i%1000), fmt.Sprint("new-", i%1000), agentPath(i%1000), fmt.Sprint("/w/", i), "x")}
		},
		"alias": func(i int) []store.Pair {
			return []store.Pair{entry(uint64(2_000_000+i%1000), fmt.Sprint("new-alias-", i%1000), "/spire/server", fmt.Sprint("/r/", i), "common", fmt.Sprint(i))}
		},
		"node": func(i int) []store.Pair { return node(uint64(i%1000+1), agentPath(i%1000), "common", fmt.Sprint(i)) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				rev := put(b, s, change(i)...)
				view(b, c, rev)
			}
		})
	}
}

// BenchmarkRefresh is a full refresh of 300,000 records, in which nothing differs.
func BenchmarkRefresh(b *testing.B) {
	s := fleet{agents: 100_000, entries: 100_000}.fill(b)
	c := openBench(b, s)
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		if n, err := c.Refresh(b.Context()); n != 0 || err != nil {
			b.Fatalf("%d differences, error %v", n, err)
		}
	}
}
