package datastoretest

import (
	"errors"
	"reflect"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store"
)

type entryMask = spirev1.RegistrationEntryMask

// Section 2.3.6 of the specification.
var updateEntryTests = []conformanceTest{
	{"UpdateEntry_MaskNamesWhatIsReplaced", updateEntryMasks},
	{"UpdateEntry_ValidatesWhatTheMaskNamesBeforeItLooks", updateEntryValidates},
	{"UpdateEntry_AbsentIsNotFound", updateEntryNotFound},
	{"UpdateEntry_EveryUpdateRaisesTheRevisionAndHasAnEvent", updateEntryRevision},
	{"UpdateEntry_ReturnsAndStoresTheCanonicalForm", updateEntryReturnsStoredForm},
	{"UpdateEntry_SelectorsOfStoredSVIDsHaveOneType", updateEntryStoreSVID},
	{"UpdateEntry_PrefetchOfStoredSVIDsIsAccepted", updateEntryPrefetch},
	{"UpdateEntry_FederatedBundlesMustExist", updateEntryFederatesWith},
	{"UpdateEntry_RepetitionsAlreadyExist", updateEntryRepetitions},
	{"UpdateEntry_EmptyAttributesClear", updateEntryAttributes},
	{"UpdateEntry_MayBecomeSimilarToAnother", updateEntrySimilar},
	{"UpdateEntry_IsFoundByItsNewValuesOnly", updateEntryIndexes},
}

func updateEntryMasks(e *env) {
	e.createBundles("spiffe://a", "spiffe://b", "spiffe://c")
	given := &registration{
		EntryId: "a", SpiffeId: "spiffe", ParentId: "parent", Selectors: parseSelectors("new:1"), X509SvidTtl: 11,
		JwtSvidTtl: 12, FederatesWith: []string{"spiffe://c", "spiffe://a", "spiffe://c"}, EntryExpiry: 13,
		DnsNames: []string{"new"}, StoreSvid: true, Hint: "new", RevisionNumber: 99, CreatedAt: 99,
		AdditionalAttributes: &spirev1.RegistrationEntry_AdditionalAttributes{JwtSvidIncludeJti: true},
	}
	all := &entryMask{
		Selectors: true, ParentId: true, SpiffeId: true, X509SvidTtl: true, FederatesWith: true, EntryId: true,
		Admin: true, Downstream: true, EntryExpiry: true, DnsNames: true, StoreSvid: true, JwtSvidTtl: true,
		Hint: true, AdditionalAttributes: true,
	}
	replaceAll := func(w *registration) {
		*w = registration{
			EntryId: "a", SpiffeId: "spiffe", ParentId: "parent", Selectors: parseSelectors("new:1"), X509SvidTtl: 11,
			JwtSvidTtl: 12, FederatesWith: []string{"spiffe://a", "spiffe://c"}, EntryExpiry: 13,
			DnsNames: []string{"new"}, StoreSvid: true, Hint: "new", CreatedAt: w.CreatedAt,
			AdditionalAttributes: &spirev1.RegistrationEntry_AdditionalAttributes{JwtSvidIncludeJti: true},
		}
	}
	for name, test := range map[string]struct {
		mask *entryMask
		want func(*registration)
	}{
		"nil":      {nil, replaceAll},
		"all":      {all, replaceAll},
		"none":     {&entryMask{}, func(*registration) {}},
		"entry_id": {&entryMask{EntryId: true}, func(*registration) {}},
		"selectors": {&entryMask{Selectors: true}, func(w *registration) {
			w.Selectors = parseSelectors("new:1")
		}},
		"parent_id":      {&entryMask{ParentId: true}, func(w *registration) { w.ParentId = "parent" }},
		"spiffe_id":      {&entryMask{SpiffeId: true}, func(w *registration) { w.SpiffeId = "spiffe" }},
		"x509_svid_ttl":  {&entryMask{X509SvidTtl: true}, func(w *registration) { w.X509SvidTtl = 11 }},
		"jwt_svid_ttl":   {&entryMask{JwtSvidTtl: true}, func(w *registration) { w.JwtSvidTtl = 12 }},
		"federates_with": {&entryMask{FederatesWith: true}, func(w *registration) { w.FederatesWith = []string{"spiffe://a", "spiffe://c"} }},
		"admin":          {&entryMask{Admin: true}, func(w *registration) { w.Admin = false }},
		"downstream":     {&entryMask{Downstream: true}, func(w *registration) { w.Downstream = false }},
		"entryExpiry":    {&entryMask{EntryExpiry: true}, func(w *registration) { w.EntryExpiry = 13 }},
		"dns_names":      {&entryMask{DnsNames: true}, func(w *registration) { w.DnsNames = []string{"new"} }},
		"store_svid": {&entryMask{StoreSvid: true, Selectors: true}, func(w *registration) {
			w.StoreSvid, w.Selectors = true, parseSelectors("new:1")
		}},
		"hint": {&entryMask{Hint: true}, func(w *registration) { w.Hint = "new" }},
		"additional_attributes": {&entryMask{AdditionalAttributes: true}, func(w *registration) {
			w.AdditionalAttributes = &spirev1.RegistrationEntry_AdditionalAttributes{JwtSvidIncludeJti: true}
		}},
	} {
		e.createEntries(fullWorkload("a"))
		want := storedFullWorkload("a", e.clock.Now().Unix())
		test.want(want)
		want.RevisionNumber = 1
		e.clock.advance(time.Hour)
		got, err := e.UpdateRegistrationEntry(e.ctx(), given, test.mask)
		if err != nil || !reflect.DeepEqual(got, want) {
			e.Errorf("%s: got %v, %v, want %v", name, got, err, want)
		}
		e.wantEntry(want)
		if _, err := e.DeleteRegistrationEntry(e.ctx(), "a"); err != nil {
			e.Fatal(err)
		}
	}
}

