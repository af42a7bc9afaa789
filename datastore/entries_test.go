package datastore

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

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
		items, _, err := entries.list(ctx, smallScans{tx}, query{}, &MalformedRecordsError{})
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
