package cache_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/goleak"

	"github.com/spire-raft/spire-raft/cache"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var td = spiffeid.RequireTrustDomainFromString("example.org")

// id returns a SPIFFE ID of the trust domain, unless path is one already.
func id(path string) string {
	if path != "" && path[0] != '/' {
		return path
	}
	return td.IDString() + path
}

func newStore(tb testing.TB, cfg memstore.Config) *memstore.Store {
	s := memstore.New(cfg)
	tb.Cleanup(func() { s.Close() })
	return s
}

func open(tb testing.TB, s store.Store, cfg cache.Config) *cache.Cache {
	tb.Helper()
	cfg.TrustDomain = td
	c, err := cache.Open(tb.Context(), s, cfg)
	if err != nil {
		tb.Fatalf("open: %v", err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

// view waits for a revision.
func view(tb testing.TB, c *cache.Cache, rev store.Revision) cache.View {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	v, err := c.View(ctx, store.AtLeast(rev))
	if err != nil {
		tb.Fatalf("view of revision %d: %v", rev, err)
	}
	return v
}

func put(tb testing.TB, s store.Store, pairs ...store.Pair) store.Revision {
	tb.Helper()
	rev, err := s.Put(context.Background(), pairs...)
	if err != nil {
		tb.Fatalf("put: %v", err)
	}
	return rev
}

func remove(tb testing.TB, s store.Store, keys ...[]byte) store.Revision {
	tb.Helper()
	var ranges []store.Range
	for _, k := range keys {
		ranges = append(ranges, store.Key(k))
	}
	_, rev, err := s.Delete(context.Background(), ranges...)
	if err != nil {
		tb.Fatalf("delete: %v", err)
	}
	return rev
}

func pair[T any](k *records.Kind[T], number uint64, object T) store.Pair {
	value, err := k.Encode(records.Item[T]{Number: number, Object: object})
	if err != nil {
		panic(err)
	}
	return store.Pair{Key: k.Key(k.ID(object)), Value: value}
}

// entry returns an entry that is stored; parent and spiffe are paths.
func entry(number uint64, entryID, parent, spiffe string, selectors ...string) store.Pair {
	return pair(records.Entries, number, &spirev1.RegistrationEntry{
		EntryId: entryID, ParentId: id(parent), SpiffeId: id(spiffe), Selectors: sel(selectors...),
	})
}

// node returns a node, alive, and its selectors.
func node(number uint64, path string, selectors ...string) []store.Pair {
	return []store.Pair{
		pair(records.Nodes, number, &spirev1.AttestedNode{
			SpiffeId: id(path), CertSerialNumber: "1", CertNotAfter: time.Now().Add(time.Hour).Unix(),
		}),
		nodeSelectors(number, path, selectors...),
	}
}

func nodeSelectors(number uint64, path string, selectors ...string) store.Pair {
	return pair(records.NodeSelectorSets, number, &records.NodeSelectors{SpiffeID: id(path), Selectors: sel(selectors...)})
}

func sel(values ...string) []*spirev1.Selector {
	var out []*spirev1.Selector
	for _, v := range values {
		out = append(out, &spirev1.Selector{Type: "t", Value: v})
	}
	return out
}

// authorized returns the ids of an agent's entries, sorted.
func authorized(v cache.View, path string) []string {
	return entryIDs(v.Authorized(spiffeid.RequireFromString(id(path))))
}

func entryIDs(entries []*spirev1.RegistrationEntry) []string {
	ids := []string{}
	for _, e := range entries {
		ids = append(ids, e.EntryId)
	}
	slices.Sort(ids)
	return ids
}

func mustID(path string) spiffeid.ID { return spiffeid.RequireFromString(id(path)) }

func equal(tb testing.TB, what string, got []string, want ...string) {
	tb.Helper()
	if !slices.Equal(got, want) {
		tb.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// paced bounds the rate of a load: it returns true after pause, false when ctx
// has ended.
func paced(ctx context.Context, pause time.Duration) bool {
	select {
	case <-time.After(pause):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// eventually waits for a condition.
func eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("still not so after 20 s: %s", what)
		}
	}
}
