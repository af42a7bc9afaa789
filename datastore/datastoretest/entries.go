package datastoretest

import (
	"reflect"
	"slices"
	"strings"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// entryTests are the tests of registration entries.
var entryTests = slices.Concat(
	createEntryTests, fetchEntryTests, listEntryTests, updateEntryTests, deleteEntryTests,
	concurrentEntryTests, importEntryTests, modelEntryTests,
)

type registration = spirev1.RegistrationEntry

const recordNotFound = "datastore-sql: record not found"

// workload returns an entry with as much as it needs: name becomes its id and
// the end of its SPIFFE ID. Selectors are written as type:value.
func workload(name string, selectors ...string) *registration {
	return &registration{
		EntryId:   name,
		SpiffeId:  "spiffe://example.org/" + name,
		ParentId:  "spiffe://example.org/agent",
		Selectors: parseSelectors(selectors...),
	}
}

// fullWorkload returns an entry with all that a caller may set.
func fullWorkload(name string) *registration {
	w := workload(name, "z:1", "a:2", "m:3")
	w.X509SvidTtl, w.JwtSvidTtl = 1, 2
	w.FederatesWith = []string{"spiffe://b", "spiffe://a", "spiffe://b"}
	w.Admin, w.Downstream = true, true
	w.EntryExpiry = 1234
	w.DnsNames = []string{"z", "a", "A"}
	w.Hint = "hint"
	w.AdditionalAttributes = &spirev1.RegistrationEntry_AdditionalAttributes{
		DisableX509SvidPrefetch: true, JwtSvidIncludeJti: true,
	}
	return w
}

// storedFullWorkload returns what fullWorkload becomes. It is written as a
// literal, which deep equality depends on.
func storedFullWorkload(name string, createdAt int64) *registration {
	return &registration{
		EntryId:       name,
		SpiffeId:      "spiffe://example.org/" + name,
		ParentId:      "spiffe://example.org/agent",
		Selectors:     parseSelectors("z:1", "a:2", "m:3"),
		X509SvidTtl:   1,
		JwtSvidTtl:    2,
		FederatesWith: []string{"spiffe://a", "spiffe://b"},
		Admin:         true,
		Downstream:    true,
		EntryExpiry:   1234,
		DnsNames:      []string{"z", "a", "A"},
		Hint:          "hint",
		CreatedAt:     createdAt,
		AdditionalAttributes: &spirev1.RegistrationEntry_AdditionalAttributes{
			DisableX509SvidPrefetch: true, JwtSvidIncludeJti: true,
		},
	}
}

func parseSelectors(list ...string) []*spirev1.Selector {
	var selectors []*spirev1.Selector
	for _, s := range list {
		typ, value, _ := strings.Cut(s, ":")
		selectors = append(selectors, &spirev1.Selector{Type: typ, Value: value})
	}
	return selectors
}

// createEntries creates entries, which must be new.
func (e *env) createEntries(entries ...*registration) {
	e.Helper()
	for _, entry := range entries {
		if _, existing, err := e.CreateOrReturnRegistrationEntry(e.ctx(), entry); err != nil || existing {
			e.Fatalf("create %s: %v, existing %v", entry.EntryId, err, existing)
		}
	}
}

// createBundles creates bundles with nothing but their ids.
func (e *env) createBundles(ids ...string) {
	e.Helper()
	for _, id := range ids {
		if _, err := e.CreateBundle(e.ctx(), &spirev1.Bundle{TrustDomainId: id}); err != nil {
			e.Fatal(err)
		}
	}
}

// wantEntry fails unless every DataStore has exactly want, by all ways to it.
func (e *env) wantEntry(want *registration) {
	e.Helper()
	for i, ds := range e.all {
		got, err := ds.FetchRegistrationEntry(e.ctx(), want.EntryId)
		if err != nil || !reflect.DeepEqual(got, want) {
			e.Errorf("store %d fetches %v, %v, want %v", i, got, err, want)
		}
		found, err := ds.FetchRegistrationEntries(e.ctx(), []string{want.EntryId})
		if err != nil || !reflect.DeepEqual(found, map[string]*registration{want.EntryId: want}) {
			e.Errorf("store %d fetches %v, %v, want %v", i, found, err, want)
		}
		list, err := ds.ListRegistrationEntries(e.ctx(), &datastore.ListRegistrationEntriesRequest{BySpiffeID: want.SpiffeId})
		if err != nil || !slices.ContainsFunc(list.Entries, func(e *registration) bool { return reflect.DeepEqual(e, want) }) {
			e.Errorf("store %d lists %v, %v, want %v", i, list, err, want)
		}
	}
}

// wantNoEntry fails if any DataStore has an entry with the given id.
func (e *env) wantNoEntry(id string) {
	e.Helper()
	for i, ds := range e.all {
		if got, err := ds.FetchRegistrationEntry(e.ctx(), id); err != nil || got != nil {
			e.Errorf("store %d has %v, %v, want none", i, got, err)
		}
	}
}

// wantEntries fails unless every DataStore lists the entries with the given ids
// and no others, in this order.
func (e *env) wantEntries(ids ...string) {
	e.Helper()
	for i, ds := range e.all {
		got, err := ds.ListRegistrationEntries(e.ctx(), &datastore.ListRegistrationEntriesRequest{})
		if err != nil {
			e.Fatal(err)
		}
		if !slices.Equal(entryIDs(got.Entries), ids) {
			e.Errorf("store %d lists %q, want %q", i, entryIDs(got.Entries), ids)
		}
	}
}

// wantEntryEvents fails unless every DataStore has the events 1, 2, 3 and so on
// of the entries with the given ids, and no others.
func (e *env) wantEntryEvents(ids ...string) {
	e.Helper()
	want := []datastore.RegistrationEntryEvent{}
	for i, id := range ids {
		want = append(want, datastore.RegistrationEntryEvent{EventID: uint(i + 1), EntryID: id})
	}
	for i, ds := range e.all {
		got, err := ds.ListRegistrationEntryEvents(e.ctx(), &datastore.ListRegistrationEntryEventsRequest{})
		if err != nil {
			e.Fatal(err)
		}
		if !reflect.DeepEqual(got.Events, want) {
			e.Errorf("store %d has events %v, want %v", i, got.Events, want)
		}
	}
}

func entryIDs(entries []*registration) []string {
	var ids []string
	for _, entry := range entries {
		ids = append(ids, entry.EntryId)
	}
	return ids
}

const validation = "datastore-validation: "

const invalidEntry = validation + "invalid registration entry: "
