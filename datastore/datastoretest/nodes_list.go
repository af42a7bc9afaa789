package datastoretest

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

var nodeListTests = []conformanceTest{
	{"2.5.4 3.6 no nodes are an empty list and a count of 0", listNoNodes},
	{"3.4 ListAttestedNodes pages in the order of creation", listNodePages},
	{"3.4 pages of nodes are cut after filtering", listNodeFilteredPages},
	{"1.4 3.1 updates move no node, re-created ones come last", listNodeOrder},
	{"3.4 nodes that come and go between pages", listNodesChangingBetweenPages},
	{"2.5.4 T16 selectors are listed if asked for, in their order", listNodesFetchSelectors},
	{"2.5.4 3.4 T14 node lists are validated before I/O", listNodesClosed},
}

// Nodes expire around this time.
var expiry = time.Unix(1_750_000_000, 0)

// listedNode describes a node of the tests below.
type listedNode struct {
	id        string
	typ       string
	banned    bool
	reattest  bool
	expires   int64 // seconds after expiry
	selectors string
}

// listedNodes are in the order of their creation, which is not that of their
// ids, expiries or selectors.
var listedNodes = []listedNode{
	{id: "n9", typ: "t1", expires: 5, selectors: "a:1 b:2 c:3"},
	{id: "n8", typ: "t2", expires: -5, reattest: true, selectors: "a:1 b:2"},
	{id: "n7", typ: "t1", expires: 0, banned: true},
	{id: "n6", typ: "t3", expires: 1, reattest: true, selectors: "b:2 c:3"},
	{id: "n5", typ: "", expires: -1, banned: true, reattest: true, selectors: "c:3"},
	{id: "n4", typ: "t1", expires: -1, selectors: "d:4 a:1 c:3 b:2"},
	{id: "n3", typ: "T1", expires: 0, reattest: true, selectors: "a:2"},
	{id: "n2", typ: "t1", expires: 0, reattest: true, selectors: "A:1"},
	{id: "n1", typ: "t2", expires: 2, selectors: "a:1"},
}

func (n *listedNode) node() *spirev1.AttestedNode {
	node := &spirev1.AttestedNode{
		SpiffeId: n.id, AttestationDataType: n.typ, CertSerialNumber: "1",
		CertNotAfter: expiry.Unix() + n.expires, CanReattest: n.reattest,
	}
	if n.banned {
		node.CertSerialNumber = ""
	}
	return node
}

// addListedNodes creates the nodes, and sets their selectors in another order.
func (e *env) addListedNodes() {
	e.Helper()
	e.setSelectors("orphan", "a:1 b:2 c:3 d:4")
	for i := range listedNodes {
		e.addNodes(listedNodes[i].node())
	}
	for _, n := range slices.Backward(listedNodes) {
		if n.selectors != "" {
			e.setSelectors(n.id, n.selectors)
		}
	}
}

// listNodes lists in pages of size, or at once if that is 0, as "n1 n2", and
// checks the tokens.
func (e *env) listNodes(d *datastore.DataStore, req datastore.ListAttestedNodesRequest, size int32) string {
	e.Helper()
	var ids []string
	for token := ""; ; {
		req.Pagination = nil
		if size > 0 {
			req.Pagination = &datastore.Pagination{PageSize: size, Token: token}
		}
		got, err := d.ListAttestedNodes(e.ctx(), &req)
		e.succeeds(err)
		if got.Nodes == nil {
			e.Error("the list is nil")
		}
		ids = append(ids, nodeIDs(got.Nodes)...)
		if size == 0 {
			same(e, got.Pagination, nil, "pagination")
			return strings.Join(ids, " ")
		}
		if (got.Pagination.Token == "") != (len(got.Nodes) == 0) || got.Pagination.PageSize != size {
			e.Errorf("a page of %d nodes has the pagination %+v", len(got.Nodes), got.Pagination)
		}
		if token = got.Pagination.Token; token == "" {
			return strings.Join(ids, " ")
		}
	}
}

// findsNodes checks what req lists, at once and in pages, with and without
// selectors, and what it counts.
func (e *env) findsNodes(req datastore.ListAttestedNodesRequest, want, what string) {
	e.Helper()
	for i, size := range []int32{0, 1, 3} {
		for _, selectors := range []bool{false, true} {
			req.FetchSelectors = selectors
			if got := e.listNodes(e.at(i), req, size); got != want {
				e.Errorf("%s, in pages of %d: got %q, want %q", what, size, got, want)
			}
		}
	}
	if len(req.BySpiffeIDs) > 0 || !req.ValidAt.IsZero() {
		return // not to be counted
	}
	n, err := e.CountAttestedNodes(e.ctx(), countRequest(&req))
	e.succeeds(err)
	if int(n) != len(strings.Fields(want)) {
		e.Errorf("%s: counted %d, want %q", what, n, want)
	}
}

func countRequest(req *datastore.ListAttestedNodesRequest) *datastore.CountAttestedNodesRequest {
	return &datastore.CountAttestedNodesRequest{
		ByAttestationType: req.ByAttestationType, ByBanned: req.ByBanned, ByExpiresBefore: req.ByExpiresBefore,
		BySelectorMatch: req.BySelectorMatch, FetchSelectors: req.FetchSelectors, ByCanReattest: req.ByCanReattest,
	}
}

