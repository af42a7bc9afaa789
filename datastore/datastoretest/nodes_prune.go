package datastoretest

import (
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

var nodePruneTests = []conformanceTest{
	{"2.5.7 7.2 PruneAttestedExpiredNodes: who is pruned", pruneNodes},
	{"2.5.7 PruneAttestedExpiredNodes prunes no more than its batch", pruneNodesBatch},
	{"2.5.7 PruneAttestedExpiredNodes: a batch of 0 is 1000", pruneNodesDefaultBatch},
	{"2.5.7 PruneAttestedExpiredNodes prunes first who expired first", pruneNodesOrder},
	{"2.5.7 PruneAttestedExpiredNodes keeps who changes meanwhile", pruneNodesChangedMeanwhile},
	{"2.5.7 PruneAttestedExpiredNodes deletes as DeleteAttestedNode does", pruneNodesCascades},
	{"2.5.7 PruneAttestedExpiredNodes: a batch too large for a transaction", pruneNodesTooLarge},
	{"2.5.6 2.5.7 nodes: logs", pruneNodesLogs},
}

func pruneNodes(e *env) {
	type change func(*spirev1.AttestedNode)
	expires := func(seconds int64) change {
		return func(n *spirev1.AttestedNode) { n.CertNotAfter = expiry.Unix() + seconds }
	}
	banned := change(func(n *spirev1.AttestedNode) { n.CertSerialNumber = "" })
	final := change(func(n *spirev1.AttestedNode) { n.CanReattest = false })
	renewed := change(func(n *spirev1.AttestedNode) { n.NewCertNotAfter, n.NewCertSerialNumber = math.MaxInt64, "2" })
	tests := []struct {
		name    string
		changes []change
		limit   time.Time
		final   bool // includeNonReattestable
		pruned  bool
	}{
		{"expired", []change{expires(-1)}, expiry, false, true},
		{"expires at the time", nil, expiry, false, false},
		{"expires a nanosecond before", nil, expiry.Add(1), false, true},
		{"expires within the second after", []change{expires(1)}, expiry.Add(time.Second - 1), false, false},
		{"valid", []change{expires(9)}, expiry, true, false},
		{"expired in 1970", []change{func(n *spirev1.AttestedNode) { n.CertNotAfter = 0 }}, expiry, false, true},
		{"only the present certificate counts", []change{expires(-1), renewed}, expiry, false, true},
		{"T26 banned", []change{expires(-1), banned}, expiry, true, false},
		{"can't attest again", []change{expires(-1), final}, expiry, false, false},
		{"can't attest again, included", []change{expires(-1), final}, expiry, true, true},
		{"can attest again, also included", []change{expires(-1)}, expiry, true, true},
	}
	for i, test := range tests {
		n := joinTokenNode(test.name)
		for _, change := range test.changes {
			change(n)
		}
		e.addNodes(n)
		e.setSelectors(n.SpiffeId, "a:1")
		e.succeeds(e.at(i).PruneAttestedExpiredNodes(e.ctx(), test.limit, test.final, 0))
		left, err := e.FetchAttestedNode(e.ctx(), n.SpiffeId)
		e.succeeds(err)
		if (left == nil) != test.pruned {
			e.Errorf("%s: left %v", test.name, left)
		}
		selectors, err := e.GetNodeSelectors(e.ctx(), n.SpiffeId, datastore.RequireCurrent)
		e.succeeds(err)
		same(e, selectors == nil, test.pruned, test.name+": selectors are gone")
		if left != nil {
			_, err = e.DeleteAttestedNode(e.ctx(), n.SpiffeId)
			e.succeeds(err)
		}
	}
}

// addExpired creates expired nodes with ids that begin with prefix.
func (e *env) addExpired(prefix string, n int) {
	e.Helper()
	for i := range n {
		e.addNodes(joinTokenNode(fmt.Sprint(prefix, i)))
	}
}

func (e *env) wantNodeCount(want int) {
	e.Helper()
	n, err := e.CountAttestedNodes(e.ctx(), &datastore.CountAttestedNodesRequest{})
	e.succeeds(err)
	same(e, n, int32(want), "nodes")
}

func pruneNodesBatch(e *env) {
	banned, final := joinTokenNode("banned"), joinTokenNode("final") // take no places in a batch
	banned.CertSerialNumber, final.CanReattest = "", false
	plant(e, records.Nodes, banned, final)
	e.addExpired("n", 5)
	kept := joinTokenNode("kept")
	kept.CertNotAfter++
	e.addNodes(kept)
	for _, want := range []int{6, 4, 3, 3} {
		e.succeeds(e.PruneAttestedExpiredNodes(e.ctx(), expiry.Add(1), false, 2))
		e.wantNodeCount(want)
	}
	e.hasNode(kept)
	events := e.nodeEvents()
	same(e, len(events), 6+5, "events")
	slices.Sort(events[6:])
	e.sameEvents(events[6:], "n0", "n1", "n2", "n3", "n4")
}

func pruneNodesDefaultBatch(e *env) {
	nodes := make([]*spirev1.AttestedNode, 2003)
	for i := range nodes {
		nodes[i] = joinTokenNode(fmt.Sprint(i))
	}
	plant(e, records.Nodes, nodes...)
	e.succeeds(e.PruneAttestedExpiredNodes(e.ctx(), expiry.Add(1), false, 0))
	e.wantNodeCount(1003)
	e.succeeds(e.PruneAttestedExpiredNodes(e.ctx(), expiry.Add(1), false, -7))
	e.wantNodeCount(3)
	e.succeeds(e.PruneAttestedExpiredNodes(e.ctx(), expiry.Add(1), false, 5000))
	e.wantNodeCount(0)
}

func pruneNodesOrder(e *env) {
	for i, expired := range []int64{3, 1, 4, 1, 5} {
		n := joinTokenNode(fmt.Sprint("n", i))
		n.CertNotAfter = expired
		e.addNodes(n)
	}
	for range 3 {
		e.succeeds(e.PruneAttestedExpiredNodes(e.ctx(), expiry, false, 1))
	}
	e.sameEvents(e.nodeEvents()[5:], "n1", "n3", "n0")
}

// pruneNodesChangedMeanwhile changes nodes after they were found to be expired.
func pruneNodesChangedMeanwhile(e *env) {
	e.addExpired("n", 4)
	renewed, banned := joinTokenNode("n0"), joinTokenNode("n1")
	renewed.CertNotAfter++
	banned.CertSerialNumber = ""
	d := e.between(func() {
		_, err := e.UpdateAttestedNode(e.ctx(), renewed, nil)
		e.succeeds(err)
		_, err = e.UpdateAttestedNode(e.ctx(), banned, nil)
		e.succeeds(err)
		_, err = e.DeleteAttestedNode(e.ctx(), "n2")
		e.succeeds(err)
	})
	e.succeeds(d.PruneAttestedExpiredNodes(e.ctx(), expiry.Add(1), false, 0))
	e.hasNode(renewed)
	e.hasNode(banned)
	e.hasNoNode("n3")
	e.sameEvents(e.nodeEvents(), "n0", "n1", "n2", "n3", "n0", "n1", "n2", "n3")
}

func pruneNodesCascades(e *env) {
	e.addExpired("n", 3)
	valid := joinTokenNode("valid")
	valid.CertNotAfter++
	e.addNodes(valid)
	for _, id := range []string{"n0", "n1", "valid"} {
		e.setSelectors(id, "a:1")
		e.plantEntry("alias of "+id, id, isSpiffeID(id))
		e.plantEntry("child of "+id, id, selectorList("a:1")...)
	}
	before := len(e.nodeEvents())
	e.succeeds(e.PruneAttestedExpiredNodes(e.ctx(), expiry.Add(1), false, 0))
	entries, nodes := e.entryEvents(), e.nodeEvents()[before:]
	slices.Sort(entries)
	slices.Sort(nodes)
	e.sameEvents(entries, "alias of n0", "alias of n1")
	e.sameEvents(nodes, "n0", "n1", "n2")
	for id, want := range map[string]bool{
		"alias of n0": false, "alias of n1": false, "alias of valid": true,
		"child of n0": true, "child of n1": true, "child of valid": true,
	} {
		same(e, has(e, records.Entries, id), want, id)
	}
	listed, err := e.ListNodeSelectors(e.ctx(), &datastore.ListNodeSelectorsRequest{})
	e.succeeds(err)
	same(e, len(listed.Selectors), 1, "ids with selectors")
}

// pruneNodesTooLarge prunes nodes whose selectors are so many that they don't
// fit into one transaction together.
func pruneNodesTooLarge(e *env) {
	const n, each, length = 10, 1000, 490 // bytes: their index records alone are too large
	if n*each*length <= store.TxBytesMax {
		e.Fatal("they fit")
	}
	e.addExpired("n", n)
	for i := range n {
		selectors := make([]*spirev1.Selector, each)
		for j := range selectors {
			selectors[j] = &spirev1.Selector{Type: "t", Value: fmt.Sprintf("%0*d", length, j)}
		}
		e.succeeds(e.SetNodeSelectors(e.ctx(), fmt.Sprint("n", i), selectors))
	}
	e.succeeds(e.PruneAttestedExpiredNodes(e.ctx(), expiry.Add(1), false, 0))
	e.wantNodeCount(0)
	same(e, e.keyCount(), len(e.nodeEvents()), "keys, which should be those of events alone")
}

func pruneNodesLogs(e *env) {
	d, logs := e.logging()
	prune := func() error { return d.PruneAttestedExpiredNodes(e.ctx(), expiry.Add(1), false, 0) }
	e.succeeds(prune())
	same(e, logs.take(), []string{"INFO Pruned expired agents count=0"}, "log of nothing")

	e.addNodes(joinTokenNode("a"), joinTokenNode("b"), joinTokenNode("c"))
	for _, id := range []string{"a", "b"} {
		e.plantEntry("alias of "+id, id, isSpiffeID(id))
	}
	cascaded := func(id string) string {
		return "INFO Cascade-deleted registration entry on attested node deletion" +
			" spiffe_id=spiffe://td/alias of " + id + " parent_id=" + id + " entry_id=alias of " + id
	}
	_, err := d.DeleteAttestedNode(e.ctx(), "a")
	e.succeeds(err)
	same(e, logs.take(), []string{cascaded("a")}, "log of a delete")
	e.succeeds(prune())
	same(e, logs.take(), []string{cascaded("b"), "INFO Pruned expired agents count=2"}, "log of a prune")

	e.addNodes(joinTokenNode("d"))
	damage(e, records.Nodes, "d")
	e.failsWith(prune(), codes.Unknown, `"node" "d"`)
	same(e, logs.take(), []string{"INFO Pruned expired agents count=0"}, "log of a failure")

	_, err = d.CreateAttestedNode(e.ctx(), testNode("e"))
	e.succeeds(err)
	e.succeeds(d.SetNodeSelectors(e.ctx(), "e", selectorList("a:1")))
	_, err = d.UpdateAttestedNode(e.ctx(), testNode("e"), nil)
	e.succeeds(err)
	_, err = d.DeleteAttestedNode(e.ctx(), "e")
	e.succeeds(err)
	same(e, logs.take(), nil, "T49 log of other writes")
}
