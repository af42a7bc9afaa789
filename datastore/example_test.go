package datastore_test

import (
	"context"
	"fmt"
	"time"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store/memstore"
)

// A server embeds the DataStore on its node of the cluster. A test takes a
// memstore.
func Example() {
	ctx := context.Background()
	s := memstore.New(memstore.Config{}) // on a server: a *raftstore.Node
	defer s.Close()
	ds, err := datastore.New(s, datastore.Config{})
	if err != nil {
		panic(err)
	}
	defer ds.Close()

	entry, err := ds.CreateRegistrationEntry(ctx, &spirev1.RegistrationEntry{
		ParentId:  "spiffe://example.org/spire/agent/x509pop/1",
		SpiffeId:  "spiffe://example.org/web",
		Selectors: []*spirev1.Selector{{Type: "unix", Value: "uid:1000"}},
	})
	if err != nil {
		panic(err)
	}
	of, err := ds.ListRegistrationEntries(ctx, &datastore.ListRegistrationEntriesRequest{
		ByParentID:      "spiffe://example.org/spire/agent/x509pop/1",
		DataConsistency: datastore.TolerateStale, // this server's data, of at most 5 s ago
	})
	if err != nil {
		panic(err)
	}
	fmt.Println("revision", entry.RevisionNumber, "of", entry.SpiffeId)
	fmt.Println("entries of the agent:", len(of.Entries), "the same:", of.Entries[0].EntryId == entry.EntryId)
	// Output:
	// revision 0 of spiffe://example.org/web
	// entries of the agent: 1 the same: true
}

// newExample returns an empty DataStore and what closes it.
func newExample() (*datastore.DataStore, func()) {
	s := memstore.New(memstore.Config{})
	ds, err := datastore.New(s, datastore.Config{Clock: func() time.Time { return time.Unix(1_800_000_000, 0) }})
	if err != nil {
		panic(err)
	}
	return ds, func() {
		_ = ds.Close() // it has no error
		_ = s.Close()  // in memory: nothing to fail
	}
}

// Pages end with an empty one. Until then the token of each leads to the next.
func ExampleDataStore_ListRegistrationEntries_pages() {
	ctx := context.Background()
	ds, done := newExample()
	defer done()
	for i := range 5 {
		_, err := ds.CreateRegistrationEntry(ctx, &spirev1.RegistrationEntry{
			EntryId: fmt.Sprint("entry-", i), ParentId: "spiffe://td/agent", SpiffeId: fmt.Sprint("spiffe://td/", i),
			Selectors: []*spirev1.Selector{{Type: "unix", Value: fmt.Sprint("uid:", i)}},
		})
		if err != nil {
			panic(err)
		}
	}

	page := &datastore.Pagination{PageSize: 2}
	for {
		res, err := ds.ListRegistrationEntries(ctx, &datastore.ListRegistrationEntriesRequest{Pagination: page})
		if err != nil {
			panic(err)
		}
		if len(res.Entries) == 0 {
			break
		}
		fmt.Println(len(res.Entries), "entries, up to", res.Entries[len(res.Entries)-1].EntryId)
		page = res.Pagination
	}
	// Output:
	// 2 entries, up to entry-1
	// 2 entries, up to entry-3
	// 1 entries, up to entry-4
}

