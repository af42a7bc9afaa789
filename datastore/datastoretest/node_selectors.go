package datastoretest

import (
	"fmt"
	"math"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
)

var nodeSelectorTests = []conformanceTest{
	{"2.6.1 2.6.2 SetNodeSelectors replaces all, in their order", setNodeSelectors},
	{"2.6.1 T22 a repeated selector is refused and the old set kept", setRepeatedSelectors},
	{"7.3 a nil selector is refused before anything else", setNilSelector},
	{"2.6.1 selectors are opaque", setOddSelectors},
	{"2.6.1 10000 selectors", setManySelectors},
	{"2.6.1 T39 parallel SetNodeSelectors of many ids", setSelectorsUnderLoad},
	{"2.6.1 T39 parallel SetNodeSelectors of one id", setSelectorsOfOneID},
	{"2.6.2 T18 no selectors are nil", getNoSelectors},
	{"2.6.2 stale reads are bounded", getStaleSelectors},
	{"2.6.3 ListNodeSelectors has all ids with selectors", listNodeSelectors},
	{"2.6.3 T28 7.2 ListNodeSelectors with ValidAt", listValidNodeSelectors},
	{"2.0 T20 selectors: inputs are left alone, results are private", selectorsAreCopied},
	{"2.0 selectors: texts that are not UTF-8 are refused", selectorsNotUTF8},
	{"2.0 selectors: what does not decode is named, others are served", damagedSelectors},
	{"2.0 selectors: closed DataStore", selectorsClosed},
}

// hasSelectors reports selectors that are not "a:1 b:2", on any handle.
func (e *env) hasSelectors(id, want string) {
	e.Helper()
	for _, d := range e.all {
		got, err := d.GetNodeSelectors(e.ctx(), id, datastore.RequireCurrent)
		e.succeeds(err)
		same(e, got, selectorList(want), "selectors of "+id)
	}
}

func setNodeSelectors(e *env) {
	var want []string
	for i, set := range []string{"b:2 a:1 c:3", "a:1", "c:3 b:2 a:1", "c:3 b:2 a:1", "", "", "d:4 d:5"} {
		e.succeeds(e.at(i).SetNodeSelectors(e.ctx(), "foo", selectorList(set)))
		e.hasSelectors("foo", set)
		want = append(want, "foo")
		e.sameEvents(e.nodeEvents(), want...)
	}
	e.setSelectors("bar", "d:4")
	e.hasSelectors("foo", "d:4 d:5")
	e.hasNoNode("foo")

	e.succeeds(e.SetNodeSelectors(e.ctx(), "foo", []*spirev1.Selector{}))
	e.hasSelectors("foo", "")
	e.hasSelectors("bar", "d:4")
}

func setRepeatedSelectors(e *env) {
	const columns = "node_resolver_map_entries.spiffe_id, node_resolver_map_entries.type, node_resolver_map_entries.value"
	for _, old := range []string{"", "x:1"} {
		e.setSelectors("foo", old)
		events := e.nodeEvents()
		err := e.SetNodeSelectors(e.ctx(), "foo", selectorList("a:1 b:2 a:1"))
		e.failsWith(err, codes.AlreadyExists, "UNIQUE constraint failed: "+columns)
		e.hasSelectors("foo", old)
		e.sameEvents(e.nodeEvents(), events...)
	}
}

func setOddSelectors(e *env) {
	odd := func() []*spirev1.Selector {
		return []*spirev1.Selector{
			{}, {Type: "a"}, {Value: "a"}, {Type: "a", Value: "A"}, {Type: "a", Value: "a"}, {Type: "aa"}, {Type: "a:a"},
			{Type: "a", Value: ":a"}, {Type: "\x00", Value: "\x01"}, {Type: "\x00\x01"}, {Type: "ÿ", Value: "\x00ÿ"},
		}
	}
	for _, id := range []string{"", "foo", "foo\x00", "ÿ"} {
		e.succeeds(e.SetNodeSelectors(e.ctx(), id, odd()))
		got, err := e.GetNodeSelectors(e.ctx(), id, datastore.RequireCurrent)
		e.succeeds(err)
		same(e, got, odd(), fmt.Sprintf("selectors of %q", id))
	}
	e.addNodes(testNode("foo"))
	for _, s := range odd() {
		got, err := e.ListAttestedNodes(e.ctx(), &datastore.ListAttestedNodesRequest{
			BySelectorMatch: &datastore.BySelectors{Selectors: []*spirev1.Selector{s}, Match: datastore.Superset},
		})
		e.succeeds(err)
		same(e, nodeIDs(got.Nodes), []string{"foo"}, fmt.Sprintf("nodes with %q %q", s.Type, s.Value))
	}
}

