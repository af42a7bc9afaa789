package datastoretest

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
)

var updateBundleTests = []conformanceTest{
	{"2.1.3 UpdateBundle replaces what the mask names", updateBundle},
	{"2.1.4 SetBundle creates or replaces", setBundle},
	{"2.1.5 AppendBundle creates the bundle as given", appendBundleCreates},
	{"2.1.5 AppendBundle adds what is not fully equal", appendBundleMerges},
	{"1.1 2.1.5 AppendBundle compares unknown fields", appendBundleUnknown},
	{"2.1.1 2.1.5 T18 results are as they are fetched, also what is empty or nil", emptyInBundles},
	{"2.1.5 T40 parallel AppendBundle loses nothing", appendBundleParallel},
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

func appendBundleUnknown(e *env) {
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 1000, protowire.VarintType), 7)
	given := func() *spirev1.Bundle {
		b := testBundle("td")
		b.RootCas[0].ProtoReflect().SetUnknown(unknown)
		b.JwtSigningKeys[0].ProtoReflect().SetUnknown(unknown)
		return b
	}
	e.addBundles("td")
	for range 2 { // the second adds nothing
		got, err := e.AppendBundle(e.ctx(), given())
		e.succeeds(err)
		same(e, []int{len(got.RootCas), len(got.JwtSigningKeys), len(got.WitSigningKeys)}, []int{3, 2, 1}, "authorities")
		same(e, got.SequenceNumber, 43, "sequence number")
		same(e, []byte(got.RootCas[2].ProtoReflect().GetUnknown()), unknown, "unknown fields")
	}
}

func emptyInBundles(e *env) {
	given := func(id string) *spirev1.Bundle {
		return &spirev1.Bundle{
			TrustDomainId:  id,
			RootCas:        []*spirev1.Certificate{{DerBytes: []byte{}}},
			JwtSigningKeys: []*spirev1.PublicKey{},
			WitSigningKeys: []*spirev1.PublicKey{{PkixBytes: []byte{}, Kid: "a"}},
		}
	}
	want := func(id string) *spirev1.Bundle {
		return &spirev1.Bundle{
			TrustDomainId: id, RootCas: []*spirev1.Certificate{{}}, WitSigningKeys: []*spirev1.PublicKey{{Kid: "a"}},
		}
	}
	created, err := e.CreateBundle(e.ctx(), given("created"))
	e.succeeds(err)
	appended, err := e.AppendBundle(e.ctx(), given("appended"))
	e.succeeds(err)
	set, err := e.SetBundle(e.ctx(), given("created"))
	e.succeeds(err)
	same(e, []*spirev1.Bundle{created, appended, set}, []*spirev1.Bundle{want("created"), want("appended"), want("created")}, "results")
	e.hasBundle(want("created"))
	e.hasBundle(want("appended"))

	_, err = e.CreateBundle(e.ctx(), &spirev1.Bundle{TrustDomainId: "nil", RootCas: []*spirev1.Certificate{nil}})
	e.succeeds(err)
	got, err := e.AppendBundle(e.ctx(), &spirev1.Bundle{TrustDomainId: "nil", RootCas: []*spirev1.Certificate{nil}})
	e.succeeds(err)
	same(e, got, &spirev1.Bundle{TrustDomainId: "nil", RootCas: []*spirev1.Certificate{{}}}, "nil, which is stored as empty")
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
