package datastoretest

import (
	"fmt"
	"math"
	"reflect"

	"github.com/spire-raft/spire-raft/datastore"
)

func listEntriesPages(e *env) {
	e.createBundles("spiffe://x") // other kinds have numbers of their own
	e.createEntries(workload("a", "a:1"), workload("b", "a:1"), workload("c", "a:1"))
	for _, ds := range e.all {
		e.wantPage(ds, nil, "", 2, "2", "a", "b")
		e.wantPage(ds, nil, "0", 2, "2", "a", "b")
		e.wantPage(ds, nil, "2", 2, "3", "c")
		e.wantPage(ds, nil, "3", 2, "")
		e.wantPage(ds, nil, "", 3, "3", "a", "b", "c")
		e.wantPage(ds, nil, "", math.MaxInt32, "3", "a", "b", "c")
		e.wantPage(ds, nil, "0000000000000000000000001", 1, "2", "b")
		for _, token := range []string{"4", "5000000000", "9223372036854775808", "18446744073709551615"} {
			e.wantPage(ds, nil, token, 2, "")
			req := bySelectors(datastore.MatchAny, "a:1")
			e.wantPage(ds, &req, token, 2, "")
		}
	}
}

func listEntriesFilterThenCut(e *env) {
	yes := true
	for i := range 6 {
		w := workload(fmt.Sprintf("e%d", i), "a:1")
		w.Downstream = i%3 == 2
		if i%2 == 1 {
			w.Selectors = parseSelectors("a:1", "b:2")
		}
		e.createEntries(w)
	}
	for _, ds := range e.all {
		e.wantListed(ds, listEntries{ByDownstream: &yes}, "e2", "e5")
		e.wantListed(ds, bySelectors(datastore.Exact, "a:1", "b:2"), "e1", "e3", "e5")
		e.wantListed(ds, bySelectors(datastore.Subset, "a:1"), "e0", "e2", "e4")
	}
}

func listEntriesChangesBetweenPages(e *env) {
	e.createEntries(workload("a", "a:1"), workload("b", "a:1"), workload("c", "a:1"))
	e.wantPage(e.DataStore, nil, "", 2, "2", "a", "b")
	if _, err := e.DeleteRegistrationEntry(e.ctx(), "b"); err != nil { // whose number is the token
		e.Fatal(err)
	}
	if _, err := e.UpdateRegistrationEntry(e.ctx(), workload("a", "a:2"), nil); err != nil {
		e.Fatal(err)
	}
	e.createEntries(workload("d", "a:1"))
	e.wantPage(e.DataStore, nil, "2", 1, "3", "c")
	e.wantPage(e.DataStore, nil, "3", 1, "4", "d")
}

func listEntriesLeavesRequestAlone(e *env) {
	e.createEntries(workload("a", "a:1", "b:2"))
	newRequest := func() *listEntries {
		req := bySelectors(datastore.Exact, "b:2", "a:1", "b:2")
		req.Pagination = &datastore.Pagination{PageSize: 3}
		return &req
	}
	req := newRequest()
	got, err := e.ListRegistrationEntries(e.ctx(), req)
	if err != nil || len(got.Entries) != 1 || got.Pagination == req.Pagination || !reflect.DeepEqual(req, newRequest()) {
		e.Errorf("got %v, %v, the request is %v", got, err, req)
	}
}