func updateEntryValidates(e *env) {
	closed := e.all[len(e.all)-1]
	if err := closed.Close(); err != nil {
		e.Fatal(err)
	}
	_, err := closed.UpdateRegistrationEntry(e.ctx(), nil, nil)
	e.failsAs(err, codes.InvalidArgument, validation+"invalid request: missing registered entry")
	bad := &registration{EntryId: "!", X509SvidTtl: -1, JwtSvidTtl: -1, Hint: "\xff"}
	for _, step := range []struct {
		text   string
		mask   *entryMask
		repair func()
	}{
		{"missing selector list", &entryMask{Selectors: true}, func() { bad.Selectors = parseSelectors("a:1") }},
		{"missing SPIFFE ID", &entryMask{SpiffeId: true}, func() { bad.SpiffeId = "x" }},
		{"X509SvidTtl is not set", &entryMask{X509SvidTtl: true}, func() { bad.X509SvidTtl = 0 }},
		{"JwtSvidTtl is not set", &entryMask{JwtSvidTtl: true}, func() { bad.JwtSvidTtl = 0 }},
		{"hint is not valid UTF-8", &entryMask{Hint: true}, func() { bad.Hint = "" }},
	} {
		_, err := closed.UpdateRegistrationEntry(e.ctx(), bad, nil)
		e.failsAs(err, codes.InvalidArgument, invalidEntry+step.text)
		_, err = closed.UpdateRegistrationEntry(e.ctx(), bad, step.mask)
		e.failsAs(err, codes.InvalidArgument, invalidEntry+step.text)
		// What the mask doesn't name may be wrong.
		if _, err = closed.UpdateRegistrationEntry(e.ctx(), bad, &entryMask{Admin: true}); !errors.Is(err, store.ErrClosed) {
			e.Errorf("%s, not in the mask: %v", step.text, err)
		}
		step.repair()
	}
	if _, err := closed.UpdateRegistrationEntry(e.ctx(), bad, nil); !errors.Is(err, store.ErrClosed) {
		e.Errorf("valid entry: got %v, want ErrClosed", err)
	}
}

func updateEntryNotFound(e *env) {
	for _, id := range []string{"none", "", "\xff", strings.Repeat("x", 20_000)} {
		entry := workload("a", "a:1")
		entry.EntryId = id
		got, err := e.UpdateRegistrationEntry(e.ctx(), entry, nil)
		e.failsAs(err, codes.NotFound, recordNotFound)
		if got != nil {
			e.Errorf("got %v with the error", got)
		}
	}
	_, err := e.UpdateRegistrationEntry(e.ctx(), &registration{EntryId: "none"}, nil)
	e.failsAs(err, codes.InvalidArgument, invalidEntry+"missing selector list")
	e.wantEntryEvents()
}

