package cache_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/cache"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

// TestAuthorized pins the rules of section 5.4 of the specification, mode A.
func TestAuthorized(t *testing.T) {
	s := newStore(t, memstore.Config{})
	put(t, s, node(1, "/agent/a", "x", "y", "all")...)
	put(t, s, node(2, "/agent/b", "x", "all")...)
	put(t, s, node(3, "/below", "below")...)
	put(t, s, nodeSelectors(4, "/agent/orphan", "x", "y", "all"))
	put(t, s,
		entry(1, "direct", "/agent/a", "/one"),
		entry(2, "child", "/one", "/two"),
		entry(3, "cycle", "/two", "/one"),
		entry(4, "other", "/agent/c", "/three"),
		entry(5, "alias-xy", "/spire/server", "/group/xy", "x", "y"),
		entry(6, "alias-x", "/spire/server", "/group/x", "x"),
		entry(7, "alias-all", "/spire/server", "/group/all", "all"),
		entry(8, "alias-none", "/spire/server", "/group/none", "all", "never"),
		entry(9, "alias-empty", "/spire/server", "/group/empty"),
		entry(10, "of-xy", "/group/xy", "/four"),
		entry(11, "of-x", "/group/x", "/five"),
		entry(12, "of-all", "/group/all", "/five"),
		entry(13, "of-none", "/group/none", "/five"),
		entry(14, "of-empty", "/group/empty", "/five"),
		entry(15, "reaches-node", "/one", "/below"),
		entry(16, "alias-below", "/spire/server", "/group/below", "below"),
		entry(17, "of-below", "/group/below", "/six"),
		entry(18, "foreign-parent", "spiffe://other.org/agent/a", "/seven"),
		entry(19, "foreign-id", "/agent/a", "spiffe://other.org/one"),
		entry(20, "no-id", "/agent/a", "not a SPIFFE ID"),
		entry(21, "of-orphan", "/agent/orphan", "/eight"),
	)
	c := open(t, s, cache.Config{})
	v := view(t, c, 0)

	equal(t, "an agent in two groups", authorized(v, "/agent/a"),
		"child", "cycle", "direct", "of-all", "of-below", "of-x", "of-xy", "reaches-node")
	equal(t, "an agent with some selectors", authorized(v, "/agent/b"), "of-all", "of-x")
	equal(t, "an unknown agent with children", authorized(v, "/agent/c"), "other")
	equal(t, "an unknown agent", authorized(v, "/agent/d"))
	equal(t, "selectors without a node", authorized(v, "/agent/orphan"), "of-orphan")
	equal(t, "an agent of another trust domain", authorized(v, "spiffe://other.org/agent/a"))

	agent := spiffeid.RequireFromString(id("/agent/a"))
	wanted := []string{"direct", "of-xy", "of-xy", "other", "alias-x", "foreign-id", "absent"}
	equal(t, "wanted entries", entryIDs(v.AuthorizedOf(agent, wanted)), "direct", "of-xy")
	equal(t, "no wanted entries", entryIDs(v.AuthorizedOf(agent, nil)))
	for stopAt := 1; stopAt <= 3; stopAt++ {
		n := 0
		v.VisitAuthorized(agent, func(*spirev1.RegistrationEntry) bool { n++; return n < stopAt })
		if n != stopAt {
			t.Errorf("a visit stopped at %d went on to %d", stopAt, n)
		}
	}
	if _, err := v.Entry("foreign-id"); err != nil {
		t.Errorf("entry of another trust domain by id: %v", err)
	}
}

// TestAuthorized_Expiry: the selectors of a node count until it expires, to the
// second.
func TestAuthorized_Expiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, memstore.Config{})
		n := &spirev1.AttestedNode{SpiffeId: id("/agent"), CertNotAfter: time.Now().Unix() + 10}
		put(t, s, pair(records.Nodes, 1, n), nodeSelectors(1, "/agent", "x"),
			entry(1, "alias", "/spire/server", "/group", "x"), entry(2, "grouped", "/group", "/w"), entry(3, "own", "/agent", "/w"))
		c := open(t, s, cache.Config{RefreshInterval: -1})
		defer c.Close()
		time.Sleep(10*time.Second - time.Nanosecond)
		equal(t, "just before", authorized(view(t, c, 0), "/agent"), "grouped", "own")
		time.Sleep(time.Nanosecond)
		equal(t, "expired", authorized(view(t, c, 0), "/agent"), "own")
	})
}

