package datastoretest

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spire-raft/spire-raft/datastore"
	"github.com/spire-raft/spire-raft/store"
)

var importEntryTests = []conformanceTest{
	{"ImportEntries_AreAsIfCreatedOneByOne", importEntriesLikeCreate},
	{"ImportEntries_SimilarEntriesAreReturned", importEntriesSimilar},
	{"ImportEntries_NothingIsDoneIfOneIsInvalid", importEntriesValidate},
	{"ImportEntries_ErrorNamesTheEntry", importEntriesBlame},
	{"ImportEntries_ManyTakeSeveralTransactions", importEntriesMany},
	{"ImportEntries_LargeOnesTakeSeveralTransactionsEverywhere", importEntriesLarge},
	{"ImportEntries_ConcurrentImportsOfTheSame", importEntriesConcurrently},
}

func importEntriesLikeCreate(e *env) {
	e.createBundles("spiffe://a", "spiffe://b")
	input := []*registration{fullWorkload("c"), workload("a", "a:1"), workload("", "a:1")}
	got, err := e.ImportRegistrationEntries(e.ctx(), input)
	if err != nil || len(got) != 3 {
		e.Fatalf("got %v, %v", got, err)
	}
	if !reflect.DeepEqual(input, []*registration{fullWorkload("c"), workload("a", "a:1"), workload("", "a:1")}) {
		e.Error("the input has changed")
	}
	if want := storedFullWorkload("c", e.clock.Now().Unix()); !reflect.DeepEqual(got[0].Entry, want) {
		e.Errorf("got %v, want %v", got[0], want)
	}
	var ids []string
	for _, imported := range got {
		if imported.Existing {
			e.Errorf("%v is not new", imported)
		}
		e.wantEntry(imported.Entry)
		ids = append(ids, imported.Entry.EntryId)
	}
	e.wantEntries(ids...)
	e.wantEntryEvents(ids...)

	got, err = e.ImportRegistrationEntries(e.ctx(), nil)
	if err != nil || len(got) != 0 {
		e.Errorf("nothing: %v, %v", got, err)
	}
}

func importEntriesSimilar(e *env) {
	e.createEntries(workload("a", "a:1", "b:2"))
	stored, again, twice := workload("a", "b:2", "a:1"), workload("b", "b:1"), workload("b", "b:1")
	stored.EntryId, twice.EntryId = "ignored", "ignored"
	got, err := e.ImportRegistrationEntries(e.ctx(), []*registration{stored, again, twice, again})
	if err != nil || len(got) != 4 {
		e.Fatalf("got %v, %v", got, err)
	}
	for i, want := range []struct {
		id       string
		existing bool
	}{{"a", true}, {"b", false}, {"b", true}, {"b", true}} {
		if got[i].Entry.EntryId != want.id || got[i].Existing != want.existing {
			e.Errorf("%d: got %v, want %v", i, got[i], want)
		}
	}
	if got[1].Entry == got[2].Entry {
		e.Error("an entry is returned twice")
	}
	e.wantEntryEvents("a", "b")
}

