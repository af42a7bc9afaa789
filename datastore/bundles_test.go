package datastore_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

func bundle(name string) *spirev1.Bundle {
	return &spirev1.Bundle{
		TrustDomainId:  "spiffe://" + name,
		RootCas:        []*spirev1.Certificate{{DerBytes: []byte{1}}},
		JwtSigningKeys: []*spirev1.PublicKey{{PkixBytes: []byte("jwt"), Kid: "kid", NotAfter: 9}},
		RefreshHint:    60,
		SequenceNumber: 5,
		WitSigningKeys: []*spirev1.PublicKey{{PkixBytes: []byte("wit"), Kid: "wit"}},
	}
}

// wantBundle fails unless the store has exactly want, and got is the same.
func wantBundle(t *testing.T, d *datastore.DataStore, got *spirev1.Bundle, err error, want *spirev1.Bundle) {
	t.Helper()
	if err != nil || !proto.Equal(records.CopyBundle(got), want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	stored, err := d.FetchBundle(context.Background(), want.TrustDomainId)
	if err != nil || !proto.Equal(stored, want) {
		t.Errorf("stored is %v, %v, want %v", stored, err, want)
	}
}

// Spec 2.1.1 and 2.1.2.
func TestCreateBundle(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	input := bundle("td")
	got, err := d.CreateBundle(ctx, input)
	if err != nil || !reflect.DeepEqual(got, bundle("td")) {
		t.Errorf("got %v, %v", got, err)
	}
	if !reflect.DeepEqual(input, bundle("td")) {
		t.Error("the input has changed")
	}
	stored, err := d.FetchBundle(ctx, "spiffe://td")
	if err != nil || !reflect.DeepEqual(stored, bundle("td")) {
		t.Errorf("stored is %v, %v", stored, err)
	}
	_, err = d.CreateBundle(ctx, input)
	wantStatus(t, err, codes.AlreadyExists, "datastore-sql: UNIQUE constraint failed: bundles.trust_domain")

	got, err = d.CreateBundle(ctx, &spirev1.Bundle{})
	wantBundle(t, d, got, err, &spirev1.Bundle{})
	if stored, err := d.FetchBundle(ctx, "spiffe://TD"); stored != nil || err != nil {
		t.Errorf("ids are case-insensitive: %v, %v", stored, err)
	}
}

func TestBundles_NilIsAnError(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	_, create := d.CreateBundle(ctx, nil)
	_, update := d.UpdateBundle(ctx, nil, nil)
	_, set := d.SetBundle(ctx, nil)
	_, add := d.AppendBundle(ctx, nil)
	for _, err := range []error{create, update, set, add} {
		wantStatus(t, err, codes.Unknown, "datastore-sql: missing bundle in request")
	}
}

// Spec 2.1.3.
func TestUpdateBundle_ReplacesWhatTheMaskNames(t *testing.T) {
	ctx := context.Background()
	stored := bundle("td")
	given := &spirev1.Bundle{
		TrustDomainId: "spiffe://td", RootCas: []*spirev1.Certificate{{DerBytes: []byte("new")}},
		SequenceNumber: 1, RefreshHint: 2,
	}
	tests := []struct {
		name string
		mask *spirev1.BundleMask
		want func(*spirev1.Bundle)
	}{
		{"nil names all", nil, func(b *spirev1.Bundle) {
			b.RootCas, b.JwtSigningKeys, b.WitSigningKeys = given.RootCas, nil, nil
			b.SequenceNumber, b.RefreshHint = 1, 2
		}},
		{"nothing", &spirev1.BundleMask{X509TaintedKeys: true}, func(*spirev1.Bundle) {}},
		{"root CAs", &spirev1.BundleMask{RootCas: true}, func(b *spirev1.Bundle) { b.RootCas = given.RootCas }},
		{"JWT keys", &spirev1.BundleMask{JwtSigningKeys: true}, func(b *spirev1.Bundle) { b.JwtSigningKeys = nil }},
		{"WIT keys", &spirev1.BundleMask{WitSigningKeys: true}, func(b *spirev1.Bundle) { b.WitSigningKeys = nil }},
		{"hint", &spirev1.BundleMask{RefreshHint: true}, func(b *spirev1.Bundle) { b.RefreshHint = 2 }},
		{"number", &spirev1.BundleMask{SequenceNumber: true}, func(b *spirev1.Bundle) { b.SequenceNumber = 1 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := open(t)
			if _, err := d.CreateBundle(ctx, stored); err != nil {
				t.Fatal(err)
			}
			want := bundle("td")
			test.want(want)
			got, err := d.UpdateBundle(ctx, given, test.mask)
			wantBundle(t, d, got, err, want)
		})
	}
	_, err := open(t).UpdateBundle(ctx, given, nil)
	wantStatus(t, err, codes.NotFound, notFound)
}

// Spec 2.1.4.
func TestSetBundle_CreatesOrReplaces(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	got, err := d.SetBundle(ctx, bundle("td"))
	wantBundle(t, d, got, err, bundle("td"))
	less := &spirev1.Bundle{TrustDomainId: "spiffe://td", SequenceNumber: 2}
	got, err = d.SetBundle(ctx, less)
	wantBundle(t, d, got, err, less)
}

// Spec 2.1.5.
func TestAppendBundle(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	got, err := d.AppendBundle(ctx, bundle("td"))
	wantBundle(t, d, got, err, bundle("td"))

	same := bundle("td")
	same.RefreshHint, same.SequenceNumber = 1, 100
	got, err = d.AppendBundle(ctx, same)
	wantBundle(t, d, got, err, bundle("td"))

	tainted := &spirev1.PublicKey{PkixBytes: []byte("jwt"), Kid: "kid", NotAfter: 9, TaintedKey: true}
	added := &spirev1.Certificate{DerBytes: []byte{2}}
	more := bundle("td")
	more.RootCas = []*spirev1.Certificate{added, {DerBytes: []byte{1}}, added}
	more.JwtSigningKeys = []*spirev1.PublicKey{tainted}
	more.RefreshHint = 1
	want := bundle("td")
	want.RootCas = append(want.RootCas, added, added)
	want.JwtSigningKeys = append(want.JwtSigningKeys, tainted)
	want.SequenceNumber++
	got, err = d.AppendBundle(ctx, more)
	wantBundle(t, d, got, err, want)
}

// Spec 2.1.5 and trap 39: parallel writers of one bundle lose nothing and see
// no error, also on the first append.
func TestAppendBundle_ParallelOnesAllCount(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, err := d.AppendBundle(ctx, &spirev1.Bundle{
				TrustDomainId: "spiffe://td", RootCas: []*spirev1.Certificate{{DerBytes: []byte{byte(i)}}},
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := d.FetchBundle(ctx, "spiffe://td")
	if err != nil || len(got.RootCas) != 20 || got.SequenceNumber != 19 {
		t.Errorf("got %v, %v", got, err)
	}
}

// Spec 2.1.7 and 3.4.
func TestListBundles(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	got, err := d.ListBundles(ctx, &datastore.ListBundlesRequest{})
	if err != nil || got.Bundles != nil || got.Pagination != nil {
		t.Errorf("empty: %v, %v", got, err)
	}
	for name := range strings.SplitSeq("d c b a", " ") { // the order of ids is the reverse
		if _, err := d.CreateBundle(ctx, bundle(name)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := d.CountBundles(ctx); n != 4 || err != nil {
		t.Errorf("count: %d, %v", n, err)
	}
	tests := []struct {
		page      *datastore.Pagination
		want      string
		wantToken string
	}{
		{nil, "dcba", ""},
		{&datastore.Pagination{PageSize: 5}, "dcba", "4"},
		{&datastore.Pagination{PageSize: 4}, "dcba", "4"},
		{&datastore.Pagination{PageSize: 2}, "dc", "2"},
		{&datastore.Pagination{PageSize: 2, Token: "0"}, "dc", "2"},
		{&datastore.Pagination{PageSize: 2, Token: "02"}, "ba", "4"},
		{&datastore.Pagination{PageSize: 2, Token: "3"}, "a", "4"},
		{&datastore.Pagination{PageSize: 2, Token: "4"}, "", ""},
		{&datastore.Pagination{PageSize: 2, Token: "5000000000"}, "", ""},
		{&datastore.Pagination{PageSize: 2, Token: "18446744073709551615"}, "", ""},
	}
	for _, test := range tests {
		got, err := d.ListBundles(ctx, &datastore.ListBundlesRequest{Pagination: test.page})
		if err != nil {
			t.Errorf("%v: %v", test.page, err)
			continue
		}
		var names strings.Builder
		for _, b := range got.Bundles {
			names.WriteString(strings.TrimPrefix(b.TrustDomainId, "spiffe://"))
		}
		if names.String() != test.want {
			t.Errorf("%v: got %q, want %q", test.page, names.String(), test.want)
		}
		if test.page == nil {
			continue
		}
		if want := (datastore.Pagination{PageSize: test.page.PageSize, Token: test.wantToken}); *got.Pagination != want {
			t.Errorf("%v: got %+v, want %+v", test.page, got.Pagination, want)
		}
	}
	for _, token := range []string{"x", "-1", "+1", "1 ", "18446744073709551616"} {
		_, err := d.ListBundles(ctx, &datastore.ListBundlesRequest{Pagination: &datastore.Pagination{Token: token, PageSize: 1}})
		wantStatus(t, err, codes.InvalidArgument, fmt.Sprintf("could not parse token '%s'", token))
	}
	_, err = d.ListBundles(ctx, &datastore.ListBundlesRequest{Pagination: &datastore.Pagination{PageSize: -1}})
	wantStatus(t, err, codes.InvalidArgument, "cannot paginate with pagesize = -1")
}

func TestFetchBundle_RecordThatDoesNotDecodeIsNamed(t *testing.T) {
	ctx := context.Background()
	s := newStore(t)
	d := openOn(t, s)
	if _, err := d.CreateBundle(ctx, bundle("good")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(ctx, store.Pair{Key: records.Bundles.Key("spiffe://bad"), Value: []byte("nonsense")}); err != nil {
		t.Fatal(err)
	}
	_, err := d.FetchBundle(ctx, "spiffe://bad")
	if err == nil || !strings.Contains(err.Error(), "spiffe://bad") {
		t.Errorf("got %v", err)
	}
	if _, err := d.FetchBundle(ctx, "spiffe://good"); err != nil {
		t.Error(err)
	}
}
