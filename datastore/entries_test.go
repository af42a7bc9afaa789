package datastore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// The suite in datastoretest has the behaviour of entries. The tests here look
// at what it can't see from outside: logs, transactions and stored bytes.

func someEntry(id string, change ...func(*entry)) *entry {
	e := &entry{EntryId: id, SpiffeId: "spiffe://td/" + id, ParentId: "p-" + id}
	e.Selectors = []*spirev1.Selector{{Type: "id", Value: id}, {Type: "all", Value: "1"}}
	for _, change := range change {
		change(e)
	}
	return e
}

func expiring(at int64) func(*entry) { return func(e *entry) { e.EntryExpiry = at } }

func federating(ids ...string) func(*entry) { return func(e *entry) { e.FederatesWith = ids } }

func createAll(t *testing.T, d *DataStore, all ...*entry) {
	t.Helper()
	for _, e := range all {
		if _, existing, err := d.CreateOrReturnRegistrationEntry(context.Background(), e); err != nil || existing {
			t.Fatalf("create %s: existing %v, %v", e.EntryId, existing, err)
		}
	}
}

// logLines is a log handler that keeps lines.
type logLines struct{ lines *[]string }

func (l logLines) Enabled(context.Context, slog.Level) bool { return true }
func (l logLines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l logLines) WithGroup(string) slog.Handler            { return l }

func (l logLines) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	*l.lines = append(*l.lines, line)
	return nil
}

