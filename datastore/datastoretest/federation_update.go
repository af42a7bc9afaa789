package datastoretest

import (
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

var updateFederationTests = []conformanceTest{
	{"2.8.5 UpdateFederationRelationship replaces what the mask names", updateRelationship},
	{"2.8.5 T11 UpdateFederationRelationship without a relationship", updateNoRelationship},
	{"2.8.5 T35 the endpoint id survives a switch to web", updateRelationshipProfile},
	{"2.8.5 T40 parallel updates of one relationship all count", updateRelationshipParallel},
}

func updateRelationship(e *env) {
	given := func(name string) *datastore.FederationRelationship {
		fr := spiffeRelationship(name)
		fr.BundleEndpointURL = endpoint("https://new")
		return withBundle(fr, &spirev1.Bundle{TrustDomainId: "spiffe://" + name, SequenceNumber: 100})
	}
	type relationship = datastore.FederationRelationship
	tests := []struct {
		name string // a trust domain
		mask *spirev1.FederationRelationshipMask
		want func(stored, given *relationship)
	}{
		{"nil-is-all", nil, func(s, g *relationship) { *s = *g }},
		{"all", allRelationshipFields(), func(s, g *relationship) { *s = *g }},
		{"none", &spirev1.FederationRelationshipMask{}, func(*relationship, *relationship) {}},
		{"url", &spirev1.FederationRelationshipMask{BundleEndpointUrl: true},
			func(s, g *relationship) { s.BundleEndpointURL = g.BundleEndpointURL }},
		{"profile", &spirev1.FederationRelationshipMask{BundleEndpointProfile: true},
			func(s, g *relationship) {
				s.BundleEndpointProfile, s.EndpointSPIFFEID = g.BundleEndpointProfile, g.EndpointSPIFFEID
			}},
		{"bundle", &spirev1.FederationRelationshipMask{TrustDomainBundle: true},
			func(s, g *relationship) { s.TrustDomainBundle = g.TrustDomainBundle }},
	}
	for i, test := range tests {
		e.addRelationships(withBundle(webRelationship(test.name), testBundle(test.name)))
		want := withBundle(webRelationship(test.name), testBundle(test.name))
		test.want(want, given(test.name))
		got, err := e.at(i).UpdateFederationRelationship(e.ctx(), given(test.name), test.mask)
		e.succeeds(err)
		same(e, got, want, test.name)
		e.hasRelationship(want)
	}

	e.addRelationships(webRelationship("no-bundle"))
	got, err := e.UpdateFederationRelationship(e.ctx(), withBundle(webRelationship("no-bundle"), testBundle("no-bundle")), nil)
	e.succeeds(err)
	same(e, got, withBundle(webRelationship("no-bundle"), testBundle("no-bundle")), "a bundle that comes")
	got, err = e.UpdateFederationRelationship(e.ctx(), webRelationship("no-bundle"), nil)
	e.succeeds(err)
	same(e, got, withBundle(webRelationship("no-bundle"), testBundle("no-bundle")), "no bundle is ignored")
}

func updateNoRelationship(e *env) {
	got, err := e.UpdateFederationRelationship(e.ctx(), withBundle(webRelationship("td"), testBundle("td")), nil)
	e.failsAs(err, codes.NotFound, "unable to fetch federation relationship: record not found")
	same(e, got, nil, "result")
	stored, err := e.FetchBundle(e.ctx(), "spiffe://td")
	if stored != nil || err != nil {
		e.Errorf("the bundle is set: %v, %v", stored, err)
	}
}

func updateRelationshipProfile(e *env) {
	e.addRelationships(spiffeRelationship("td"))
	got, err := e.UpdateFederationRelationship(e.ctx(), webRelationship("td"), allRelationshipFields())
	e.succeeds(err)
	same(e, got, webRelationship("td"), "result")
	e.hasRelationship(webRelationship("td"))

	other := spiffeRelationship("td")
	other.EndpointSPIFFEID = spiffeid.RequireFromString("spiffe://td/other")
	got, err = e.UpdateFederationRelationship(e.ctx(), other, &spirev1.FederationRelationshipMask{BundleEndpointProfile: true})
	e.succeeds(err)
	same(e, got, other, "back")
}

func updateRelationshipParallel(e *env) {
	e.addRelationships(webRelationship("td"))
	given := withBundle(spiffeRelationship("td"), testBundle("td"))
	given.BundleEndpointURL = endpoint("https://new")
	masks := []*spirev1.FederationRelationshipMask{
		{BundleEndpointUrl: true}, {BundleEndpointProfile: true}, {TrustDomainBundle: true}, {},
	}
	errs := parallel(3*len(masks), func(i int) error {
		_, err := e.at(i).UpdateFederationRelationship(e.ctx(), given, masks[i%len(masks)])
		return err
	})
	same(e, errs, nil, "errors")
	e.hasRelationship(given)
}
