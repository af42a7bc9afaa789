package datastoretest

import (
	"context"
	"errors"
	"maps"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

var contextTests = []conformanceTest{
	{"2.0 T55 a cancelled context stays in the error, and nothing changes", cancelledContext},
}

// cancelledContext calls methods of every kind with a context that has ended.
func cancelledContext(e *env) {
	e.addBundles("td")
	e.addNodes(joinTokenNode("foo"))
	e.setSelectors("foo", "a:1")
	e.addToken("t", expiry)
	e.addRelationships(webRelationship("td"))
	e.addJournal("a", nil, 1)
	keys := e.keyCount()

	ctx, cancel := context.WithCancel(e.ctx())
	cancel()
	calls := bundleCalls(ctx, e.DataStore)
	maps.Copy(calls, nodeCalls(ctx, e.DataStore))
	maps.Copy(calls, otherCalls(ctx, e.DataStore))
	for name, call := range authorityMethods(e.DataStore) {
		calls[name] = call(ctx, "spiffe://td", "id")
	}
	for name, err := range calls {
		if !errors.Is(err, context.Canceled) || status.Code(err) != codes.Unknown {
			e.Errorf("%s: got error %v", name, err)
			continue
		}
		e.failsPlainly(err, "datastore-sql: context canceled")
	}
	same(e, e.keyCount(), keys, "keys")
}

func bundleCalls(ctx context.Context, d *datastore.DataStore) map[string]error {
	_, create := d.CreateBundle(ctx, testBundle("new"))
	_, fetch := d.FetchBundle(ctx, "spiffe://td")
	_, update := d.UpdateBundle(ctx, testBundle("td"), nil)
	_, set := d.SetBundle(ctx, testBundle("td"))
	_, add := d.AppendBundle(ctx, testBundle("new"))
	_, list := d.ListBundles(ctx, &datastore.ListBundlesRequest{})
	_, count := d.CountBundles(ctx)
	_, prune := d.PruneBundle(ctx, "spiffe://td", expiry)
	return map[string]error{
		"CreateBundle": create, "FetchBundle": fetch, "UpdateBundle": update, "SetBundle": set,
		"AppendBundle": add, "ListBundles": list, "CountBundles": count, "PruneBundle": prune,
	}
}

func nodeCalls(ctx context.Context, d *datastore.DataStore) map[string]error {
	_, create := d.CreateAttestedNode(ctx, joinTokenNode("new"))
	_, fetch := d.FetchAttestedNode(ctx, "foo")
	_, fetchAll := d.FetchAttestedNodes(ctx, []string{"foo"})
	_, list := d.ListAttestedNodes(ctx, &datastore.ListAttestedNodesRequest{})
	_, count := d.CountAttestedNodes(ctx, &datastore.CountAttestedNodesRequest{})
	_, update := d.UpdateAttestedNode(ctx, joinTokenNode("foo"), nil)
	_, remove := d.DeleteAttestedNode(ctx, "foo")
	_, get := d.GetNodeSelectors(ctx, "foo", datastore.RequireCurrent)
	_, listSelectors := d.ListNodeSelectors(ctx, &datastore.ListNodeSelectorsRequest{})
	return map[string]error{
		"CreateAttestedNode": create, "FetchAttestedNode": fetch, "FetchAttestedNodes": fetchAll,
		"ListAttestedNodes": list, "CountAttestedNodes": count, "UpdateAttestedNode": update,
		"DeleteAttestedNode": remove, "GetNodeSelectors": get, "ListNodeSelectors": listSelectors,
		"PruneAttestedExpiredNodes": d.PruneAttestedExpiredNodes(ctx, expiry.Add(1), true, 0),
		"SetNodeSelectors":          d.SetNodeSelectors(ctx, "foo", nil),
	}
}

func otherCalls(ctx context.Context, d *datastore.DataStore) map[string]error {
	_, fetchToken := d.FetchJoinToken(ctx, "t")
	_, create := d.CreateFederationRelationship(ctx, webRelationship("new"))
	_, fetch := d.FetchFederationRelationship(ctx, trustDomain("td"))
	_, list := d.ListFederationRelationships(ctx, &datastore.ListFederationRelationshipsRequest{})
	_, update := d.UpdateFederationRelationship(ctx, webRelationship("td"), &spirev1.FederationRelationshipMask{})
	_, createJournal := d.SetCAJournal(ctx, &journal{})
	_, setJournal := d.SetCAJournal(ctx, &journal{ID: 1})
	_, fetchJournal := d.FetchCAJournal(ctx, "a")
	_, listJournals := d.ListCAJournalsForTesting(ctx)
	return map[string]error{
		"CreateJoinToken": d.CreateJoinToken(ctx, &datastore.JoinToken{Token: "new", Expiry: expiry}),
		"FetchJoinToken":  fetchToken,
		"DeleteJoinToken": d.DeleteJoinToken(ctx, "t"),
		"PruneJoinTokens": d.PruneJoinTokens(ctx, expiry.Add(1)),

		"CreateFederationRelationship": create, "FetchFederationRelationship": fetch,
		"ListFederationRelationships": list, "UpdateFederationRelationship": update,
		"DeleteFederationRelationship": d.DeleteFederationRelationship(ctx, trustDomain("td")),

		"SetCAJournal that creates": createJournal, "SetCAJournal that replaces": setJournal,
		"FetchCAJournal": fetchJournal, "ListCAJournalsForTesting": listJournals,
		"PruneCAJournals": d.PruneCAJournals(ctx, 1),
	}
}
