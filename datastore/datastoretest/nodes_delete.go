package datastoretest

import (
	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
)

var nodeDeleteTests = []conformanceTest{
	{"2.5.6 DeleteAttestedNode takes the selectors along", deleteNode},
	{"2.5.6 DeleteAttestedNode without a node is NotFound", deleteNoNode},
	{"2.5.6 DeleteAttestedNode: one of several succeeds", deleteNodeParallel},
	{"2.5.6 T27 a join token's node takes its aliases along", cascade},
	{"2.5.6 T27 other types of node take no entries along", noCascade},
	{"2.5.6 what is deleted leaves nothing behind", deleteNodeLeavesNothing},
}

// joinTokenNode is a node that was attested by a join token.
func joinTokenNode(id string) *spirev1.AttestedNode {
	return &spirev1.AttestedNode{SpiffeId: id, AttestationDataType: "join_token", CertSerialNumber: "1", CertNotAfter: expiry.Unix(), CanReattest: true}
}

// plantEntry stores an entry with selectors given as "a:1 b:2".
func (e *env) plantEntry(id, parentID string, selectors ...*spirev1.Selector) {
	e.Helper()
	plant(e, records.Entries, &spirev1.RegistrationEntry{
		EntryId: id, ParentId: parentID, SpiffeId: "spiffe://td/" + id, Selectors: selectors,
	})
}

func isSpiffeID(id string) *spirev1.Selector { return &spirev1.Selector{Type: "spiffe_id", Value: id} }

func deleteNode(e *env) {
	e.addNodes(testNode("a"), testNode("b"))
	e.setSelectors("a", "x:1 x:2")
	e.setSelectors("b", "x:1")
	token := &datastore.JoinToken{Token: "a", Expiry: expiry}
	e.succeeds(e.CreateJoinToken(e.ctx(), token))

	got, err := e.at(1).DeleteAttestedNode(e.ctx(), "a")
	e.succeeds(err)
	same(e, got, testNode("a"), "result")
	e.hasNoNode("a")
	e.hasNode(testNode("b"))
	for _, d := range e.all {
		selectors, err := d.GetNodeSelectors(e.ctx(), "a", datastore.RequireCurrent)
		e.succeeds(err)
		same(e, selectors, nil, "selectors of the deleted node")
		selectors, err = d.GetNodeSelectors(e.ctx(), "b", datastore.RequireCurrent)
		e.succeeds(err)
		same(e, selectors, selectorList("x:1"), "selectors of the other node")
	}
	if stored, err := e.FetchJoinToken(e.ctx(), "a"); stored == nil || err != nil {
		e.Errorf("the join token is gone: %v", err)
	}
	e.sameEvents(e.nodeEvents(), "a", "b", "a", "b", "a")
}

func deleteNoNode(e *env) {
	e.setSelectors("foo", "a:1")
	got, err := e.DeleteAttestedNode(e.ctx(), "foo")
	e.isNotFound(err)
	same(e, got, nil, "result")
	selectors, err := e.GetNodeSelectors(e.ctx(), "foo", datastore.RequireCurrent)
	e.succeeds(err)
	same(e, selectors, selectorList("a:1"), "selectors")
	e.sameEvents(e.nodeEvents(), "foo")
}

func deleteNodeParallel(e *env) {
	const n = 8
	e.addNodes(testNode("foo"))
	errs := parallel(n, func(i int) error {
		_, err := e.at(i).DeleteAttestedNode(e.ctx(), "foo")
		return err
	})
	for _, err := range errs {
		e.isNotFound(err)
	}
	same(e, len(errs), n-1, "failed deletes")
	e.sameEvents(e.nodeEvents(), "foo", "foo")
}

func cascade(e *env) {
	id := "spiffe://td/spire/agent/join_token/t"
	e.addNodes(joinTokenNode(id), joinTokenNode(id+"2"))
	e.plantEntry("alias", id, isSpiffeID(id))
	e.plantEntry("alias2", id, isSpiffeID(id), isSpiffeID(id)) // as a set it is one
	kept := map[string][]*spirev1.Selector{
		"workload":      selectorList("unix:uid"),
		"more":          {isSpiffeID(id), {Type: "unix", Value: "uid"}},
		"other id":      {isSpiffeID(id + "2")},
		"other type":    {{Type: "SPIFFE_ID", Value: id}},
		"no selectors":  nil,
		"moved in type": {{Type: "spiffe_i", Value: "d" + id}},
	}
	for name, selectors := range kept {
		e.plantEntry(name, id, selectors...)
	}
	e.plantEntry("other parent", id+"2", isSpiffeID(id))
	e.plantEntry("other's alias", id+"2", isSpiffeID(id+"2"))

	_, err := e.at(1).DeleteAttestedNode(e.ctx(), id)
	e.succeeds(err)
	for _, gone := range []string{"alias", "alias2"} {
		if has(e, records.Entries, gone) {
			e.Errorf("entry %q is there", gone)
		}
	}
	for name := range kept {
		if !has(e, records.Entries, name) {
			e.Errorf("entry %q is gone", name)
		}
	}
	if !has(e, records.Entries, "other parent") || !has(e, records.Entries, "other's alias") {
		e.Error("an entry with another parent is gone")
	}
	e.sameEvents(e.entryEvents(), "alias", "alias2")
	e.sameEvents(e.nodeEvents(), id, id+"2", id)
}

func noCascade(e *env) {
	for _, typ := range []string{"", "JOIN_TOKEN", "join_token ", "aws"} {
		id := "node " + typ
		n := joinTokenNode(id)
		n.AttestationDataType = typ
		e.addNodes(n)
		e.plantEntry(id, id, isSpiffeID(id))
		_, err := e.DeleteAttestedNode(e.ctx(), id)
		e.succeeds(err)
		if !has(e, records.Entries, id) {
			e.Errorf("type %q: the entry is gone", typ)
		}
	}
	e.sameEvents(e.entryEvents())
}

func deleteNodeLeavesNothing(e *env) {
	e.addNodes(joinTokenNode("a"))
	e.setSelectors("a", "x:1 x:2")
	e.setSelectors("a", "x:2 x:3")
	e.plantEntry("alias", "a", isSpiffeID("a"))
	_, err := e.UpdateAttestedNode(e.ctx(), testNode("a"), nil)
	e.succeeds(err)
	_, err = e.DeleteAttestedNode(e.ctx(), "a")
	e.succeeds(err)
	same(e, e.keyCount(), len(e.nodeEvents())+len(e.entryEvents()), "keys, which should be those of events alone")
}
