package datastoretest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spire-raft/spire-raft/datastore"
)

// Sections 2.3.3 and 2.3.4 of the specification.
var fetchEntryTests = []conformanceTest{
	{"FetchEntry_AbsentIsNil", fetchEntryAbsent},
	{"FetchEntry_ExpiredIsReturned", fetchEntryExpired},
	{"FetchEntry_ResultBelongsToTheCaller", fetchEntryIsACopy},
	{"FetchEntries_OnlyThosePresent", fetchEntriesPresent},
	{"Entries_CancelledStaysInTheError", entriesCancelled},
}

// Sections 2.3.7, 2.3.8 and 7.2 of the specification.
var deleteEntryTests = []conformanceTest{
	{"DeleteEntry_ReturnsWhatCreateReturned", deleteEntryReturnsEntry},
	{"DeleteEntry_AbsentIsNotFound", deleteEntryNotFound},
	{"DeleteEntry_LeavesNothingBehind", deleteEntryLeavesNothing},
	{"PruneEntries_ExpiryBeforeTheSecond", pruneEntriesBoundaries},
	{"PruneEntries_OneEventForEachInOrderOfCreation", pruneEntriesEvents},
	{"PruneEntries_ManyTakeSeveralTransactions", pruneEntriesMany},
}

func fetchEntryAbsent(e *env) {
	e.createEntries(workload("a", "a:1"))
	for _, id := range []string{"", "A", "b", "a ", "\xff", string(make([]byte, 20_000))} {
		e.wantNoEntry(id)
	}
}

func fetchEntryExpired(e *env) {
	expired := workload("a", "a:1")
	expired.EntryExpiry = e.clock.Now().Unix() - 100
	e.createEntries(expired)
	expired.CreatedAt = e.clock.Now().Unix()
	e.wantEntry(expired)
	e.wantEntries("a")
}

func fetchEntryIsACopy(e *env) {
	e.createBundles("spiffe://a", "spiffe://b")
	e.createEntries(fullWorkload("a"))
	for range 2 {
		e.wantEntry(storedFullWorkload("a", e.clock.Now().Unix()))
		got, err := e.FetchRegistrationEntry(e.ctx(), "a")
		if err != nil {
			e.Fatal(err)
		}
		got.Selectors[0].Value, got.DnsNames[0], got.FederatesWith[0], got.Hint = "x", "x", "x", "x"
	}
}

func fetchEntriesPresent(e *env) {
	e.createEntries(workload("a", "a:1"), workload("b", "a:1"), workload("c", "a:1"))
	stored := func(ids ...string) map[string]*registration {
		found := map[string]*registration{}
		for _, id := range ids {
			found[id] = workload(id, "a:1")
			found[id].CreatedAt = e.clock.Now().Unix()
		}
		return found
	}
	many := []string{"b"}
	for i := range 10_000 {
		many = append(many, fmt.Sprintf("absent-%d", i))
	}
	for name, test := range map[string]struct {
		ids  []string
		want map[string]*registration
	}{
		"nil":        {nil, stored()},
		"empty":      {[]string{}, stored()},
		"absent":     {[]string{"x", "", "A"}, stored()},
		"some":       {[]string{"c", "", "x", "a"}, stored("a", "c")},
		"duplicates": {[]string{"a", "a", "x", "x"}, stored("a")},
		"many":       {many, stored("b")},
	} {
		for i, ds := range e.all {
			got, err := ds.FetchRegistrationEntries(e.ctx(), test.ids)
			if err != nil || !reflect.DeepEqual(got, test.want) {
				e.Errorf("%s: store %d has %v, %v", name, i, got, err)
			}
		}
	}
}

// entriesCancelled is of section 2.0.
func entriesCancelled(e *env) {
	ctx, cancel := context.WithCancel(e.ctx())
	cancel()
	for name, call := range map[string]func() error{
		"create": func() error {
			_, err := e.CreateRegistrationEntry(ctx, workload("a", "a:1"))
			return err
		},
		"fetch": func() error {
			_, err := e.FetchRegistrationEntry(ctx, "a")
			return err
		},
		"fetch several": func() error {
			_, err := e.FetchRegistrationEntries(ctx, []string{"a"})
			return err
		},
		"list": func() error {
			_, err := e.ListRegistrationEntries(ctx, &listEntries{})
			return err
		},
		"count": func() error {
			_, err := e.CountRegistrationEntries(ctx, countOf(listEntries{}))
			return err
		},
		"update": func() error {
			_, err := e.UpdateRegistrationEntry(ctx, workload("a", "a:1"), nil)
			return err
		},
		"delete": func() error {
			_, err := e.DeleteRegistrationEntry(ctx, "a")
			return err
		},
		"prune":         func() error { return e.PruneRegistrationEntries(ctx, e.clock.Now()) },
		"delete bundle": func() error { return e.DeleteBundle(ctx, "a", datastore.Delete) },
		"import": func() error {
			_, err := e.ImportRegistrationEntries(ctx, []*registration{workload("a", "a:1")})
			return err
		},
	} {
		err := call()
		if _, ok := status.FromError(err); ok || !errors.Is(err, context.Canceled) {
			e.Errorf("%s: got %v, a status: %v", name, err, ok)
		}
	}
	e.wantNoEntry("a")
	e.wantEntryEvents()
}

