package records_test

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	recordsv1 "github.com/spire-raft/spire-raft/proto/records/v1"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
)

func someBundle() *spirev1.Bundle {
	return &spirev1.Bundle{
		TrustDomainId:  "spiffe://td",
		RootCas:        []*spirev1.Certificate{{DerBytes: []byte("der")}, {DerBytes: []byte("der2"), TaintedKey: true}},
		JwtSigningKeys: []*spirev1.PublicKey{{PkixBytes: []byte("pkix"), Kid: "kid", NotAfter: -1}},
		RefreshHint:    60,
		SequenceNumber: math.MaxUint64,
		WitSigningKeys: []*spirev1.PublicKey{{Kid: "wit", TaintedKey: true}},
	}
}

func someNode() *spirev1.AttestedNode {
	return &spirev1.AttestedNode{
		SpiffeId: "spiffe://td/n", AttestationDataType: "t", CertSerialNumber: "1", CertNotAfter: 2,
		NewCertSerialNumber: "3", NewCertNotAfter: 4, CanReattest: true, AgentVersion: "5",
	}
}

func someSelectors() *records.NodeSelectors {
	return &records.NodeSelectors{
		SpiffeID: "spiffe://td/n", Selectors: []*spirev1.Selector{{Type: "a", Value: "1"}, {Type: "b"}},
	}
}

func someRelationship() *recordsv1.FederationRelationship {
	return &recordsv1.FederationRelationship{
		TrustDomain: "td", BundleEndpointUrl: "u", BundleEndpointProfile: "p", EndpointSpiffeId: "s",
	}
}

func someJournal() *recordsv1.CAJournal {
	return &recordsv1.CAJournal{Key: "k", Data: []byte("data"), ActiveX509AuthorityId: "a"}
}

func someToken() *recordsv1.JoinToken { return &recordsv1.JoinToken{Token: "t0ken", Expiry: 5} }

func TestKind_WhatIsReadEqualsLiterals(t *testing.T) {
	roundTrip(t, records.Bundles, someBundle)
	roundTrip(t, records.Bundles, func() *spirev1.Bundle { return &spirev1.Bundle{} })
	roundTrip(t, records.Entries, fullEntry)
	roundTrip(t, records.Nodes, someNode)
	roundTrip(t, records.NodeSelectorSets, someSelectors)
	roundTrip(t, records.JoinTokens, someToken)
	roundTrip(t, records.FederationRelationships, someRelationship)
	roundTrip(t, records.CAJournals, someJournal)
}

// roundTrip tests that an object is read as it was written, and that writing
// and copying leave it alone, in the sense of SPIRE's tests, which compare
// messages as structs.
func roundTrip[T any](t *testing.T, kind *records.Kind[T], literal func() T) {
	t.Helper()
	object := literal()
	value, err := kind.Encode(records.Item[T]{Number: 258, Object: object})
	if err != nil {
		t.Fatal(err)
	}
	kind.Indexes(object)
	if !reflect.DeepEqual(object, literal()) {
		t.Errorf("%s: encoding touches the object", kind.Type())
	}
	got, err := kind.Decode(kind.ID(object), slices.Clone(value))
	if err != nil || got.Number != 258 || !reflect.DeepEqual(got.Object, literal()) {
		t.Errorf("%s: got %+v, %v", kind.Type(), got, err)
	}
	again, err := kind.DecodePair(kind.Key(kind.ID(object)), value)
	if err != nil || !reflect.DeepEqual(again.Object, literal()) {
		t.Errorf("%s: got %+v, %v", kind.Type(), again, err)
	}
	if _, err := kind.Decode("another id", value); !errors.Is(err, records.ErrMalformed) && kind.Type() != "node-selectors" {
		t.Errorf("%s: read under another id: %v", kind.Type(), err)
	}
	if _, err := kind.Decode(kind.ID(object), value[:7]); !errors.Is(err, records.ErrMalformed) {
		t.Errorf("%s: read without a number: %v", kind.Type(), err)
	}
}

