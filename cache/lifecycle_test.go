package cache_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spire-raft/spire-raft/cache"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

// faulty is a store whose watches and freshness can be broken.
type faulty struct {
	store.Store
	broken atomic.Pointer[error] // ends watches and refuses new ones
	cut    atomic.Bool           // there is no quorum
	lists  atomic.Int64
}

func (f *faulty) err() error {
	if err := f.broken.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *faulty) fail(err error) {
	if err == nil {
		f.broken.Store(nil)
	} else {
		f.broken.Store(&err)
	}
}

func (f *faulty) Revision(ctx context.Context, c store.Consistency) (store.Revision, error) {
	if _, local := c.MinRevision(); f.cut.Load() && !local {
		return 0, store.ErrNoLeader
	}
	return f.Store.Revision(ctx, c)
}

func (f *faulty) Begin(ctx context.Context, opts store.TxOptions) (store.Tx, error) {
	f.lists.Add(1)
	return f.Store.Begin(ctx, opts)
}

func (f *faulty) Watch(ctx context.Context, after store.Cursor, prefixes ...[]byte) (store.Watcher, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	w, err := f.Store.Watch(ctx, after, prefixes...)
	if err != nil {
		return nil, err
	}
	return &faultyWatcher{w, f}, nil
}

type faultyWatcher struct {
	store.Watcher
	f *faulty
}

// Next polls, so that a fault shows while it waits.
func (w *faultyWatcher) Next(ctx context.Context) (store.Batch, error) {
	for {
		if err := w.f.err(); err != nil {
			return store.Batch{}, err
		}
		poll, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		b, err := w.Watcher.Next(poll)
		cancel()
		if err == nil || !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return b, err
		}
	}
}

func TestObjects(t *testing.T) {
	s := newStore(t, memstore.Config{})
	put(t, s, pair(records.Bundles, 1, &spirev1.Bundle{TrustDomainId: "spiffe://example.org", RefreshHint: 7}))
	put(t, s, entry(1, "e", "/a", "/w", "x"))
	put(t, s, node(1, "/a", "z", "y")...)
	rev := put(t, s, nodeSelectors(2, "/orphan", "o"))
	v := view(t, open(t, s, cache.Config{}), rev)

	if b, err := v.Bundle("spiffe://example.org"); err != nil || b.RefreshHint != 7 {
		t.Errorf("bundle: got %v, error %v", b, err)
	}
	e, err := v.Entry("e")
	if err != nil || e.SpiffeId != id("/w") {
		t.Errorf("entry: got %v, error %v", e, err)
	}
	if again, _ := v.Entry("e"); again != e || v.Authorized(mustID("/a"))[0] != e {
		t.Error("an entry is not one shared object")
	}
	n, err := v.Node(id("/a"))
	if err != nil || n.Attested.CertSerialNumber != "1" || n.Banned() || len(n.Selectors) != 2 || n.Selectors[0].Value != "z" {
		t.Errorf("node: got %+v, error %v", n, err)
	}
	if sel, err := v.NodeSelectors(id("/orphan")); err != nil || len(sel) != 1 {
		t.Errorf("selectors without a node: got %v, error %v", sel, err)
	}
	for what, found := range map[string]func() (bool, error){
		"bundle": func() (bool, error) { o, err := v.Bundle("no"); return o != nil, err },
		"entry":  func() (bool, error) { o, err := v.Entry("no"); return o != nil, err },
		"node":   func() (bool, error) { o, err := v.Node(id("/orphan")); return o != nil, err },
	} {
		if there, err := found(); there || err != nil {
			t.Errorf("absent %s: found %v, error %v", what, there, err)
		}
	}
	for kind, want := range map[cache.Kind]int{cache.KindBundle: 1, cache.KindEntry: 1, cache.KindNode: 1, cache.KindSelectors: 2} {
		if got := v.Size(kind); got != want {
			t.Errorf("size of %v: got %d, want %d", kind, got, want)
		}
	}
}

