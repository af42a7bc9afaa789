package datastoretest

import (
	"errors"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store"
)

// Section 2.3.1 of the specification.
var createEntryTests = []conformanceTest{
	{"CreateEntry_FirstInvalidFieldIsNamedEvenWhenClosed", createEntryValidates},
	{"CreateEntry_WhatSPIREDoesNotValidateIsAccepted", createEntryAccepts},
	{"CreateEntry_ReturnsAndStoresTheCanonicalForm", createEntryReturnsStoredForm},
	{"CreateEntry_InputIsNeitherChangedNorKept", createEntryLeavesInputAlone},
	{"CreateEntry_IDIsAUUIDUnlessGiven", createEntryGeneratesID},
	{"CreateEntry_TimeIsRoundedToTheNearestSecond", createEntryRoundsTime},
	{"CreateEntry_RevisionAndTimeOfTheInputAreIgnored", createEntryIgnoresOutputFields},
	{"CreateEntry_DefaultAttributesAreNone", createEntryNormalizesAttributes},
	{"CreateEntry_SimilarEntryIsReturned", createEntrySimilar},
	{"CreateEntry_OldestOfSimilarEntriesIsReturned", createEntryOldestSimilar},
	{"CreateEntry_UsedIDAlreadyExists", createEntryUsedID},
	{"CreateEntry_FederatedBundlesMustExist", createEntryFederatesWith},
	{"CreateEntry_RepetitionsAlreadyExist", createEntryRepetitions},
	{"CreateEntry_FailureChangesNothingAndUsesNoNumber", createEntryFailureIsAtomic},
	{"CreateEntry_TextMustBeUTF8", createEntryUTF8},
	{"CreateEntry_TenThousandSelectorsAreQuick", createEntryManySelectors},
	{"CreateEntry_OverTheLimitIsTooLarge", createEntryTooLarge},
}

// createEntryValidates breaks a field and, in a later row, another one that is
// checked before it.
func createEntryValidates(e *env) {
	const missingEntry = validation + "invalid request: missing registered entry"
	bad := &registration{
		EntryId: strings.Repeat("!", 256), X509SvidTtl: -1, JwtSvidTtl: -1, StoreSvid: true,
		AdditionalAttributes: &spirev1.RegistrationEntry_AdditionalAttributes{DisableX509SvidPrefetch: true},
	}
	steps := []struct {
		text   string
		repair func()
	}{
		{invalidEntry + "missing selector list", func() { bad.Selectors = parseSelectors("a:1", "b:2") }},
		{validation + "specifying cache behaviour is incompatible with storable SVIDs", func() {
			bad.AdditionalAttributes.DisableX509SvidPrefetch = false
			bad.AdditionalAttributes.JwtSvidIncludeJti = true
		}},
		{invalidEntry + "selector types must be the same when store SVID is enabled", func() {
			bad.Selectors = parseSelectors("a:1", "a:2")
		}},
		{invalidEntry + "entry ID too long", func() { bad.EntryId = "a/b" }},
		{invalidEntry + "entry ID contains invalid characters", func() { bad.EntryId = "ABCXYZabcxyz0189-._" }},
		{invalidEntry + "missing SPIFFE ID", func() { bad.SpiffeId = "x" }},
		{invalidEntry + "X509SvidTtl is not set", func() { bad.X509SvidTtl = 0 }},
		{invalidEntry + "JwtSvidTtl is not set", func() { bad.JwtSvidTtl = 0 }},
	}
	closed := e.all[len(e.all)-1]
	if err := closed.Close(); err != nil {
		e.Fatal(err)
	}
	_, err := closed.CreateRegistrationEntry(e.ctx(), nil)
	e.failsAs(err, codes.InvalidArgument, missingEntry)
	for _, step := range steps {
		entry, existing, err := closed.CreateOrReturnRegistrationEntry(e.ctx(), bad)
		e.failsAs(err, codes.InvalidArgument, step.text)
		if entry != nil || existing {
			e.Errorf("%s: got %v, %v with the error", step.text, entry, existing)
		}
		step.repair()
	}
	if _, err = closed.CreateRegistrationEntry(e.ctx(), bad); !errors.Is(err, store.ErrClosed) {
		e.Errorf("valid entry: got %v, want ErrClosed", err)
	}

	for _, id := range []string{"a b", "a/b", "a:b", "ä", "\x00", "a\xff", "a\n"} {
		entry := workload("a", "a:1")
		entry.EntryId = id
		_, err = closed.CreateRegistrationEntry(e.ctx(), entry)
		e.failsAs(err, codes.InvalidArgument, invalidEntry+"entry ID contains invalid characters")
	}
	nilSelector := workload("a", "a:1")
	nilSelector.Selectors = append(nilSelector.Selectors, nil)
	_, err = closed.CreateRegistrationEntry(e.ctx(), nilSelector)
	e.failsAs(err, codes.InvalidArgument, invalidEntry+"selector is nil")
}

