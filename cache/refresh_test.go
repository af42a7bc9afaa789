package cache_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spire-raft/spire-raft/cache"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

// TestRefresh plants each kind of difference, in listings of one segment and of
// many.
func TestRefresh(t *testing.T) {
	s := newStore(t, memstore.Config{})
	right := entry(1, "right", "/a", "/w")
	put(t, s, right)
	for i := range uint64(5000) { // pages enough for segments
		put(t, s, entry(i+2, fmt.Sprint("e", i), "/b", "/w"))
	}
	put(t, s, node(1, "/a", "x")...)
	wrong, surplus := entry(1, "right", "/a", "/other"), entry(9999, "surplus", "/a", "/w")
	moved := nodeSelectors(7, "/a", "y")
	digest := func(b []byte) cache.Hash { return sha256.Sum256(b) }

	for name, d := range map[string]struct {
		plant func(*cache.Cache)
		want  cache.Drift
	}{
		"a wrong value": {
			func(c *cache.Cache) { c.Plant(wrong.Key, wrong.Value) },
			cache.Drift{Kind: cache.KindEntry, Key: right.Key, Cached: digest(wrong.Value), Stored: digest(right.Value)},
		},
		"a value changed by a reader": {
			func(c *cache.Cache) { e, _ := view(t, c, 0).Entry("right"); e.SpiffeId = id("/other") },
			cache.Drift{Kind: cache.KindEntry, Key: right.Key, Cached: digest(wrong.Value), Stored: digest(right.Value)},
		},
		"an object too few": {
			func(c *cache.Cache) { c.Plant(right.Key, nil) },
			cache.Drift{Kind: cache.KindEntry, Key: right.Key, Stored: digest(right.Value)},
		},
		"an object too many": {
			func(c *cache.Cache) { c.Plant(surplus.Key, surplus.Value) },
			cache.Drift{Kind: cache.KindEntry, Key: surplus.Key, Cached: digest(surplus.Value)},
		},
		"a malformed record": {
			func(c *cache.Cache) { c.Plant(right.Key, []byte("bad")) },
			cache.Drift{Kind: cache.KindEntry, Key: right.Key, Cached: digest([]byte("bad")), Stored: digest(right.Value)},
		},
		"other selectors": {
			func(c *cache.Cache) { c.Plant(moved.Key, moved.Value) },
			cache.Drift{Kind: cache.KindSelectors, Key: moved.Key, Cached: digest(moved.Value), Stored: digest(nodeSelectors(1, "/a", "x").Value)},
		},
		"an entry that lookups don't find": {
			func(c *cache.Cache) { c.Misplace("right") },
			cache.Drift{Kind: cache.KindEntry, Key: right.Key, Cached: digest(right.Value), Stored: digest(right.Value)},
		},
		"an entry that lists don't find": {
			func(c *cache.Cache) { c.Disorder("right") },
			cache.Drift{Kind: cache.KindEntry, Key: right.Key, Cached: digest(right.Value), Stored: digest(right.Value)},
		},
	} {
		for _, segment := range []time.Duration{0, time.Hour} {
			t.Run(fmt.Sprintf("%s/segments of %v", name, segment), func(t *testing.T) {
				var got []cache.Drift
				reg := prometheus.NewRegistry()
				c, err := cache.OpenSegments(t.Context(), s, cache.Config{TrustDomain: td, RefreshInterval: -1, Registerer: reg,
					OnDrift: func(d cache.Drift) { got = append(got, d) }}, segment)
				if err != nil {
					t.Fatalf("open: %v", err)
				}
				defer c.Close()
				d.plant(c)
				n, err := c.Refresh(t.Context())
				if n != 1 || err != nil || len(got) != 1 {
					t.Fatalf("%d differences, error %v, %d reports, want one", n, err, len(got))
				}
				got[0].Revision = 0
				if fmt.Sprint(got[0]) != fmt.Sprint(d.want) {
					t.Errorf("got %+v, want %+v", got[0], d.want)
				}
				if m := metric(t, reg, "spire_raft_cache_drift_total"); m != 1 {
					t.Errorf("metric of drift is %v, want 1", m)
				}
				equal(t, "repaired", authorized(view(t, c, 0), "/a"), "right")
				all, rev := listed(t, s)
				checkCoherent(t, view(t, c, rev), all)
				if n, err := c.Refresh(t.Context()); n != 0 || err != nil {
					t.Errorf("the next refresh found %d differences, error %v", n, err)
				}
			})
		}
	}
}

