package datastoretest

import (
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
)

var nodeTests = []conformanceTest{
	{"2.5.1 CreateAttestedNode stores all but the selectors", createNode},
	{"2.5.1 CreateAttestedNode: an id is taken once", createNodeTwice},
	{"2.5.1 T12 CreateAttestedNode without a node is a plain error", createNoNode},
	{"2.5.1 any id is a node's id", createNodeIDs},
	{"2.5.2 T16 FetchAttestedNode never has selectors", fetchNode},
	{"2.5.3 FetchAttestedNodes has the nodes that exist, with selectors", fetchNodes},
	{"2.5.3 FetchAttestedNodes takes 10000 ids", fetchManyNodes},
	{"2.5.5 UpdateAttestedNode replaces what the mask names", updateNode},
	{"2.5.5 UpdateAttestedNode without a node is NotFound", updateNoNode},
	{"2.5.5 T40 parallel updates of one node all count", updateNodeParallel},
	{"4.2 T4 every node write has one event, no failed call has", nodeEvents},
	{"2.0 T20 nodes: inputs are left alone, results are private", nodesAreCopied},
	{"2.0 nodes: texts that are not UTF-8 are refused", nodeNotUTF8},
	{"2.0 nodes: what does not decode is named, others are served", damagedNode},
	{"2.0 nodes: closed DataStore", nodesClosed},
}

// testNode is a node with every field but its selectors set.
func testNode(id string) *spirev1.AttestedNode {
	return &spirev1.AttestedNode{
		SpiffeId: id, AttestationDataType: "aws-tag", CertSerialNumber: "badcafe", CertNotAfter: 1_800_000_000,
		NewCertSerialNumber: "badcafe2", NewCertNotAfter: 1_900_000_000, CanReattest: true, AgentVersion: "1.2.3",
	}
}

// addNodes creates nodes, each through another DataStore.
func (e *env) addNodes(nodes ...*spirev1.AttestedNode) {
	e.Helper()
	for i, n := range nodes {
		_, err := e.at(i).CreateAttestedNode(e.ctx(), n)
		e.succeeds(err)
	}
}

// setSelectors sets the selectors of a SPIFFE ID, given as "a:1 b:2".
func (e *env) setSelectors(id, selectors string) {
	e.Helper()
	e.succeeds(e.SetNodeSelectors(e.ctx(), id, selectorList(selectors)))
}

// hasNode reports a node that is not stored as want, on any handle.
func (e *env) hasNode(want *spirev1.AttestedNode) {
	e.Helper()
	for _, d := range e.all {
		got, err := d.FetchAttestedNode(e.ctx(), want.SpiffeId)
		e.succeeds(err)
		same(e, got, want, "stored node")
	}
}

// hasNoNode reports a node that is there.
func (e *env) hasNoNode(id string) {
	e.Helper()
	for _, d := range e.all {
		got, err := d.FetchAttestedNode(e.ctx(), id)
		if got != nil || err != nil {
			e.Errorf("%q: got %v, %v, want none", id, got, err)
		}
	}
}

func createNode(e *env) {
	input := testNode("foo")
	input.Selectors = selectorList("a:1")
	e.setSelectors("foo", "b:2")
	got, err := e.CreateAttestedNode(e.ctx(), input)
	e.succeeds(err)
	same(e, got, testNode("foo"), "result")
	e.hasNode(testNode("foo"))
	selectors, err := e.at(1).GetNodeSelectors(e.ctx(), "foo", datastore.RequireCurrent)
	e.succeeds(err)
	same(e, selectors, selectorList("b:2"), "T17 selectors")
}

func createNodeTwice(e *env) {
	e.addNodes(testNode("foo"))
	for _, d := range e.all {
		got, err := d.CreateAttestedNode(e.ctx(), &spirev1.AttestedNode{SpiffeId: "foo"})
		e.failsWith(err, codes.AlreadyExists, "UNIQUE constraint failed: attested_node_entries.spiffe_id")
		same(e, got, nil, "result")
	}
	e.hasNode(testNode("foo"))
	e.sameEvents(e.nodeEvents(), "foo")
}