func createEntryAccepts(e *env) {
	for i, change := range []func(*registration){
		func(w *registration) { w.ParentId = "" },
		func(w *registration) { w.SpiffeId, w.ParentId = "not an id", "\x00" },
		func(w *registration) { w.Selectors = parseSelectors("") },
		func(w *registration) { w.Selectors = parseSelectors("\x00\x01:\x00", "\x00:\x01:\x00") },
		func(w *registration) { w.DnsNames = []string{"", "*", "a b"} },
		func(w *registration) { w.Hint = strings.Repeat("h", 5000) },
		func(w *registration) { w.SpiffeId, w.ParentId = strings.Repeat("s", 5000), strings.Repeat("p", 5000) },
		func(w *registration) { w.EntryExpiry = -5 },
		func(w *registration) { w.X509SvidTtl, w.JwtSvidTtl = 1<<31-1, 1<<31-1 },
		func(w *registration) { w.EntryId = strings.Repeat("i", 255) },
		func(w *registration) { w.StoreSvid, w.Selectors = true, parseSelectors("a:1", "a:2") },
		func(w *registration) {
			w.StoreSvid = true
			w.AdditionalAttributes = &spirev1.RegistrationEntry_AdditionalAttributes{JwtSvidIncludeJti: true}
		},
	} {
		entry := workload("accepted-"+strconv.Itoa(i), "a:1")
		change(entry)
		created, existing, err := e.CreateOrReturnRegistrationEntry(e.ctx(), entry)
		if err != nil || existing {
			e.Errorf("%d: got %v, existing %v", i, err, existing)
			continue
		}
		entry.CreatedAt = e.clock.Now().Unix()
		if !reflect.DeepEqual(created, entry) {
			e.Errorf("%d: got %v, want %v", i, created, entry)
		}
		e.wantEntry(entry)
	}
}

func createEntryReturnsStoredForm(e *env) {
	e.createBundles("spiffe://a", "spiffe://b")
	now := e.clock.Now().Unix()
	got, existing, err := e.CreateOrReturnRegistrationEntry(e.ctx(), fullWorkload("full"))
	if err != nil || existing || !reflect.DeepEqual(got, storedFullWorkload("full", now)) {
		e.Errorf("got %v, %v, %v", got, existing, err)
	}
	e.wantEntry(storedFullWorkload("full", now))

	got, err = e.CreateRegistrationEntry(e.ctx(), workload("small", "a:1"))
	small := workload("small", "a:1")
	small.CreatedAt = now
	if err != nil || !reflect.DeepEqual(got, small) || got.FederatesWith != nil || got.DnsNames != nil {
		e.Errorf("got %#v, %v", got, err)
	}
	e.wantEntry(small)
	e.wantEntryEvents("full", "small")
}