func setManySelectors(e *env) {
	selectors := make([]*spirev1.Selector, 10_000)
	for i := range selectors {
		selectors[i] = &spirev1.Selector{Type: "t", Value: fmt.Sprint(i)}
	}
	e.succeeds(e.SetNodeSelectors(e.ctx(), "foo", selectors))
	got, err := e.GetNodeSelectors(e.ctx(), "foo", datastore.RequireCurrent)
	e.succeeds(err)
	same(e, got, selectors, "selectors")
	e.setSelectors("foo", "a:1")
	same(e, e.keyCount(), 3+2, "keys of a set of 1 and 2 events")
}

func setSelectorsUnderLoad(e *env) {
	const goroutines, calls = 20, 10
	errs := parallel(goroutines, func(i int) error {
		id := fmt.Sprint("node ", i)
		for call := range calls {
			selectors := []*spirev1.Selector{{Type: "t", Value: fmt.Sprint(call)}, {Type: "t", Value: "shared"}}
			if err := e.at(i).SetNodeSelectors(e.ctx(), id, selectors); err != nil {
				return err
			}
		}
		return nil
	})
	same(e, errs, nil, "errors")
	same(e, len(e.nodeEvents()), goroutines*calls, "events") // with the ids 1, 2, 3 and so on
	for i := range goroutines {
		e.hasSelectors(fmt.Sprint("node ", i), "t:9 t:shared")
	}
}

func setSelectorsOfOneID(e *env) {
	const goroutines, calls = 20, 10
	errs := parallel(goroutines, func(i int) error {
		for call := range calls {
			selectors := []*spirev1.Selector{{Type: fmt.Sprint(i), Value: fmt.Sprint(call)}}
			if err := e.at(i).SetNodeSelectors(e.ctx(), "foo", selectors); err != nil {
				return err
			}
		}
		return nil
	})
	same(e, errs, nil, "errors")
	same(e, len(e.nodeEvents()), goroutines*calls, "events")
	got, err := e.GetNodeSelectors(e.ctx(), "foo", datastore.RequireCurrent)
	e.succeeds(err)
	same(e, len(got), 1, "number of selectors")
	same(e, e.keyCount(), goroutines*calls+3, "keys of a set of 1 and the events")
}

func getNoSelectors(e *env) {
	e.setSelectors("foo", "a:1")
	e.setSelectors("foo", "")
	e.addNodes(testNode("bar"))
	for _, id := range []string{"foo", "bar", "unknown", "", notUTF8} {
		for _, c := range []datastore.DataConsistency{datastore.RequireCurrent, datastore.TolerateStale} {
			got, err := e.GetNodeSelectors(e.ctx(), id, c)
			if got != nil || err != nil {
				e.Errorf("%q: got %#v, %v", id, got, err)
			}
		}
	}
}

// getStaleSelectors waits for what stale reads may tell later.
func getStaleSelectors(e *env) {
	e.setSelectors("foo", "b:2 a:1")
	for _, d := range e.all {
		for start := time.Now(); ; time.Sleep(time.Millisecond) {
			got, err := d.GetNodeSelectors(e.ctx(), "foo", datastore.TolerateStale)
			e.succeeds(err)
			list, err := d.ListNodeSelectors(e.ctx(), &datastore.ListNodeSelectorsRequest{DataConsistency: datastore.TolerateStale})
			e.succeeds(err)
			if got != nil && len(list.Selectors) > 0 {
				same(e, got, selectorList("b:2 a:1"), "stale selectors")
				break
			}
			if time.Since(start) > testTime {
				e.Fatal("a stale read doesn't catch up")
			}
		}
	}
}

// listsSelectors reports a list that is not want, whose values are "a:1 b:2".
func (e *env) listsSelectors(validAt time.Time, want map[string]string) {
	e.Helper()
	for _, d := range e.all {
		got, err := d.ListNodeSelectors(e.ctx(), &datastore.ListNodeSelectorsRequest{ValidAt: validAt})
		e.succeeds(err)
		lists := make(map[string][]*spirev1.Selector)
		for id, selectors := range want {
			lists[id] = selectorList(selectors)
		}
		same(e, got, &datastore.ListNodeSelectorsResponse{Selectors: lists}, "list")
	}
}

func listNodeSelectors(e *env) {
	e.listsSelectors(time.Time{}, nil)
	e.addNodes(testNode("b"), testNode("no selectors"))
	e.setSelectors("b", "x:2 x:1")
	e.setSelectors("orphan", "x:2")
	e.setSelectors("a", "x:1")
	e.setSelectors("", "x:3")
	e.setSelectors("cleared", "x:1")
	e.setSelectors("cleared", "")
	e.listsSelectors(time.Time{}, map[string]string{"b": "x:2 x:1", "orphan": "x:2", "a": "x:1", "": "x:3"})
}

