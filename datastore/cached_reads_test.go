package datastore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/cache"
	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store"
)

// openCache returns a cache of s, which the test must not need before it ends.
func openCache(t *testing.T, s store.Store) *cache.Cache {
	t.Helper()
	c, err := cache.Open(t.Context(), s, cache.Config{TrustDomain: spiffeid.RequireTrustDomainFromString("td")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// openCached returns a DataStore on s that reads through c.
func openCached(t *testing.T, s store.Store, c *cache.Cache) *datastore.DataStore {
	t.Helper()
	d, err := datastore.New(s, datastore.Config{Cache: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// awaitCache waits until c has all that s has.
func awaitCache(t *testing.T, s store.Store, c *cache.Cache) {
	t.Helper()
	if _, err := c.View(t.Context(), store.Linearizable()); err != nil {
		t.Fatal(err)
	}
}

// countingStore counts what its transactions that don't write read.
type countingStore struct {
	store.Store

	reads *atomic.Int64
}

func (s countingStore) Begin(ctx context.Context, opts store.TxOptions) (store.Tx, error) {
	tx, err := s.Store.Begin(ctx, opts)
	if err == nil && opts.ReadOnly {
		tx = countingTx{tx, s.reads}
	}
	return tx, err
}

type countingTx struct {
	store.Tx

	reads *atomic.Int64
}

func (t countingTx) Get(ctx context.Context, key []byte) (store.KeyValue, bool, error) {
	t.reads.Add(1)
	return t.Tx.Get(ctx, key)
}

func (t countingTx) Scan(ctx context.Context, r store.Range, limit int) ([]store.KeyValue, error) {
	t.reads.Add(1)
	return t.Tx.Scan(ctx, r, limit)
}

func (t countingTx) Count(ctx context.Context, r store.Range) (int, error) {
	t.reads.Add(1)
	return t.Tx.Count(ctx, r)
}

// fill stores some of everything that a cache holds.
func fill(t *testing.T, d *datastore.DataStore) {
	t.Helper()
	ctx := t.Context()
	if _, err := d.CreateBundle(ctx, &spirev1.Bundle{
		TrustDomainId: "spiffe://td", RefreshHint: 5,
		RootCas:        []*spirev1.Certificate{{DerBytes: []byte("der")}},
		JwtSigningKeys: []*spirev1.PublicKey{{Kid: "kid", PkixBytes: []byte("pkix")}},
	}); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		// The order of the ids is not that of the creations.
		id := fmt.Sprint("e", (i*7)%10)
		if _, err := d.CreateRegistrationEntry(ctx, &spirev1.RegistrationEntry{
			EntryId: id, SpiffeId: "spiffe://td/" + id, ParentId: "spiffe://td/n1",
			Selectors: []*spirev1.Selector{{Type: "a", Value: id}, {Type: "b", Value: "2"}}, DnsNames: []string{"one", "two"},
			FederatesWith:        []string{"spiffe://td"},
			AdditionalAttributes: &spirev1.RegistrationEntry_AdditionalAttributes{JwtSvidIncludeJti: true},
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"spiffe://td/n1", "spiffe://td/n2"} {
		if _, err := d.CreateAttestedNode(ctx, &spirev1.AttestedNode{SpiffeId: id, CertSerialNumber: "1", CertNotAfter: 9}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"spiffe://td/n1", "spiffe://td/no-node"} {
		if err := d.SetNodeSelectors(ctx, id, []*spirev1.Selector{{Type: "a", Value: "1"}, {Type: "a", Value: "0"}}); err != nil {
			t.Fatal(err)
		}
	}
}

// cachedRead is a read that a cache answers.
type cachedRead struct {
	name string
	run  func(ctx context.Context, d *datastore.DataStore) (any, error)
}

// erased hides what a read returns.
func erased[T any](result T, err error) (any, error) { return result, err }

// cachedReads are all of them, for what fill stores.
func cachedReads() []cachedRead {
	var reads []cachedRead
	add := func(name string, run func(ctx context.Context, d *datastore.DataStore) (any, error)) {
		reads = append(reads, cachedRead{name, run})
	}
	for _, id := range []string{"e3", "none", "", string(make([]byte, store.KeyBytesMax+1))} {
		add(fmt.Sprintf("FetchRegistrationEntry %.9q", id), func(ctx context.Context, d *datastore.DataStore) (any, error) {
			return erased(d.FetchRegistrationEntry(ctx, id))
		})
	}
	for _, ids := range [][]string{nil, {"e3", "none", "e4", "e3"}} {
		add(fmt.Sprint("FetchRegistrationEntries ", ids), func(ctx context.Context, d *datastore.DataStore) (any, error) {
			return erased(d.FetchRegistrationEntries(ctx, ids))
		})
	}
	for _, c := range []datastore.DataConsistency{datastore.RequireCurrent, datastore.TolerateStale} {
		add(fmt.Sprint("CountRegistrationEntries ", c), func(ctx context.Context, d *datastore.DataStore) (any, error) {
			return erased(d.CountRegistrationEntries(ctx, &datastore.CountRegistrationEntriesRequest{DataConsistency: c}))
		})
		for _, page := range []*datastore.Pagination{
			nil, {PageSize: 3}, {PageSize: 3, Token: "2"}, {PageSize: 3, Token: "0"}, {PageSize: 100, Token: "9"}, {PageSize: 3, Token: "10"},
			{PageSize: math.MaxInt32}, {PageSize: 3, Token: strconv.FormatUint(math.MaxUint64, 10)},
		} {
			add(fmt.Sprint("ListRegistrationEntries ", c, page), func(ctx context.Context, d *datastore.DataStore) (any, error) {
				return erased(d.ListRegistrationEntries(ctx, &datastore.ListRegistrationEntriesRequest{DataConsistency: c, Pagination: page}))
			})
		}
		for _, id := range []string{"spiffe://td/n1", "spiffe://td/n2", "spiffe://td/no-node", "spiffe://td/none"} {
			add(fmt.Sprint("GetNodeSelectors ", c, id), func(ctx context.Context, d *datastore.DataStore) (any, error) {
				return erased(d.GetNodeSelectors(ctx, id, c))
			})
		}
	}
	for _, id := range []string{"spiffe://td/n1", "spiffe://td/n2", "spiffe://td/no-node", "spiffe://td/none"} {
		add("FetchAttestedNode "+id, func(ctx context.Context, d *datastore.DataStore) (any, error) {
			return erased(d.FetchAttestedNode(ctx, id))
		})
	}
	for _, id := range []string{"spiffe://td", "spiffe://none"} {
		add("FetchBundle "+id, func(ctx context.Context, d *datastore.DataStore) (any, error) { return erased(d.FetchBundle(ctx, id)) })
	}
	add("CountBundles", func(ctx context.Context, d *datastore.DataStore) (any, error) { return erased(d.CountBundles(ctx)) })
	add("CountAttestedNodes", func(ctx context.Context, d *datastore.DataStore) (any, error) {
		return erased(d.CountAttestedNodes(ctx, &datastore.CountAttestedNodesRequest{}))
	})
	return reads
}

// rendered is all that a caller sees of a result: nil and empty differ.
func rendered(t *testing.T, result any, err error) string {
	t.Helper()
	text, jsonErr := json.Marshal(result)
	if jsonErr != nil {
		t.Fatal(jsonErr)
	}
	return fmt.Sprintf("%s, %v", text, err)
}

// sameReads fails where a read of two DataStores differs.
func sameReads(t *testing.T, ctx context.Context, got, want *datastore.DataStore) {
	t.Helper()
	for _, r := range cachedReads() {
		g, gotErr := r.run(ctx, got)
		w, wantErr := r.run(ctx, want)
		if a, b := rendered(t, g, gotErr), rendered(t, w, wantErr); a != b {
			t.Errorf("%s:\n  with a cache %s\n  without      %s", r.name, a, b)
		}
	}
}

// stuckStore has watches that bring nothing.
type stuckStore struct{ store.Store }

func (s stuckStore) Watch(ctx context.Context, after store.Cursor, prefixes ...[]byte) (store.Watcher, error) {
	w, err := s.Store.Watch(ctx, after, prefixes...)
	return stuckWatcher{w}, err
}

type stuckWatcher struct{ store.Watcher }

func (stuckWatcher) Next(ctx context.Context) (store.Batch, error) {
	<-ctx.Done()
	return store.Batch{}, ctx.Err()
}

// scribble changes all that is reachable from v and exported.
func scribble(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			scribble(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				scribble(v.Field(i))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			scribble(v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			scribble(v.MapIndex(key))
		}
	case reflect.String:
		v.SetString("scribbled")
	case reflect.Uint8:
		v.SetUint(7)
	default:
		if v.CanSet() {
			v.SetZero()
		}
	}
}