// An alias matches an agent that has all of the alias's selectors: the alias's
// are a subset of the agent's.
func ExampleDataStore_ListRegistrationEntries_subset() {
	ctx := context.Background()
	ds, done := newExample()
	defer done()
	region := &spirev1.Selector{Type: "aws", Value: "region:eu"}
	zone := &spirev1.Selector{Type: "aws", Value: "zone:a"}
	for name, selectors := range map[string][]*spirev1.Selector{
		"spiffe://td/region": {region}, "spiffe://td/zone": {region, zone},
	} {
		_, err := ds.CreateRegistrationEntry(ctx, &spirev1.RegistrationEntry{
			ParentId: "spiffe://td/spire/server", SpiffeId: name, Selectors: selectors,
		})
		if err != nil {
			panic(err)
		}
	}

	res, err := ds.ListRegistrationEntries(ctx, &datastore.ListRegistrationEntriesRequest{
		BySelectors: &datastore.BySelectors{Match: datastore.Subset, Selectors: []*spirev1.Selector{
			region, {Type: "aws", Value: "account:1"}, // what the agent has
		}},
	})
	if err != nil {
		panic(err)
	}
	for _, e := range res.Entries {
		fmt.Println(e.SpiffeId)
	}
	// Output:
	// spiffe://td/region
}

// Of two servers that fetch one token, one can delete it, and lets the agent in.
func ExampleDataStore_DeleteJoinToken() {
	ctx := context.Background()
	ds, done := newExample()
	defer done()
	err := ds.CreateJoinToken(ctx, &datastore.JoinToken{Token: "secret", Expiry: time.Now().Add(time.Minute)})
	if err != nil {
		panic(err)
	}
	fmt.Println(ds.DeleteJoinToken(ctx, "secret"))
	fmt.Println(ds.DeleteJoinToken(ctx, "secret"))
	// Output:
	// <nil>
	// rpc error: code = NotFound desc = datastore-sql: record not found
}

// A server learns of changes by the events after the last that it knows.
func ExampleDataStore_ListRegistrationEntryEvents() {
	ctx := context.Background()
	ds, done := newExample()
	defer done()
	e, err := ds.CreateRegistrationEntry(ctx, &spirev1.RegistrationEntry{
		EntryId: "web", SpiffeId: "spiffe://td/web", Selectors: []*spirev1.Selector{{Type: "unix", Value: "uid:0"}},
	})
	if err != nil {
		panic(err)
	}
	e.Hint = "internal"
	if _, err := ds.UpdateRegistrationEntry(ctx, e, &spirev1.RegistrationEntryMask{Hint: true}); err != nil {
		panic(err)
	}
	if _, err := ds.DeleteRegistrationEntry(ctx, "web"); err != nil {
		panic(err)
	}

	res, err := ds.ListRegistrationEntryEvents(ctx, &datastore.ListRegistrationEntryEventsRequest{GreaterThanEventID: 1})
	if err != nil {
		panic(err)
	}
	for _, event := range res.Events {
		now, err := ds.FetchRegistrationEntry(ctx, event.EntryID)
		fmt.Println(event.EventID, event.EntryID, "is deleted:", now == nil, err)
	}
	// Output:
	// 2 web is deleted: true <nil>
	// 3 web is deleted: true <nil>
}

// A bulk import takes few transactions, and tells for each entry whether it was
// there before.
func ExampleDataStore_ImportRegistrationEntries() {
	ctx := context.Background()
	ds, done := newExample()
	defer done()
	var entries []*spirev1.RegistrationEntry
	for i := range 3 {
		entries = append(entries, &spirev1.RegistrationEntry{
			ParentId: "spiffe://td/agent", SpiffeId: "spiffe://td/web",
			Selectors: []*spirev1.Selector{{Type: "unix", Value: fmt.Sprint("uid:", i%2)}},
		})
	}
	imported, err := ds.ImportRegistrationEntries(ctx, entries)
	for _, i := range imported {
		fmt.Println(i.Entry.Selectors[0].Value, "existed:", i.Existing)
	}
	fmt.Println(err)

	_, err = ds.ImportRegistrationEntries(ctx, []*spirev1.RegistrationEntry{{SpiffeId: "spiffe://td/web"}})
	fmt.Println(err)
	// Output:
	// uid:0 existed: false
	// uid:1 existed: false
	// uid:0 existed: true
	// <nil>
	// entry 0: rpc error: code = InvalidArgument desc = datastore-validation: invalid registration entry: missing selector list
}
