package datastoretest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/datastore"
)

var nodeFilterTests = []conformanceTest{
	{"3.3 node filters", listNodesByFilter},
	{"3.2.1 3.3 node filters by selectors", listNodesBySelectors},
	{"3.2.1 T15 node filters by selectors that are wrong", listNodesByWrongSelectors},
	{"3.1 node filters are ANDed", listNodesByManyFilters},
}

func listNodesByFilter(e *env) {
	e.addListedNodes()
	yes, no := new(bool), new(bool)
	*yes = true
	type request = datastore.ListAttestedNodesRequest
	tests := []struct {
		name string
		req  request
		want string
	}{
		{"none", request{}, "n9 n8 n7 n6 n5 n4 n3 n2 n1"},
		{"type", request{ByAttestationType: "t1"}, "n9 n7 n4 n2"},
		{"T32 type in another case", request{ByAttestationType: "T1"}, "n3"},
		{"type that no node has", request{ByAttestationType: "t"}, ""},
		{"banned", request{ByBanned: yes}, "n7 n5"},
		{"not banned", request{ByBanned: no}, "n9 n8 n6 n4 n3 n2 n1"},
		{"can attest again", request{ByCanReattest: yes}, "n8 n6 n5 n3 n2"},
		{"can't attest again", request{ByCanReattest: no}, "n9 n7 n4 n1"},
		{"expires before", request{ByExpiresBefore: expiry}, "n8 n5 n4"},
		{"7.2 expires before a nanosecond later", request{ByExpiresBefore: expiry.Add(1)}, "n8 n7 n5 n4 n3 n2"},
		{"7.2 expires before a nanosecond earlier", request{ByExpiresBefore: expiry.Add(-1)}, "n8 n5 n4"},
		{"expires before, in another zone", request{ByExpiresBefore: expiry.In(time.FixedZone("", 3600))}, "n8 n5 n4"},
		{"valid at", request{ValidAt: expiry}, "n9 n7 n6 n3 n2 n1"},
		{"7.2 valid at a nanosecond later", request{ValidAt: expiry.Add(1)}, "n9 n6 n1"},
		{"7.2 valid at a nanosecond earlier", request{ValidAt: expiry.Add(-1)}, "n9 n7 n6 n3 n2 n1"},
		{"valid at 1970", request{ValidAt: time.Unix(0, 0)}, "n9 n8 n7 n6 n5 n4 n3 n2 n1"},
		{"ids", request{BySpiffeIDs: []string{"n1", "orphan", "n8", "", "n1", "N9"}}, "n8 n1"},
		{"ids that no node has", request{BySpiffeIDs: []string{"orphan"}}, ""},
		{"an empty list of ids", request{BySpiffeIDs: []string{}}, "n9 n8 n7 n6 n5 n4 n3 n2 n1"},
	}
	for _, test := range tests {
		e.findsNodes(test.req, test.want, test.name)
	}
}

// bySelectorList reads "a:1 b:2".
func bySelectorList(selectors string, match datastore.MatchBehavior) *datastore.BySelectors {
	return &datastore.BySelectors{Selectors: selectorList(selectors), Match: match}
}

func listNodesBySelectors(e *env) {
	e.addListedNodes()
	tests := []struct {
		selectors                    string
		exact, subset, superset, any string
	}{
		{"a:1 b:2 c:3", "n9", "n9 n8 n6 n5 n1", "n9 n4", "n9 n8 n6 n5 n4 n1"},
		{"c:3 a:1 b:2 a:1 c:3", "n9", "n9 n8 n6 n5 n1", "n9 n4", "n9 n8 n6 n5 n4 n1"},
		{"a:1", "n1", "n1", "n9 n8 n4 n1", "n9 n8 n4 n1"},
		{"b:2 c:3", "n6", "n6 n5", "n9 n6 n4", "n9 n8 n6 n5 n4"},
		{"a:1 b:2 c:3 d:4", "n4", "n9 n8 n6 n5 n4 n1", "n4", "n9 n8 n6 n5 n4 n1"},
		{"a:1 x:9", "", "n1", "", "n9 n8 n4 n1"},
		{"A:1", "n2", "n2", "n2", "n2"},
		{"a:", "", "", "", ""},
		{"x:9", "", "", "", ""},
	}
	for _, test := range tests {
		for match, want := range []string{test.exact, test.subset, test.superset, test.any} {
			by := bySelectorList(test.selectors, datastore.MatchBehavior(match))
			e.findsNodes(datastore.ListAttestedNodesRequest{BySelectorMatch: by}, want, fmt.Sprint(test.selectors, " by match ", match))
		}
	}

	e.setSelectors("n1", "")
	e.findsNodes(datastore.ListAttestedNodesRequest{BySelectorMatch: bySelectorList("a:1", datastore.Subset)}, "", "T30 a cleared set")
}

