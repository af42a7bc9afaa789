package datastore

import (
	"context"
	"testing"
	"time"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
)

// spoil makes the stored record of an entry undecodable.
func spoil(t *testing.T, d *DataStore, id string) {
	t.Helper()
	put(t, d, records.Entries.Key(id), "not an entry")
}

func wantMalformed(t *testing.T, err error, id string) {
	t.Helper()
	names(t, err, records.Entries.Key(id))
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
	found, err := d.FetchRegistrationEntries(ctx, []string{"a", "bad", "none", "c", "bad"})
	wantMalformed(t, err, "bad")
	if len(found) != 2 || found["a"].GetEntryId() != "a" || found["c"].GetEntryId() != "c" {
		t.Errorf("fetched %v", found)
	}
	_, err = d.UpdateRegistrationEntry(ctx, someEntry("bad"), nil)
	wantMalformed(t, err, "bad")
	_, err = d.CreateRegistrationEntry(ctx, someEntry("bad")) // is similar
	wantMalformed(t, err, "bad")
	wantMalformed(t, d.DeleteBundle(ctx, "td", Dissociate), "bad")

	found, err = d.FetchRegistrationEntries(ctx, []string{"a", "c"})
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