// Spec 2.3.8 and trap 49.
func TestEntries_OnlyPruningLogs(t *testing.T) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	var lines []string
	d.log = slog.New(logLines{&lines})
	if _, err := d.CreateBundle(ctx, &spirev1.Bundle{TrustDomainId: "td"}); err != nil {
		t.Fatal(err)
	}
	createAll(t, d, someEntry("b", expiring(1)), someEntry("a", expiring(2)), someEntry("c"), someEntry("d", federating("td")))
	if _, err := d.UpdateRegistrationEntry(ctx, someEntry("c"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := d.DeleteRegistrationEntry(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	if err := d.DeleteBundle(ctx, "td", Delete); err != nil {
		t.Fatal(err)
	}
	if err := d.PruneRegistrationEntries(ctx, time.Unix(1, 0)); err != nil || lines != nil {
		t.Errorf("%v, logged %q", err, lines)
	}
	if err := d.PruneRegistrationEntries(ctx, time.Unix(3, 0)); err != nil {
		t.Fatal(err)
	}
	if want := []string{
		"INFO Pruned an expired registration spiffe_id=spiffe://td/b parent_id=p-b entry_id=b",
		"INFO Pruned an expired registration spiffe_id=spiffe://td/a parent_id=p-a entry_id=a",
	}; !slices.Equal(lines, want) {
		t.Errorf("logged %q, want %q", lines, want)
	}
}

// spoil makes the stored record of an entry undecodable.
func spoil(t *testing.T, d *DataStore, id string) {
	t.Helper()
	if _, err := d.store.Put(context.Background(), store.Pair{Key: records.Entries.Key(id), Value: []byte("not an entry")}); err != nil {
		t.Fatal(err)
	}
}

func wantMalformed(t *testing.T, err error, id string) {
	t.Helper()
	var malformed *records.MalformedError
	if !errors.As(err, &malformed) || !reflect.DeepEqual(malformed.Key, records.Entries.Key(id)) ||
		!strings.Contains(err.Error(), fmt.Sprintf("%q", id)) || status.Code(err) != codes.Unknown {
		t.Errorf("got error %v, want one that names %s", err, id)
	}
}

func TestEntries_MalformedRecordIsNamedAndOthersAreServed(t *testing.T) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	if _, err := d.CreateBundle(ctx, &spirev1.Bundle{TrustDomainId: "td"}); err != nil {
		t.Fatal(err)
	}
	createAll(t, d, someEntry("a", expiring(1)), someEntry("bad", expiring(1), federating("td")), someEntry("c", expiring(1)))
	spoil(t, d, "bad")

	_, err := d.FetchRegistrationEntry(ctx, "bad")
	wantMalformed(t, err, "bad")
	_, err = d.FetchRegistrationEntries(ctx, []string{"a", "bad"})
	wantMalformed(t, err, "bad")
	_, err = d.ListRegistrationEntries(ctx, &ListRegistrationEntriesRequest{})
	wantMalformed(t, err, "bad")
	_, err = d.UpdateRegistrationEntry(ctx, someEntry("bad"), nil)
	wantMalformed(t, err, "bad")
	_, err = d.DeleteRegistrationEntry(ctx, "bad")
	wantMalformed(t, err, "bad")
	_, err = d.CreateRegistrationEntry(ctx, someEntry("bad")) // is similar
	wantMalformed(t, err, "bad")
	wantMalformed(t, d.DeleteBundle(ctx, "td", Dissociate), "bad")

	found, err := d.FetchRegistrationEntries(ctx, []string{"a", "c"})
	if err != nil || len(found) != 2 {
		t.Errorf("got %v, %v", found, err)
	}
	page, err := d.ListRegistrationEntries(ctx, &ListRegistrationEntriesRequest{Pagination: &Pagination{Token: "2", PageSize: 5}})
	if err != nil || len(page.Entries) != 1 || page.Entries[0].EntryId != "c" {
		t.Errorf("got %v, %v", page, err)
	}
	n, err := d.CountRegistrationEntries(ctx, &CountRegistrationEntriesRequest{})
	if err != nil || n != 3 {
		t.Errorf("counted %d, %v", n, err)
	}
	wantMalformed(t, d.PruneRegistrationEntries(ctx, time.Unix(2, 0)), "bad")
	for _, id := range []string{"a", "c"} {
		if e, err := d.FetchRegistrationEntry(ctx, id); e != nil || err != nil {
			t.Errorf("not pruned: %v, %v", e, err)
		}
	}
}

// An entry that was read although the filter rules it out would be an error,
// since it can't be decoded.
func TestListEntries_ReadsNothingThatAnIndexRulesOut(t *testing.T) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	for _, td := range []string{"td:1", "td:2"} {
		if _, err := d.CreateBundle(ctx, &spirev1.Bundle{TrustDomainId: td}); err != nil {
			t.Fatal(err)
		}
	}
	full := func(e *entry) { e.Hint, e.Downstream = "h-"+e.EntryId, e.EntryId == "good" }
	createAll(t, d, someEntry("bad", full, federating("td:1", "td:2")), someEntry("good", full, federating("td:1")))
	spoil(t, d, "bad")
	yes := true
	selectors := func(match MatchBehavior, list ...string) ListRegistrationEntriesRequest {
		by := &BySelectors{Match: match}
		for i := 0; i < len(list); i += 2 {
			by.Selectors = append(by.Selectors, &spirev1.Selector{Type: list[i], Value: list[i+1]})
		}
		return ListRegistrationEntriesRequest{BySelectors: by}
	}
	federated := func(match MatchBehavior, ids ...string) ListRegistrationEntriesRequest {
		return ListRegistrationEntriesRequest{ByFederatesWith: &ByFederatesWith{Match: match, TrustDomains: ids}}
	}
	for name, req := range map[string]ListRegistrationEntriesRequest{
		"parent":             {ByParentID: "p-good"},
		"SPIFFE ID":          {BySpiffeID: "spiffe://td/good"},
		"hint":               {ByHint: "h-good"},
		"downstream":         {ByDownstream: &yes},
		"exact":              selectors(Exact, "all", "1", "id", "good"),
		"subset":             selectors(Subset, "all", "1", "id", "good", "x", "y"),
		"superset":           selectors(Superset, "all", "1", "id", "good"),
		"any":                selectors(MatchAny, "id", "good"),
		"federated exact":    federated(Exact, "td:1"),
		"federated subset":   federated(Subset, "td:1"),
		"federated superset": {ByParentID: "p-good", ByFederatesWith: federated(Superset, "td:1").ByFederatesWith},
	} {
		for _, page := range []*Pagination{nil, {PageSize: 1}} {
			req.Pagination = page
			got, err := d.ListRegistrationEntries(ctx, &req)
			if err != nil || len(got.Entries) != 1 || got.Entries[0].EntryId != "good" {
				t.Errorf("%s: got %v, %v", name, got, err)
			}
		}
	}
}