func TestCopy_EqualsAndSharesNothing(t *testing.T) {
	b, e, n := someBundle(), fullEntry(), someNode()
	n.Selectors = someSelectors().Selectors
	bundle, entry, node := records.CopyBundle(b), records.CopyEntry(e), records.CopyNode(n)
	if !reflect.DeepEqual(bundle, someBundle()) || !reflect.DeepEqual(entry, fullEntry()) || !reflect.DeepEqual(node, n) {
		t.Fatal("copies differ")
	}
	b.RootCas[0].DerBytes[0] = 'x'
	b.JwtSigningKeys[0].Kid = "x"
	e.Selectors[0].Type, e.DnsNames[0], e.FederatesWith[0] = "x", "x", "x"
	e.AdditionalAttributes.JwtSvidIncludeJti = false
	if !reflect.DeepEqual(bundle, someBundle()) || !reflect.DeepEqual(entry, fullEntry()) {
		t.Error("copies share memory with the original")
	}
	if records.CopyBundle(nil) != nil || records.CopyEntry(nil) != nil || records.CopyNode(nil) != nil {
		t.Error("a copy of nil is not nil")
	}
}

// A clone is what decoding gives, with what this version doesn't know.
func TestCloneEntry_EqualsAndSharesNothing(t *testing.T) {
	decode := func() *spirev1.RegistrationEntry {
		stored := fullEntry()
		stored.Selectors = append(stored.Selectors, &spirev1.Selector{Type: "b", Value: "2"})
		unknown := []byte{0x78, 0x01}
		stored.Selectors[1].ProtoReflect().SetUnknown(unknown)
		stored.AdditionalAttributes.ProtoReflect().SetUnknown(unknown)
		message, err := proto.Marshal(stored)
		if err != nil {
			t.Fatal(err)
		}
		item, err := records.Entries.Decode("id", append(make([]byte, 8), message...))
		if err != nil {
			t.Fatal(err)
		}
		return item.Object
	}
	original := decode()
	clone := records.CloneEntry(original)
	original.Selectors[0].Type, original.DnsNames[0], original.FederatesWith[0] = "x", "x", "x"
	original.Selectors[1].ProtoReflect().GetUnknown()[1] = 9
	original.AdditionalAttributes.JwtSvidIncludeJti = false
	if !proto.Equal(clone, decode()) {
		t.Errorf("got %v, want %v", clone, decode())
	}
	if len(clone.Selectors[1].ProtoReflect().GetUnknown()) == 0 {
		t.Error("a selector has lost what this version doesn't know")
	}
	bare := records.CloneEntry(&spirev1.RegistrationEntry{})
	if bare.Selectors != nil || bare.FederatesWith != nil || bare.DnsNames != nil || bare.AdditionalAttributes != nil {
		t.Errorf("lists that are not there became %v", bare)
	}
	if records.CloneEntry(nil) != nil {
		t.Error("a clone of nil is not nil")
	}
}

func TestBundles_UnknownFieldsSurvive(t *testing.T) {
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 1000, protowire.VarintType), 7)
	value, err := records.Bundles.Encode(records.Item[*spirev1.Bundle]{Object: someBundle()})
	if err != nil {
		t.Fatal(err)
	}
	item, err := records.Bundles.Decode("spiffe://td", append(value, unknown...))
	if err != nil {
		t.Fatal(err)
	}
	value, err = records.Bundles.Encode(records.Item[*spirev1.Bundle]{Object: records.CopyBundle(item.Object)})
	if err != nil || !strings.HasSuffix(string(value), string(unknown)) {
		t.Errorf("unknown field is gone: %x, %v", value, err)
	}
}

// The attributes of an entry are the only part of it in which SPIRE keeps what
// it doesn't know.
func TestEntries_KeepUnknownFieldsOfAttributesOnly(t *testing.T) {
	unknown := []byte{0x78, 0x01}
	entry := fullEntry()
	entry.ProtoReflect().SetUnknown(unknown)
	entry.AdditionalAttributes.ProtoReflect().SetUnknown(unknown)
	value, err := records.Entries.Encode(records.Item[*spirev1.RegistrationEntry]{Object: entry})
	if err != nil {
		t.Fatal(err)
	}
	item, err := records.Entries.Decode("id", append(value, unknown...))
	if err != nil {
		t.Fatal(err)
	}
	if got := item.Object.ProtoReflect().GetUnknown(); got != nil {
		t.Errorf("entry has %x", got)
	}
	if got := item.Object.AdditionalAttributes.ProtoReflect().GetUnknown(); string(got) != string(unknown) {
		t.Errorf("attributes have %x, want %x", got, unknown)
	}
}

