package datastoretest

import (
	"net/url"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/datastore"
	recordsv1 "github.com/spire-raft/spire-raft/proto/records/v1"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
)

var federationTests = []conformanceTest{
	{"2.8.1 2.8.5 T14 what relationships need, before I/O", checkRelationship},
	{"2.8.1 2.8.2 CreateFederationRelationship", createRelationship},
	{"2.8.1 a trust domain has one relationship, a failed create sets no bundle", createRelationshipTwice},
	{"2.8.1 the bundle is set under its own trust domain", createRelationshipBundle},
	{"2.8.1 T34 CreateFederationRelationship returns its input", createRelationshipEchoes},
	{"2.8.2 FetchFederationRelationship", fetchRelationship},
	{"2.8.2 2.8.3 relationships that are corrupt", corruptRelationships},
	{"2.8.3 3.4 ListFederationRelationships", listRelationships},
	{"2.8.4 DeleteFederationRelationship leaves the bundle", deleteRelationship},
	{"2.8 relationships: no events, no logs", relationshipsAreSilent},
	{"2.0 T20 relationships: inputs are left alone, results are private", relationshipsAreCopied},
	{"2.0 relationships: texts that are not UTF-8 are refused", relationshipNotUTF8},
	{"2.0 relationships: closed DataStore", relationshipsClosed},
}

func trustDomain(name string) spiffeid.TrustDomain {
	return spiffeid.RequireTrustDomainFromString(name)
}

func endpoint(text string) *url.URL {
	parsed, err := url.Parse(text)
	if err != nil {
		panic(err) // the test is wrong
	}
	return parsed
}

// webRelationship is a relationship without a bundle.
func webRelationship(name string) *datastore.FederationRelationship {
	return &datastore.FederationRelationship{
		TrustDomain:           trustDomain(name),
		BundleEndpointURL:     endpoint("https://" + name + "/bundle?a=b"),
		BundleEndpointProfile: datastore.BundleEndpointWeb,
	}
}

// spiffeRelationship is a relationship of the other profile, without a bundle.
func spiffeRelationship(name string) *datastore.FederationRelationship {
	fr := webRelationship(name)
	fr.BundleEndpointProfile = datastore.BundleEndpointSPIFFE
	fr.EndpointSPIFFEID = spiffeid.RequireFromString("spiffe://" + name + "/endpoint")
	return fr
}

func withBundle(fr *datastore.FederationRelationship, b *spirev1.Bundle) *datastore.FederationRelationship {
	fr.TrustDomainBundle = b
	return fr
}

func (e *env) addRelationships(frs ...*datastore.FederationRelationship) {
	e.Helper()
	for i, fr := range frs {
		_, err := e.at(i).CreateFederationRelationship(e.ctx(), fr)
		e.succeeds(err)
	}
}

// hasRelationship reports a relationship that is not stored as want.
func (e *env) hasRelationship(want *datastore.FederationRelationship) {
	e.Helper()
	for _, d := range e.all {
		got, err := d.FetchFederationRelationship(e.ctx(), want.TrustDomain)
		e.succeeds(err)
		same(e, got, want, "stored relationship")
	}
}

// allRelationshipFields names every field.
func allRelationshipFields() *spirev1.FederationRelationshipMask {
	return &spirev1.FederationRelationshipMask{BundleEndpointUrl: true, BundleEndpointProfile: true, TrustDomainBundle: true}
}

