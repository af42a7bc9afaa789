package cache_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"pgregory.net/rapid"

	"github.com/spire-raft/spire-raft/cache"
	"github.com/spire-raft/spire-raft/keys"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

// listed returns everything that the store holds of the kinds of the cache.
func listed(tb testing.TB, s store.Store) (map[string]string, store.Revision) {
	kvs, rev, err := s.Get(context.Background(), store.Linearizable(),
		store.Prefix(records.Bundles.Prefix()), store.Prefix(records.Entries.Prefix()),
		store.Prefix(records.Nodes.Prefix()), store.Prefix(records.NodeSelectorSets.Prefix()))
	if err != nil {
		tb.Fatalf("list: %v", err)
	}
	all := make(map[string]string)
	for _, kv := range kvs {
		all[string(kv.Key)] = string(kv.Value)
	}
	return all, rev
}

// model is section 5.4 of the specification in the plainest form.
type model struct {
	entries []*spirev1.RegistrationEntry
	nodes   map[string]bool // alive
	sets    map[string][]*spirev1.Selector
}

func modelOf(all map[string]string) model {
	m := model{nodes: make(map[string]bool), sets: make(map[string][]*spirev1.Selector)}
	for key, value := range all {
		item, err := keys.ParseItem([]byte(key))
		if err != nil {
			continue
		}
		switch string(item.Type) {
		case records.Entries.Type():
			if e, err := records.Entries.DecodePair([]byte(key), []byte(value)); err == nil {
				m.entries = append(m.entries, e.Object)
			}
		case records.Nodes.Type():
			if n, err := records.Nodes.DecodePair([]byte(key), []byte(value)); err == nil {
				m.nodes[n.Object.SpiffeId] = n.Object.CertNotAfter > time.Now().Unix()
			}
		case records.NodeSelectorSets.Type():
			if n, err := records.NodeSelectorSets.DecodePair([]byte(key), []byte(value)); err == nil {
				m.sets[n.Object.SpiffeID] = n.Object.Selectors
			}
		}
	}
	return m
}