// Every transaction that changes entries has as many events as it changes, so
// nobody ever sees one without the other.
func TestEntries_EventsAreInTheTransactionOfTheChange(t *testing.T) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	d.clock = func() time.Time { return time.Unix(5, 0) }
	if _, err := d.CreateBundle(ctx, &spirev1.Bundle{TrustDomainId: "td"}); err != nil {
		t.Fatal(err)
	}
	var many []*entry
	for i := range 2500 {
		many = append(many, someEntry(fmt.Sprintf("e%d", i), expiring(1), federating("td")))
	}
	if _, err := d.ImportRegistrationEntries(ctx, many); err != nil {
		t.Fatal(err)
	}
	createAll(t, d, someEntry("a"), someEntry("b"))
	if _, err := d.UpdateRegistrationEntry(ctx, someEntry("a"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := d.DeleteRegistrationEntry(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if err := d.DeleteBundle(ctx, "td", Dissociate); err != nil {
		t.Fatal(err)
	}
	if err := d.PruneRegistrationEntries(ctx, time.Unix(2, 0)); err != nil {
		t.Fatal(err)
	}

	w, err := d.store.Watch(ctx, store.Cursor{}, records.Entries.Prefix(), records.EntryEvents.Prefix())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }() // only reads
	changes := 0
	for want := 3*2500 + 4; changes < want; {
		batch, err := w.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		items, events := 0, 0
		for _, event := range batch.Events {
			if strings.HasPrefix(string(event.Key), string(records.Entries.Prefix())) {
				items++
			} else {
				events++
			}
		}
		if items != events || items > batchEntriesMax {
			t.Fatalf("a transaction has %d changes and %d events", items, events)
		}
		changes += items
	}
}

// between is a store that calls fn before the nth transaction that may write.
type between struct {
	store.Store
	nth int
	fn  func()
}

func (s *between) Begin(ctx context.Context, opts store.TxOptions) (store.Tx, error) {
	if !opts.ReadOnly {
		if s.nth--; s.nth == 0 {
			s.fn()
		}
	}
	return s.Store.Begin(ctx, opts)
}

func TestPruneEntries_LooksAgainWhenItDeletes(t *testing.T) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	createAll(t, d, someEntry("later", expiring(1)), someEntry("never", expiring(1)), someEntry("gone", expiring(1)),
		someEntry("expired", expiring(1)))
	other := &DataStore{store: d.store, log: d.log, clock: d.clock}
	d.store = &between{Store: d.store, nth: 1, fn: func() {
		for _, e := range []*entry{someEntry("later", expiring(9)), someEntry("never")} {
			if _, err := other.UpdateRegistrationEntry(ctx, e, nil); err != nil {
				t.Error(err)
			}
		}
		if _, err := other.DeleteRegistrationEntry(ctx, "gone"); err != nil {
			t.Error(err)
		}
	}}
	if err := d.PruneRegistrationEntries(ctx, time.Unix(2, 0)); err != nil {
		t.Fatal(err)
	}
	got, err := d.ListRegistrationEntries(ctx, &ListRegistrationEntriesRequest{})
	if err != nil || len(got.Entries) != 2 || got.Entries[0].EntryId != "later" || got.Entries[1].EntryId != "never" {
		t.Errorf("left are %v, %v", got, err)
	}
}

// With more entries than one transaction takes, others may come between.
func TestDeleteBundle_TakesEntriesThatComeMeanwhile(t *testing.T) {
	for _, mode := range []DeleteMode{Delete, Dissociate} {
		ctx := context.Background()
		d, closeStore := newDataStore(t)
		defer closeStore()
		if _, err := d.CreateBundle(ctx, &spirev1.Bundle{TrustDomainId: "td"}); err != nil {
			t.Fatal(err)
		}
		var many []*entry
		for i := range batchEntriesMax {
			many = append(many, someEntry(fmt.Sprintf("e%d", i), federating("td")))
		}
		if _, err := d.ImportRegistrationEntries(ctx, many); err != nil {
			t.Fatal(err)
		}
		other := &DataStore{store: d.store, log: d.log, clock: d.clock}
		d.store = &between{Store: d.store, nth: 2, fn: func() { createAll(t, other, someEntry("new", federating("td"))) }}
		if err := d.DeleteBundle(ctx, "td", mode); err != nil {
			t.Fatal(err)
		}
		n, err := d.CountRegistrationEntries(ctx, &CountRegistrationEntriesRequest{
			ByFederatesWith: &ByFederatesWith{TrustDomains: []string{"td"}, Match: MatchAny},
		})
		if err != nil || n != 0 {
			t.Errorf("%v: %d entries federate with a deleted bundle, %v", mode, n, err)
		}
		if e, err := d.FetchRegistrationEntry(ctx, "new"); err != nil || (e == nil) != (mode == Delete) {
			t.Errorf("%v: got %v, %v", mode, e, err)
		}
	}
}

func TestScanAll_GoesOnInSmallerPages(t *testing.T) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	const n = 100
	for i := range n {
		createAll(t, d, someEntry(fmt.Sprintf("e%d", i)))
	}
	items, err := view(ctx, d, store.Linearizable(), func(tx store.Tx) ([]records.Item[*entry], error) {
		items, _, err := entries.list(ctx, smallScans{tx}, query[*entry]{})
		return items, err
	})
	if err != nil || len(items) != n {
		t.Errorf("%d entries, %v", len(items), err)
	}
}

// smallScans is a transaction in which a page of many pairs is too large.
type smallScans struct{ store.Tx }

func (tx smallScans) Scan(ctx context.Context, r store.Range, limit int) ([]store.KeyValue, error) {
	if limit == 0 || limit > 20 {
		return nil, store.ErrTooLarge
	}
	return tx.Tx.Scan(ctx, r, limit)
}