func TestEncode_RefusesStringsThatAreNotUTF8(t *testing.T) {
	_, err := records.Entries.Encode(records.Item[*spirev1.RegistrationEntry]{
		Object: &spirev1.RegistrationEntry{SpiffeId: "\xff"},
	})
	if !errors.Is(err, records.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
}

func TestMalformed_NamesTheKeyButNoSecret(t *testing.T) {
	_, err := records.Bundles.Decode("spiffe://td", []byte("not a bundle"))
	if err == nil || !strings.Contains(err.Error(), `item "bundle" "spiffe://td"`) {
		t.Errorf("got %v", err)
	}
	_, err = records.JoinTokens.Decode("t0ken", []byte("not a token."))
	if err == nil || strings.Contains(err.Error(), "t0ken") {
		t.Errorf("got %v", err)
	}
}

// TestIndexes pins the records of indexes, which stored data depends on.
func TestIndexes(t *testing.T) {
	entry := fullEntry()
	entry.Selectors = append(entry.Selectors, &spirev1.Selector{Type: "b"}, &spirev1.Selector{Type: "b"})
	expiry := "\x80\x00\x00\x00\x5f\x5e\x10\x00"
	tests := []struct {
		kind string
		got  []records.IndexRecord
		want []records.IndexRecord
	}{
		{"bundle", records.Bundles.Indexes(someBundle()), []records.IndexRecord{
			{"", "", "spiffe://td"}, {"id", "spiffe://td", "spiffe://td"},
		}},
		{"entry", records.Entries.Indexes(entry), []records.IndexRecord{
			{"", "", "id"},
			{"parent_id", "spiffe://td/p", "id"},
			{"spiffe_id", "spiffe://td/w", "id"},
			{"similar", records.SimilarValue(entry), "id"},
			{"hint", "hint", "id"},
			{"downstream", "1", "id"},
			{"expiry", expiry, "id"},
			{"selector", "\x01a1", "\x02id"},
			{"selector", "\x01b", "\x02id"},
			{"federates_with", "spiffe://b", "\x01id"},
		}},
		{"entry that has little", records.Entries.Indexes(&spirev1.RegistrationEntry{}), []records.IndexRecord{
			{"", "", ""}, {"parent_id", "", ""}, {"spiffe_id", "", ""},
			{"similar", records.SimilarValue(&spirev1.RegistrationEntry{}), ""},
		}},
		{"node", records.Nodes.Indexes(someNode()), []records.IndexRecord{
			{"", "", "spiffe://td/n"},
			{"id", "spiffe://td/n", "spiffe://td/n"},
			{"type", "t", "spiffe://td/n"},
			{"banned", "0", "spiffe://td/n"},
			{"can_reattest", "1", "spiffe://td/n"},
			{"expiry", "\x80\x00\x00\x00\x00\x00\x00\x02", "spiffe://td/n"},
		}},
		{"selectors", records.NodeSelectorSets.Indexes(someSelectors()), []records.IndexRecord{
			{"", "", "spiffe://td/n"},
			{"selector", "\x01a1", "\x02spiffe://td/n"}, {"selector", "\x01b", "\x02spiffe://td/n"},
		}},
		{"token", records.JoinTokens.Indexes(someToken()), []records.IndexRecord{
			{"", "", "t0ken"}, {"expiry", "\x80\x00\x00\x00\x00\x00\x00\x05", "t0ken"},
		}},
		{"relationship", records.FederationRelationships.Indexes(someRelationship()), []records.IndexRecord{{"", "", "td"}}},
		{"journal", records.CAJournals.Indexes(someJournal()), []records.IndexRecord{{"", "", "k"}, {"authority", "a", "k"}}},
	}
	for _, test := range tests {
		if !slices.Equal(test.got, test.want) {
			t.Errorf("%s:\n got %q\nwant %q", test.kind, test.got, test.want)
		}
	}
}

func TestPosting_ReadsWhatIndexesWrite(t *testing.T) {
	for _, r := range records.Entries.Indexes(fullEntry()) {
		p, err := records.Entries.Posting(records.Entries.IndexKey(r, 7), []byte(r.Data))
		set := r.Field == records.FieldSelector || r.Field == records.FieldFederatesWith
		if err != nil || p.Number != 7 || string(p.ID) != "id" || (p.SetSize == 1) != set {
			t.Errorf("%s: got %+v, %v", r.Field, p, err)
		}
	}
	r := records.IndexRecord{Field: records.FieldSelector}
	for _, data := range []string{"", "\x00id", "\xff"} {
		if _, err := records.Entries.Posting(records.Entries.IndexKey(r, 7), []byte(data)); !errors.Is(err, records.ErrMalformed) {
			t.Errorf("%q: got %v", data, err)
		}
	}
}

func TestIndexValue_LongOnesAreDigested(t *testing.T) {
	at := func(parent string) string {
		return records.Entries.Indexes(&spirev1.RegistrationEntry{ParentId: parent})[1].Value
	}
	short, long := strings.Repeat("x", 512), strings.Repeat("x", 513)
	if at(short) != short {
		t.Error("a short value is changed")
	}
	digest := at(long)
	if len(digest) != 33 || digest[0] != 0xff || digest == at(long+"x") {
		t.Errorf("digest %x", digest)
	}
	if at(digest) == digest {
		t.Error("a value that looks like a digest collides with what has the digest")
	}
}

func TestDiff_TurnsOldIntoNew(t *testing.T) {
	record := rapid.Custom(func(t *rapid.T) records.IndexRecord {
		return records.IndexRecord{
			Field: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "field"),
			Value: rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "value"),
			Data:  rapid.SampledFrom([]string{"x", "y"}).Draw(t, "data"),
		}
	})
	list := rapid.SliceOfDistinct(record, func(r records.IndexRecord) [2]string { return [2]string{r.Field, r.Value} })
	apply := func(state map[[2]string]string, remove, put []records.IndexRecord) {
		for _, r := range remove {
			delete(state, [2]string{r.Field, r.Value})
		}
		for _, r := range put {
			state[[2]string{r.Field, r.Value}] = r.Data
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		before, after := list.Draw(t, "old"), list.Draw(t, "new")
		got, want := map[[2]string]string{}, map[[2]string]string{}
		apply(got, nil, before)
		apply(want, nil, after)
		remove, put := records.Diff(before, after)
		apply(got, remove, put)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		for _, r := range put {
			if slices.Contains(before, r) {
				t.Fatalf("%v is written again", r)
			}
		}
	})
}