// TestRefresh_NewerChange: a repair doesn't undo what came after the comparison.
func TestRefresh_NewerChange(t *testing.T) {
	s := newStore(t, memstore.Config{})
	put(t, s, entry(1, "e", "/a", "/w"), entry(2, "f", "/a", "/w"))
	c := open(t, s, cache.Config{RefreshInterval: -1})
	planted := entry(1, "e", "/b", "/w")
	c.Plant(planted.Key, planted.Value)
	c.BeforeRepair(func() {
		view(t, c, remove(t, s, records.Entries.Key("e")))
	})
	if n, err := c.Refresh(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d differences, error %v, want 1", n, err)
	}
	equal(t, "after the repair", authorized(view(t, c, 0), "/a"), "f")
}

// TestRefresh_Interval doubles while nothing differs and falls back.
func TestRefresh_Interval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, memstore.Config{})
		e := entry(1, "e", "/a", "/w")
		put(t, s, e)
		var drifts []time.Duration
		begun := time.Now()
		c := open(t, s, cache.Config{RefreshInterval: time.Minute, RefreshIntervalMax: 4 * time.Minute,
			OnDrift: func(cache.Drift) { drifts = append(drifts, time.Since(begun)) }})
		defer c.Close()
		at := func(d time.Duration, interval time.Duration, completed uint64) {
			t.Helper()
			time.Sleep(d - time.Since(begun))
			synctest.Wait()
			if st := c.Status().Refresh; st.Interval != interval || st.Completed != completed {
				t.Errorf("at %v: interval %v after %d refreshes, want %v after %d", d, st.Interval, st.Completed, interval, completed)
			}
		}
		at(time.Minute-1, time.Minute, 0)
		at(time.Minute, 2*time.Minute, 1)
		at(3*time.Minute, 4*time.Minute, 2)
		at(7*time.Minute, 4*time.Minute, 3)
		c.Plant(e.Key, nil)
		at(11*time.Minute, time.Minute, 4)
		at(12*time.Minute, 2*time.Minute, 5)
		if len(drifts) != 1 || drifts[0] != 11*time.Minute {
			t.Errorf("drift was reported at %v, want once at 11m", drifts)
		}
		if _, err := c.View(t.Context(), store.Linearizable()); err != nil {
			t.Errorf("view: %v", err)
		}
	})
}

// ahead is a store that changes, and whose cache follows, while a listing begins.
type ahead struct {
	store.Store
	began func()
}

func (a *ahead) Begin(ctx context.Context, opts store.TxOptions) (store.Tx, error) {
	tx, err := a.Store.Begin(ctx, opts)
	if a.began != nil {
		a.began()
	}
	return tx, err
}

// TestRefresh_CacheAhead: the comparison is at the listing's revision, though
// the cache is past it.
func TestRefresh_CacheAhead(t *testing.T) {
	a := &ahead{Store: newStore(t, memstore.Config{})}
	put(t, a, entry(1, "e", "/a", "/w"))
	c := open(t, a, cache.Config{RefreshInterval: -1})
	n := uint64(1)
	a.began = func() {
		n++
		put(t, a, entry(n, fmt.Sprint("e", n), "/a", "/w"))
		view(t, c, remove(t, a, records.Entries.Key(fmt.Sprint("e", n-1)), records.Entries.Key("e")))
	}
	for range 3 {
		if n, err := c.Refresh(t.Context()); n != 0 || err != nil {
			t.Errorf("%d differences, error %v, want none", n, err)
		}
	}
}
