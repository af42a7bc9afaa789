package datastoretest

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spire-raft/spire-raft/datastore"
)

// Sections 3.1, 3.2, 3.4, 3.5 and 3.6 of the specification.
var listEntryTests = []conformanceTest{
	{"ListEntries_FiltersAndMatchBehaviours", listEntriesFilters},
	{"ListEntries_OrderIsThatOfCreation", listEntriesOrder},
	{"ListEntries_NoneIsAnEmptySlice", listEntriesNone},
	{"ListEntries_EveryPageThatIsNotEmptyHasAToken", listEntriesPages},
	{"ListEntries_PagesAreCutAfterFiltering", listEntriesFilterThenCut},
	{"ListEntries_PagesFollowChanges", listEntriesChangesBetweenPages},
	{"ListEntries_RequestIsLeftAlone", listEntriesLeavesRequestAlone},
	{"ListEntries_ValidatesEvenWhenClosed", listEntriesValidates},
	{"CountEntries_ValidatesEvenWhenClosed", countEntriesValidates},
	{"ListEntries_ManySelectorsInTheRequest", listEntriesManySelectors},
	{"ListEntries_LongValuesAreToldApart", listEntriesLongValues},
}

type listEntries = datastore.ListRegistrationEntriesRequest

// wantPage fails unless a page has the entries with the given ids and the token.
func (e *env) wantPage(ds *datastore.DataStore, req *listEntries, token string, size int32, wantToken string, ids ...string) {
	e.Helper()
	paged := listEntries{}
	if req != nil {
		paged = *req
	}
	paged.Pagination = &datastore.Pagination{Token: token, PageSize: size}
	got, err := ds.ListRegistrationEntries(e.ctx(), &paged)
	if err != nil {
		e.Errorf("page behind %q: %v", token, err)
		return
	}
	if got.Entries == nil || !slices.Equal(entryIDs(got.Entries), ids) {
		e.Errorf("page behind %q has %q, want %q", token, entryIDs(got.Entries), ids)
	}
	if want := (datastore.Pagination{Token: wantToken, PageSize: size}); got.Pagination == nil || *got.Pagination != want {
		e.Errorf("page behind %q returns pagination %v, want %v", token, got.Pagination, want)
	}
}

// wantListed fails unless the request finds the entries with the given ids,
// unpaged, in pages of several sizes, and in number.
func (e *env) wantListed(ds *datastore.DataStore, req listEntries, ids ...string) {
	e.Helper()
	got, err := ds.ListRegistrationEntries(e.ctx(), &req)
	if err != nil || got.Entries == nil || got.Pagination != nil || !slices.Equal(entryIDs(got.Entries), ids) {
		e.Errorf("got %v, %v, want %q", got, err, ids)
	}
	for _, size := range []int{1, 2, 100} {
		token := ""
		for rest := ids; ; {
			page := rest[:min(size, len(rest))]
			next := ""
			if len(page) > 0 {
				next = e.entryNumber(page[len(page)-1])
			}
			e.wantPage(ds, &req, token, int32(size), next, page...)
			if len(page) == 0 {
				break
			}
			rest, token = rest[len(page):], next
		}
	}
	n, err := ds.CountRegistrationEntries(e.ctx(), countOf(req))
	if err != nil || int(n) != len(ids) {
		e.Errorf("counted %d, %v, want %d", n, err, len(ids))
	}
}

// entryNumber returns the number of an entry in the order of creation, which in
// these tests is its place in the list of all.
func (e *env) entryNumber(id string) string {
	e.Helper()
	all, err := e.ListRegistrationEntries(e.ctx(), &listEntries{})
	if err != nil {
		e.Fatal(err)
	}
	return strconv.Itoa(slices.Index(entryIDs(all.Entries), id) + 1)
}

// countOf is the request that counts what req lists.
func countOf(req listEntries) *datastore.CountRegistrationEntriesRequest {
	return &datastore.CountRegistrationEntriesRequest{
		DataConsistency: req.DataConsistency, ByParentID: req.ByParentID, BySelectors: req.BySelectors,
		BySpiffeID: req.BySpiffeID, ByFederatesWith: req.ByFederatesWith, ByHint: req.ByHint,
		ByDownstream: req.ByDownstream,
	}
}

func bySelectors(match datastore.MatchBehavior, selectors ...string) listEntries {
	return listEntries{BySelectors: &datastore.BySelectors{Match: match, Selectors: parseSelectors(selectors...)}}
}

func byFederatesWith(match datastore.MatchBehavior, ids ...string) listEntries {
	return listEntries{ByFederatesWith: &datastore.ByFederatesWith{Match: match, TrustDomains: ids}}
}

