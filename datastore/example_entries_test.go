package datastore_test

import (
	"context"
	"fmt"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store/memstore"
)

// Entries are created, found by their selectors, and known by their events.
func ExampleDataStore_ListRegistrationEntries() {
	ctx := context.Background()
	s := memstore.New(memstore.Config{})
	defer s.Close()
	ds, err := datastore.New(s, datastore.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ds.Close()

	unix := func(value string) *spirev1.Selector { return &spirev1.Selector{Type: "unix", Value: value} }
	imported, err := ds.ImportRegistrationEntries(ctx, []*spirev1.RegistrationEntry{
		{EntryId: "web", SpiffeId: "spiffe://td/web", Selectors: []*spirev1.Selector{unix("uid:1"), unix("gid:1")}},
		{EntryId: "db", SpiffeId: "spiffe://td/db", Selectors: []*spirev1.Selector{unix("uid:2")}},
		{EntryId: "web2", SpiffeId: "spiffe://td/web", Selectors: []*spirev1.Selector{unix("gid:1"), unix("uid:1")}},
	})
	for _, i := range imported {
		fmt.Println("imported", i.Entry.EntryId, i.Existing)
	}
	if err != nil {
		fmt.Println(err)
		return
	}

	found, err := ds.ListRegistrationEntries(ctx, &datastore.ListRegistrationEntriesRequest{
		BySelectors: &datastore.BySelectors{
			Match:     datastore.Subset,
			Selectors: []*spirev1.Selector{unix("uid:1"), unix("gid:1"), unix("gid:9")},
		},
		Pagination: &datastore.Pagination{PageSize: 10},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("found", found.Entries[0].SpiffeId, "token", found.Pagination.Token)

	events, err := ds.ListRegistrationEntryEvents(ctx, &datastore.ListRegistrationEntryEventsRequest{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(events.Events)
	// Output:
	// imported web false
	// imported db false
	// imported web true
	// found spiffe://td/web token 1
	// [{1 web} {2 db}]
}