func updateEntryRevision(e *env) {
	e.createEntries(workload("a", "a:1"))
	want := workload("a", "a:1")
	want.CreatedAt = e.clock.Now().Unix()
	for i, mask := range []*entryMask{{}, {}, nil, {SpiffeId: true}} {
		e.clock.advance(time.Hour)
		want.RevisionNumber = int64(i + 1)
		given := workload("a", "a:1")
		given.RevisionNumber = 77
		got, err := e.UpdateRegistrationEntry(e.ctx(), given, mask)
		if err != nil || !reflect.DeepEqual(got, want) {
			e.Errorf("got %v, %v, want %v", got, err, want)
		}
		e.wantEntry(want)
	}
	e.wantEntryEvents("a", "a", "a", "a", "a")
}

func updateEntryReturnsStoredForm(e *env) {
	e.createBundles("spiffe://a", "spiffe://b")
	e.createEntries(workload("a", "x:1"))
	input := fullWorkload("a")
	got, err := e.UpdateRegistrationEntry(e.ctx(), input, nil)
	want := storedFullWorkload("a", e.clock.Now().Unix())
	want.RevisionNumber = 1
	if err != nil || !reflect.DeepEqual(got, want) {
		e.Errorf("got %v, %v", got, err)
	}
	if !reflect.DeepEqual(input, fullWorkload("a")) {
		e.Errorf("the input has become %v", input)
	}
	input.Selectors[0].Type, got.DnsNames[0], got.Selectors[1].Type = "changed", "changed", "changed"
	e.wantEntry(want)
}

func updateEntryStoreSVID(e *env) {
	const mixed = invalidEntry + "selector types must be the same when store SVID is enabled"
	e.createEntries(workload("a", "a:1", "b:2"))
	on := &registration{EntryId: "a", StoreSvid: true, Selectors: parseSelectors("a:1", "b:2"), SpiffeId: "x"}

	_, err := e.UpdateRegistrationEntry(e.ctx(), on, nil)
	e.failsAs(err, codes.InvalidArgument, mixed)
	// The stored selectors count where no others are given.
	_, err = e.UpdateRegistrationEntry(e.ctx(), on, &entryMask{StoreSvid: true})
	e.failsAs(err, codes.InvalidArgument, mixed)
	on.FederatesWith = []string{"none"} // is checked later
	_, err = e.UpdateRegistrationEntry(e.ctx(), on, nil)
	e.failsAs(err, codes.InvalidArgument, mixed)
	on.FederatesWith = nil
	e.wantEntryEvents("a")

	on.Selectors = parseSelectors("a:1", "a:2")
	if _, err = e.UpdateRegistrationEntry(e.ctx(), on, &entryMask{StoreSvid: true, Selectors: true}); err != nil {
		e.Error(err)
	}
	// So does the stored switch.
	_, err = e.UpdateRegistrationEntry(e.ctx(), workload("a", "a:1", "b:2"), &entryMask{Selectors: true})
	e.failsAs(err, codes.InvalidArgument, mixed)
	if _, err = e.UpdateRegistrationEntry(e.ctx(), workload("a", "a:1", "b:2"), nil); err != nil {
		e.Errorf("switched off: %v", err)
	}
}

func updateEntryPrefetch(e *env) {
	e.createEntries(workload("a", "a:1"))
	entry := workload("a", "a:1")
	entry.StoreSvid = true
	entry.AdditionalAttributes = &spirev1.RegistrationEntry_AdditionalAttributes{DisableX509SvidPrefetch: true}
	if _, err := e.UpdateRegistrationEntry(e.ctx(), entry, nil); err != nil {
		e.Error(err)
	}
}

func updateEntryFederatesWith(e *env) {
	e.createBundles("spiffe://a")
	e.createEntries(workload("a", "a:1"))
	entry := workload("a", "a:1", "a:1")
	entry.FederatesWith = []string{"spiffe://a", "spiffe://z", "spiffe://b"}
	_, err := e.UpdateRegistrationEntry(e.ctx(), entry, nil)
	e.failsAs(err, codes.AlreadyExists, usedSelector) // selectors are written first
	_, err = e.UpdateRegistrationEntry(e.ctx(), entry, &entryMask{FederatesWith: true})
	e.failsAs(err, codes.Unknown, `unable to find federated bundle "spiffe://z"`)
	want := workload("a", "a:1")
	want.CreatedAt = e.clock.Now().Unix()
	e.wantEntry(want)
	e.wantEntryEvents("a")

	// Not looked at without its bit.
	if _, err := e.UpdateRegistrationEntry(e.ctx(), entry, &entryMask{FederatesWith: false, Admin: true}); err != nil {
		e.Error(err)
	}
}