// createListed creates the entries that the table of filters lists.
func (e *env) createListed() {
	e.Helper()
	e.createBundles("td:1", "td:2", "td:3")
	for _, w := range []struct {
		id, spiffeID, parent, hint string
		downstream                 bool
		selectors, federatesWith   string
	}{
		{"e1", "s1", "p1", "", false, "a:1", ""},
		{"e2", "s1", "p2", "h1", true, "a:1 b:2", "td:1"},
		{"e3", "s2", "p1", "h1", false, "b:2 a:1 c:3", "td:1 td:2"},
		{"e4", "s2", "p2", "h2", true, "c:3", "td:1 td:2 td:3"},
		{"e5", "S1", "P1", "H1", false, "A:1", "td:3"},
	} {
		e.createEntries(&registration{
			EntryId: w.id, SpiffeId: w.spiffeID, ParentId: w.parent, Hint: w.hint, Downstream: w.downstream,
			Selectors: parseSelectors(strings.Fields(w.selectors)...), FederatesWith: strings.Fields(w.federatesWith),
		})
	}
}

func listEntriesFilters(e *env) {
	e.createListed()
	yes, no := true, false
	all := []string{"e1", "e2", "e3", "e4", "e5"}
	both := func(a, b listEntries) listEntries {
		a.ByFederatesWith = b.ByFederatesWith
		return a
	}
	tests := []struct {
		name string
		req  listEntries
		want []string
	}{
		{"no filter", listEntries{}, all},
		{"parent", listEntries{ByParentID: "p1"}, []string{"e1", "e3"}},
		{"parent in another case", listEntries{ByParentID: "P1"}, []string{"e5"}},
		{"part of a parent", listEntries{ByParentID: "p"}, nil},
		{"SPIFFE ID", listEntries{BySpiffeID: "s1"}, []string{"e1", "e2"}},
		{"hint", listEntries{ByHint: "h1"}, []string{"e2", "e3"}},
		{"downstream", listEntries{ByDownstream: &yes}, []string{"e2", "e4"}},
		{"not downstream is no filter", listEntries{ByDownstream: &no}, all},
		{"stale is enough", listEntries{DataConsistency: datastore.TolerateStale, ByParentID: "none"}, nil},

		{"exact 1", bySelectors(datastore.Exact, "a:1"), []string{"e1"}},
		{"exact 2, in any order and repeated", bySelectors(datastore.Exact, "b:2", "a:1", "b:2"), []string{"e2"}},
		{"exact none", bySelectors(datastore.Exact, "b:2"), nil},
		{"exact is case-sensitive", bySelectors(datastore.Exact, "A:1"), []string{"e5"}},
		{"exact unknown", bySelectors(datastore.Exact, "x:1"), nil},
		{"subset 1", bySelectors(datastore.Subset, "a:1"), []string{"e1"}},
		{"subset 2", bySelectors(datastore.Subset, "a:1", "b:2", "x:9"), []string{"e1", "e2"}},
		{"subset 3", bySelectors(datastore.Subset, "a:1", "b:2", "c:3"), []string{"e1", "e2", "e3", "e4"}},
		{"subset repeated", bySelectors(datastore.Subset, "a:1", "a:1", "a:1"), []string{"e1"}},
		{"subset none", bySelectors(datastore.Subset, "x:9"), nil},
		{"superset 1", bySelectors(datastore.Superset, "a:1"), []string{"e1", "e2", "e3"}},
		{"superset 2", bySelectors(datastore.Superset, "b:2", "a:1", "a:1"), []string{"e2", "e3"}},
		{"superset 3", bySelectors(datastore.Superset, "a:1", "c:3"), []string{"e3"}},
		{"superset none", bySelectors(datastore.Superset, "a:1", "x:9"), nil},
		{"any 1", bySelectors(datastore.MatchAny, "b:2"), []string{"e2", "e3"}},
		{"any 2", bySelectors(datastore.MatchAny, "c:3", "b:2", "x:9"), []string{"e2", "e3", "e4"}},
		{"any none", bySelectors(datastore.MatchAny, "x:9"), nil},
		{"type and value aren't mixed up", bySelectors(datastore.MatchAny, "a1:", ":a1"), nil},

		{"federated exact 1", byFederatesWith(datastore.Exact, "td:1"), []string{"e2"}},
		{"federated exact 2", byFederatesWith(datastore.Exact, "td:2", "td:1", "td:2"), []string{"e3"}},
		{"federated exact with unknown", byFederatesWith(datastore.Exact, "td:1", "none"), nil},
		{"federated subset", byFederatesWith(datastore.Subset, "td:1", "td:2", "none"), []string{"e2", "e3"}},
		{"federated subset 1", byFederatesWith(datastore.Subset, "td:3"), []string{"e5"}},
		{"federated superset", byFederatesWith(datastore.Superset, "td:1", "td:2"), []string{"e3", "e4"}},
		{"federated superset with unknown", byFederatesWith(datastore.Superset, "td:1", "none"), nil},
		{"federated any", byFederatesWith(datastore.MatchAny, "td:2", "td:3", "none"), []string{"e3", "e4", "e5"}},
		{"federated unknown", byFederatesWith(datastore.MatchAny, "none"), nil},
		{"federated with no list is no filter", byFederatesWith(datastore.Exact), all},
		{"federated with no list and unknown match", byFederatesWith(9), all},

		{"parent and SPIFFE ID", listEntries{ByParentID: "p1", BySpiffeID: "s1"}, []string{"e1"}},
		{"hint and downstream", listEntries{ByHint: "h1", ByDownstream: &yes}, []string{"e2"}},
		{
			"selectors and federated",
			both(bySelectors(datastore.Superset, "a:1"), byFederatesWith(datastore.MatchAny, "td:2", "td:1")),
			[]string{"e2", "e3"},
		},
		{
			"subsets",
			both(bySelectors(datastore.Subset, "a:1", "b:2", "c:3"), byFederatesWith(datastore.Subset, "td:1", "td:2")),
			[]string{"e2", "e3"},
		},
		{"all filters", listEntries{
			ByParentID: "p2", BySpiffeID: "s2", ByHint: "h2", ByDownstream: &yes,
			BySelectors:     bySelectors(datastore.Exact, "c:3").BySelectors,
			ByFederatesWith: byFederatesWith(datastore.Superset, "td:3", "td:2").ByFederatesWith,
		}, []string{"e4"}},
		{"one of all fails", listEntries{
			ByParentID: "p2", BySpiffeID: "s2", ByHint: "h2", ByDownstream: &yes,
			BySelectors:     bySelectors(datastore.Exact, "c:3").BySelectors,
			ByFederatesWith: byFederatesWith(datastore.Exact, "td:3", "td:2").ByFederatesWith,
		}, nil},
	}
	for _, test := range tests {
		e.Run(test.name, func(t *testing.T) {
			sub := *e
			sub.T = t
			for _, ds := range e.all {
				sub.wantListed(ds, test.req, test.want...)
			}
		})
	}
}

