package datastore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

type entry = spirev1.RegistrationEntry

var testEntries = collection[*entry]{kind: records.Entries, unique: "test.id"}

func newDataStore(t interface{ Fatal(...any) }) (*DataStore, func()) {
	s := memstore.New(memstore.Config{})
	d, err := New(s, Config{})
	if err != nil {
		t.Fatal(err)
	}
	return d, func() { _ = s.Close() } // in memory: nothing to fail
}

// change is update for tests of what has no result.
func change(d *DataStore, fn func(context.Context, store.Tx) error) error {
	ctx := context.Background()
	_, err := update(ctx, d, func(tx store.Tx) (struct{}, error) { return struct{}{}, fn(ctx, tx) })
	return err
}

// TestCollection_Model applies random changes and compares every filter and
// every match behaviour, paged in several sizes, with a list of the objects.
func TestCollection_Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, closeStore := newDataStore(t)
		defer closeStore()
		var model []*entry // in the order of creation
		for range rapid.IntRange(0, 25).Draw(t, "changes") {
			e := drawEntry(t)
			at := slices.IndexFunc(model, func(m *entry) bool { return m.EntryId == e.EntryId })
			remove := rapid.IntRange(0, 3).Draw(t, "remove") == 0
			err := change(d, func(ctx context.Context, tx store.Tx) error {
				if at < 0 {
					_, err := testEntries.create(ctx, tx, e)
					return err
				}
				old, err := testEntries.mustGet(ctx, tx, e.EntryId)
				if err == nil && remove {
					return testEntries.delete(tx, old)
				}
				if err == nil {
					err = testEntries.update(tx, old, e)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case at < 0:
				model = append(model, e)
			case remove:
				model = slices.Delete(model, at, at+1)
			default:
				model[at] = e
			}
		}
		for range 10 {
			compare(t, d, model)
		}
		checkNothingIsLeft(t, d, model)
	})
}

var letters = []string{"a", "b", "c", "d"}

func drawSet(t *rapid.T, label string) []string {
	return rapid.SliceOfN(rapid.SampledFrom(letters), 0, 5).Draw(t, label) // may repeat
}

func drawEntry(t *rapid.T) *entry {
	e := &entry{
		EntryId:     rapid.SampledFrom([]string{"", "1", "2", "3", "4", "5", "6", "7", "8"}).Draw(t, "id"),
		ParentId:    rapid.SampledFrom(letters).Draw(t, "parent"),
		Downstream:  rapid.Bool().Draw(t, "downstream"),
		EntryExpiry: rapid.Int64Range(-2, 2).Draw(t, "expiry"),
		Hint:        rapid.SampledFrom([]string{"", "h"}).Draw(t, "hint"),
	}
	e.FederatesWith = drawSet(t, "federates with")
	return e
}

// compare draws a query, and compares the lists and the count.
func compare(t *rapid.T, d *DataStore, model []*entry) {
	q := query{}
	var holds []func(*entry) bool
	use := func(label string) bool { return rapid.Bool().Draw(t, "filter by "+label) }
	if use("parent") {
		parent := rapid.SampledFrom(letters).Draw(t, "wanted parent")
		q.filters = append(q.filters, testEntries.equals(records.FieldParentID, parent))
		holds = append(holds, func(e *entry) bool { return e.ParentId == parent })
	}
	if use("set") {
		want, match := drawSet(t, "wanted set"), MatchBehavior(rapid.IntRange(0, 3).Draw(t, "match"))
		q.filters = append(q.filters, testEntries.matches(records.FieldFederatesWith, want, match))
		holds = append(holds, func(e *entry) bool { return modelMatch(e.FederatesWith, want, match) })
	}
	if use("expiry") {
		limit := rapid.Int64Range(-3, 3).Draw(t, "limit")
		if use("upper limit") {
			q.filters = append(q.filters, testEntries.expiresBefore(limit))
			holds = append(holds, func(e *entry) bool { return e.EntryExpiry != 0 && e.EntryExpiry < limit })
		} else {
			q.filters = append(q.filters, testEntries.expiresFrom(limit))
			holds = append(holds, func(e *entry) bool { return e.EntryExpiry != 0 && e.EntryExpiry >= limit })
		}
	}
	var want []string
	for _, e := range model {
		if !slices.ContainsFunc(holds, func(holds func(*entry) bool) bool { return !holds(e) }) {
			want = append(want, e.EntryId)
		}
	}
	for _, limit := range []int{0, 1, 3} {
		if got := listInPages(t, d, q, limit); !slices.Equal(got, want) {
			t.Fatalf("in pages of %d: got %q, want %q", limit, got, want)
		}
	}
	n, err := view(context.Background(), d, store.Linearizable(), func(tx store.Tx) (int, error) {
		return testEntries.count(context.Background(), tx, q.filters...)
	})
	if err != nil || n != len(want) {
		t.Fatalf("count: got %d, %v, want %d", n, err, len(want))
	}
}