func createEntryLeavesInputAlone(e *env) {
	e.createBundles("spiffe://a", "spiffe://b")
	input := fullWorkload("full")
	got, err := e.CreateRegistrationEntry(e.ctx(), input)
	if err != nil {
		e.Fatal(err)
	}
	if !reflect.DeepEqual(input, fullWorkload("full")) {
		e.Errorf("the input has become %v", input)
	}
	input.Selectors[0].Type, input.DnsNames[0], input.AdditionalAttributes.JwtSvidIncludeJti = "changed", "changed", false
	got.Selectors[1].Type, got.DnsNames[1], got.FederatesWith[0] = "changed", "changed", "changed"
	e.wantEntry(storedFullWorkload("full", e.clock.Now().Unix()))
}

func createEntryGeneratesID(e *env) {
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for i := range 20 {
		entry := workload("", "a:"+strconv.Itoa(i))
		got, err := e.CreateRegistrationEntry(e.ctx(), entry)
		if err != nil {
			e.Fatal(err)
		}
		if !uuid.MatchString(got.EntryId) || seen[got.EntryId] {
			e.Errorf("id %q is no fresh UUID", got.EntryId)
		}
		seen[got.EntryId] = true
		entry.EntryId, entry.CreatedAt = got.EntryId, got.CreatedAt
		e.wantEntry(entry)
	}
}

func createEntryRoundsTime(e *env) {
	for name, test := range map[string]struct {
		at   time.Time
		want int64
	}{
		"whole":     {time.Unix(2e9, 0), 2e9},
		"below":     {time.Unix(2e9, 499_999_999), 2e9},
		"half":      {time.Unix(2e9, 500_000_000), 2e9 + 1},
		"above":     {time.Unix(2e9, 999_999_999), 2e9 + 1},
		"long-past": {time.Unix(-10, 500_000_000), -9},
	} {
		e.clock.advance(test.at.Sub(e.clock.Now()))
		got, err := e.CreateRegistrationEntry(e.ctx(), workload(name, "a:1"))
		if err != nil || got.CreatedAt != test.want {
			e.Errorf("%s: got %v, %v, want %d", name, got, err, test.want)
		}
	}
}

func createEntryIgnoresOutputFields(e *env) {
	entry := workload("a", "a:1")
	entry.RevisionNumber, entry.CreatedAt = 7, 7
	got, err := e.CreateRegistrationEntry(e.ctx(), entry)
	if err != nil || got.RevisionNumber != 0 || got.CreatedAt != e.clock.Now().Unix() {
		e.Errorf("got %v, %v", got, err)
	}
}

func createEntryNormalizesAttributes(e *env) {
	entry := workload("a", "a:1")
	entry.AdditionalAttributes = &spirev1.RegistrationEntry_AdditionalAttributes{}
	got, err := e.CreateRegistrationEntry(e.ctx(), entry)
	if err != nil || got.AdditionalAttributes != nil {
		e.Errorf("got %v, %v", got, err)
	}
	e.wantEntry(got)

	unknown := func(size int) *spirev1.RegistrationEntry_AdditionalAttributes {
		a := &spirev1.RegistrationEntry_AdditionalAttributes{}
		// Field 15, of 3 bytes of length.
		field := append([]byte{15<<3 | 2, byte(size)&0x7f | 0x80, byte(size>>7)&0x7f | 0x80, byte(size >> 14)}, make([]byte, size)...)
		a.ProtoReflect().SetUnknown(protoreflect.RawFields(field))
		return a
	}
	entry = workload("b", "a:1")
	entry.AdditionalAttributes = unknown(65535 - 3) // and 4 bytes before it
	_, err = e.CreateRegistrationEntry(e.ctx(), entry)
	e.failsAs(err, codes.InvalidArgument,
		invalidEntry+"additional attributes size exceeds the maximum allowed size of 65535 bytes")
	absent := workload("absent", "a:1")
	absent.AdditionalAttributes = entry.AdditionalAttributes
	_, err = e.UpdateRegistrationEntry(e.ctx(), absent, nil) // that there is none comes first
	e.isNotFound(err)
	similar := workload("a", "a:1")
	similar.AdditionalAttributes = entry.AdditionalAttributes
	if _, existing, err := e.CreateOrReturnRegistrationEntry(e.ctx(), similar); err != nil || !existing {
		e.Errorf("a similar entry with attributes that are too large: existing %v, error %v", existing, err)
	}
	entry.AdditionalAttributes = unknown(65535 - 4)
	if got, err = e.CreateRegistrationEntry(e.ctx(), entry); err != nil || got.AdditionalAttributes == nil {
		e.Errorf("attributes of 65535 bytes: %v", err)
	}
}