func listValidNodeSelectors(e *env) {
	for id, seconds := range map[string]int64{"before": -1, "at": 0, "after": 1, "far": math.MaxInt64 - expiry.Unix(), "no selectors": 1} {
		n := testNode(id)
		n.CertNotAfter = expiry.Unix() + seconds
		e.addNodes(n)
		if id != "no selectors" {
			e.setSelectors(id, "x:1")
		}
	}
	e.setSelectors("orphan", "x:1")
	e.listsSelectors(expiry, map[string]string{"after": "x:1", "far": "x:1"})
	e.listsSelectors(expiry.Add(time.Second-1), map[string]string{"after": "x:1", "far": "x:1"})
	e.listsSelectors(expiry.Add(-1), map[string]string{"at": "x:1", "after": "x:1", "far": "x:1"})
	e.listsSelectors(expiry.Add(time.Second), map[string]string{"far": "x:1"})
}

func selectorsAreCopied(e *env) {
	input := selectorList("a:1 b:2")
	e.succeeds(e.SetNodeSelectors(e.ctx(), "foo", input))
	same(e, input, selectorList("a:1 b:2"), "input")
	input[0].Type = "changed"
	got, err := e.GetNodeSelectors(e.ctx(), "foo", datastore.RequireCurrent)
	e.succeeds(err)
	got[0].Type = "changed"
	e.hasSelectors("foo", "a:1 b:2")
}

func setNilSelector(e *env) {
	e.setSelectors("foo", "a:1")
	const text = "datastore-validation: invalid node selectors: selector is nil"
	e.failsAs(e.SetNodeSelectors(e.ctx(), "foo", append(selectorList("a:1 a:1"), nil)), codes.InvalidArgument, text)
	e.hasSelectors("foo", "a:1")
	e.sameEvents(e.nodeEvents(), "foo")
	// Those of a new node are not looked at.
	_, err := e.CreateAttestedNode(e.ctx(), &spirev1.AttestedNode{SpiffeId: "bar", Selectors: []*spirev1.Selector{nil}})
	e.succeeds(err)
	e.succeeds(e.Close())
	e.failsAs(e.SetNodeSelectors(e.ctx(), "foo", []*spirev1.Selector{nil}), codes.InvalidArgument, text)
}

func selectorsNotUTF8(e *env) {
	e.setSelectors("foo", "a:1")
	keys := e.keyCount()
	e.isInvalidText(e.SetNodeSelectors(e.ctx(), "foo", []*spirev1.Selector{{Type: "a", Value: notUTF8}}))
	e.isInvalidText(e.SetNodeSelectors(e.ctx(), "foo", []*spirev1.Selector{{Type: notUTF8}}))
	e.isInvalidText(e.SetNodeSelectors(e.ctx(), notUTF8, selectorList("a:1")))
	e.isInvalidText(e.SetNodeSelectors(e.ctx(), notUTF8, nil))
	e.hasSelectors("foo", "a:1")
	same(e, e.keyCount(), keys, "keys")
}

func damagedSelectors(e *env) {
	e.addNodes(testNode("bad"), testNode("good"))
	e.setSelectors("bad", "a:1")
	e.setSelectors("good", "b:2")
	damage(e, records.NodeSelectorSets, "bad")
	ctx := e.ctx()
	_, get := e.GetNodeSelectors(ctx, "bad", datastore.RequireCurrent)
	_, fetch := e.FetchAttestedNodes(ctx, []string{"bad"})
	_, list := e.ListNodeSelectors(ctx, &datastore.ListNodeSelectorsRequest{})
	for _, err := range []error{get, fetch, list} {
		e.failsWith(err, codes.Unknown, `"node-selectors" "bad"`)
	}
	e.hasSelectors("good", "b:2")
	e.hasNode(testNode("bad"))
	got, err := e.ListAttestedNodes(ctx, &datastore.ListAttestedNodesRequest{BySelectorMatch: bySelectorList("a:1", datastore.Exact)})
	e.succeeds(err)
	same(e, nodeIDs(got.Nodes), []string{"bad"}, "nodes, which are found without decoding selectors")
}

func selectorsClosed(e *env) {
	e.succeeds(e.Close())
	e.failsWith(e.SetNodeSelectors(e.ctx(), "foo", selectorList("a:1")), codes.Unknown)
	e.isClosed(e.SetNodeSelectors(e.ctx(), "foo", nil))
	_, err := e.GetNodeSelectors(e.ctx(), "foo", datastore.TolerateStale)
	e.isClosed(err)
	_, err = e.ListNodeSelectors(e.ctx(), &datastore.ListNodeSelectorsRequest{})
	e.isClosed(err)
}