// TestMalformed: a record that doesn't decode is reported with its key, all
// others are served, and it is well once it is written again.
func TestMalformed(t *testing.T) {
	s := newStore(t, memstore.Config{})
	bad := entry(1, "bad", "/a", "/w")
	rev := put(t, s, store.Pair{Key: bad.Key, Value: []byte("short")}, entry(2, "good", "/a", "/w"),
		store.Pair{Key: append(records.Nodes.Prefix(), "no end"...), Value: nil})
	for _, when := range []string{"listed", "watched"} {
		c := open(t, s, cache.Config{})
		if when == "watched" {
			view(t, c, put(t, s, bad))
			rev = put(t, s, store.Pair{Key: bad.Key, Value: []byte("short")})
		}
		v := view(t, c, rev)
		var malformed *records.MalformedError
		if e, err := v.Entry("bad"); e != nil || !errors.As(err, &malformed) || string(malformed.Key) != string(bad.Key) {
			t.Errorf("%s: got entry %v, error %v, want a MalformedError with its key", when, e, err)
		}
		equal(t, when+": authorised", authorized(v, "/a"), "good")
		if n := len(v.Malformed()); n != 2 || c.Status().Malformed != 2 {
			t.Errorf("%s: %d malformed records, want 2", when, n)
		}
		if n, err := c.Refresh(t.Context()); n != 0 || err != nil {
			t.Errorf("%s: a refresh found %d differences, error %v", when, n, err)
		}
	}
	c := open(t, s, cache.Config{})
	v := view(t, c, put(t, s, bad))
	equal(t, "written again", authorized(v, "/a"), "bad", "good")
	if n := len(v.Malformed()); n != 1 {
		t.Errorf("%d malformed records, want 1", n)
	}
}

// TestRebuild_Compacted: a cache whose history is gone serves on, marked, and
// then has all that it missed.
func TestRebuild_Compacted(t *testing.T) {
	f := &faulty{Store: newStore(t, memstore.Config{HistoryBytesMax: 1})}
	put(t, f, entry(1, "old", "/a", "/w"))
	reg := prometheus.NewRegistry()
	c := open(t, f, cache.Config{Registerer: reg})
	old := view(t, c, 1)
	f.fail(errors.New("network"))
	eventually(t, "the watch is lost", func() bool { return c.Status().Lost != nil })
	put(t, f, entry(2, "missed", "/a", "/w"))
	rev := remove(t, f, records.Entries.Key("old"))
	equal(t, "served while stale", authorized(view(t, c, 0), "/a"), "old")
	f.fail(nil)
	equal(t, "after the rebuild", authorized(view(t, c, rev), "/a"), "missed")
	equal(t, "the view of before", authorized(old, "/a"), "old")
	eventually(t, "the cache follows again", func() bool { return c.Status().Lost == nil })
	if n := c.Status().Rebuilds; n != 1 {
		t.Errorf("%d rebuilds, want 1", n)
	}
	if got := metric(t, reg, "spire_raft_cache_rebuilds_total"); got != 1 {
		t.Errorf("metric of rebuilds: %v, want 1", got)
	}
	equal(t, "followed", authorized(view(t, c, put(t, f, entry(3, "new", "/a", "/w"))), "/a"), "missed", "new")
}

// TestResume: while the history is there, a lost watch costs no listing.
func TestResume(t *testing.T) {
	f := &faulty{Store: newStore(t, memstore.Config{})}
	c := open(t, f, cache.Config{})
	f.fail(store.ErrTooManyWatchers)
	eventually(t, "the watch is lost", func() bool { return c.Status().Lost != nil })
	lists := f.lists.Load()
	rev := put(t, f, entry(1, "missed", "/a", "/w"))
	f.fail(nil)
	equal(t, "resumed", authorized(view(t, c, rev), "/a"), "missed")
	if c.Status().Rebuilds != 0 || f.lists.Load() != lists {
		t.Error("the cache was rebuilt")
	}
}

