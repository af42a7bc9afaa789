package datastore_test

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

var (
	benchEntries = flag.Int("bench.entries", 100_000, "how many entries there are in the benchmarks")
	benchNodes   = flag.Int("bench.nodes", 10_000, "how many attested nodes there are in the benchmarks")
)

// BenchmarkMemstore runs on a store in memory: what the DataStore itself costs.
func BenchmarkMemstore(b *testing.B) {
	benchmark(b, memstore.New(memstore.Config{}))
}

// BenchmarkNode runs on one node of raft, in a temporary directory.
func BenchmarkNode(b *testing.B) { benchmark(b, openNodes(b, 1)[0]) }

// BenchmarkCluster runs through the leader and through a follower of three nodes,
// which share this process.
func BenchmarkCluster(b *testing.B) {
	nodes := openNodes(b, 3)
	leader, follower := newBench(b, nodes[0]), newBench(b, nodes[2])
	leader.fill(b)
	for _, through := range []struct {
		name string
		d    *bench
	}{{"leader", leader}, {"follower", follower}} {
		b.Run("through="+through.name, func(b *testing.B) {
			through.d.caches(b)
			through.d.parallel(b)
		})
	}
}

func benchmark(b *testing.B, s store.Store) {
	b.Cleanup(func() { _ = s.Close() }) // a node may be closed already
	d := newBench(b, s)
	d.fill(b)
	d.caches(b)
	b.Run("fetch", d.fetch)
	b.Run("fetch-node", d.fetchNode)
	for _, l := range benchLists() {
		b.Run("list/"+l.name, d.list(l.req, l.found))
	}
	b.Run("list/pages=1000", d.listPages)
	b.Run("list/all", d.list(datastore.ListRegistrationEntriesRequest{}, *benchEntries))
	b.Run("count/all", d.count(datastore.CountRegistrationEntriesRequest{}))
	b.Run("count/selector-of-all", d.count(datastore.CountRegistrationEntriesRequest{
		BySelectors: &datastore.BySelectors{Selectors: []*spirev1.Selector{benchShared}, Match: datastore.Superset},
	}))
	b.Run("list-nodes/all-with-selectors", d.listNodes)
	b.Run("events/none-new", d.events)
	b.Run("update", d.update)
	b.Run("update-node", d.updateNode)
	b.Run("set-node-selectors", d.setNodeSelectors)
	b.Run("create", d.create) // from here on there are more entries
	b.Run("parallel", d.parallel)
	b.Run("import", d.importEntries)
}

// bench is a DataStore with the state of a benchmark.
type bench struct {
	*datastore.DataStore
	store store.Store
	fresh *atomic.Int64 // entries created so far, beyond the first
}

// created counts the entries of all benchmarks on stores that are shared.
var created atomic.Int64