// TestAliases_RarestSelector: a selector that all aliases share costs nothing, in
// whatever order they come, nor after some of them have gone.
func TestAliases_RarestSelector(t *testing.T) {
	const aliases = 300
	for _, when := range []string{"before", "after"} {
		t.Run("aliases written "+when+" the cache opens", func(t *testing.T) {
			s := newStore(t, memstore.Config{})
			put(t, s, node(1, "/agent", "common", "mine-7", "mine-8")...)
			var c *cache.Cache
			if when == "after" {
				c = open(t, s, cache.Config{})
			}
			for i := range uint64(aliases) {
				put(t, s, entry(i+1, fmt.Sprint("alias-", i), "/spire/server", fmt.Sprint("/group/", i), "common", fmt.Sprint("mine-", i)))
				put(t, s, entry(i+aliases+1, fmt.Sprint("of-", i), fmt.Sprint("/group/", i), "/w"))
			}
			if when == "before" {
				c = open(t, s, cache.Config{})
			}
			v := view(t, c, 2*aliases+1)
			equal(t, "entries", authorized(v, "/agent"), "of-7", "of-8")
			if n := v.Groups(id("/agent")); n > 2 {
				t.Errorf("an agent is compared with %d groups of aliases, want 2", n)
			}
			for i := range aliases {
				if i != 8 {
					remove(t, s, records.Entries.Key(fmt.Sprint("alias-", i)))
				}
			}
			v = view(t, c, 3*aliases)
			equal(t, "entries", authorized(v, "/agent"), "of-8")
			if _, selectors := v.Places(); selectors != 2 {
				t.Errorf("selectors of %d kinds are kept for one alias with two", selectors)
			}
		})
	}
}

// TestLargeParent adds and removes children of one parent, far more than one
// piece of a list holds, while older views stay as they were.
func TestLargeParent(t *testing.T) {
	const all = 2000
	s := newStore(t, memstore.Config{})
	c := open(t, s, cache.Config{})
	random := rand.New(rand.NewPCG(1, 2))
	order := random.Perm(all)
	var pairs []store.Pair
	for _, n := range order {
		pairs = append(pairs, entry(uint64(n), fmt.Sprint(n), "/a", "/w"))
	}
	half := view(t, c, put(t, s, pairs[:all/2]...))
	whole := view(t, c, put(t, s, pairs[all/2:]...))
	var gone [][]byte
	for _, p := range pairs[all/4:] {
		gone = append(gone, p.Key)
	}
	quarter := view(t, c, remove(t, s, gone...))
	none := view(t, c, remove(t, s, pairs[0].Key, pairs[1].Key))

	for _, want := range []struct {
		v cache.View
		n int
	}{{half, all / 2}, {whole, all}, {quarter, all / 4}, {none, all/4 - 2}} {
		last := -1
		got := want.v.Authorized(mustID("/a"))
		for _, e := range got {
			n, err := strconv.Atoi(e.EntryId)
			if err != nil || n <= last {
				t.Fatalf("entry %q comes after %d", e.EntryId, last)
			}
			last = n
		}
		if len(got) != want.n || want.v.Misplaced() > 0 {
			t.Errorf("%d children, want %d; %d are misplaced", len(got), want.n, want.v.Misplaced())
		}
	}
}

// TestManyPlaces has a chain of entries, each the parent of the next, that comes
// one by one.
func TestManyPlaces(t *testing.T) {
	const all = 3000
	s := newStore(t, memstore.Config{})
	c := open(t, s, cache.Config{})
	for i := range uint64(all) {
		put(t, s, entry(i, fmt.Sprint(i), fmt.Sprint("/p/", i), fmt.Sprint("/p/", i+1)))
	}
	v := view(t, c, all)
	if got := len(v.Authorized(mustID("/p/0"))); got != all {
		t.Errorf("%d entries in the chain, want %d", got, all)
	}
}

// TestAliases_Subsets compares all sets of four selectors with all.
func TestAliases_Subsets(t *testing.T) {
	s := newStore(t, memstore.Config{})
	of := func(mask int) []string {
		var out []string
		for i, value := range []string{"p", "q", "r", "s"} {
			if mask>>i&1 == 1 {
				out = append(out, value)
			}
		}
		return out
	}
	for mask := range 16 {
		put(t, s, node(uint64(mask+1), fmt.Sprint("/agent/", mask), of(mask)...)...)
		put(t, s, entry(uint64(mask+1), fmt.Sprint("alias-", mask), "/spire/server", fmt.Sprint("/group/", mask), of(mask)...),
			entry(uint64(mask+100), fmt.Sprint(mask), fmt.Sprint("/group/", mask), "/w"))
	}
	v := view(t, open(t, s, cache.Config{}), 0)
	for agent := range 16 {
		var want []string
		for alias := 1; alias < 16; alias++ {
			if alias&^agent == 0 {
				want = append(want, fmt.Sprint(alias))
			}
		}
		slices.Sort(want)
		equal(t, fmt.Sprintf("agent with %q", of(agent)), authorized(v, fmt.Sprint("/agent/", agent)), want...)
	}
}