func listNodesByWrongSelectors(e *env) {
	e.addListedNodes()
	e.checkWrongSelectors()
}

func (e *env) checkWrongSelectors() {
	e.Helper()
	tests := []struct {
		by   *datastore.BySelectors
		code codes.Code
		text string
	}{
		{&datastore.BySelectors{}, codes.InvalidArgument, "cannot list by empty selectors set"},
		{&datastore.BySelectors{Match: 9}, codes.InvalidArgument, "cannot list by empty selectors set"},
		{bySelectorList("a:1", 9), codes.Unknown, `datastore-sql: unhandled match behavior '\t'`},
		{bySelectorList("a:1", -1), codes.Unknown, `datastore-sql: unhandled match behavior '�'`},
	}
	badToken := &datastore.Pagination{PageSize: 1, Token: "x"} // is looked at last
	for _, test := range tests {
		_, err := e.ListAttestedNodes(e.ctx(), &datastore.ListAttestedNodesRequest{BySelectorMatch: test.by, Pagination: badToken})
		e.failsAs(err, test.code, test.text)
		got, err := e.ListAttestedNodes(e.ctx(), &datastore.ListAttestedNodesRequest{BySelectorMatch: test.by})
		e.failsAs(err, test.code, test.text)
		same(e, got, nil, "list")
		n, err := e.CountAttestedNodes(e.ctx(), &datastore.CountAttestedNodesRequest{BySelectorMatch: test.by})
		same(e, n, -1, "count")
		if test.code == codes.Unknown {
			e.failsPlainly(err, test.text)
		} else {
			e.failsAs(err, test.code, test.text)
		}
	}
}

// nodeFilter is one way to filter: how it is asked for, and whom it passes.
type nodeFilter struct {
	name  string
	set   func(*datastore.ListAttestedNodesRequest)
	keeps func(*listedNode) bool
}

func nodeFilters() []nodeFilter {
	no := new(bool)
	yes := new(bool)
	*yes = true
	type request = datastore.ListAttestedNodesRequest
	has := func(n *listedNode, s string) bool { return slices.Contains(strings.Fields(n.selectors), s) }
	return []nodeFilter{
		{"type", func(r *request) { r.ByAttestationType = "t1" }, func(n *listedNode) bool { return n.typ == "t1" }},
		{"not banned", func(r *request) { r.ByBanned = no }, func(n *listedNode) bool { return !n.banned }},
		{"can attest again", func(r *request) { r.ByCanReattest = yes }, func(n *listedNode) bool { return n.reattest }},
		{"expires", func(r *request) { r.ByExpiresBefore = expiry.Add(2 * time.Second) }, func(n *listedNode) bool { return n.expires < 2 }},
		{"valid", func(r *request) { r.ValidAt = expiry.Add(-time.Second) }, func(n *listedNode) bool { return n.expires >= -1 }},
		{"ids", func(r *request) { r.BySpiffeIDs = []string{"n1", "n2", "n3", "n6", "n8", "n9"} },
			func(n *listedNode) bool { return !slices.Contains([]string{"n7", "n5", "n4"}, n.id) }},
		{"any selector", func(r *request) { r.BySelectorMatch = bySelectorList("a:1 A:1 c:3", datastore.MatchAny) },
			func(n *listedNode) bool { return has(n, "a:1") || has(n, "A:1") || has(n, "c:3") }},
	}
}

// listNodesByManyFilters tries every combination of one filter of each kind.
func listNodesByManyFilters(e *env) {
	e.addListedNodes()
	filters := nodeFilters()
	for mask := range 1 << len(filters) {
		var req datastore.ListAttestedNodesRequest
		var names, want []string
		for i, f := range filters {
			if mask&(1<<i) != 0 {
				f.set(&req)
				names = append(names, f.name)
			}
		}
		for n := range listedNodes {
			kept := true
			for i, f := range filters {
				kept = kept && (mask&(1<<i) == 0 || f.keeps(&listedNodes[n]))
			}
			if kept {
				want = append(want, listedNodes[n].id)
			}
		}
		what := strings.Join(names, ", ")
		if got := e.listNodes(e.at(mask), req, int32(mask%3)); got != strings.Join(want, " ") {
			e.Errorf("%s: got %q, want %q", what, got, want)
		}
		if req.ValidAt.IsZero() && len(req.BySpiffeIDs) == 0 {
			n, err := e.CountAttestedNodes(e.ctx(), countRequest(&req))
			e.succeeds(err)
			same(e, n, int32(len(want)), "count by "+what)
		}
	}
}