func deleteEntryReturnsEntry(e *env) {
	e.createBundles("spiffe://a", "spiffe://b")
	created, err := e.CreateRegistrationEntry(e.ctx(), fullWorkload("a"))
	if err != nil {
		e.Fatal(err)
	}
	fetched, err := e.FetchRegistrationEntry(e.ctx(), "a")
	if err != nil || !reflect.DeepEqual(fetched, created) {
		e.Errorf("fetched %v, %v, created %v", fetched, err, created)
	}
	deleted, err := e.DeleteRegistrationEntry(e.ctx(), "a")
	if err != nil || !reflect.DeepEqual(deleted, created) || !reflect.DeepEqual(deleted, storedFullWorkload("a", created.CreatedAt)) {
		e.Errorf("deleted %v, %v, created %v", deleted, err, created)
	}
	e.wantNoEntry("a")
	e.wantEntryEvents("a", "a")
}

func deleteEntryNotFound(e *env) {
	e.createEntries(workload("a", "a:1"))
	for _, id := range []string{"b", "A", ""} {
		got, err := e.DeleteRegistrationEntry(e.ctx(), id)
		e.failsAs(err, codes.NotFound, recordNotFound)
		if got != nil {
			e.Errorf("got %v with the error", got)
		}
	}
	e.wantEntries("a")
	e.wantEntryEvents("a")
}

func deleteEntryLeavesNothing(e *env) {
	e.createBundles("spiffe://a", "spiffe://b")
	e.createEntries(fullWorkload("a"), workload("b", "z:1"))
	if _, err := e.DeleteRegistrationEntry(e.ctx(), "a"); err != nil {
		e.Fatal(err)
	}
	e.wantEntries("b")
	yes := true
	for _, ds := range e.all {
		for _, req := range []listEntries{
			{BySpiffeID: fullWorkload("a").SpiffeId}, {ByHint: "hint"}, {ByDownstream: &yes},
			bySelectors(datastore.MatchAny, "a:2", "m:3"), byFederatesWith(datastore.MatchAny, "spiffe://a"),
		} {
			e.wantListed(ds, req)
		}
	}
	if err := e.DeleteBundle(e.ctx(), "spiffe://a", datastore.Restrict); err != nil {
		e.Error(err)
	}
	e.createBundles("spiffe://a")
	e.createEntries(fullWorkload("a")) // as if it had never been there
}

func pruneEntriesBoundaries(e *env) {
	expiries := map[string]int64{
		"never": 0, "long-ago": -5, "before": 99, "at": 100, "behind": 101, "last": math.MaxInt64, "first": math.MinInt64,
	}
	order := []string{"never", "long-ago", "before", "at", "behind", "last", "first"}
	for _, id := range order {
		w := workload(id, "a:1")
		w.EntryExpiry = expiries[id]
		e.createEntries(w)
	}
	prune := func(t time.Time, left ...string) {
		e.Helper()
		if err := e.PruneRegistrationEntries(e.ctx(), t); err != nil {
			e.Error(err)
		}
		e.wantEntries(left...)
	}
	prune(time.Unix(-5, 0), "never", "long-ago", "before", "at", "behind", "last")
	prune(time.Unix(-5, 999_999_999), "never", "long-ago", "before", "at", "behind", "last")
	prune(time.Unix(-4, 0), "never", "before", "at", "behind", "last")
	prune(time.Unix(99, 999_999_999), "never", "before", "at", "behind", "last")
	prune(time.Unix(100, 0), "never", "at", "behind", "last")
	prune(time.Unix(100, 999_999_999), "never", "at", "behind", "last")
	prune(time.Unix(101, 0), "never", "behind", "last")
	prune(time.Unix(math.MaxInt64>>20, 0), "never", "last")
}

func pruneEntriesEvents(e *env) {
	for i, id := range []string{"c", "a", "b"} {
		w := workload(id, "a:1")
		w.EntryExpiry = int64(10 - i)
		e.createEntries(w)
	}
	for range 2 { // the second time there is nothing to do
		if err := e.PruneRegistrationEntries(e.ctx(), time.Unix(10, 0)); err != nil {
			e.Fatal(err)
		}
		e.wantEntries("c")
		e.wantEntryEvents("c", "a", "b", "a", "b")
	}
}

func pruneEntriesMany(e *env) {
	const n = 4500
	var many []*registration
	for i := range n {
		w := workload(fmt.Sprintf("e%d", i), "a:1")
		w.EntryExpiry = int64(i % 2)
		many = append(many, w)
	}
	if _, err := e.ImportRegistrationEntries(e.ctx(), many); err != nil {
		e.Fatal(err)
	}
	if err := e.PruneRegistrationEntries(e.ctx(), time.Unix(2, 0)); err != nil {
		e.Fatal(err)
	}
	for _, ds := range e.all {
		left, err := ds.CountRegistrationEntries(e.ctx(), countOf(listEntries{}))
		if err != nil || left != n/2 {
			e.Errorf("%d are left, %v, want %d", left, err, n/2)
		}
		got, err := ds.ListRegistrationEntryEvents(e.ctx(), &datastore.ListRegistrationEntryEventsRequest{GreaterThanEventID: n})
		if err != nil || len(got.Events) != n/2 || got.Events[0].EntryID != "e1" || got.Events[n/2-1].EntryID != "e4499" {
			e.Errorf("%d events, %v", len(got.Events), err)
		}
	}
}