func createNoNode(e *env) {
	got, err := e.CreateAttestedNode(e.ctx(), nil)
	e.failsPlainly(err, "datastore-sql: invalid request: missing attested node")
	same(e, got, nil, "result")
	e.sameEvents(e.nodeEvents())
}

func createNodeIDs(e *env) {
	ids := []string{"", "foo", "FOO", "foo/", "spiffe://td/a b", "a\x00b", "a\x00", "ÿ"}
	for _, id := range ids {
		e.addNodes(&spirev1.AttestedNode{SpiffeId: id})
	}
	for _, id := range ids {
		e.hasNode(&spirev1.AttestedNode{SpiffeId: id})
	}
	listed, err := e.ListAttestedNodes(e.ctx(), &datastore.ListAttestedNodesRequest{})
	e.succeeds(err)
	n, err := e.CountAttestedNodes(e.ctx(), &datastore.CountAttestedNodesRequest{})
	e.succeeds(err)
	if len(listed.Nodes) != len(ids) || n != int32(len(ids)) {
		e.Errorf("%d listed, %d counted, want %d", len(listed.Nodes), n, len(ids))
	}
}

func fetchNode(e *env) {
	e.hasNoNode("foo")
	banned := &spirev1.AttestedNode{SpiffeId: "foo", CertNotAfter: 1}
	e.addNodes(banned)
	e.setSelectors("foo", "a:1")
	e.hasNode(banned)
	for _, id := range []string{"", "FOO", "fo", notUTF8} {
		e.hasNoNode(id)
	}
}

func fetchNodes(e *env) {
	e.addNodes(testNode("a"), testNode("b"), testNode("c"), testNode("gone"))
	e.setSelectors("a", "x:2 x:1")
	e.setSelectors("orphan", "x:1")
	_, err := e.DeleteAttestedNode(e.ctx(), "gone")
	e.succeeds(err)
	a := testNode("a")
	a.Selectors = selectorList("x:2 x:1")
	tests := []struct {
		ids  []string
		want map[string]*spirev1.AttestedNode
	}{
		{nil, map[string]*spirev1.AttestedNode{}},
		{[]string{}, map[string]*spirev1.AttestedNode{}},
		{[]string{"", "gone", "orphan", "A"}, map[string]*spirev1.AttestedNode{}},
		{[]string{"a", "b"}, map[string]*spirev1.AttestedNode{"a": a, "b": testNode("b")}},
		{[]string{"b", "a", "", "a"}, map[string]*spirev1.AttestedNode{"a": a, "b": testNode("b")}},
	}
	for i, test := range tests {
		got, err := e.at(i).FetchAttestedNodes(e.ctx(), test.ids)
		e.succeeds(err)
		same(e, got, test.want, "nodes")
	}
}

func fetchManyNodes(e *env) {
	e.addNodes(testNode("9999"))
	ids := make([]string, 10_000)
	for i := range ids {
		ids[i] = strconv.Itoa(i)
	}
	got, err := e.FetchAttestedNodes(e.ctx(), ids)
	e.succeeds(err)
	same(e, got, map[string]*spirev1.AttestedNode{"9999": testNode("9999")}, "nodes")
}

