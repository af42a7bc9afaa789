package datastoretest

import (
	"errors"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store"
)

var longTextTests = []conformanceTest{
	{"3.3 long texts are stored, found and compared whole", longTexts},
	{"2.0 ids too long to be stored don't exist", tooLongIDs},
}

// longTexts uses texts that an index can't hold as they are.
func longTexts(e *env) {
	long := strings.Repeat("x", 2000)
	n := testNode(long + "1")
	n.AttestationDataType = long + "1"
	e.addNodes(n)
	selector := func(end string) []*spirev1.Selector { return []*spirev1.Selector{{Type: long, Value: long + end}} }
	e.succeeds(e.SetNodeSelectors(e.ctx(), n.SpiffeId, selector("1")))
	type request = datastore.ListAttestedNodesRequest
	for end, want := range map[string]string{"1": n.SpiffeId, "2": ""} {
		e.findsNodes(request{ByAttestationType: long + end}, want, "type")
		e.findsNodes(request{BySpiffeIDs: []string{long + end}}, want, "id")
		e.findsNodes(request{BySelectorMatch: &datastore.BySelectors{Selectors: selector(end)}}, want, "selector")
	}
	token := &datastore.JoinToken{Token: long, Expiry: expiry}
	e.succeeds(e.CreateJoinToken(e.ctx(), token))
	e.hasToken(long, token)
	e.addJournal(long+"1", nil, 1)
	got, err := e.FetchCAJournal(e.ctx(), long+"2")
	if got != nil || err != nil {
		e.Errorf("journal of another authority: %v, %v", got, err)
	}
}

func tooLongIDs(e *env) {
	ctx, id := e.ctx(), strings.Repeat("x", store.KeyBytesMax)
	e.hasNoNode(id)
	e.hasToken(id, nil)
	nodes, err := e.FetchAttestedNodes(ctx, []string{id})
	e.succeeds(err)
	same(e, len(nodes), 0, "nodes")
	selectors, err := e.GetNodeSelectors(ctx, id, datastore.RequireCurrent)
	e.succeeds(err)
	same(e, selectors, nil, "selectors")
	bundle, err := e.FetchBundle(ctx, id)
	e.succeeds(err)
	same(e, bundle, nil, "bundle")
	e.isNotFound(e.DeleteJoinToken(ctx, id))
	_, err = e.DeleteAttestedNode(ctx, id)
	e.isNotFound(err)

	_, node := e.CreateAttestedNode(ctx, &spirev1.AttestedNode{SpiffeId: id})
	_, bundleErr := e.CreateBundle(ctx, &spirev1.Bundle{TrustDomainId: id})
	token := e.CreateJoinToken(ctx, &datastore.JoinToken{Token: id, Expiry: expiry})
	set := e.SetNodeSelectors(ctx, id, selectorList("a:1"))
	for _, err := range []error{node, bundleErr, token, set} {
		e.failsWith(err, codes.Unknown)
		if !errors.Is(err, store.ErrTooLarge) {
			e.Errorf("got error %v, want ErrTooLarge", err)
		}
	}
	same(e, e.keyCount(), 0, "keys")
}