func newBench(b *testing.B, s store.Store) *bench {
	d, err := datastore.New(s, datastore.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	return &bench{d, s, &created}
}

// Entry i has three selectors: one of its own, one that it shares with one in a
// thousand, and one that all have. A hundred have the same parent.

var benchShared = &spirev1.Selector{Type: "k8s", Value: "cluster:production"}

func benchSelectors(i int) []*spirev1.Selector {
	return []*spirev1.Selector{
		{Type: "k8s", Value: fmt.Sprintf("pod-uid:%08d-0000-4000-8000-000000000000", i)},
		{Type: "k8s", Value: fmt.Sprintf("ns:namespace-%d", i%1000)},
		benchShared,
	}
}

func benchParent(i int) string {
	return fmt.Sprintf("spiffe://example.org/spire/agent/k8s_psat/production/node-%d", i/100)
}

func benchEntry(i int) *spirev1.RegistrationEntry {
	return &spirev1.RegistrationEntry{
		EntryId:     benchID(i),
		SpiffeId:    fmt.Sprintf("spiffe://example.org/ns/namespace-%d/sa/workload-%d", i%1000, i),
		ParentId:    benchParent(i),
		Selectors:   benchSelectors(i),
		X509SvidTtl: 3600,
		DnsNames:    []string{fmt.Sprintf("workload-%d.example.org", i)},
	}
}

// benchID returns ids whose order is not that of the creation, as UUIDs are.
func benchID(i int) string {
	return fmt.Sprintf("%08x-0000-4000-8000-%012d", uint32(i)*2_654_435_761, i)
}

func benchNodeID(i int) string {
	return fmt.Sprintf("spiffe://example.org/spire/agent/k8s_psat/production/node-%d", i)
}

// fill stores the entries and nodes.
func (d *bench) fill(b *testing.B) {
	b.Helper()
	begun := time.Now()
	d.importRange(b, 0, *benchEntries)
	b.Logf("%d entries imported in %v", *benchEntries, time.Since(begun))
	d.inParallel(b, 64, *benchNodes, func(ctx context.Context, i int) error {
		_, err := d.CreateAttestedNode(ctx, &spirev1.AttestedNode{
			SpiffeId: benchNodeID(i), AttestationDataType: "k8s_psat", CertSerialNumber: strconv.Itoa(i + 1),
			CertNotAfter: 2_000_000_000 + int64(i), AgentVersion: "1.16.0", CanReattest: true,
		})
		if err == nil {
			err = d.SetNodeSelectors(ctx, benchNodeID(i), benchSelectors(i))
		}
		return err
	})
}

func (d *bench) importRange(b *testing.B, from, to int) {
	b.Helper()
	for ; from < to; from += 10_000 {
		var batch []*spirev1.RegistrationEntry
		for i := from; i < min(from+10_000, to); i++ {
			batch = append(batch, benchEntry(i))
		}
		if _, err := d.ImportRegistrationEntries(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}

// inParallel has callers do n operations.
func (d *bench) inParallel(b *testing.B, callers, n int, op func(ctx context.Context, i int) error) {
	b.Helper()
	ctx := b.Context()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := op(ctx, i); err != nil {
					b.Errorf("operation %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// measure does b.N operations one after the other.
func measure(b *testing.B, op func(ctx context.Context, i int) error) {
	b.Helper()
	ctx := b.Context()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := op(ctx, i); err != nil {
			b.Fatal(err)
		}
	}
}

// newEntry is an entry that no benchmark has used.
func (d *bench) newEntry() *spirev1.RegistrationEntry {
	e := benchEntry(50_000_000 + int(d.fresh.Add(1)))
	e.ParentId = "spiffe://example.org/spire/agent/new" // leave the others' lists as they are
	e.Selectors[1], e.Selectors[2] = &spirev1.Selector{Type: "unix", Value: "uid:0"}, &spirev1.Selector{Type: "unix", Value: "gid:0"}
	return e
}

// importEntries imports two thousand entries at a time.
func (d *bench) importEntries(b *testing.B) {
	ctx := b.Context()
	b.ReportAllocs()
	const n = 2000
	for b.Loop() {
		batch := make([]*spirev1.RegistrationEntry, n)
		for i := range batch {
			batch[i] = d.newEntry()
		}
		if _, err := d.ImportRegistrationEntries(ctx, batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

func (d *bench) create(b *testing.B) {
	measure(b, func(ctx context.Context, _ int) error {
		_, err := d.CreateRegistrationEntry(ctx, d.newEntry())
		return err
	})
}

func (d *bench) update(b *testing.B) {
	mask := &spirev1.RegistrationEntryMask{X509SvidTtl: true}
	measure(b, func(ctx context.Context, i int) error {
		e := &spirev1.RegistrationEntry{EntryId: benchID(i % *benchEntries), X509SvidTtl: int32(i % 10_000)}
		_, err := d.UpdateRegistrationEntry(ctx, e, mask)
		return err
	})
}

func (d *bench) fetch(b *testing.B) {
	measure(b, d.fetchOne)
}

func (d *bench) fetchOne(ctx context.Context, i int) error {
	e, err := d.FetchRegistrationEntry(ctx, benchID(i%*benchEntries))
	if err == nil && e == nil {
		err = fmt.Errorf("no entry %d", i)
	}
	return err
}

func (d *bench) fetchNode(b *testing.B) {
	measure(b, func(ctx context.Context, i int) error {
		n, err := d.FetchAttestedNode(ctx, benchNodeID(i%*benchNodes))
		if err == nil && n == nil {
			err = fmt.Errorf("no node %d", i)
		}
		return err
	})
}

func (d *bench) updateNode(b *testing.B) {
	measure(b, func(ctx context.Context, i int) error {
		_, err := d.UpdateAttestedNode(ctx, &spirev1.AttestedNode{
			SpiffeId: benchNodeID(i % *benchNodes), CertSerialNumber: strconv.Itoa(i + 1), CertNotAfter: 2_000_000_001 + int64(i),
		}, &spirev1.AttestedNodeMask{CertSerialNumber: true, CertNotAfter: true})
		return err
	})
}

func (d *bench) setNodeSelectors(b *testing.B) {
	measure(b, func(ctx context.Context, i int) error {
		return d.SetNodeSelectors(ctx, benchNodeID(i%*benchNodes), benchSelectors(i+1))
	})
}

// benchLists are lists with filters, and how many entries each finds.
func benchLists() []benchList {
	by := func(match datastore.MatchBehavior, selectors ...*spirev1.Selector) datastore.ListRegistrationEntriesRequest {
		return datastore.ListRegistrationEntriesRequest{BySelectors: &datastore.BySelectors{Selectors: selectors, Match: match}}
	}
	example := *benchEntries / 2
	s := benchSelectors(example)
	own, namespace := s[0], s[1]
	inNamespace := *benchEntries / 1000
	return []benchList{
		{"parent", datastore.ListRegistrationEntriesRequest{ByParentID: benchParent(example)}, 100},
		{"spiffe-id", datastore.ListRegistrationEntriesRequest{BySpiffeID: benchEntry(example).SpiffeId}, 1},
		{"exact", by(datastore.Exact, s...), 1},
		{"superset/own", by(datastore.Superset, own), 1},
		{"superset/namespace", by(datastore.Superset, namespace), inNamespace},
		{"superset/namespace+shared", by(datastore.Superset, namespace, benchShared), inNamespace},
		{"match-any/own+namespace", by(datastore.MatchAny, own, namespace), inNamespace},
		{"subset/own+namespace", by(datastore.Subset, own, namespace), 0},
		{"subset/own+namespace+shared", by(datastore.Subset, s...), 1},
	}
}

type benchList struct {
	name  string
	req   datastore.ListRegistrationEntriesRequest
	found int
}

func (d *bench) list(req datastore.ListRegistrationEntriesRequest, found int) func(*testing.B) {
	return func(b *testing.B) {
		measure(b, func(ctx context.Context, _ int) error {
			res, err := d.ListRegistrationEntries(ctx, &req)
			if err == nil && len(res.Entries) < found {
				err = fmt.Errorf("%d entries found, want %d", len(res.Entries), found)
			}
			return err
		})
	}
}

// listPages lists all entries.
func (d *bench) listPages(b *testing.B) {
	total := 0
	measure(b, func(ctx context.Context, _ int) error {
		page := &datastore.Pagination{PageSize: 1000}
		for {
			res, err := d.ListRegistrationEntries(ctx, &datastore.ListRegistrationEntriesRequest{Pagination: page})
			if err != nil || len(res.Entries) == 0 {
				return err
			}
			total += len(res.Entries)
			page = res.Pagination
		}
	})
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "entries/s")
}

func (d *bench) count(req datastore.CountRegistrationEntriesRequest) func(*testing.B) {
	return func(b *testing.B) {
		measure(b, func(ctx context.Context, _ int) error {
			n, err := d.CountRegistrationEntries(ctx, &req)
			if err == nil && int(n) < *benchEntries {
				err = fmt.Errorf("%d entries counted", n)
			}
			return err
		})
	}
}

func (d *bench) listNodes(b *testing.B) {
	total := 0
	measure(b, func(ctx context.Context, _ int) error {
		res, err := d.ListAttestedNodes(ctx, &datastore.ListAttestedNodesRequest{FetchSelectors: true})
		if err == nil {
			total += len(res.Nodes)
		}
		return err
	})
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "nodes/s")
}

// events asks for the events after the last, as each server does all the time.
func (d *bench) events(b *testing.B) {
	all, err := d.ListRegistrationEntryEvents(b.Context(), &datastore.ListRegistrationEntryEventsRequest{})
	if err != nil {
		b.Fatal(err)
	}
	req := &datastore.ListRegistrationEntryEventsRequest{GreaterThanEventID: all.Events[len(all.Events)-1].EventID}
	measure(b, func(ctx context.Context, _ int) error {
		_, err := d.ListRegistrationEntryEvents(ctx, req)
		return err
	})
}

// parallel has callers do the same at the same time. A put and a get of the
// store, of about an entry's size, are there to compare with.
func (d *bench) parallel(b *testing.B) {
	ops := []struct {
		name string
		op   func(ctx context.Context, i int) error
	}{
		{"store-put", func(ctx context.Context, i int) error {
			_, err := d.store.Put(ctx, store.Pair{Key: fmt.Appendf(nil, "bench %d", i), Value: make([]byte, 512)})
			return err
		}},
		{"store-get", func(ctx context.Context, i int) error {
			_, _, err := d.store.Get(ctx, store.Linearizable(), store.Key(records.Entries.Key(benchID(i%*benchEntries))))
			return err
		}},
		{"create", func(ctx context.Context, _ int) error {
			_, err := d.CreateRegistrationEntry(ctx, d.newEntry())
			return err
		}},
		{"fetch", d.fetchOne},
		{"fetch-node", func(ctx context.Context, i int) error {
			_, err := d.FetchAttestedNode(ctx, benchNodeID(i%*benchNodes))
			return err
		}},
	}
	for _, o := range ops {
		for _, callers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", o.name, callers), d.inCalls(callers, o.op))
		}
	}
}