// TestStalenessMax: without a watch, and without a quorum, the cache serves as
// long as it may and not longer.
func TestStalenessMax(t *testing.T) {
	for name, lose := range map[string]func(*faulty, bool){
		"no watch": func(f *faulty, lost bool) {
			if f.fail(nil); lost {
				f.fail(errors.New("network"))
			}
		},
		"no quorum": func(f *faulty, lost bool) { f.cut.Store(lost) },
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &faulty{Store: newStore(t, memstore.Config{})}
			put(t, f, entry(1, "e", "/a", "/w"))
			c := open(t, f, cache.Config{StalenessMax: 20 * time.Second, RefreshInterval: -1})
			defer c.Close()
			time.Sleep(time.Minute)
			synctest.Wait()
			lose(f, true)
			time.Sleep(9 * time.Second) // the last confirmation is at most 5 s old, of a bound of 5 s
			if _, err := c.View(t.Context(), store.AtLeast(1)); err != nil {
				t.Errorf("%s, soon: %v", name, err)
			}
			time.Sleep(12 * time.Second)
			for _, fresh := range []store.Consistency{store.AtLeast(0), store.AtLeast(1)} {
				if _, err := c.View(t.Context(), fresh); !errors.Is(err, store.ErrStale) {
					t.Errorf("%s, later, %v: got error %v, want %v", name, fresh, err, store.ErrStale)
				}
			}
			lose(f, false)
			time.Sleep(30 * time.Second)
			if _, err := c.View(t.Context(), store.AtLeast(0)); err != nil {
				t.Errorf("%s, over: %v", name, err)
			}
		})
	}
}

// TestStalenessMax_AfterAStart: a server that starts before it knows the leader
// serves soon after it does.
func TestStalenessMax_AfterAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &faulty{Store: newStore(t, memstore.Config{})}
		put(t, f, entry(1, "e", "/a", "/w"))
		f.cut.Store(true)
		c := open(t, f, cache.Config{RefreshInterval: -1})
		defer c.Close()
		time.Sleep(time.Second)
		if _, err := c.View(t.Context(), store.AtLeast(0)); !errors.Is(err, store.ErrStale) {
			t.Errorf("without a quorum: got error %v, want %v", err, store.ErrStale)
		}
		f.cut.Store(false)
		time.Sleep(time.Second)
		if _, err := c.View(t.Context(), store.AtLeast(0)); err != nil {
			t.Errorf("a second after there is one: %v", err)
		}
	})
}

func TestView_Freshness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &faulty{Store: newStore(t, memstore.Config{})}
		c := open(t, f, cache.Config{RefreshInterval: -1, WaitMax: 3 * time.Second})
		defer c.Close()
		for i := range uint64(50) {
			rev := put(t, f, entry(i+1, "e", "/a", "/w"))
			for _, fresh := range []store.Consistency{store.Linearizable(), store.BoundedStale(0), store.AtLeast(rev)} {
				if v, err := c.View(t.Context(), fresh); err != nil || v.Revision() < rev {
					t.Fatalf("%v after revision %d: error %v", fresh, rev, err)
				}
			}
		}
		begun := time.Now()
		if _, err := c.View(t.Context(), store.AtLeast(1000)); !errors.Is(err, store.ErrStale) || time.Since(begun) != 3*time.Second {
			t.Errorf("a revision that doesn't come: error %v after %v", err, time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.View(ctx, store.AtLeast(1000)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a context that ends: error %v", err)
		}
		f.cut.Store(true)
		if _, err := c.View(t.Context(), store.Linearizable()); !errors.Is(err, store.ErrNoLeader) {
			t.Errorf("linearizable without a quorum: error %v", err)
		}
		// Keys of others move the revision on with progress marks.
		rev := put(t, f, store.Pair{Key: []byte("other"), Value: nil})
		time.Sleep(store.ProgressIntervalMax)
		synctest.Wait()
		if got := c.Revision(); got != rev {
			t.Errorf("revision %d after a progress mark, want %d", got, rev)
		}
	})
}