func updateEntryRepetitions(e *env) {
	e.createEntries(workload("a", "a:1"))
	entry := workload("a", "a:1", "a:1")
	entry.DnsNames = []string{"x", "y", "x"}
	_, err := e.UpdateRegistrationEntry(e.ctx(), entry, nil)
	e.failsAs(err, codes.AlreadyExists, usedSelector)
	_, err = e.UpdateRegistrationEntry(e.ctx(), entry, &entryMask{DnsNames: true})
	e.failsAs(err, codes.AlreadyExists, usedDNSName)
	if _, err := e.UpdateRegistrationEntry(e.ctx(), entry, &entryMask{Hint: true}); err != nil {
		e.Error(err)
	}
	e.wantEntryEvents("a", "a")
}

func updateEntryAttributes(e *env) {
	e.createBundles("spiffe://a", "spiffe://b")
	e.createEntries(fullWorkload("a"))
	empty := workload("a", "a:1")
	empty.AdditionalAttributes = &spirev1.RegistrationEntry_AdditionalAttributes{}
	for _, given := range []*registration{empty, workload("a", "a:1")} {
		if _, err := e.UpdateRegistrationEntry(e.ctx(), fullWorkload("a"), nil); err != nil {
			e.Fatal(err)
		}
		got, err := e.UpdateRegistrationEntry(e.ctx(), given, &entryMask{AdditionalAttributes: true})
		if err != nil || got.AdditionalAttributes != nil {
			e.Errorf("got %v, %v", got, err)
		}
		e.wantEntry(got)
	}
}

func updateEntrySimilar(e *env) {
	e.createEntries(workload("a", "a:1"), workload("b", "a:2"))
	like := workload("a", "a:1")
	like.EntryId = "b"
	if _, err := e.UpdateRegistrationEntry(e.ctx(), like, nil); err != nil {
		e.Error(err)
	}
	e.wantEntryEvents("a", "b", "b")
}

func updateEntryIndexes(e *env) {
	e.createBundles("spiffe://a", "spiffe://b")
	e.createEntries(fullWorkload("a"))
	given := workload("a", "z:1", "new:1")
	given.ParentId, given.SpiffeId = "parent", "spiffe"
	if _, err := e.UpdateRegistrationEntry(e.ctx(), given, nil); err != nil {
		e.Fatal(err)
	}
	yes := true
	old := storedFullWorkload("a", 0)
	for _, ds := range e.all {
		for _, req := range []listEntries{
			{ByParentID: old.ParentId}, {BySpiffeID: old.SpiffeId}, {ByHint: "hint"}, {ByDownstream: &yes},
			bySelectors(datastore.MatchAny, "a:2", "m:3"), bySelectors(datastore.Subset, "z:1", "a:2", "m:3"),
			byFederatesWith(datastore.MatchAny, "spiffe://a", "spiffe://b"),
		} {
			e.wantListed(ds, req)
		}
		for _, req := range []listEntries{
			{ByParentID: "parent"}, {BySpiffeID: "spiffe"}, bySelectors(datastore.Exact, "new:1", "z:1"),
			bySelectors(datastore.Subset, "new:1", "z:1"),
		} {
			e.wantListed(ds, req, "a")
		}
	}
	if err := e.PruneRegistrationEntries(e.ctx(), time.Unix(5000, 0)); err != nil { // it has no expiry now
		e.Error(err)
	}
	e.wantEntries("a")
	like := fullWorkload("a") // as it was, so nothing is similar now
	like.EntryId = "b"
	e.createEntries(like)
	if got, existing, err := e.CreateOrReturnRegistrationEntry(e.ctx(), given); err != nil || !existing || got.EntryId != "a" {
		e.Errorf("got %v, %v, %v", got, existing, err)
	}
}