func checkRelationship(e *env) {
	td := trustDomain("td")
	noURL, noID, noProfile := webRelationship("td"), spiffeRelationship("td"), webRelationship("td")
	noURL.BundleEndpointURL = nil
	noID.EndpointSPIFFEID = spiffeid.ID{}
	noProfile.BundleEndpointProfile = "https_x"
	tests := []struct {
		fr     *datastore.FederationRelationship
		text   string
		ignore *spirev1.FederationRelationshipMask // an update with it doesn't look
	}{
		{nil, "federation relationship is nil", nil},
		{&datastore.FederationRelationship{}, "trust domain is required", nil},
		{&datastore.FederationRelationship{TrustDomain: td}, "bundle endpoint URL is required", &spirev1.FederationRelationshipMask{TrustDomainBundle: true}},
		{noURL, "bundle endpoint URL is required", &spirev1.FederationRelationshipMask{BundleEndpointProfile: true}},
		{noID, "bundle endpoint SPIFFE ID is required", &spirev1.FederationRelationshipMask{BundleEndpointUrl: true, TrustDomainBundle: true}},
		{noProfile, `unknown bundle endpoint profile type: "https_x"`, &spirev1.FederationRelationshipMask{BundleEndpointUrl: true}},
	}
	e.addRelationships(webRelationship("td"))
	for _, test := range tests {
		if test.ignore == nil {
			_, err := e.UpdateFederationRelationship(e.ctx(), test.fr, &spirev1.FederationRelationshipMask{})
			e.failsAs(err, codes.InvalidArgument, test.text)
			continue
		}
		_, err := e.UpdateFederationRelationship(e.ctx(), test.fr, test.ignore)
		e.succeeds(err)
	}
	e.hasRelationship(webRelationship("td"))

	e.succeeds(e.Close())
	for _, test := range tests {
		got, err := e.CreateFederationRelationship(e.ctx(), test.fr)
		e.failsAs(err, codes.InvalidArgument, test.text)
		same(e, got, nil, "result")
		for _, mask := range []*spirev1.FederationRelationshipMask{nil, allRelationshipFields()} {
			got, err = e.UpdateFederationRelationship(e.ctx(), test.fr, mask)
			e.failsAs(err, codes.InvalidArgument, test.text)
			same(e, got, nil, "result")
		}
	}
}

func createRelationship(e *env) {
	tests := []func() *datastore.FederationRelationship{
		func() *datastore.FederationRelationship { return webRelationship("web") },
		func() *datastore.FederationRelationship { return spiffeRelationship("spiffe") },
		func() *datastore.FederationRelationship {
			return withBundle(webRelationship("web2"), testBundle("web2"))
		},
		func() *datastore.FederationRelationship {
			return withBundle(spiffeRelationship("spiffe2"), testBundle("spiffe2"))
		},
		func() *datastore.FederationRelationship {
			fr := webRelationship("odd")
			fr.BundleEndpointURL = endpoint("odd.org/bundle") // without a scheme
			return fr
		},
	}
	for i, fr := range tests {
		got, err := e.at(i).CreateFederationRelationship(e.ctx(), fr())
		e.succeeds(err)
		same(e, got, fr(), "result")
		e.hasRelationship(fr())
	}
	e.hasBundle(testBundle("web2"))
}

func createRelationshipTwice(e *env) {
	e.addRelationships(withBundle(webRelationship("td"), testBundle("td")))
	for _, d := range e.all {
		second := spiffeRelationship("td")
		second.TrustDomainBundle = &spirev1.Bundle{TrustDomainId: "spiffe://td"}
		got, err := d.CreateFederationRelationship(e.ctx(), second)
		e.failsWith(err, codes.AlreadyExists, "UNIQUE constraint failed: federated_trust_domains.trust_domain")
		same(e, got, nil, "result")
	}
	e.hasRelationship(withBundle(webRelationship("td"), testBundle("td")))
}

func createRelationshipBundle(e *env) {
	e.addBundles("other")
	other := &spirev1.Bundle{TrustDomainId: "spiffe://other", SequenceNumber: 1}
	e.addRelationships(withBundle(webRelationship("td"), other))
	e.hasBundle(&spirev1.Bundle{TrustDomainId: "spiffe://other", SequenceNumber: 1})
	e.hasRelationship(webRelationship("td"))
}

func createRelationshipEchoes(e *env) {
	e.addBundles("td")
	input := webRelationship("td")
	input.EndpointSPIFFEID = spiffeid.RequireFromString("spiffe://td/not/for/web")
	got, err := e.CreateFederationRelationship(e.ctx(), input)
	e.succeeds(err)
	want := webRelationship("td")
	want.EndpointSPIFFEID = input.EndpointSPIFFEID
	same(e, got, want, "result")
	e.hasRelationship(withBundle(webRelationship("td"), testBundle("td")))
}

