package datastoretest

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

var bundleTests = []conformanceTest{
	{"2.1.1 CreateBundle stores the bundle as it is", createBundle},
	{"2.1.1 an empty bundle is a bundle", createEmptyBundle},
	{"2.1.1 2.1.3 2.1.4 2.1.5 no bundle is an error", nilBundle},
	{"2.1.2 FetchBundle compares ids byte by byte", fetchBundle},
	{"2.1.2 a bundle that does not decode is named, others are served", damagedBundle},
	{"2.1.3 UpdateBundle replaces what the mask names", updateBundle},
	{"2.1.4 SetBundle creates or replaces", setBundle},
	{"2.1.5 AppendBundle creates the bundle as given", appendBundleCreates},
	{"2.1.5 AppendBundle adds what is not fully equal", appendBundleMerges},
	{"2.1.5 T40 parallel AppendBundle loses nothing", appendBundleParallel},
	{"2.1.7 3.4 ListBundles pages in the order of creation", listBundles},
	{"1.4 3.4 updates move nothing, failed creates use no number", listBundlesNumbers},
	{"2.1.7 CountBundles counts all", countBundles},
	{"2.1 4.2 bundles emit no events", bundlesEmitNothing},
	{"2.0 bundles: texts that are not UTF-8 are refused", bundleNotUTF8},
	{"1.1 unknown fields of a bundle survive", bundleUnknownFields},
	{"2.0 bundles: closed DataStore", bundlesClosed},
}

// testBundle is a bundle with every field set.
func testBundle(name string) *spirev1.Bundle {
	return &spirev1.Bundle{
		TrustDomainId: "spiffe://" + name,
		RootCas: []*spirev1.Certificate{
			{DerBytes: []byte{1}}, {DerBytes: []byte("bar"), TaintedKey: true},
		},
		JwtSigningKeys: []*spirev1.PublicKey{{PkixBytes: []byte("jwt"), Kid: "kid", NotAfter: 9}},
		RefreshHint:    60,
		SequenceNumber: 42,
		WitSigningKeys: []*spirev1.PublicKey{{PkixBytes: []byte("wit"), Kid: "wit", TaintedKey: true}},
	}
}

// hasBundle reports a bundle that is not stored as want, on any handle.
func (e *env) hasBundle(want *spirev1.Bundle) {
	e.Helper()
	for _, d := range e.all {
		got, err := d.FetchBundle(e.ctx(), want.TrustDomainId)
		e.succeeds(err)
		same(e, got, want, "stored bundle")
	}
}

// addBundles creates bundles with the given names.
func (e *env) addBundles(names ...string) {
	e.Helper()
	for i, name := range names {
		_, err := e.at(i).CreateBundle(e.ctx(), testBundle(name))
		e.succeeds(err)
	}
}

func createBundle(e *env) {
	input := testBundle("td")
	got, err := e.CreateBundle(e.ctx(), input)
	e.succeeds(err)
	same(e, got, testBundle("td"), "result")
	same(e, input, testBundle("td"), "input afterwards")
	e.hasBundle(testBundle("td"))

	input.RootCas[0].DerBytes[0] = 7
	got.SequenceNumber = 7
	e.hasBundle(testBundle("td"))

	for _, d := range e.all {
		got, err := d.CreateBundle(e.ctx(), &spirev1.Bundle{TrustDomainId: "spiffe://td"})
		e.failsWith(err, codes.AlreadyExists, "UNIQUE constraint failed: bundles.trust_domain")
		same(e, got, nil, "result")
	}
	e.hasBundle(testBundle("td"))
}

func createEmptyBundle(e *env) {
	got, err := e.CreateBundle(e.ctx(), &spirev1.Bundle{})
	e.succeeds(err)
	same(e, got, &spirev1.Bundle{}, "result")
	e.hasBundle(&spirev1.Bundle{})
}

func nilBundle(e *env) {
	_, create := e.CreateBundle(e.ctx(), nil)
	_, update := e.UpdateBundle(e.ctx(), nil, nil)
	_, set := e.SetBundle(e.ctx(), nil)
	_, add := e.AppendBundle(e.ctx(), nil)
	for _, err := range []error{create, update, set, add} {
		e.failsAs(err, codes.Unknown, "datastore-sql: missing bundle in request")
	}
}