func updateNode(e *env) {
	given := &spirev1.AttestedNode{
		SpiffeId: "foo", AttestationDataType: "other", CertSerialNumber: "1", CertNotAfter: 2,
		NewCertSerialNumber: "3", NewCertNotAfter: 4, AgentVersion: "5", Selectors: selectorList("z:1"),
	}
	tests := []struct {
		name string
		mask *spirev1.AttestedNodeMask
		want func(*spirev1.AttestedNode)
	}{
		{"T25 nil is all but the type", nil, func(n *spirev1.AttestedNode) {
			n.CertSerialNumber, n.CertNotAfter, n.NewCertSerialNumber, n.NewCertNotAfter = "1", 2, "3", 4
			n.CanReattest, n.AgentVersion = false, "5"
		}},
		{"no bit", &spirev1.AttestedNodeMask{}, func(*spirev1.AttestedNode) {}},
		{"T24 attestation_data_type is dead", &spirev1.AttestedNodeMask{AttestationDataType: true}, func(*spirev1.AttestedNode) {}},
		{"cert_serial_number", &spirev1.AttestedNodeMask{CertSerialNumber: true}, func(n *spirev1.AttestedNode) { n.CertSerialNumber = "1" }},
		{"cert_not_after", &spirev1.AttestedNodeMask{CertNotAfter: true}, func(n *spirev1.AttestedNode) { n.CertNotAfter = 2 }},
		{"new_cert_serial_number", &spirev1.AttestedNodeMask{NewCertSerialNumber: true}, func(n *spirev1.AttestedNode) { n.NewCertSerialNumber = "3" }},
		{"new_cert_not_after", &spirev1.AttestedNodeMask{NewCertNotAfter: true}, func(n *spirev1.AttestedNode) { n.NewCertNotAfter = 4 }},
		{"can_reattest", &spirev1.AttestedNodeMask{CanReattest: true}, func(n *spirev1.AttestedNode) { n.CanReattest = false }},
		{"agent_version", &spirev1.AttestedNodeMask{AgentVersion: true}, func(n *spirev1.AttestedNode) { n.AgentVersion = "5" }},
	}
	e.setSelectors("foo", "a:1")
	for i, test := range tests {
		e.addNodes(testNode("foo"))
		want := testNode("foo")
		test.want(want)
		got, err := e.at(i).UpdateAttestedNode(e.ctx(), given, test.mask)
		e.succeeds(err)
		same(e, got, want, test.name)
		e.hasNode(want)
		_, err = e.DeleteAttestedNode(e.ctx(), "foo")
		e.succeeds(err)
	}
}

func updateNoNode(e *env) {
	e.setSelectors("foo", "a:1")
	got, err := e.UpdateAttestedNode(e.ctx(), testNode("foo"), nil)
	e.isNotFound(err)
	same(e, got, nil, "result")
	e.hasNoNode("foo")
}

func updateNodeParallel(e *env) {
	e.addNodes(&spirev1.AttestedNode{SpiffeId: "foo"})
	masks := []*spirev1.AttestedNodeMask{
		{CertSerialNumber: true}, {CertNotAfter: true}, {NewCertSerialNumber: true},
		{NewCertNotAfter: true}, {CanReattest: true}, {AgentVersion: true},
	}
	errs := parallel(len(masks), func(i int) error {
		_, err := e.at(i).UpdateAttestedNode(e.ctx(), testNode("foo"), masks[i])
		return err
	})
	same(e, errs, nil, "errors")
	want := testNode("foo")
	want.AttestationDataType = ""
	e.hasNode(want)
}

func nodeEvents(e *env) {
	ctx := e.ctx()
	e.addNodes(testNode("a"))
	e.setSelectors("a", "x:1")
	e.setSelectors("a", "x:1") // nothing changes
	e.setSelectors("unknown", "")
	_, err := e.UpdateAttestedNode(ctx, testNode("a"), &spirev1.AttestedNodeMask{})
	e.succeeds(err)
	_, err = e.DeleteAttestedNode(ctx, "a")
	e.succeeds(err)
	e.setSelectors("a", "") // after deletion
	want := []string{"a", "a", "a", "unknown", "a", "a", "a"}
	e.sameEvents(e.nodeEvents(), want...)

	_, update := e.UpdateAttestedNode(ctx, testNode("a"), nil)
	_, remove := e.DeleteAttestedNode(ctx, "a")
	twice := e.SetNodeSelectors(ctx, "a", selectorList("x:1 x:1"))
	if update == nil || remove == nil || twice == nil {
		e.Errorf("no error: %v, %v, %v", update, remove, twice)
	}
	e.sameEvents(e.nodeEvents(), want...)
	e.addNodes(testNode("b"))
	e.sameEvents(e.nodeEvents(), append(want, "b")...)
	e.sameEvents(e.entryEvents())
}

