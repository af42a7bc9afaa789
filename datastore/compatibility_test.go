package datastore_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// TestCompatibility has what docs/COMPATIBILITY.md says is better than in SQL:
// spec 7.3. Races and errors of transactions have tests of their own.
func TestCompatibility(t *testing.T) {
	for name, test := range map[string]func(*testing.T, context.Context, *datastore.DataStore){
		"entries hit by DeleteBundle have events and revisions":   deleteBundleTells,
		"an empty parent is compared":                             emptyParentIsCompared,
		"downstream entries are found on every page":              downstreamPages,
		"all results have the order that was given":               orderAsGiven,
		"no ids are an empty map":                                 noIDs,
		"negative page sizes are refused":                         negativePageSize,
		"a nil relationship mask names all fields":                nilRelationshipMask,
		"every unsigned 64-bit number is a token":                 largeTokens,
		"event lists end with their context":                      eventListsEnd,
		"WIT keys keep a journal":                                 witKeysKeepJournal,
		"store_svid is checked against stored selectors":          storeSVIDChecksStored,
		"the request's pagination is not changed":                 paginationIsNotChanged,
		"selectors of the empty id stay apart":                    emptyIDStaysApart,
		"nodes with an empty id are counted and listed":           emptyIDIsListed,
		"Exact pages are full, and their tokens are of the found": exactPages,
	} {
		t.Run(name, func(t *testing.T) { test(t, t.Context(), open(t)) })
	}
}

func unixUID(n int) []*spirev1.Selector {
	return []*spirev1.Selector{{Type: "unix", Value: fmt.Sprint("uid:", n)}}
}

// must returns v, and ends the test if there is an error.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func deleteBundleTells(t *testing.T, ctx context.Context, d *datastore.DataStore) {
	for _, mode := range []datastore.DeleteMode{datastore.Dissociate, datastore.Delete} {
		must(d.CreateBundle(ctx, &spirev1.Bundle{TrustDomainId: "spiffe://b"}))(t)
		e := must(d.CreateRegistrationEntry(ctx, &spirev1.RegistrationEntry{
			SpiffeId: "spiffe://a/" + mode.String(), Selectors: unixUID(1), FederatesWith: []string{"spiffe://b"},
		}))(t)
		before := entryEvents(t, ctx, d)
		if err := d.DeleteBundle(ctx, "spiffe://b", mode); err != nil {
			t.Fatal(err)
		}
		if got := entryEvents(t, ctx, d)[len(before):]; len(got) != 1 || got[0].EntryID != e.EntryId {
			t.Errorf("%v: events %v", mode, got)
		}
		left := must(d.FetchRegistrationEntry(ctx, e.EntryId))(t)
		if mode == datastore.Dissociate && (left.RevisionNumber != 1 || len(left.FederatesWith) > 0) {
			t.Errorf("dissociated: %v", left)
		}
		if mode == datastore.Delete && left != nil {
			t.Errorf("not deleted: %v", left)
		}
	}
}

func entryEvents(t *testing.T, ctx context.Context, d *datastore.DataStore) []datastore.RegistrationEntryEvent {
	t.Helper()
	return must(d.ListRegistrationEntryEvents(ctx, &datastore.ListRegistrationEntryEventsRequest{}))(t).Events
}

func emptyParentIsCompared(t *testing.T, ctx context.Context, d *datastore.DataStore) {
	for _, parent := range []string{"spiffe://td/agent", ""} {
		e := &spirev1.RegistrationEntry{SpiffeId: "spiffe://td/web", ParentId: parent, Selectors: unixUID(1)}
		if _, existing, err := d.CreateOrReturnRegistrationEntry(ctx, e); err != nil || existing {
			t.Errorf("parent %q: existing %v, %v", parent, existing, err)
		}
	}
}

func downstreamPages(t *testing.T, ctx context.Context, d *datastore.DataStore) {
	for i := range 6 {
		must(d.CreateRegistrationEntry(ctx, &spirev1.RegistrationEntry{
			SpiffeId: fmt.Sprint("spiffe://td/", i), Selectors: unixUID(i), Downstream: i%3 == 2,
		}))(t)
	}
	res := must(d.ListRegistrationEntries(ctx, &datastore.ListRegistrationEntriesRequest{
		ByDownstream: new(true), Pagination: &datastore.Pagination{PageSize: 2},
	}))(t)
	if len(res.Entries) != 2 || res.Pagination.Token != "6" {
		t.Errorf("%d entries, token %q", len(res.Entries), res.Pagination.Token)
	}
}