func fetchBundle(e *env) {
	e.addBundles("td")
	for _, id := range []string{"", "td", "spiffe://TD", "spiffe://td/", "spiffe://t", notUTF8} {
		got, err := e.FetchBundle(e.ctx(), id)
		if got != nil || err != nil {
			e.Errorf("%q: got %v, %v", id, got, err)
		}
	}
}

func damagedBundle(e *env) {
	e.addBundles("good", "bad")
	damage(e, records.Bundles, "spiffe://bad")
	_, err := e.FetchBundle(e.ctx(), "spiffe://bad")
	e.failsWith(err, codes.Unknown, "datastore-sql: ", `"spiffe://bad"`)
	if !errors.Is(err, records.ErrMalformed) {
		e.Errorf("error %v is not ErrMalformed", err)
	}
	e.hasBundle(testBundle("good"))
}

func updateBundle(e *env) {
	given := &spirev1.Bundle{
		RootCas:        []*spirev1.Certificate{{DerBytes: []byte("new"), TaintedKey: true}},
		JwtSigningKeys: []*spirev1.PublicKey{{Kid: "new"}},
		WitSigningKeys: []*spirev1.PublicKey{{Kid: "new wit"}},
		RefreshHint:    1, SequenceNumber: 2,
	}
	tests := []struct {
		name  string
		given *spirev1.Bundle
		mask  *spirev1.BundleMask
		want  func(*spirev1.Bundle)
	}{
		{"nil is all", given, nil, func(b *spirev1.Bundle) {
			b.RootCas, b.JwtSigningKeys, b.WitSigningKeys = given.RootCas, given.JwtSigningKeys, given.WitSigningKeys
			b.RefreshHint, b.SequenceNumber = 1, 2
		}},
		{"nil is all, also what is empty", &spirev1.Bundle{}, nil, func(b *spirev1.Bundle) {
			*b = spirev1.Bundle{TrustDomainId: b.TrustDomainId}
		}},
		{"no bit", given, &spirev1.BundleMask{}, func(*spirev1.Bundle) {}},
		{"x509_tainted_keys is dead", given, &spirev1.BundleMask{X509TaintedKeys: true}, func(*spirev1.Bundle) {}},
		{"root_cas", given, &spirev1.BundleMask{RootCas: true}, func(b *spirev1.Bundle) { b.RootCas = given.RootCas }},
		{"root_cas by none", &spirev1.Bundle{}, &spirev1.BundleMask{RootCas: true}, func(b *spirev1.Bundle) { b.RootCas = nil }},
		{"jwt_signing_keys", given, &spirev1.BundleMask{JwtSigningKeys: true}, func(b *spirev1.Bundle) { b.JwtSigningKeys = given.JwtSigningKeys }},
		{"wit_signing_keys", given, &spirev1.BundleMask{WitSigningKeys: true}, func(b *spirev1.Bundle) { b.WitSigningKeys = given.WitSigningKeys }},
		{"refresh_hint", given, &spirev1.BundleMask{RefreshHint: true}, func(b *spirev1.Bundle) { b.RefreshHint = 1 }},
		{"sequence_number", given, &spirev1.BundleMask{SequenceNumber: true}, func(b *spirev1.Bundle) { b.SequenceNumber = 2 }},
	}
	for i, test := range tests {
		e.addBundles(fmt.Sprint(i))
		want := testBundle(fmt.Sprint(i))
		test.want(want)
		input := records.CopyBundle(test.given)
		input.TrustDomainId = want.TrustDomainId
		got, err := e.UpdateBundle(e.ctx(), input, test.mask)
		e.succeeds(err)
		same(e, got, want, test.name)
		e.hasBundle(want)
	}
	got, err := e.UpdateBundle(e.ctx(), given, nil)
	e.isNotFound(err)
	same(e, got, nil, "result")
}

func setBundle(e *env) {
	got, err := e.SetBundle(e.ctx(), testBundle("td"))
	e.succeeds(err)
	same(e, got, testBundle("td"), "created")
	e.hasBundle(testBundle("td"))

	less := &spirev1.Bundle{TrustDomainId: "spiffe://td", SequenceNumber: 2}
	got, err = e.at(1).SetBundle(e.ctx(), less)
	e.succeeds(err)
	same(e, got, less, "replaced")
	e.hasBundle(&spirev1.Bundle{TrustDomainId: "spiffe://td", SequenceNumber: 2})
}