func nodesAreCopied(e *env) {
	input := testNode("foo")
	input.Selectors = selectorList("a:1")
	created, err := e.CreateAttestedNode(e.ctx(), input)
	e.succeeds(err)
	want := testNode("foo")
	want.Selectors = selectorList("a:1")
	same(e, input, want, "input of create")
	input.AgentVersion, created.AgentVersion = "changed", "changed"
	e.hasNode(testNode("foo"))

	input = testNode("foo")
	updated, err := e.UpdateAttestedNode(e.ctx(), input, nil)
	e.succeeds(err)
	same(e, input, testNode("foo"), "input of update")
	updated.AgentVersion = "changed"
	fetched, err := e.FetchAttestedNode(e.ctx(), "foo")
	e.succeeds(err)
	fetched.AgentVersion = "changed"
	e.hasNode(testNode("foo"))
}

func nodeNotUTF8(e *env) {
	e.addNodes(testNode("foo"))
	keys := e.keyCount()
	_, err := e.CreateAttestedNode(e.ctx(), &spirev1.AttestedNode{SpiffeId: notUTF8})
	e.isInvalidText(err)
	_, err = e.CreateAttestedNode(e.ctx(), &spirev1.AttestedNode{SpiffeId: "bar", AttestationDataType: notUTF8})
	e.isInvalidText(err)
	bad := testNode("foo")
	bad.AgentVersion = notUTF8
	_, err = e.UpdateAttestedNode(e.ctx(), bad, nil)
	e.isInvalidText(err)
	e.hasNode(testNode("foo"))
	same(e, e.keyCount(), keys, "keys")
	e.sameEvents(e.nodeEvents(), "foo")
}

func damagedNode(e *env) {
	e.addNodes(testNode("good"), testNode("bad"), &spirev1.AttestedNode{SpiffeId: "banned"})
	damage(e, records.Nodes, "bad")
	_, err := e.FetchAttestedNode(e.ctx(), "bad")
	e.failsWith(err, codes.Unknown, `"node" "bad"`)
	_, err = e.FetchAttestedNodes(e.ctx(), []string{"good", "bad"})
	e.failsWith(err, codes.Unknown, `"node" "bad"`)
	_, err = e.ListAttestedNodes(e.ctx(), &datastore.ListAttestedNodesRequest{})
	e.failsWith(err, codes.Unknown, `"node" "bad"`)

	e.hasNode(testNode("good"))
	banned := true // an index rules the others out
	got, err := e.ListAttestedNodes(e.ctx(), &datastore.ListAttestedNodesRequest{ByBanned: &banned})
	e.succeeds(err)
	same(e, nodeIDs(got.Nodes), []string{"banned"}, "banned nodes")
	n, err := e.CountAttestedNodes(e.ctx(), &datastore.CountAttestedNodesRequest{})
	e.succeeds(err)
	same(e, n, 3, "count")
}

func nodesClosed(e *env) {
	for range 2 {
		e.succeeds(e.Close())
	}
	ctx := e.ctx()
	_, err := e.CreateAttestedNode(ctx, nil)
	e.failsPlainly(err, "datastore-sql: invalid request: missing attested node")
	_, err = e.CreateAttestedNode(ctx, testNode("a"))
	e.isClosed(err)
	_, err = e.FetchAttestedNode(ctx, "a")
	e.isClosed(err)
	_, err = e.FetchAttestedNodes(ctx, []string{"a"})
	e.isClosed(err)
	_, err = e.UpdateAttestedNode(ctx, testNode("a"), nil)
	e.isClosed(err)
	_, err = e.DeleteAttestedNode(ctx, "a")
	e.isClosed(err)
	e.isClosed(e.PruneAttestedExpiredNodes(ctx, time.Unix(1, 0), true, 0))
}

// nodeIDs returns the SPIFFE IDs of nodes.
func nodeIDs(nodes []*spirev1.AttestedNode) []string {
	var ids []string
	for _, n := range nodes {
		ids = append(ids, n.SpiffeId)
	}
	return ids
}