func listNoNodes(e *env) {
	e.setSelectors("orphan", "a:1")
	got, err := e.ListAttestedNodes(e.ctx(), &datastore.ListAttestedNodesRequest{})
	e.succeeds(err)
	same(e, got, &datastore.ListAttestedNodesResponse{Nodes: []*spirev1.AttestedNode{}}, "list")
	e.findsNodes(datastore.ListAttestedNodesRequest{}, "", "no nodes")
	e.findsNodes(datastore.ListAttestedNodesRequest{BySelectorMatch: bySelectorList("a:1", datastore.Exact)}, "", "orphans")
}

func nodePage(e *env) func(*datastore.DataStore, *datastore.Pagination) (string, *datastore.Pagination, error) {
	return func(d *datastore.DataStore, page *datastore.Pagination) (string, *datastore.Pagination, error) {
		got, err := d.ListAttestedNodes(e.ctx(), &datastore.ListAttestedNodesRequest{Pagination: page})
		if err != nil {
			return "", nil, err
		}
		for _, n := range got.Nodes {
			same(e, n, testNode(n.SpiffeId), "listed node")
		}
		return strings.Join(nodeIDs(got.Nodes), " "), got.Pagination, nil
	}
}

func listNodePages(e *env) {
	e.setSelectors("x", "a:1") // has numbers of its own
	e.addNodes(testNode("d"), testNode("c"), testNode("b"), testNode("a"))
	e.checkPages(nodePage(e))
}

func listNodeFilteredPages(e *env) {
	e.addListedNodes()
	tests := []struct {
		token     string
		size      int32
		want      string
		wantToken string
	}{
		{"", 2, "n8 n6", "4"}, {"4", 2, "n5 n3", "7"}, {"5", 2, "n3 n2", "8"}, {"7", 2, "n2", "8"}, {"8", 2, "", ""}, {"", 9, "n8 n6 n5 n3 n2", "8"},
	}
	yes := true
	for i, test := range tests {
		got, err := e.at(i).ListAttestedNodes(e.ctx(), &datastore.ListAttestedNodesRequest{
			ByCanReattest: &yes, Pagination: &datastore.Pagination{Token: test.token, PageSize: test.size},
		})
		e.succeeds(err)
		same(e, strings.Join(nodeIDs(got.Nodes), " "), test.want, "page")
		same(e, got.Pagination.Token, test.wantToken, "token")
	}
}

func listNodeOrder(e *env) {
	e.addNodes(testNode("c"), testNode("b"), testNode("a"))
	_, err := e.UpdateAttestedNode(e.ctx(), testNode("c"), nil)
	e.succeeds(err)
	_, err = e.CreateAttestedNode(e.ctx(), testNode("a")) // uses up no number
	e.failsWith(err, codes.AlreadyExists)
	same(e, e.listNodes(e.DataStore, datastore.ListAttestedNodesRequest{}, 0), "c b a", "after an update")
	_, err = e.DeleteAttestedNode(e.ctx(), "a")
	e.succeeds(err)
	_, err = e.DeleteAttestedNode(e.ctx(), "c")
	e.succeeds(err)
	e.addNodes(testNode("c"))
	got, next, err := nodePage(e)(e.DataStore, &datastore.Pagination{PageSize: 5})
	e.succeeds(err)
	if got != "b c" || next.Token != "4" {
		e.Errorf("got %q, token %q: numbers of deleted nodes must not be used again", got, next.Token)
	}
}

func listNodesChangingBetweenPages(e *env) {
	e.addNodes(testNode("d"), testNode("c"), testNode("b"))
	for _, id := range []string{"d", "c"} {
		_, err := e.DeleteAttestedNode(e.ctx(), id)
		e.succeeds(err)
	}
	e.addNodes(testNode("a"))
	got, _, err := nodePage(e)(e.DataStore, &datastore.Pagination{PageSize: 5, Token: "1"})
	e.succeeds(err)
	same(e, got, "b a", "behind a node that is gone")
}

func listNodesFetchSelectors(e *env) {
	e.addListedNodes()
	reqs := map[string]datastore.ListAttestedNodesRequest{
		"all": {}, "page": {Pagination: &datastore.Pagination{PageSize: 100}},
		"filtered by them": {BySelectorMatch: bySelectorList("a:1", datastore.Superset)},
	}
	for what, req := range reqs {
		for _, fetch := range []bool{false, true} {
			req.FetchSelectors = fetch
			got, err := e.ListAttestedNodes(e.ctx(), &req)
			e.succeeds(err)
			for _, n := range got.Nodes {
				i := slices.IndexFunc(listedNodes, func(l listedNode) bool { return l.id == n.SpiffeId })
				want := listedNodes[i].node()
				if fetch {
					want.Selectors = selectorList(listedNodes[i].selectors)
				}
				same(e, n, want, what)
			}
		}
	}
}

func listNodesClosed(e *env) {
	e.succeeds(e.Close())
	e.checkBadPages(e.DataStore, nodePage(e))
	e.checkWrongSelectors()
	_, err := e.ListAttestedNodes(e.ctx(), &datastore.ListAttestedNodesRequest{})
	e.isClosed(err)
	n, err := e.CountAttestedNodes(e.ctx(), &datastore.CountAttestedNodesRequest{})
	e.isClosed(err)
	same(e, n, -1, "count")
}