func TestOrderedInt64_SortsAsNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64().Draw(t, "a"), rapid.Int64().Draw(t, "b")
		if (a < b) != (records.OrderedInt64(a) < records.OrderedInt64(b)) {
			t.Fatalf("%d and %d", a, b)
		}
	})
}

func TestSimilar_ComparesIDsAndTheSetOfSelectors(t *testing.T) {
	a, b := &spirev1.Selector{Type: "a", Value: "1"}, &spirev1.Selector{Type: "b"}
	base := &spirev1.RegistrationEntry{SpiffeId: "s", ParentId: "p", Selectors: []*spirev1.Selector{a, b}}
	same := &spirev1.RegistrationEntry{SpiffeId: "s", ParentId: "p", Selectors: []*spirev1.Selector{b, a, b}, Hint: "h"}
	if records.SimilarValue(base) != records.SimilarValue(same) {
		t.Error("order, repetition or another field counts")
	}
	for _, other := range []*spirev1.RegistrationEntry{
		{SpiffeId: "sp", ParentId: "", Selectors: base.Selectors},
		{SpiffeId: "s", ParentId: "q", Selectors: base.Selectors},
		{SpiffeId: "s", ParentId: "p", Selectors: []*spirev1.Selector{a}},
		{SpiffeId: "s", ParentId: "p", Selectors: []*spirev1.Selector{b, {Type: "a1"}}},
	} {
		if records.SimilarValue(base) == records.SimilarValue(other) {
			t.Errorf("%v is similar", other)
		}
	}
}

func TestStream_RoundTrip(t *testing.T) {
	want := records.Event{Number: 7, CreatedAt: time.Unix(1, 2).UTC(), ObjectID: "id"}
	value, err := records.EntryEvents.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := records.EntryEvents.DecodePair(records.EntryEvents.Key(7), value)
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, key := range [][]byte{nil, records.NodeEvents.Key(7), records.EntryEvents.Prefix()} {
		if _, err := records.EntryEvents.DecodePair(key, value); !errors.Is(err, records.ErrMalformed) {
			t.Errorf("key %q: got %v", key, err)
		}
	}
}