func importEntriesValidate(e *env) {
	noID, negative := workload("b", "a:1"), workload("c", "a:1")
	noID.SpiffeId, negative.JwtSvidTtl = "", -1
	got, err := e.ImportRegistrationEntries(e.ctx(), []*registration{workload("a", "a:1"), noID, nil, negative})
	if got != nil || status.Code(err) != codes.InvalidArgument {
		e.Errorf("got %v, %v", got, err)
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 3 {
		e.Fatalf("got %v, want three errors", err)
	}
	for i, want := range []struct {
		index int
		text  string
	}{
		{1, invalidEntry + "missing SPIFFE ID"},
		{2, validation + "invalid request: missing registered entry"},
		{3, invalidEntry + "JwtSvidTtl is not set"},
	} {
		var blamed *datastore.ImportError
		if !errors.As(joined.Unwrap()[i], &blamed) || blamed.Index != want.index {
			e.Errorf("got %v, want index %d", joined.Unwrap()[i], want.index)
			continue
		}
		e.failsAs(blamed.Err, codes.InvalidArgument, want.text)
	}
	e.wantEntries()
	e.wantEntryEvents()
}

func importEntriesBlame(e *env) {
	e.createEntries(workload("a", "a:1"))
	usedID, noBundle := workload("x", "a:1"), workload("c", "a:1")
	usedID.EntryId, noBundle.FederatesWith = "a", []string{"td"}
	usedInBatch := workload("y", "a:1")
	usedInBatch.EntryId = "b"
	for _, test := range []struct {
		bad  *registration
		code codes.Code
		text string
	}{
		{usedID, codes.AlreadyExists, usedEntryID},
		{usedInBatch, codes.AlreadyExists, usedEntryID},
		{noBundle, codes.Unknown, `unable to find federated bundle "td"`},
		{workload("c", "a:1", "a:1"), codes.AlreadyExists, usedSelector},
	} {
		got, err := e.ImportRegistrationEntries(e.ctx(), []*registration{workload("b", "a:1"), test.bad})
		var blamed *datastore.ImportError
		if len(got) != 0 || !errors.As(err, &blamed) || blamed.Index != 1 {
			e.Errorf("got %v, %v", got, err)
			continue
		}
		e.failsAs(blamed.Err, test.code, test.text)
		e.wantEntries("a")
		e.wantEntryEvents("a")
	}
}

func importEntriesMany(e *env) {
	const n = 4500
	var many []*registration
	for i := range n {
		many = append(many, workload("e"+strconv.Itoa(i), "a:1"))
	}
	many[n-1] = workload("bad", "a:1", "a:1")
	got, err := e.ImportRegistrationEntries(e.ctx(), many)
	var blamed *datastore.ImportError
	if !errors.As(err, &blamed) || blamed.Index != n-1 || len(got) == 0 || len(got) >= n {
		e.Fatalf("%d are done, %v", len(got), err)
	}
	for i, imported := range got {
		if imported.Entry.EntryId != many[i].EntryId || imported.Existing {
			e.Fatalf("%d: got %v", i, imported)
		}
	}
	e.wantDenseEvents(e.DataStore, len(got))

	done := len(got)
	many[n-1] = workload("good", "a:1")
	got, err = e.ImportRegistrationEntries(e.ctx(), many)
	if err != nil || len(got) != n {
		e.Fatalf("again: %d are done, %v", len(got), err)
	}
	for i, imported := range got {
		if imported.Existing != (i < done) {
			e.Fatalf("%d: existing is %v", i, imported.Existing)
		}
	}
	e.wantDenseEvents(e.all[len(e.all)-1], n)

	large := workload("large", "a:1")
	large.Hint = string(make([]byte, store.ValueBytesMax))
	if _, err = e.ImportRegistrationEntries(e.ctx(), []*registration{workload("small", "a:1"), large}); !errors.Is(err, store.ErrTooLarge) {
		e.Errorf("large: %v", err)
	}
}

// importEntriesLarge handles few entries that together are far more than one
// transaction takes.
func importEntriesLarge(e *env) {
	const n = 20
	e.createBundles("td:1", "td:2")
	var large []*registration
	for i := range n {
		w := workload("e"+strconv.Itoa(i), "a:1")
		w.Hint = strings.Repeat("h", store.TxBytesMax/8)
		w.FederatesWith = []string{"td:" + strconv.Itoa(1+i%2)}
		w.EntryExpiry = int64(1 + i%2)
		large = append(large, w)
	}
	if _, err := e.ImportRegistrationEntries(e.ctx(), large); err != nil {
		e.Fatal(err)
	}
	count := func(req listEntries, want int32) {
		e.Helper()
		if got, err := e.CountRegistrationEntries(e.ctx(), countOf(req)); err != nil || got != want {
			e.Errorf("there are %d, %v, want %d", got, err, want)
		}
	}
	if err := e.DeleteBundle(e.ctx(), "td:1", datastore.Dissociate); err != nil {
		e.Fatal(err)
	}
	count(byFederatesWith(datastore.MatchAny, "td:1"), 0)
	count(listEntries{}, n)
	if err := e.PruneRegistrationEntries(e.ctx(), time.Unix(2, 0)); err != nil {
		e.Fatal(err)
	}
	count(listEntries{}, n/2)
	if err := e.DeleteBundle(e.ctx(), "td:2", datastore.Delete); err != nil {
		e.Fatal(err)
	}
	count(listEntries{}, 0)
	e.wantDenseEvents(e.DataStore, n+n/2+n)
}

func importEntriesConcurrently(e *env) {
	const n = 50
	e.concurrently(func(_ int, ds *datastore.DataStore) {
		var all []*registration
		for i := range n {
			w := workload("e"+strconv.Itoa(i), "a:1")
			w.EntryId = ""
			all = append(all, w)
		}
		if got, err := ds.ImportRegistrationEntries(e.ctx(), all); err != nil || len(got) != n {
			e.Errorf("%d are done, %v", len(got), err)
		}
	})
	if count, err := e.CountRegistrationEntries(e.ctx(), countOf(listEntries{})); err != nil || count != n {
		e.Errorf("there are %d, %v", count, err)
	}
	e.wantDenseEvents(e.DataStore, n)
}