func exactPages(t *testing.T, ctx context.Context, d *datastore.DataStore) {
	for i := range 4 {
		s := unixUID(1)
		if i%2 == 0 {
			s = append(s, &spirev1.Selector{Type: "unix", Value: "gid:1"})
		}
		must(d.CreateRegistrationEntry(ctx, &spirev1.RegistrationEntry{SpiffeId: fmt.Sprint("spiffe://td/", i), Selectors: s}))(t)
	}
	res := must(d.ListRegistrationEntries(ctx, &datastore.ListRegistrationEntriesRequest{
		BySelectors: &datastore.BySelectors{Selectors: unixUID(1)}, Pagination: &datastore.Pagination{PageSize: 1},
	}))(t)
	if len(res.Entries) != 1 || res.Entries[0].SpiffeId != "spiffe://td/1" || res.Pagination.Token != "2" {
		t.Errorf("%v, token %q", res.Entries, res.Pagination.Token)
	}
}

func orderAsGiven(t *testing.T, ctx context.Context, d *datastore.DataStore) {
	selectors := []*spirev1.Selector{{Type: "z", Value: "1"}, {Type: "a", Value: "2"}}
	names := []string{"z.test", "a.test"}
	created := must(d.CreateRegistrationEntry(ctx, &spirev1.RegistrationEntry{
		SpiffeId: "spiffe://td/web", Selectors: selectors, DnsNames: names,
	}))(t)
	results := []*spirev1.RegistrationEntry{created}
	results = append(results, must(d.FetchRegistrationEntry(ctx, created.EntryId))(t))
	results = append(results, must(d.UpdateRegistrationEntry(ctx, created, nil))(t))
	results = append(results, must(d.DeleteRegistrationEntry(ctx, created.EntryId))(t))
	for i, e := range results {
		if e.Selectors[0].Type != "z" || !slices.Equal(e.DnsNames, names) {
			t.Errorf("result %d: %v", i, e)
		}
	}
	if err := d.SetNodeSelectors(ctx, "spiffe://td/n", selectors); err != nil {
		t.Fatal(err)
	}
	listed := must(d.ListNodeSelectors(ctx, &datastore.ListNodeSelectorsRequest{}))(t)
	if got := listed.Selectors["spiffe://td/n"]; got[0].Type != "z" {
		t.Errorf("node selectors: %v", got)
	}
}

func noIDs(t *testing.T, ctx context.Context, d *datastore.DataStore) {
	if got := must(d.FetchRegistrationEntries(ctx, nil))(t); got == nil || len(got) > 0 {
		t.Errorf("got %v", got)
	}
}

func negativePageSize(t *testing.T, ctx context.Context, d *datastore.DataStore) {
	p := &datastore.Pagination{PageSize: -1}
	const text = "cannot paginate with pagesize = -1"
	_, err := d.ListBundles(ctx, &datastore.ListBundlesRequest{Pagination: p})
	wantStatus(t, err, codes.InvalidArgument, text)
	_, err = d.ListRegistrationEntries(ctx, &datastore.ListRegistrationEntriesRequest{Pagination: p})
	wantStatus(t, err, codes.InvalidArgument, text)
	_, err = d.ListAttestedNodes(ctx, &datastore.ListAttestedNodesRequest{Pagination: p})
	wantStatus(t, err, codes.InvalidArgument, text)
	_, err = d.ListFederationRelationships(ctx, &datastore.ListFederationRelationshipsRequest{Pagination: p})
	wantStatus(t, err, codes.InvalidArgument, text)
}

func nilRelationshipMask(t *testing.T, ctx context.Context, d *datastore.DataStore) {
	fr := &datastore.FederationRelationship{
		TrustDomain:           spiffeid.RequireTrustDomainFromString("b"),
		BundleEndpointURL:     &url.URL{Scheme: "https", Host: "b.test"},
		BundleEndpointProfile: datastore.BundleEndpointWeb,
	}
	must(d.CreateFederationRelationship(ctx, fr))(t)
	fr.BundleEndpointURL = &url.URL{Scheme: "https", Host: "c.test"}
	if got := must(d.UpdateFederationRelationship(ctx, fr, nil))(t); got.BundleEndpointURL.Host != "c.test" {
		t.Errorf("got %v", got.BundleEndpointURL)
	}
}