// authorized repeats all rules until nothing is added.
func (m model) authorized(agent string) []string {
	ours := func(s string) bool {
		parsed, err := spiffeid.FromString(s)
		return err == nil && parsed.MemberOf(td)
	}
	parents := map[string]bool{agent: true}
	out := make(map[string]bool)
	for before := -1; before != len(parents)+len(out); {
		before = len(parents) + len(out)
		for _, e := range m.entries {
			switch {
			case !ours(e.ParentId) || !ours(e.SpiffeId):
			case e.ParentId == id("/spire/server"):
				for p := range parents {
					if m.nodes[p] && len(e.Selectors) > 0 && within(e.Selectors, m.sets[p]) {
						parents[e.SpiffeId] = true
					}
				}
			case parents[e.ParentId]:
				out[e.EntryId] = true
				parents[e.SpiffeId] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(out))
}

func within(part, whole []*spirev1.Selector) bool {
	for _, p := range part {
		if !slices.ContainsFunc(whole, func(w *spirev1.Selector) bool { return w.Type == p.Type && w.Value == p.Value }) {
			return false
		}
	}
	return true
}

var (
	somePaths     = []string{"/spire/server", "/a", "/b", "/c", "/d", "/e", "", "spiffe://other.org/a", "bad"}
	someIDs       = []string{"1", "2", "3", "4", "5", "6", "7", "8"}
	someSelectors = []string{"p", "q", "r", "s"}
)

// randomWrites draws a transaction over few objects, so that they meet.
func randomWrites(draw func(n int) int) (puts []store.Pair, deletes [][]byte) {
	pick := func(from []string) string { return from[draw(len(from))] }
	chosen := func() []string {
		var out []string
		for mask, i := draw(1<<len(someSelectors)), 0; i < len(someSelectors); i++ {
			if mask>>i&1 == 1 {
				out = append(out, someSelectors[i])
			}
		}
		return out
	}
	written := make(map[string]bool)
	for range 1 + draw(4) {
		var p store.Pair
		number := uint64(draw(5)) // repeats, as in a damaged store
		switch draw(6) {
		case 0, 1:
			p = entry(number, pick(someIDs), pick(somePaths), pick(somePaths), chosen()...)
		case 2:
			p = entry(number, pick(someIDs), "/spire/server", pick(somePaths), chosen()...)
		case 3:
			notAfter := time.Now().Add(time.Duration(draw(3)-1) * time.Hour).Unix()
			p = pair(records.Nodes, number, &spirev1.AttestedNode{SpiffeId: id(pick(somePaths)), CertNotAfter: notAfter})
		case 4:
			p = nodeSelectors(number, pick(somePaths), chosen()...)
		case 5:
			p = pair(records.Bundles, number, &spirev1.Bundle{TrustDomainId: pick(someIDs), RefreshHint: int64(draw(9))})
		}
		if written[string(p.Key)] {
			continue
		}
		written[string(p.Key)] = true
		switch draw(8) {
		case 0, 1:
			deletes = append(deletes, p.Key)
		case 2:
			p.Value = []byte("not a record")
			fallthrough
		default:
			puts = append(puts, p)
		}
	}
	return puts, deletes
}

func write(ctx context.Context, s store.Store, puts []store.Pair, deletes [][]byte) error {
	_, err := store.Update(ctx, s, func(tx store.Tx) error {
		for _, k := range deletes {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		for _, p := range puts {
			if err := tx.Put(p.Key, p.Value); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// checkCoherent compares a view with what the store holds at its revision.
func checkCoherent(t interface {
	Errorf(string, ...any)
}, v cache.View, all map[string]string) {
	m := modelOf(all)
	dump := v.Dump()
	for key, value := range all {
		kept, ok := dump[key]
		malformed := value == "not a record"
		if !ok || !malformed && kept != value {
			t.Errorf("key %q: the cache has %q, the store %q", key, kept, value)
		}
	}
	if len(dump) != len(all) {
		t.Errorf("the cache has %d objects, the store %d", len(dump), len(all))
	}
	if n := v.Misplaced(); n > 0 {
		t.Errorf("%d entries are not where lookups find them", n)
	}
	checkOrder(t, v, all)
	for _, path := range []string{"/a", "/b", "/c", "/d", "/e", "", "/spire/server"} {
		got, want := authorized(v, path), m.authorized(id(path))
		if !slices.Equal(got, want) {
			t.Errorf("authorised entries of %q: got %q, want %q", path, got, want)
		}
	}
}

// checkOrder compares the lists of a view with the entries of a store, which may
// be damaged.
func checkOrder(t interface {
	Errorf(string, ...any)
}, v cache.View, all map[string]string) {
	byNumber, damaged, unread := make(map[uint64]string), false, 0
	for key, value := range all {
		if !strings.HasPrefix(key, string(records.Entries.Prefix())) {
			continue
		}
		item, err := records.Entries.DecodePair([]byte(key), []byte(value))
		if err != nil {
			unread++
			continue
		}
		damaged = damaged || item.Number == 0 || byNumber[item.Number] != ""
		byNumber[item.Number] = item.Object.EntryId
	}
	if got := v.Unread(cache.KindEntry); got != unread {
		t.Errorf("%d entries are said not to decode, want %d", got, unread)
	}
	numbers := slices.Sorted(maps.Keys(byNumber))
	for skip, after := range append([]uint64{0}, numbers...) {
		if skip > 100 {
			break // the rest is no different, and takes the square of the time
		}
		var got, want []string
		for _, n := range numbers[skip:] {
			want = append(want, byNumber[n])
		}
		ok := v.VisitEntries(after, func(n uint64, e *spirev1.RegistrationEntry) bool {
			got = append(got, e.EntryId)
			return true
		})
		if ok == damaged || ok && !slices.Equal(got, want) {
			t.Errorf("entries after %d: got %q, %v, want %q, %v", after, got, ok, want, !damaged)
		}
	}
}

// TestCoherence_Random compares cache and store after random transactions, of a
// cache that was there before them and of one that opens after.
func TestCoherence_Random(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := memstore.New(memstore.Config{})
		defer s.Close()
		cfg := cache.Config{TrustDomain: td, RefreshInterval: -1}
		before, err := cache.Open(t.Context(), s, cfg)
		if err != nil {
			rt.Fatalf("open: %v", err)
		}
		defer before.Close()
		draw := func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "choice") }
		for range rapid.IntRange(1, 30).Draw(rt, "transactions") {
			puts, deletes := randomWrites(draw)
			if err := write(t.Context(), s, puts, deletes); err != nil {
				rt.Fatalf("write: %v", err)
			}
		}
		all, rev := listed(t, s)
		checkCoherent(rt, view(t, before, rev), all)
		after, err := cache.OpenSegments(t.Context(), s, cfg, time.Hour)
		if err != nil {
			rt.Fatalf("open: %v", err)
		}
		defer after.Close()
		checkCoherent(rt, view(t, after, rev), all)
		if n, err := before.Refresh(t.Context()); n != 0 || err != nil {
			rt.Errorf("a refresh found %d differences, error %v", n, err)
		}
	})
}

// TestCoherence_Concurrent lets writers run while caches open, of which some list
// in segments of one page, and refresh.
func TestCoherence_Concurrent(t *testing.T) {
	s := newStore(t, memstore.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			for paced(ctx, 200*time.Microsecond) { // so that caches can keep up
				puts, deletes := randomWrites(random.IntN)
				if err := write(ctx, s, puts, deletes); err != nil && ctx.Err() == nil {
					t.Errorf("write: %v", err)
				}
			}
		})
	}
	var caches []*cache.Cache
	for ctx.Err() == nil && len(caches) < 12 {
		segment := time.Duration(len(caches)%2) * time.Hour
		c, err := cache.OpenSegments(t.Context(), s, cache.Config{TrustDomain: td, RefreshInterval: -1}, segment)
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		defer c.Close()
		caches = append(caches, c)
		if n, err := c.Refresh(t.Context()); n != 0 || err != nil {
			t.Errorf("a refresh among writes found %d differences, error %v", n, err)
		}
	}
	writers.Wait()
	all, rev := listed(t, s)
	for _, c := range caches {
		checkCoherent(t, view(t, c, rev), all)
	}
}

// TestView_WholeRevisions: each transaction writes its number into all entries and
// into a node, and no view has two numbers.
func TestView_WholeRevisions(t *testing.T) {
	const entries = 20
	s := newStore(t, memstore.Config{})
	writeAll := func(n int) {
		pairs := node(1, "/agent", fmt.Sprint("s", n%2))
		for i := range uint64(entries) {
			e := &spirev1.RegistrationEntry{EntryId: fmt.Sprint(i), ParentId: id("/agent"), SpiffeId: id(fmt.Sprint("/w/", i)), RevisionNumber: int64(n)}
			if i%2 == 0 {
				e.ParentId = id(fmt.Sprintf("/group/%d", n%2))
			}
			pairs = append(pairs, pair(records.Entries, i, e))
		}
		put(t, s, pairs...)
	}
	put(t, s, entry(100, "alias-0", "/spire/server", "/group/0", "s0"), entry(101, "alias-1", "/spire/server", "/group/1", "s1"))
	writeAll(0)
	c := open(t, s, cache.Config{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range 400 {
			writeAll(n)
		}
	}()
	agent := spiffeid.RequireFromString(id("/agent"))
	for reads, last := 0, store.Revision(0); ; reads++ {
		select {
		case <-done:
			if reads < 10 {
				t.Errorf("only %d views were read", reads)
			}
			return
		default:
		}
		v := view(t, c, 0)
		if v.Revision() < last {
			t.Fatalf("revision %d after %d", v.Revision(), last)
		}
		last = v.Revision()
		got := v.Authorized(agent)
		if len(got) != entries {
			t.Fatalf("revision %d: %d entries, want %d", last, len(got), entries)
		}
		for _, e := range got {
			if e.RevisionNumber != got[0].RevisionNumber {
				t.Fatalf("revision %d: an entry of transaction %d, another of %d", last, e.RevisionNumber, got[0].RevisionNumber)
			}
		}
	}
}

// TestOpen_SegmentsMakeOneRevision: what a listing reads first and what it reads
// last is always written together, and a cache never opens with one half.
func TestOpen_SegmentsMakeOneRevision(t *testing.T) {
	s := newStore(t, memstore.Config{})
	for i := range uint64(5000) {
		put(t, s, entry(i+1, fmt.Sprint("filler-", i), "/filler", "/w"))
	}
	both := func(n int) []store.Pair {
		return []store.Pair{
			pair(records.Bundles, 1, &spirev1.Bundle{TrustDomainId: "first", RefreshHint: int64(n)}),
			pair(records.Nodes, 1, &spirev1.AttestedNode{SpiffeId: id("/last"), CertNotAfter: int64(n)}),
		}
	}
	put(t, s, both(0)...)
	ctx, cancel := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	defer writer.Wait()
	defer cancel()
	writer.Go(func() {
		for n := 1; paced(ctx, 50*time.Microsecond); n++ {
			put(t, s, both(n)...)
		}
	})
	for range 20 {
		v, err := cache.FirstView(t.Context(), s, cache.Config{TrustDomain: td}, 0)
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		b, _ := v.Bundle("first")
		n, _ := v.Node(id("/last"))
		if b == nil || n == nil || b.RefreshHint != n.Attested.CertNotAfter {
			t.Errorf("revision %d has one half of a transaction: %v and %v", v.Revision(), b, n)
		}
	}
}

// TestOpen_ChangeBehindTheListing changes what the first segment has read while
// the second is read.
func TestOpen_ChangeBehindTheListing(t *testing.T) {
	a := &ahead{Store: newStore(t, memstore.Config{})}
	put(t, a, pair(records.Bundles, 1, &spirev1.Bundle{TrustDomainId: "first"}))
	for i := range uint64(3) {
		put(t, a, entry(i+1, fmt.Sprint(i), "/a", "/w"), pair(records.Nodes, i+1, &spirev1.AttestedNode{SpiffeId: id(fmt.Sprint("/", i))}))
	}
	segments := 0
	a.began = func() {
		if segments++; segments == 2 {
			put(t, a, pair(records.Bundles, 1, &spirev1.Bundle{TrustDomainId: "first", RefreshHint: 7}))
			remove(t, a, records.Entries.Key("1"))
		}
	}
	v, err := cache.FirstView(t.Context(), a, cache.Config{TrustDomain: td}, 0)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	if b, _ := v.Bundle("first"); segments < 3 || b.RefreshHint != 7 {
		t.Errorf("after %d segments the view of revision %d has bundle %v, want its new value", segments, v.Revision(), b)
	}
	equal(t, "entries", authorized(v, "/a"), "0", "2")
}

// TestOpen_ShortHistory writes several times as much during a listing as the
// store keeps of its history.
func TestOpen_ShortHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &ahead{Store: newStore(t, memstore.Config{HistoryBytesMax: 2000})}
		for i := range uint64(3) {
			put(t, a, entry(i+1, fmt.Sprint(i), "/a", "/w"), pair(records.Nodes, i+1, &spirev1.AttestedNode{SpiffeId: id(fmt.Sprint("/", i))}))
			put(t, a, nodeSelectors(i+1, "/a", "x"), pair(records.Bundles, 1, &spirev1.Bundle{TrustDomainId: "first"}))
		}
		segments := 0
		a.began = func() {
			if segments++; segments == 1 {
				return // the watch begins after it
			}
			for i := range 10 {
				put(t, a, pair(records.Bundles, 1, &spirev1.Bundle{TrustDomainId: "first", RefreshHint: int64(i)}))
				put(t, a, pair(records.Bundles, 2, &spirev1.Bundle{TrustDomainId: fmt.Sprint(i), RootCas: []*spirev1.Certificate{{DerBytes: make([]byte, 300)}}}))
				time.Sleep(10 * time.Millisecond) // until the watch is drained: the time is the bubble's
			}
		}
		v, err := cache.FirstView(t.Context(), a, cache.Config{TrustDomain: td}, 0)
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		if segments != 4 || v.Size(cache.KindBundle) != 11 {
			t.Errorf("%d segments and %d bundles, want 4 segments, so one listing, and 11 bundles", segments, v.Size(cache.KindBundle))
		}
	})
}