func appendBundleCreates(e *env) {
	got, err := e.AppendBundle(e.ctx(), testBundle("td"))
	e.succeeds(err)
	same(e, got, testBundle("td"), "result")
	e.hasBundle(testBundle("td"))
}

func appendBundleMerges(e *env) {
	jwt := testBundle("").JwtSigningKeys[0]
	newCA := &spirev1.Certificate{DerBytes: []byte("new")}
	newKey := &spirev1.PublicKey{Kid: "new"}
	tests := []struct {
		name  string
		given spirev1.Bundle
		want  func(*spirev1.Bundle) // nil: nothing is added
	}{
		{"hint and number of the input are ignored", spirev1.Bundle{RefreshHint: 1, SequenceNumber: 100}, nil},
		{"equal elements", spirev1.Bundle{
			RootCas: testBundle("").RootCas, JwtSigningKeys: testBundle("").JwtSigningKeys,
			WitSigningKeys: testBundle("").WitSigningKeys, RefreshHint: 1,
		}, nil},
		{"a new CA among others, before them", spirev1.Bundle{
			RootCas: []*spirev1.Certificate{newCA, {DerBytes: []byte{1}}}, RefreshHint: 1, SequenceNumber: 7,
		}, func(b *spirev1.Bundle) { b.RootCas = append(b.RootCas, newCA) }},
		{"equal new ones are both added", spirev1.Bundle{
			RootCas: []*spirev1.Certificate{newCA, newCA},
		}, func(b *spirev1.Bundle) { b.RootCas = append(b.RootCas, newCA, newCA) }},
		{"T23 an untainted copy of a tainted CA", spirev1.Bundle{
			RootCas: []*spirev1.Certificate{{DerBytes: []byte("bar")}},
		}, func(b *spirev1.Bundle) {
			b.RootCas = append(b.RootCas, &spirev1.Certificate{DerBytes: []byte("bar")})
		}},
		{"T23 a tainted copy of a JWT key", spirev1.Bundle{
			JwtSigningKeys: []*spirev1.PublicKey{{PkixBytes: jwt.PkixBytes, Kid: jwt.Kid, NotAfter: jwt.NotAfter, TaintedKey: true}},
		}, func(b *spirev1.Bundle) {
			b.JwtSigningKeys = append(b.JwtSigningKeys,
				&spirev1.PublicKey{PkixBytes: jwt.PkixBytes, Kid: jwt.Kid, NotAfter: jwt.NotAfter, TaintedKey: true})
		}},
		{"the same kid with another expiry", spirev1.Bundle{
			JwtSigningKeys: []*spirev1.PublicKey{{PkixBytes: jwt.PkixBytes, Kid: jwt.Kid, NotAfter: 10}},
		}, func(b *spirev1.Bundle) {
			b.JwtSigningKeys = append(b.JwtSigningKeys, &spirev1.PublicKey{PkixBytes: jwt.PkixBytes, Kid: jwt.Kid, NotAfter: 10})
		}},
		{"all three kinds", spirev1.Bundle{
			RootCas: []*spirev1.Certificate{newCA}, JwtSigningKeys: []*spirev1.PublicKey{newKey}, WitSigningKeys: []*spirev1.PublicKey{newKey},
		}, func(b *spirev1.Bundle) {
			b.RootCas, b.JwtSigningKeys = append(b.RootCas, newCA), append(b.JwtSigningKeys, newKey)
			b.WitSigningKeys = append(b.WitSigningKeys, newKey)
		}},
	}
	for i := range tests {
		test := &tests[i]
		e.addBundles(fmt.Sprint(i))
		want := testBundle(fmt.Sprint(i))
		if test.want != nil {
			test.want(want)
			want.SequenceNumber++
		}
		test.given.TrustDomainId = want.TrustDomainId
		got, err := e.AppendBundle(e.ctx(), &test.given)
		e.succeeds(err)
		same(e, got, want, test.name)
		e.hasBundle(want)
	}
}

func appendBundleParallel(e *env) {
	const n = 20
	errs := parallel(n, func(i int) error {
		_, err := e.at(i).AppendBundle(e.ctx(), &spirev1.Bundle{
			TrustDomainId: "spiffe://td", RootCas: []*spirev1.Certificate{{DerBytes: []byte{byte(i)}}},
		})
		return err
	})
	same(e, errs, nil, "errors")
	got, err := e.FetchBundle(e.ctx(), "spiffe://td")
	e.succeeds(err)
	if len(got.RootCas) != n || got.SequenceNumber != n-1 {
		e.Errorf("got %d root CAs and sequence number %d", len(got.RootCas), got.SequenceNumber)
	}
}

