package datastoretest

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// Sections 2.1.6 and 7.3 of the specification.
var deleteBundleTests = []conformanceTest{
	{"DeleteBundle_AbsentIsNotFoundInAnyMode", deleteBundleNotFound},
	{"DeleteBundle_WithoutEntriesInAnyMode", deleteBundleAlone},
	{"DeleteBundle_RestrictNamesTheNumberOfEntries", deleteBundleRestrict},
	{"DeleteBundle_DeleteTakesTheEntriesWithEvents", deleteBundleDelete},
	{"DeleteBundle_DissociateTakesTheTrustDomainWithEvents", deleteBundleDissociate},
	{"DeleteBundle_ManyEntriesTakeSeveralTransactions", deleteBundleMany},
	{"DeleteBundle_NoEntryFederatesWithADeletedBundle", deleteBundleConcurrently},
}

var deleteModes = []datastore.DeleteMode{datastore.Restrict, datastore.Delete, datastore.Dissociate, 9}

func (e *env) wantBundles(ids ...string) {
	e.Helper()
	for i, ds := range e.all {
		got, err := ds.ListBundles(e.ctx(), &datastore.ListBundlesRequest{})
		if err != nil {
			e.Fatal(err)
		}
		var listed []string
		for _, b := range got.Bundles {
			listed = append(listed, b.TrustDomainId)
		}
		if !reflect.DeepEqual(listed, ids) {
			e.Errorf("store %d has the bundles %q, want %q", i, listed, ids)
		}
	}
}

func deleteBundleNotFound(e *env) {
	e.createBundles("td:1")
	for _, mode := range deleteModes {
		for _, id := range []string{"td:2", "", "TD:1", strings.Repeat("x", 20_000)} {
			e.failsAs(e.DeleteBundle(e.ctx(), id, mode), codes.NotFound, recordNotFound)
		}
	}
	e.wantBundles("td:1")
}

func deleteBundleAlone(e *env) {
	e.createBundles("td:2")
	other := workload("a", "a:1")
	other.FederatesWith = []string{"td:2"}
	e.createEntries(other)
	for _, mode := range deleteModes {
		e.createBundles("td:1")
		if err := e.DeleteBundle(e.ctx(), "td:1", mode); err != nil {
			e.Errorf("%v: %v", mode, err)
		}
		e.wantBundles("td:2")
	}
	other.CreatedAt = e.clock.Now().Unix()
	e.wantEntry(other)
	e.wantEntryEvents("a")
}

// createFederated creates three bundles and four entries.
func (e *env) createFederated() {
	e.Helper()
	e.createBundles("td:1", "td:2", "td:3")
	for id, federatesWith := range map[string]string{"none": "", "one": "td:1", "both": "td:1 td:2", "other": "td:2"} {
		w := workload(id, "a:1")
		w.FederatesWith = strings.Fields(federatesWith)
		e.createEntries(w)
	}
	if err := e.PruneRegistrationEntryEvents(e.ctx(), -time.Hour); err != nil {
		e.Fatal(err)
	}
}

// wantNewEvents fails unless there are events of the entries with the given ids
// behind the four of createFederated.
func (e *env) wantNewEvents(ids ...string) {
	e.Helper()
	got, err := e.ListRegistrationEntryEvents(e.ctx(), &datastore.ListRegistrationEntryEventsRequest{})
	if err != nil {
		e.Fatal(err)
	}
	seen := map[string]bool{}
	for i, event := range got.Events {
		if event.EventID != uint(5+i) || seen[event.EntryID] {
			e.Errorf("got event %v", event)
		}
		seen[event.EntryID] = true
	}
	for _, id := range ids {
		if !seen[id] {
			e.Errorf("no event of %s", id)
		}
	}
	if len(seen) != len(ids) {
		e.Errorf("got events %v, want of %v", got.Events, ids)
	}
}

func deleteBundleRestrict(e *env) {
	e.createFederated()
	for _, mode := range []datastore.DeleteMode{datastore.Restrict, 9, -1} {
		err := e.DeleteBundle(e.ctx(), "td:1", mode)
		e.failsAs(err, codes.FailedPrecondition, "datastore-sql: cannot delete bundle; federated with 2 registration entries")
	}
	e.wantBundles("td:1", "td:2", "td:3")
	e.wantNewEvents()
}

func deleteBundleDelete(e *env) {
	e.createFederated()
	if err := e.DeleteBundle(e.ctx(), "td:1", datastore.Delete); err != nil {
		e.Fatal(err)
	}
	e.wantBundles("td:2", "td:3")
	e.wantNoEntry("one")
	e.wantNoEntry("both")
	e.wantNewEvents("one", "both")
	if n, err := e.CountRegistrationEntries(e.ctx(), countOf(listEntries{})); err != nil || n != 2 {
		e.Errorf("%d entries are left, %v", n, err)
	}
	err := e.DeleteBundle(e.ctx(), "td:2", datastore.Restrict)
	e.failsAs(err, codes.FailedPrecondition, "datastore-sql: cannot delete bundle; federated with 1 registration entries")
}