func fetchRelationship(e *env) {
	_, err := e.FetchFederationRelationship(e.ctx(), spiffeid.TrustDomain{})
	e.failsAs(err, codes.InvalidArgument, "trust domain is required")
	got, err := e.FetchFederationRelationship(e.ctx(), trustDomain("td"))
	if got != nil || err != nil {
		e.Errorf("got %v, %v", got, err)
	}
	e.addRelationships(webRelationship("td"))
	e.hasRelationship(webRelationship("td"))
	e.addBundles("td")
	e.hasRelationship(withBundle(webRelationship("td"), testBundle("td")))
}

func corruptRelationships(e *env) {
	tests := []struct {
		record recordsv1.FederationRelationship
		text   string
	}{
		{recordsv1.FederationRelationship{TrustDomain: "url", BundleEndpointUrl: "not\nvalid", BundleEndpointProfile: "https_web"},
			`unable to parse URL: parse "not\nvalid": net/url: invalid control character in URL`},
		{recordsv1.FederationRelationship{TrustDomain: "id", BundleEndpointProfile: "https_spiffe", EndpointSpiffeId: "invalid"},
			"unable to parse bundle endpoint SPIFFE ID: scheme is missing or invalid"},
		{recordsv1.FederationRelationship{TrustDomain: "profile", BundleEndpointProfile: "other"},
			`unknown bundle endpoint profile type: "other"`},
	}
	e.addRelationships(webRelationship("good"))
	for i := range tests {
		test := &tests[i]
		plant(e, records.FederationRelationships, &test.record)
		td := trustDomain(test.record.TrustDomain)
		_, err := e.FetchFederationRelationship(e.ctx(), td)
		e.failsAs(err, codes.Unknown, test.text)
		_, err = e.ListFederationRelationships(e.ctx(), &datastore.ListFederationRelationshipsRequest{})
		e.failsAs(err, codes.Unknown, test.text)
		e.succeeds(e.DeleteFederationRelationship(e.ctx(), td))
	}
	plant(e, records.FederationRelationships, &recordsv1.FederationRelationship{TrustDomain: "A b", BundleEndpointProfile: "https_web"})
	_, err := e.ListFederationRelationships(e.ctx(), &datastore.ListFederationRelationshipsRequest{})
	e.failsWith(err, codes.Unknown, "desc = datastore-sql: trust domain")

	e.addRelationships(webRelationship("bad"), withBundle(webRelationship("bundle"), testBundle("bundle")))
	damage(e, records.FederationRelationships, "bad")
	_, err = e.FetchFederationRelationship(e.ctx(), trustDomain("bad"))
	e.failsWith(err, codes.Unknown, `"federation-relationship" "bad"`)
	damage(e, records.Bundles, "spiffe://bundle")
	_, err = e.FetchFederationRelationship(e.ctx(), trustDomain("bundle"))
	e.failsWith(err, codes.Unknown, "desc = unable to fetch bundle: ", `"spiffe://bundle"`)
	e.hasRelationship(webRelationship("good"))
}

func relationshipPage(e *env) func(*datastore.DataStore, *datastore.Pagination) (string, *datastore.Pagination, error) {
	return func(d *datastore.DataStore, page *datastore.Pagination) (string, *datastore.Pagination, error) {
		got, err := d.ListFederationRelationships(e.ctx(), &datastore.ListFederationRelationshipsRequest{Pagination: page})
		if err != nil {
			return "", nil, err
		}
		var names []string
		for _, fr := range got.FederationRelationships {
			name := fr.TrustDomain.Name()
			want := spiffeRelationship(name)
			if name == "c" {
				want.TrustDomainBundle = testBundle("c")
			}
			same(e, fr, want, "listed relationship")
			names = append(names, name)
		}
		return strings.Join(names, " "), got.Pagination, nil
	}
}

func listRelationships(e *env) {
	got, err := e.ListFederationRelationships(e.ctx(), &datastore.ListFederationRelationshipsRequest{})
	e.succeeds(err)
	same(e, got, &datastore.ListFederationRelationshipsResponse{
		FederationRelationships: []*datastore.FederationRelationship{},
	}, "no relationships")

	e.addBundles("x", "c")
	for _, name := range []string{"d", "c", "b", "a"} {
		e.addRelationships(spiffeRelationship(name))
	}
	e.checkPages(relationshipPage(e))
}