const usedEntryID = "datastore-sql: UNIQUE constraint failed: registered_entries.entry_id"

func createEntryUsedID(e *env) {
	e.createEntries(workload("a", "a:1"))
	other := workload("other", "a:1", "a:1") // the id is checked before repetitions
	other.EntryId = "a"
	other.FederatesWith = []string{"spiffe://none"} // and before bundles
	got, existing, err := e.CreateOrReturnRegistrationEntry(e.ctx(), other)
	e.failsAs(err, codes.AlreadyExists, usedEntryID)
	if got != nil || existing {
		e.Errorf("got %v, %v with the error", got, existing)
	}
	other.EntryId, other.Selectors, other.FederatesWith = "A", parseSelectors("a:1"), nil
	e.createEntries(other) // ids are case-sensitive
	e.wantEntryEvents("a", "A")
}

func createEntryFederatesWith(e *env) {
	e.createBundles("spiffe://a", "", "spiffe://long/"+strings.Repeat("x", 2000))
	for _, test := range []struct {
		federatesWith []string
		missing       string
	}{
		{[]string{"spiffe://z", "spiffe://a", "spiffe://b"}, "spiffe://z"}, // the first in the order given
		{[]string{"spiffe://a", "spiffe://A"}, "spiffe://A"},
		{[]string{"a"}, "a"},
		{[]string{"spiffe://a", `"` + "\n"}, `"` + "\n"},
	} {
		entry := workload("a", "a:1", "a:1") // bundles are checked before repetitions
		entry.FederatesWith = test.federatesWith
		_, err := e.CreateRegistrationEntry(e.ctx(), entry)
		e.failsAs(err, codes.Unknown, "unable to find federated bundle "+strconv.Quote(test.missing))
	}
	entry := workload("a", "a:1")
	entry.FederatesWith = []string{"spiffe://long/" + strings.Repeat("x", 2000), "spiffe://a", "", "spiffe://a"}
	e.createEntries(entry)
	entry.FederatesWith = []string{"", "spiffe://a", "spiffe://long/" + strings.Repeat("x", 2000)}
	entry.CreatedAt = e.clock.Now().Unix()
	e.wantEntry(entry)
}

const (
	usedSelector = "datastore-sql: UNIQUE constraint failed: " +
		"selectors.registered_entry_id, selectors.type, selectors.value"
	usedDNSName = "datastore-sql: UNIQUE constraint failed: dns_names.registered_entry_id, dns_names.value"
)

func createEntryRepetitions(e *env) {
	entry := workload("a", "a:1", "b:2", "a:1")
	entry.DnsNames = []string{"x", "x"}
	_, err := e.CreateRegistrationEntry(e.ctx(), entry)
	e.failsAs(err, codes.AlreadyExists, usedSelector)
	entry.Selectors = parseSelectors("a:1", "b:2", "a:2", "b:1")
	_, err = e.CreateRegistrationEntry(e.ctx(), entry)
	e.failsAs(err, codes.AlreadyExists, usedDNSName)
	entry.DnsNames = []string{"x", "X", "y"}
	e.createEntries(entry)
	e.wantEntryEvents("a")
}

func createEntryFailureIsAtomic(e *env) {
	failing := workload("a", "a:1")
	failing.FederatesWith = []string{"spiffe://none"}
	if _, err := e.CreateRegistrationEntry(e.ctx(), failing); err == nil {
		e.Error("no error")
	}
	e.wantNoEntry("a")
	e.wantEntries()
	e.wantEntryEvents()
	e.createEntries(workload("b", "a:1"))
	e.wantEntryEvents("b")
	e.wantPage(e.DataStore, nil, "", 5, "1", "b")
}