// pageTest is a page of four objects called d, c, b and a, in the order of their
// creation, and what it must have.
type pageTest struct {
	page      *datastore.Pagination
	want      string
	wantToken string
}

// pageTests is how all lists page.
var pageTests = []pageTest{
	{nil, "d c b a", ""},
	{&datastore.Pagination{PageSize: 5}, "d c b a", "4"}, // T1: the last page has a token
	{&datastore.Pagination{PageSize: 4}, "d c b a", "4"},
	{&datastore.Pagination{PageSize: 2}, "d c", "2"},
	{&datastore.Pagination{PageSize: 1}, "d", "1"},
	{&datastore.Pagination{PageSize: 1, Token: "1"}, "c", "2"},
	{&datastore.Pagination{PageSize: 1, Token: "3"}, "a", "4"},
	{&datastore.Pagination{PageSize: 1, Token: "4"}, "", ""},
	{&datastore.Pagination{PageSize: 2, Token: "0"}, "d c", "2"},
	{&datastore.Pagination{PageSize: 2, Token: "02"}, "b a", "4"},
	{&datastore.Pagination{PageSize: 3, Token: "3"}, "a", "4"},
	{&datastore.Pagination{PageSize: 2, Token: "5000000000"}, "", ""}, // T44
	{&datastore.Pagination{PageSize: 2, Token: "9223372036854775808"}, "", ""},
	{&datastore.Pagination{PageSize: 2, Token: "18446744073709551615"}, "", ""},
}

// checkPages runs pageTests and wrong pages on list, which returns what it
// found as "d c".
func (e *env) checkPages(list func(*datastore.DataStore, *datastore.Pagination) (string, *datastore.Pagination, error)) {
	e.Helper()
	for i, test := range pageTests {
		var given datastore.Pagination
		if test.page != nil {
			given = *test.page
		}
		got, next, err := list(e.at(i), test.page)
		e.succeeds(err)
		if got != test.want {
			e.Errorf("%+v: got %q, want %q", test.page, got, test.want)
		}
		if test.page == nil {
			same(e, next, nil, "pagination")
			continue
		}
		same(e, next, &datastore.Pagination{PageSize: test.page.PageSize, Token: test.wantToken}, "pagination")
		same(e, *test.page, given, "the request's pagination afterwards")
	}
	e.checkBadPages(e.DataStore, list)
}

// checkBadPages checks pages that no DataStore takes, be it closed.
func (e *env) checkBadPages(d *datastore.DataStore, list func(*datastore.DataStore, *datastore.Pagination) (string, *datastore.Pagination, error)) {
	e.Helper()
	for _, token := range []string{"x", "-1", "+1", " 1", "1 ", "0x1", "1.0", "18446744073709551616"} {
		_, _, err := list(d, &datastore.Pagination{Token: token, PageSize: 1})
		e.failsAs(err, codes.InvalidArgument, fmt.Sprintf("could not parse token '%s'", token))
	}
	for _, size := range []int32{0, -1} {
		_, _, err := list(d, &datastore.Pagination{PageSize: size})
		e.failsAs(err, codes.InvalidArgument, fmt.Sprintf("cannot paginate with pagesize = %d", size))
	}
}

func bundlePage(e *env) func(*datastore.DataStore, *datastore.Pagination) (string, *datastore.Pagination, error) {
	return func(d *datastore.DataStore, page *datastore.Pagination) (string, *datastore.Pagination, error) {
		got, err := d.ListBundles(e.ctx(), &datastore.ListBundlesRequest{Pagination: page})
		if err != nil {
			return "", nil, err
		}
		var names []string
		for _, b := range got.Bundles {
			name := strings.TrimPrefix(b.TrustDomainId, "spiffe://")
			same(e, b, testBundle(name), "listed bundle")
			names = append(names, name)
		}
		return strings.Join(names, " "), got.Pagination, nil
	}
}