func deleteRelationship(e *env) {
	e.failsAs(e.DeleteFederationRelationship(e.ctx(), spiffeid.TrustDomain{}), codes.InvalidArgument, "trust domain is required")
	e.isNotFound(e.DeleteFederationRelationship(e.ctx(), trustDomain("td")))
	e.addRelationships(withBundle(webRelationship("td"), testBundle("td")), webRelationship("other"))
	e.succeeds(e.at(1).DeleteFederationRelationship(e.ctx(), trustDomain("td")))
	got, err := e.FetchFederationRelationship(e.ctx(), trustDomain("td"))
	if got != nil || err != nil {
		e.Errorf("got %v, %v", got, err)
	}
	e.hasBundle(testBundle("td"))
	e.hasRelationship(webRelationship("other"))
	e.isNotFound(e.DeleteFederationRelationship(e.ctx(), trustDomain("td")))
}

func relationshipsAreSilent(e *env) {
	d, logs := e.logging()
	_, err := d.CreateFederationRelationship(e.ctx(), withBundle(webRelationship("td"), testBundle("td")))
	e.succeeds(err)
	_, err = d.UpdateFederationRelationship(e.ctx(), spiffeRelationship("td"), nil)
	e.succeeds(err)
	e.succeeds(d.DeleteFederationRelationship(e.ctx(), trustDomain("td")))
	same(e, logs.take(), nil, "log")
	e.sameEvents(e.nodeEvents())
	e.sameEvents(e.entryEvents())
}

func relationshipsAreCopied(e *env) {
	input := withBundle(webRelationship("td"), testBundle("td"))
	created, err := e.CreateFederationRelationship(e.ctx(), input)
	e.succeeds(err)
	same(e, input, withBundle(webRelationship("td"), testBundle("td")), "input")
	created.BundleEndpointURL.Host = "changed"
	created.TrustDomainBundle.SequenceNumber = 7
	same(e, input, withBundle(webRelationship("td"), testBundle("td")), "input after the result has changed")
	e.hasRelationship(withBundle(webRelationship("td"), testBundle("td")))
}

func relationshipNotUTF8(e *env) {
	fr := webRelationship("td")
	fr.BundleEndpointURL = &url.URL{Host: notUTF8, Opaque: notUTF8}
	_, err := e.CreateFederationRelationship(e.ctx(), fr)
	e.isInvalidText(err)
	bad := withBundle(webRelationship("td"), &spirev1.Bundle{TrustDomainId: notUTF8})
	_, err = e.CreateFederationRelationship(e.ctx(), bad)
	e.isInvalidText(err)
	same(e, e.keyCount(), 0, "keys")

	e.addRelationships(webRelationship("td"))
	_, err = e.UpdateFederationRelationship(e.ctx(), bad, nil)
	e.isInvalidText(err)
	_, err = e.UpdateFederationRelationship(e.ctx(), fr, nil)
	e.isInvalidText(err)
	e.hasRelationship(webRelationship("td"))
}

func relationshipsClosed(e *env) {
	e.succeeds(e.Close())
	ctx, td := e.ctx(), trustDomain("td")
	e.checkBadPages(e.DataStore, relationshipPage(e))
	e.failsAs(e.DeleteFederationRelationship(ctx, spiffeid.TrustDomain{}), codes.InvalidArgument, "trust domain is required")
	_, err := e.FetchFederationRelationship(ctx, spiffeid.TrustDomain{})
	e.failsAs(err, codes.InvalidArgument, "trust domain is required")

	_, err = e.CreateFederationRelationship(ctx, webRelationship("td"))
	e.isClosed(err)
	_, err = e.FetchFederationRelationship(ctx, td)
	e.isClosed(err)
	_, err = e.ListFederationRelationships(ctx, &datastore.ListFederationRelationshipsRequest{})
	e.isClosed(err)
	e.isClosed(e.DeleteFederationRelationship(ctx, td))
	_, err = e.UpdateFederationRelationship(ctx, webRelationship("td"), nil)
	e.isClosed(err)
}
