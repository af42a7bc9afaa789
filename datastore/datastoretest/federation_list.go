package datastoretest

import (
	"fmt"

	"strings"

	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/datastore"
	recordsv1 "github.com/spire-raft/spire-raft/proto/records/v1"
	"github.com/spire-raft/spire-raft/records"
)

var listFederationTests = []conformanceTest{
	{"2.8.2 2.8.3 relationships that are corrupt", corruptRelationships},
	{"2.8.3 3.4 ListFederationRelationships", listRelationships},
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
		got, err := e.ListFederationRelationships(e.ctx(), &datastore.ListFederationRelationshipsRequest{})
		e.failsWith(err, codes.Unknown, fmt.Sprintf("%q: %s", td.Name(), test.text))
		same(e, got.FederationRelationships, []*datastore.FederationRelationship{webRelationship("good")}, "the others")
		e.succeeds(e.DeleteFederationRelationship(e.ctx(), td))
	}
	plant(e, records.FederationRelationships, &recordsv1.FederationRelationship{TrustDomain: "A b", BundleEndpointProfile: "https_web"})
	_, err := e.ListFederationRelationships(e.ctx(), &datastore.ListFederationRelationshipsRequest{})
	e.failsWith(err, codes.Unknown, `"A b": datastore-sql: trust domain`)

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