func listInPages(t *rapid.T, d *DataStore, q query, limit int) []string {
	var ids []string
	for q.page = (page{limit: limit}); ; {
		var last uint64
		items, err := view(context.Background(), d, store.Linearizable(), func(tx store.Tx) (items []records.Item[*entry], err error) {
			items, last, err = testEntries.list(context.Background(), tx, q, &MalformedRecordsError{})
			return items, err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range objects(items) {
			ids = append(ids, e.EntryId)
		}
		if limit == 0 || len(items) == 0 {
			return ids
		}
		q.page.after = last
	}
}

func modelMatch(has, want []string, match MatchBehavior) bool {
	set := func(list []string) map[string]bool {
		m := map[string]bool{}
		for _, s := range list {
			m[s] = true
		}
		return m
	}
	e, r := set(has), set(want)
	within := func(a, b map[string]bool) bool {
		for s := range a {
			if !b[s] {
				return false
			}
		}
		return true
	}
	switch match {
	case Exact:
		return len(e) > 0 && maps.Equal(e, r)
	case Subset:
		return len(e) > 0 && within(e, r)
	case Superset:
		return len(r) > 0 && within(r, e)
	default:
		return slices.ContainsFunc(has, func(s string) bool { return r[s] })
	}
}

// checkNothingIsLeft compares the number of keys with what the objects need.
func checkNothingIsLeft(t *rapid.T, d *DataStore, model []*entry) {
	want := 0
	for _, e := range model {
		want += 1 + len(records.Entries.Indexes(e))
	}
	got, _, err := d.store.Count(context.Background(), store.Linearizable(), store.Range{})
	if err != nil || got != want {
		t.Fatalf("%d keys, %v, want %d", got, err, want)
	}
}

func TestCollection_Create(t *testing.T) {
	d, closeStore := newDataStore(t)
	defer closeStore()
	create := func(ctx context.Context, tx store.Tx) error {
		_, err := testEntries.create(ctx, tx, &entry{EntryId: "1"})
		return err
	}
	if err := change(d, create); err != nil {
		t.Fatal(err)
	}
	if err := change(d, create); status.Code(err) != codes.AlreadyExists {
		t.Errorf("again: %v", err)
	}
	item, err := view(context.Background(), d, store.Linearizable(), func(tx store.Tx) (records.Item[*entry], error) {
		item, ok, err := testEntries.byNumber(context.Background(), tx, 1)
		if err == nil && !ok {
			err = errNotFound()
		}
		return item, err
	})
	if err != nil || item.Number != 1 || item.Object.EntryId != "1" {
		t.Errorf("by number: %v, %v", item, err)
	}
}

// Selectors of nodes are a collection of their own: what they match is found in
// the nodes by id.
func TestCollection_WithIDsOfAnotherCollection(t *testing.T) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	testNodes := collection[*spirev1.AttestedNode]{kind: records.Nodes, unique: "test.id"}
	sets := collection[*records.NodeSelectors]{kind: records.NodeSelectorSets, unique: "test.id"}
	for _, id := range []string{"z", "b", "a"} {
		err := change(d, func(ctx context.Context, tx store.Tx) error {
			_, err := testNodes.create(ctx, tx, &spirev1.AttestedNode{SpiffeId: id})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"no node", "a", "z"} {
		err := change(d, func(ctx context.Context, tx store.Tx) error {
			selectors := []*spirev1.Selector{{Type: "t", Value: "v"}}
			_, err := sets.create(ctx, tx, &records.NodeSelectors{SpiffeID: id, Selectors: selectors})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := view(ctx, d, store.Linearizable(), func(tx store.Tx) ([]string, error) {
		match := sets.matches(records.FieldSelector, []string{records.SelectorValue("t", "v")}, Exact)
		ids, err := sets.ids(ctx, tx, &MalformedRecordsError{}, match)
		if err != nil {
			return nil, err
		}
		return testNodes.ids(ctx, tx, &MalformedRecordsError{}, testNodes.withIDs(ids))
	})
	if err != nil || !slices.Equal(got, []string{"z", "a"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestCollection_ChangeInTheTransactionThatCreatesIsRefused(t *testing.T) {
	d, closeStore := newDataStore(t)
	defer closeStore()
	err := change(d, func(ctx context.Context, tx store.Tx) error {
		if _, err := testEntries.create(ctx, tx, &entry{EntryId: "1"}); err != nil {
			return err
		}
		item, err := testEntries.mustGet(ctx, tx, "1")
		if err != nil {
			return err
		}
		return testEntries.delete(tx, item)
	})
	if err == nil {
		t.Error("no error")
	}
}

// An entry that federates with a bundle only needs that there is one.
func TestCollection_HasDoesNotConflictWithChanges(t *testing.T) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	if _, err := d.CreateBundle(ctx, &spirev1.Bundle{TrustDomainId: "td"}); err != nil {
		t.Fatal(err)
	}
	attempts := 0
	err := change(d, func(ctx context.Context, tx store.Tx) error {
		attempts++
		_, ok, err := bundles.first(ctx, tx, records.FieldID, "td")
		if err != nil || !ok {
			return fmt.Errorf("has: %v, %w", ok, err)
		}
		if _, err := d.SetBundle(ctx, &spirev1.Bundle{TrustDomainId: "td", SequenceNumber: 1}); err != nil {
			return err
		}
		return tx.Put([]byte("x"), nil)
	})
	if err != nil || attempts != 1 {
		t.Errorf("%v after %d attempts", err, attempts)
	}
}

func TestUpdate_OutlastsTheStoresRetries(t *testing.T) {
	d, closeStore := newDataStore(t)
	defer closeStore()
	attempts := 0
	d.store = alwaysConflicts{d.store, store.RetriesMax + 2, &attempts}
	start := time.Now()
	if _, err := d.CreateBundle(context.Background(), &spirev1.Bundle{}); err != nil {
		t.Errorf("%v after %d attempts in %v", err, attempts, time.Since(start))
	}
}

// alwaysConflicts is a store whose first commits conflict.
type alwaysConflicts struct {
	store.Store
	conflicts int
	attempts  *int
}

func (s alwaysConflicts) Begin(ctx context.Context, opts store.TxOptions) (store.Tx, error) {
	tx, err := s.Store.Begin(ctx, opts)
	if *s.attempts++; *s.attempts <= s.conflicts {
		return conflictingTx{tx}, err
	}
	return tx, err
}

type conflictingTx struct{ store.Tx }

func (tx conflictingTx) Commit(context.Context) (store.Result, error) {
	return store.Result{}, store.ErrConflict
}

func TestConfirmed_LeavesOutWhatWasNotChecked(t *testing.T) {
	found := errNotFound()
	err := translate(confirmed(errors.Join(found, context.Canceled), found))
	if status.Code(err) != codes.Unknown || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	twice := errors.Join(context.Canceled, context.Canceled)
	if err := translate(confirmed(twice, context.Canceled)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := translate(confirmed(found, found)); status.Code(err) != codes.NotFound {
		t.Errorf("got %v", err)
	}
}

func TestCollection_TenThousandSelectors(t *testing.T) {
	d, closeStore := newDataStore(t)
	defer closeStore()
	e := &entry{EntryId: "1"}
	var values []string
	for i := range 10_000 {
		s := &spirev1.Selector{Type: "unix", Value: fmt.Sprintf("supplementary_gid:%d", i)}
		e.Selectors = append(e.Selectors, s)
		values = append(values, records.SelectorValue(s.Type, s.Value))
	}
	err := change(d, func(ctx context.Context, tx store.Tx) error {
		_, err := testEntries.create(ctx, tx, e)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for n, matches := range map[int][]MatchBehavior{
		10_000: {Exact, Subset, Superset, MatchAny}, 9_999: {Superset, MatchAny}, 0: {},
	} {
		for match := Exact; match <= MatchAny; match++ {
			q := query{filters: []filter{testEntries.matches(records.FieldSelector, values[:n], match)}}
			got, err := view(context.Background(), d, store.Linearizable(), func(tx store.Tx) (int, error) {
				return testEntries.count(context.Background(), tx, q.filters...)
			})
			if want := slices.Contains(matches, match); err != nil || got > 0 != want {
				t.Errorf("match %d of %d: got %d, %v", match, n, got, err)
			}
		}
	}
	err = change(d, func(ctx context.Context, tx store.Tx) error {
		old, err := testEntries.mustGet(ctx, tx, "1")
		if err != nil {
			return err
		}
		less := records.CopyEntry(old.Object)
		less.Selectors = less.Selectors[1:] // all records of the set change
		return testEntries.update(tx, old, less)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestErrValidation_HasItsPrefix(t *testing.T) {
	err := errValidation("100% wrong")
	if want := "rpc error: code = InvalidArgument desc = datastore-validation: 100% wrong"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

func TestEnums(t *testing.T) {
	for mode, want := range map[DeleteMode]string{
		Restrict: "RESTRICT", Delete: "DELETE", Dissociate: "DISSOCIATE", 3: "UNKNOWN", -1: "UNKNOWN",
	} {
		if mode.String() != want {
			t.Errorf("%d: got %q, want %q", mode, mode, want)
		}
	}
	for match, want := range map[MatchBehavior]bool{-1: false, Exact: true, Subset: true, Superset: true, MatchAny: true, 4: false} {
		if match.known() != want {
			t.Errorf("%d is known: %v", match, !want)
		}
	}
}
