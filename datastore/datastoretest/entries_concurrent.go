package datastoretest

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spire-raft/spire-raft/datastore"
)

// The concurrency of sections 2.0 and 2.3, and traps 39 and 40.
var concurrentEntryTests = []conformanceTest{
	{"ConcurrentEntries_IdenticalCreatesGiveOneEntry", concurrentIdenticalCreates},
	{"ConcurrentEntries_MayShareTheirInput", concurrentSharedInput},
	{"ConcurrentEntries_CreatesDoNotConflict", concurrentCreates},
	{"ConcurrentEntries_OfCreatesWithOneIDOneSucceeds", concurrentCreatesWithOneID},
	{"ConcurrentEntries_NoUpdateIsLost", concurrentUpdates},
	{"ConcurrentEntries_OfDeletesOneSucceeds", concurrentDeletes},
	{"ConcurrentEntries_PruneAndUpdatesEachHaveTheirEvent", concurrentPrune},
	{"ConcurrentEntries_ReadsSeeEveryWriteBeforeThem", concurrentReads},
}

const writers = 20

// concurrently calls fn for many writers, who share out the stores.
func (e *env) concurrently(fn func(writer int, ds *datastore.DataStore)) {
	var running sync.WaitGroup
	for i := range writers {
		running.Go(func() { fn(i, e.all[i%len(e.all)]) })
	}
	running.Wait()
}

func concurrentIdenticalCreates(e *env) {
	var mu sync.Mutex
	ids, created := map[string]bool{}, 0
	e.concurrently(func(i int, ds *datastore.DataStore) {
		entry := workload("a", "a:1", "b:2")
		entry.EntryId = ""
		if i%2 == 0 {
			entry.Selectors = parseSelectors("b:2", "a:1")
		}
		got, existing, err := ds.CreateOrReturnRegistrationEntry(e.ctx(), entry)
		if err != nil {
			e.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		ids[got.EntryId] = true
		if !existing {
			created++
		}
	})
	if len(ids) != 1 || created != 1 {
		e.Errorf("got the ids %v, and %d were new", ids, created)
	}
	for id := range ids {
		e.wantEntries(id)
		e.wantEntryEvents(id)
	}
}

// concurrentSharedInput gives one message to all, which the race detector
// watches.
func concurrentSharedInput(e *env) {
	e.createBundles("spiffe://a", "spiffe://b")
	input, mask := fullWorkload("a"), &entryMask{Hint: true, Selectors: true}
	e.concurrently(func(_ int, ds *datastore.DataStore) {
		if _, err := ds.CreateRegistrationEntry(e.ctx(), input); err != nil {
			e.Error(err)
		}
		if _, err := ds.UpdateRegistrationEntry(e.ctx(), input, mask); err != nil {
			e.Error(err)
		}
		if _, err := ds.ImportRegistrationEntries(e.ctx(), []*registration{input, input}); err != nil {
			e.Error(err)
		}
	})
	want := storedFullWorkload("a", e.clock.Now().Unix())
	want.RevisionNumber = writers
	e.wantEntry(want)
}

func concurrentCreates(e *env) {
	e.createBundles("spiffe://a")
	const each = 10
	e.concurrently(func(i int, ds *datastore.DataStore) {
		for j := range each {
			entry := workload(fmt.Sprintf("e-%d-%d", i, j), "a:1")
			entry.SpiffeId = "spiffe://example.org/shared" + strconv.Itoa(i*each+j)
			entry.FederatesWith = []string{"spiffe://a"}
			if _, existing, err := ds.CreateOrReturnRegistrationEntry(e.ctx(), entry); err != nil || existing {
				e.Errorf("existing %v, %v", existing, err)
			}
		}
	})
	for _, ds := range e.all {
		n, err := ds.CountRegistrationEntries(e.ctx(), countOf(listEntries{}))
		if err != nil || n != writers*each {
			e.Errorf("%d entries, %v", n, err)
		}
		e.wantDenseEvents(ds, writers*each)
	}
}

// wantDenseEvents fails unless there are the events 1 to n.
func (e *env) wantDenseEvents(ds *datastore.DataStore, n int) {
	e.Helper()
	got, err := ds.ListRegistrationEntryEvents(e.ctx(), &datastore.ListRegistrationEntryEventsRequest{})
	if err != nil || len(got.Events) != n {
		e.Errorf("%d events, %v, want %d", len(got.Events), err, n)
		return
	}
	for i, event := range got.Events {
		if event.EventID != uint(i+1) {
			e.Errorf("event %d has the id %d", i+1, event.EventID)
		}
	}
}

func concurrentCreatesWithOneID(e *env) {
	var mu sync.Mutex
	created := 0
	e.concurrently(func(i int, ds *datastore.DataStore) {
		entry := workload("a", "a:"+strconv.Itoa(i))
		_, err := ds.CreateRegistrationEntry(e.ctx(), entry)
		if status.Code(err) != codes.OK && status.Code(err) != codes.AlreadyExists {
			e.Error(err)
		}
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			created++
		}
	})
	if created != 1 {
		e.Errorf("%d succeeded", created)
	}
	e.wantEntryEvents("a")
}