func listBundles(e *env) {
	got, err := e.ListBundles(e.ctx(), &datastore.ListBundlesRequest{})
	e.succeeds(err)
	same(e, got, &datastore.ListBundlesResponse{}, "no bundles")
	got, err = e.ListBundles(e.ctx(), &datastore.ListBundlesRequest{Pagination: &datastore.Pagination{PageSize: 1}})
	e.succeeds(err)
	same(e, got, &datastore.ListBundlesResponse{Pagination: &datastore.Pagination{PageSize: 1}}, "a page of no bundles")

	e.addBundles("d", "c", "b", "a")
	e.checkPages(bundlePage(e))
}

func listBundlesNumbers(e *env) {
	e.addBundles("d", "c")
	_, err := e.UpdateBundle(e.ctx(), testBundle("d"), nil)
	e.succeeds(err)
	names, next, err := bundlePage(e)(e.DataStore, &datastore.Pagination{PageSize: 2})
	e.succeeds(err)
	if names != "d c" || next.Token != "2" {
		e.Errorf("after an update: got %q, token %q", names, next.Token)
	}
	_, err = e.CreateBundle(e.ctx(), testBundle("d")) // uses up no number
	e.failsWith(err, codes.AlreadyExists)
	e.addBundles("b")
	names, next, err = bundlePage(e)(e.DataStore, &datastore.Pagination{PageSize: 3})
	e.succeeds(err)
	if names != "d c b" || next.Token != "3" {
		e.Errorf("after a failed create: got %q, token %q", names, next.Token)
	}
}

func countBundles(e *env) {
	for want := range 3 {
		for _, d := range e.all {
			n, err := d.CountBundles(e.ctx())
			e.succeeds(err)
			same(e, n, int32(want), "count")
		}
		e.addBundles(fmt.Sprint(want))
	}
}

func bundlesEmitNothing(e *env) {
	e.addBundles("td")
	ca := &spirev1.Certificate{DerBytes: []byte("new")}
	_, err := e.AppendBundle(e.ctx(), &spirev1.Bundle{TrustDomainId: "spiffe://td", RootCas: []*spirev1.Certificate{ca}})
	e.succeeds(err)
	_, err = e.SetBundle(e.ctx(), testBundle("td"))
	e.succeeds(err)
	_, err = e.UpdateBundle(e.ctx(), testBundle("td"), &spirev1.BundleMask{})
	e.succeeds(err)
	e.wantEvents(e.nodeEvents())
	e.wantEvents(e.entryEvents())
}

func bundleNotUTF8(e *env) {
	e.addBundles("td")
	bad := testBundle("td")
	bad.JwtSigningKeys[0].Kid = notUTF8
	_, err := e.UpdateBundle(e.ctx(), bad, nil)
	e.isInvalidText(err)
	_, err = e.SetBundle(e.ctx(), bad)
	e.isInvalidText(err)
	_, err = e.AppendBundle(e.ctx(), bad)
	e.isInvalidText(err)
	_, err = e.CreateBundle(e.ctx(), &spirev1.Bundle{TrustDomainId: notUTF8})
	e.isInvalidText(err)
	e.hasBundle(testBundle("td"))
	n, err := e.CountBundles(e.ctx())
	e.succeeds(err)
	same(e, n, 1, "count")
}

func bundleUnknownFields(e *env) {
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 1000, protowire.VarintType), 7)
	b := testBundle("td")
	b.ProtoReflect().SetUnknown(unknown)
	_, err := e.CreateBundle(e.ctx(), b)
	e.succeeds(err)
	_, err = e.UpdateBundle(e.ctx(), testBundle("td"), nil)
	e.succeeds(err)
	got, err := e.FetchBundle(e.ctx(), "spiffe://td")
	e.succeeds(err)
	same(e, []byte(got.ProtoReflect().GetUnknown()), unknown, "unknown fields")
}

func bundlesClosed(e *env) {
	for range 2 {
		e.succeeds(e.Close())
	}
	e.checkBadPages(e.DataStore, bundlePage(e))
	_, err := e.ListBundles(e.ctx(), &datastore.ListBundlesRequest{})
	e.isClosed(err)
	_, err = e.CreateBundle(e.ctx(), testBundle("td"))
	e.isClosed(err)
	_, err = e.FetchBundle(e.ctx(), "")
	e.isClosed(err)
	_, err = e.CountBundles(e.ctx())
	if !errors.Is(err, store.ErrClosed) {
		e.Errorf("count: %v", err)
	}
}