func deleteBundleDissociate(e *env) {
	e.createFederated()
	created := e.clock.Now().Unix()
	e.clock.advance(time.Hour)
	if err := e.DeleteBundle(e.ctx(), "td:1", datastore.Dissociate); err != nil {
		e.Fatal(err)
	}
	e.wantBundles("td:2", "td:3")
	for id, want := range map[string]struct {
		revision      int64
		federatesWith []string
	}{"none": {0, nil}, "one": {1, nil}, "both": {1, []string{"td:2"}}, "other": {0, []string{"td:2"}}} {
		w := workload(id, "a:1")
		w.RevisionNumber, w.FederatesWith, w.CreatedAt = want.revision, want.federatesWith, created
		e.wantEntry(w)
	}
	e.wantNewEvents("one", "both")
	for _, ds := range e.all {
		got, err := ds.ListRegistrationEntries(e.ctx(), &listEntries{
			ByFederatesWith: &datastore.ByFederatesWith{TrustDomains: []string{"td:1"}, Match: datastore.MatchAny},
		})
		if err != nil || len(got.Entries) > 0 {
			e.Errorf("got %v, %v", got, err)
		}
		// The sizes of sets have changed too.
		n, err := ds.CountRegistrationEntries(e.ctx(), countOf(byFederatesWith(datastore.Exact, "td:2")))
		if err != nil || n != 2 {
			e.Errorf("%d federate with td:2 alone, %v", n, err)
		}
	}
	e.createBundles("td:1") // brings nothing back
	if n, err := e.CountRegistrationEntries(e.ctx(), countOf(byFederatesWith(datastore.MatchAny, "td:1"))); err != nil || n != 0 {
		e.Errorf("%d federate again, %v", n, err)
	}
}

func deleteBundleMany(e *env) {
	const n = 4100
	for _, mode := range []datastore.DeleteMode{datastore.Dissociate, datastore.Delete} {
		e.createBundles("td:1")
		var many []*registration
		for i := range n {
			w := workload(fmt.Sprintf("e%d-%d", mode, i), "a:1")
			w.FederatesWith = []string{"td:1"}
			many = append(many, w)
		}
		if _, err := e.ImportRegistrationEntries(e.ctx(), many); err != nil {
			e.Fatal(err)
		}
		if err := e.DeleteBundle(e.ctx(), "td:1", mode); err != nil {
			e.Fatal(err)
		}
		e.wantBundles()
	}
	count, err := e.CountRegistrationEntries(e.ctx(), countOf(listEntries{}))
	if err != nil || count != n {
		e.Errorf("%d entries are left, %v, want %d", count, err, n)
	}
	e.wantDenseEvents(e.DataStore, 4*n)
}

// deleteBundleConcurrently deletes a bundle while entries begin to federate
// with it: then they are gone or dissociated too, or have failed.
func deleteBundleConcurrently(e *env) {
	for _, mode := range []datastore.DeleteMode{datastore.Restrict, datastore.Delete, datastore.Dissociate} {
		e.createBundles("td:1")
		var running sync.WaitGroup
		running.Go(func() {
			for i := 0; ; i++ {
				err := e.all[len(e.all)-1].DeleteBundle(e.ctx(), "td:1", mode)
				if err == nil {
					return
				}
				if status.Code(err) != codes.FailedPrecondition || mode != datastore.Restrict {
					e.Error(err)
					return
				}
				if err = e.DeleteBundle(e.ctx(), "td:1", datastore.Dissociate); err == nil {
					return
				}
			}
		})
		e.concurrently(func(i int, ds *datastore.DataStore) {
			w := workload(fmt.Sprintf("e%d-%d", mode, i), "a:1")
			w.FederatesWith = []string{"td:1"}
			if _, err := ds.CreateRegistrationEntry(e.ctx(), w); err != nil {
				e.failsAs(err, codes.Unknown, `unable to find federated bundle "td:1"`)
			}
			if _, err := ds.SetBundle(e.ctx(), &spirev1.Bundle{TrustDomainId: "td:2"}); err != nil {
				e.Error(err)
			}
		})
		running.Wait()
		for _, ds := range e.all {
			n, err := ds.CountRegistrationEntries(e.ctx(), countOf(byFederatesWith(datastore.MatchAny, "td:1")))
			if err != nil || n != 0 {
				e.Errorf("%v: %d entries federate with the deleted bundle, %v", mode, n, err)
			}
		}
	}
}