func listEntriesOrder(e *env) {
	e.createEntries(workload("c", "a:1"), workload("b", "a:1"), workload("a", "a:1"))
	if _, err := e.UpdateRegistrationEntry(e.ctx(), workload("c", "a:2"), nil); err != nil {
		e.Fatal(err)
	}
	e.wantEntries("c", "b", "a")
	if _, err := e.DeleteRegistrationEntry(e.ctx(), "c"); err != nil {
		e.Fatal(err)
	}
	e.createEntries(workload("c", "a:1"))
	e.wantEntries("b", "a", "c")
	e.wantPage(e.DataStore, nil, "", 3, "4", "b", "a", "c")
	e.wantPage(e.DataStore, &listEntries{ByParentID: "spiffe://example.org/agent"}, "", 3, "4", "b", "a", "c")
}

func listEntriesNone(e *env) {
	for _, ds := range e.all {
		got, err := ds.ListRegistrationEntries(e.ctx(), &listEntries{})
		want := &datastore.ListRegistrationEntriesResponse{Entries: []*registration{}}
		if err != nil || !reflect.DeepEqual(got, want) {
			e.Errorf("got %#v, %v", got, err)
		}
		e.wantListed(ds, listEntries{})
		e.wantListed(ds, bySelectors(datastore.Subset, "a:1"))
	}
}

func listEntriesManySelectors(e *env) {
	var many []string
	for i := range 3000 {
		many = append(many, "t:"+strconv.Itoa(i))
	}
	e.createEntries(workload("one", "t:1"), workload("many", many...), workload("more", append(many, "u:1")...))
	for _, ds := range e.all {
		e.wantListed(ds, bySelectors(datastore.Exact, many...), "many")
		e.wantListed(ds, bySelectors(datastore.Subset, many...), "one", "many")
		e.wantListed(ds, bySelectors(datastore.Superset, many...), "many", "more")
		e.wantListed(ds, bySelectors(datastore.MatchAny, many...), "one", "many", "more")
	}
}

func listEntriesLongValues(e *env) {
	long := strings.Repeat("x", 2000)
	a, b := workload("a", long+":1"), workload("b", long+":2")
	a.ParentId, b.ParentId = long+"a", long+"b"
	a.SpiffeId, b.SpiffeId = long+"a", long+"b"
	a.Hint, b.Hint = long+"a", long+"b"
	e.createEntries(a, b)
	for _, ds := range e.all {
		for _, req := range []listEntries{
			{ByParentID: long + "a"}, {BySpiffeID: long + "a"}, {ByHint: long + "a"},
			bySelectors(datastore.Exact, long+":1"),
		} {
			e.wantListed(ds, req, "a")
		}
		e.wantListed(ds, listEntries{ByHint: long})
	}
}