func largeTokens(t *testing.T, ctx context.Context, d *datastore.DataStore) {
	must(d.CreateBundle(ctx, &spirev1.Bundle{TrustDomainId: "spiffe://b"}))(t)
	for _, token := range []string{"9223372036854775808", "18446744073709551615"} {
		res := must(d.ListBundles(ctx, &datastore.ListBundlesRequest{Pagination: &datastore.Pagination{PageSize: 1, Token: token}}))(t)
		if len(res.Bundles) > 0 || res.Pagination.Token != "" {
			t.Errorf("token %s: %v", token, res)
		}
	}
}

func eventListsEnd(t *testing.T, ctx context.Context, d *datastore.DataStore) {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := d.ListRegistrationEntryEvents(ended, &datastore.ListRegistrationEntryEventsRequest{}); err == nil {
		t.Error("entry events")
	}
	if _, err := d.ListAttestedNodeEvents(ended, &datastore.ListAttestedNodeEventsRequest{}); err == nil {
		t.Error("node events")
	}
}

func witKeysKeepJournal(t *testing.T, ctx context.Context, d *datastore.DataStore) {
	data := must(proto.Marshal(&spirev1.CAJournalEntries{WitKeys: []*spirev1.WITKeyEntry{{NotAfter: 100}}}))(t)
	must(d.SetCAJournal(ctx, &datastore.CAJournal{Data: data, ActiveX509AuthorityID: "a"}))(t)
	if err := d.PruneCAJournals(ctx, 99); err != nil {
		t.Fatal(err)
	}
	if must(d.FetchCAJournal(ctx, "a"))(t) == nil {
		t.Error("pruned while a WIT key is valid")
	}
	if err := d.PruneCAJournals(ctx, 100); err != nil {
		t.Fatal(err)
	}
	if must(d.FetchCAJournal(ctx, "a"))(t) != nil {
		t.Error("kept")
	}
}

func storeSVIDChecksStored(t *testing.T, ctx context.Context, d *datastore.DataStore) {
	e := must(d.CreateRegistrationEntry(ctx, &spirev1.RegistrationEntry{
		SpiffeId: "spiffe://td/web", Selectors: []*spirev1.Selector{{Type: "a"}, {Type: "b"}},
	}))(t)
	_, err := d.UpdateRegistrationEntry(ctx, &spirev1.RegistrationEntry{EntryId: e.EntryId, StoreSvid: true},
		&spirev1.RegistrationEntryMask{StoreSvid: true})
	wantStatus(t, err, codes.InvalidArgument,
		"datastore-validation: invalid registration entry: selector types must be the same when store SVID is enabled")
}

func paginationIsNotChanged(t *testing.T, ctx context.Context, d *datastore.DataStore) {
	must(d.CreateBundle(ctx, &spirev1.Bundle{TrustDomainId: "spiffe://b"}))(t)
	p := &datastore.Pagination{PageSize: 1}
	res := must(d.ListBundles(ctx, &datastore.ListBundlesRequest{Pagination: p}))(t)
	if p.Token != "" || res.Pagination == p || res.Pagination.Token != "1" {
		t.Errorf("request %v, response %v", p, res.Pagination)
	}
}

func emptyIDStaysApart(t *testing.T, ctx context.Context, d *datastore.DataStore) {
	for i, id := range []string{"", "spiffe://td/n"} {
		if err := d.SetNodeSelectors(ctx, id, unixUID(i)); err != nil {
			t.Fatal(err)
		}
	}
	res := must(d.ListNodeSelectors(ctx, &datastore.ListNodeSelectorsRequest{}))(t)
	if len(res.Selectors) != 2 || len(res.Selectors[""]) != 1 || len(res.Selectors["spiffe://td/n"]) != 1 {
		t.Errorf("got %v", res.Selectors)
	}
}

func emptyIDIsListed(t *testing.T, ctx context.Context, d *datastore.DataStore) {
	must(d.CreateAttestedNode(ctx, &spirev1.AttestedNode{CertNotAfter: time.Now().Unix()}))(t)
	listed := must(d.ListAttestedNodes(ctx, &datastore.ListAttestedNodesRequest{}))(t)
	if n := must(d.CountAttestedNodes(ctx, &datastore.CountAttestedNodesRequest{}))(t); n != 1 || len(listed.Nodes) != 1 {
		t.Errorf("%d counted, %d listed", n, len(listed.Nodes))
	}
}
