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
	e.sameEvents(e.nodeEvents())
	e.sameEvents(e.entryEvents())
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