func TestClose(t *testing.T) {
	s := newStore(t, memstore.Config{})
	reg := prometheus.NewRegistry()
	put(t, s, entry(1, "e", "/a", "/w"))
	c := open(t, s, cache.Config{Registerer: reg})
	if _, err := cache.Open(t.Context(), s, cache.Config{TrustDomain: td, Registerer: reg}); err == nil {
		t.Error("two caches share a registerer")
	}
	v := view(t, c, 1)
	waiter := make(chan error)
	go func() { _, err := c.View(context.Background(), store.AtLeast(99)); waiter <- err }()
	for range 2 {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if err := <-waiter; !errors.Is(err, store.ErrClosed) {
		t.Errorf("a waiter: got error %v, want %v", err, store.ErrClosed)
	}
	for _, fresh := range []store.Consistency{store.AtLeast(0), store.Linearizable()} {
		if _, err := c.View(t.Context(), fresh); !errors.Is(err, store.ErrClosed) {
			t.Errorf("%v: got error %v, want %v", fresh, err, store.ErrClosed)
		}
	}
	if _, err := c.Refresh(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("refresh: got error %v, want %v", err, store.ErrClosed)
	}
	equal(t, "a view of before", authorized(v, "/a"), "e")
	if c.Revision() != 0 || c.Status().Cursor != (store.Cursor{}) {
		t.Error("a closed cache has a revision")
	}
	if families, err := reg.Gather(); err != nil || len(families) > 0 {
		t.Errorf("%d families of metrics remain, error %v", len(families), err)
	}
	again := open(t, s, cache.Config{Registerer: reg})
	if got := metric(t, reg, "spire_raft_cache_objects"); got != 1 || metric(t, reg, "spire_raft_cache_revision") != 1 {
		t.Errorf("metrics say %v objects", got)
	}
	again.Close()
}

func TestConfig_Validate(t *testing.T) {
	err := cache.Config{StalenessMax: -1, WaitMax: -1, RefreshInterval: 2, RefreshIntervalMax: 1}.Validate()
	for _, field := range []string{"TrustDomain", "StalenessMax", "WaitMax", "RefreshIntervalMax"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v doesn't name %s", err, field)
		}
	}
	if err := (cache.Config{TrustDomain: td, RefreshInterval: 100 * time.Hour}).Validate(); err != nil {
		t.Errorf("a good config: %v", err)
	}
	if _, err := cache.Open(t.Context(), nil, cache.Config{}); err == nil {
		t.Error("open took an empty config")
	}
}

// metric sums a metric up.
func metric(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatalf("gather: %v", err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// lagging is a store whose next transaction reads an old snapshot.
type lagging struct {
	store.Store
	old store.Tx
}

func (l *lagging) Begin(context.Context, store.TxOptions) (store.Tx, error) { return l.old, nil }

// Watch returns a watcher that brings nothing while the listing goes on.
func (l *lagging) Watch(ctx context.Context, after store.Cursor, prefixes ...[]byte) (store.Watcher, error) {
	w, err := l.Store.Watch(ctx, after, prefixes...)
	return &late{Watcher: w}, err
}

type late struct {
	store.Watcher
	called bool
}

func (l *late) Next(ctx context.Context) (store.Batch, error) {
	if !l.called {
		l.called = true
		<-ctx.Done()
	}
	return l.Watcher.Next(ctx)
}

// TestRebuild_NeverBack: a listing that is older than what the cache has served
// catches up before it is served.
func TestRebuild_NeverBack(t *testing.T) {
	s := newStore(t, memstore.Config{})
	put(t, s, entry(1, "e", "/a", "/w"))
	old, err := s.Begin(t.Context(), store.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	rev := put(t, s, entry(2, "f", "/a", "/w"))
	prev := store.Cursor{Epoch: 1, Revision: rev}
	v, err := cache.RebuiltView(t.Context(), &lagging{s, old}, cache.Config{TrustDomain: td}, prev)
	if err != nil || v.Revision() < rev {
		t.Fatalf("rebuilt at revision %d, error %v, after %d was served", v.Revision(), err, rev)
	}
	equal(t, "entries", authorized(v, "/a"), "e", "f")
}