func concurrentUpdates(e *env) {
	e.createEntries(workload("a", "a:1"))
	e.concurrently(func(i int, ds *datastore.DataStore) {
		entry := workload("a", "a:"+strconv.Itoa(i))
		entry.Hint = "hint-" + strconv.Itoa(i)
		mask := &entryMask{Hint: i%2 == 0, Selectors: i%2 == 1}
		if _, err := ds.UpdateRegistrationEntry(e.ctx(), entry, mask); err != nil {
			e.Error(err)
		}
	})
	got, err := e.FetchRegistrationEntry(e.ctx(), "a")
	if err != nil || got.RevisionNumber != writers || got.Hint == "" {
		e.Errorf("got %v, %v, want revision %d", got, err, writers)
	}
	e.wantEntry(got)
	e.wantDenseEvents(e.DataStore, writers+1)
}

func concurrentDeletes(e *env) {
	e.createEntries(workload("a", "a:1"))
	var mu sync.Mutex
	deleted := 0
	e.concurrently(func(_ int, ds *datastore.DataStore) {
		_, err := ds.DeleteRegistrationEntry(e.ctx(), "a")
		if status.Code(err) != codes.OK && status.Code(err) != codes.NotFound {
			e.Error(err)
		}
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			deleted++
		}
	})
	if deleted != 1 {
		e.Errorf("%d succeeded", deleted)
	}
	e.wantEntryEvents("a", "a")
}

// concurrentPrune prunes while the entries get a later expiry: each is kept or
// gone, never half of it.
func concurrentPrune(e *env) {
	for i := range writers {
		entry := workload("e"+strconv.Itoa(i), "a:1")
		entry.EntryExpiry = 10
		e.createEntries(entry)
	}
	var mu sync.Mutex
	updated := 0
	e.concurrently(func(i int, ds *datastore.DataStore) {
		if i%4 == 0 {
			if err := ds.PruneRegistrationEntries(e.ctx(), time.Unix(11, 0)); err != nil {
				e.Error(err)
			}
		}
		later := workload("e"+strconv.Itoa(i), "a:1")
		later.EntryExpiry = 20
		_, err := ds.UpdateRegistrationEntry(e.ctx(), later, nil)
		if status.Code(err) != codes.OK && status.Code(err) != codes.NotFound {
			e.Error(err)
		}
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			updated++
		}
	})
	left, err := e.ListRegistrationEntries(e.ctx(), &listEntries{})
	if err != nil || len(left.Entries) != updated {
		e.Errorf("%d were updated, %v are left, %v", updated, left, err)
	}
	for _, entry := range left.Entries {
		if entry.RevisionNumber != 1 || entry.EntryExpiry != 20 {
			e.Errorf("left is %v", entry)
		}
	}
	e.wantDenseEvents(e.DataStore, 2*writers) // one more for each, whatever became of it
}
