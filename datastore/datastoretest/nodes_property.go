package datastoretest

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
)

var modelNodeTests = []conformanceTest{
	{"2.5 2.6 3.3 nodes: random operations agree with a model", nodesAgreeWithModel},
}

// nodesAgreeWithModel does random operations on random DataStores and compares
// their results, lists and counts with the model. All sequences share a backend,
// which each begins by emptying.
func nodesAgreeWithModel(e *env) {
	m := &nodeModel{selectors: make(map[string][]*spirev1.Selector)}
	rapid.Check(e.T, func(t *rapid.T) {
		r := &nodeRun{T: t, env: e, m: m}
		r.clear()
		action := func(fn func()) func(*rapid.T) {
			return func(t *rapid.T) { r.T = t; fn() }
		}
		r.Repeat(map[string]func(*rapid.T){
			"create": action(r.create), "update": action(r.update), "delete": action(r.delete),
			"selectors": action(r.setSelectors), "prune": action(r.prune), "list": action(r.list),
			"list selectors": action(r.listSelectors), "events": action(r.events),
		})
	})
}

// nodeRun is one sequence of operations.
type nodeRun struct {
	*rapid.T
	env *env
	m   *nodeModel
}

func (r *nodeRun) ds() *datastore.DataStore { return rapid.SampledFrom(r.env.all).Draw(r.T, "store") }

// agree ends the sequence if got is not want.
func (r *nodeRun) agree(got, want any) {
	r.Helper()
	if !reflect.DeepEqual(got, want) {
		r.Fatalf("got %+v, want %+v", got, want)
	}
}

// fails ends the sequence if err has another code.
func (r *nodeRun) fails(err error, code codes.Code) {
	r.Helper()
	if status.Code(err) != code {
		r.Fatalf("got error %v, want %v", err, code)
	}
}

func (r *nodeRun) clear() {
	ctx := r.env.ctx()
	for _, n := range slices.Clone(r.m.nodes) {
		_, err := r.env.DeleteAttestedNode(ctx, n.SpiffeId)
		r.fails(err, codes.OK)
		r.m.remove(n.SpiffeId)
	}
	for id := range r.m.selectors {
		r.fails(r.env.SetNodeSelectors(ctx, id, nil), codes.OK)
		r.m.setSelectors(id, nil)
	}
}

func (r *nodeRun) id() string {
	return rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e"}).Draw(r.T, "id")
}

// seconds are those around which nodes expire.
func (r *nodeRun) seconds() int64 { return rapid.Int64Range(-2, 2).Draw(r.T, "seconds") }

// time is one of seconds, or a nanosecond before or after it.
func (r *nodeRun) time() time.Time {
	return time.Unix(r.seconds(), rapid.Int64Range(-1, 1).Draw(r.T, "nanoseconds"))
}

func (r *nodeRun) flag(label string) bool { return rapid.Bool().Draw(r.T, label) }

func (r *nodeRun) selectors(least int) []*spirev1.Selector {
	one := rapid.Custom(func(t *rapid.T) *spirev1.Selector {
		return &spirev1.Selector{
			Type:  rapid.SampledFrom([]string{"", "x"}).Draw(t, "type"),
			Value: rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "value"),
		}
	})
	return rapid.SliceOfN(one, least, 4).Draw(r.T, "selectors")
}

func (r *nodeRun) node() *spirev1.AttestedNode {
	return &spirev1.AttestedNode{
		SpiffeId:            r.id(),
		AttestationDataType: rapid.SampledFrom([]string{"", "t", "u"}).Draw(r.T, "type"),
		CertSerialNumber:    rapid.SampledFrom([]string{"", "1"}).Draw(r.T, "serial"),
		CertNotAfter:        r.seconds(),
		CanReattest:         r.flag("can reattest"),
		AgentVersion:        rapid.SampledFrom([]string{"", "v"}).Draw(r.T, "version"),
	}
}

func (r *nodeRun) create() {
	n := r.node()
	got, err := r.ds().CreateAttestedNode(r.env.ctx(), n)
	if !r.m.create(records.CopyNode(n)) {
		r.fails(err, codes.AlreadyExists)
		return
	}
	r.fails(err, codes.OK)
	r.agree(got, n)
}

func (r *nodeRun) update() {
	n := r.node()
	var mask *spirev1.AttestedNodeMask
	if r.flag("masked") {
		mask = &spirev1.AttestedNodeMask{
			CertSerialNumber: r.flag("serial"), CertNotAfter: r.flag("expiry"),
			CanReattest: r.flag("can reattest"), AgentVersion: r.flag("version"),
		}
	}
	got, err := r.ds().UpdateAttestedNode(r.env.ctx(), n, mask)
	r.sameNode(got, err, r.m.update(n, mask))
}

func (r *nodeRun) delete() {
	id := r.id()
	got, err := r.ds().DeleteAttestedNode(r.env.ctx(), id)
	r.sameNode(got, err, r.m.remove(id))
}

// sameNode compares a result with a node, or with NotFound where want is nil.
func (r *nodeRun) sameNode(got *spirev1.AttestedNode, err error, want *spirev1.AttestedNode) {
	r.Helper()
	code := codes.OK
	if want == nil {
		code = codes.NotFound
	}
	r.fails(err, code)
	r.agree(got, want)
}

func (r *nodeRun) setSelectors() {
	id, selectors := r.id(), r.selectors(0)
	err := r.ds().SetNodeSelectors(r.env.ctx(), id, selectors)
	code := codes.OK
	if !r.m.setSelectors(id, records.CopySelectors(selectors)) {
		code = codes.AlreadyExists
	}
	r.fails(err, code)
}

func (r *nodeRun) prune() {
	limit, final := r.time(), r.flag("with those that can't attest again")
	batch := rapid.IntRange(1, 3).Draw(r.T, "batch")
	r.fails(r.ds().PruneAttestedExpiredNodes(r.env.ctx(), limit, final, batch), codes.OK)
	r.m.prune(limit, final, batch)
}

func (r *nodeRun) listSelectors() {
	for id := range r.m.selectors {
		got, err := r.ds().GetNodeSelectors(r.env.ctx(), id, datastore.RequireCurrent)
		r.fails(err, codes.OK)
		r.agree(got, r.m.selectors[id])
	}
	got, err := r.ds().ListNodeSelectors(r.env.ctx(), &datastore.ListNodeSelectorsRequest{})
	r.fails(err, codes.OK)
	r.agree(got.Selectors, r.m.selectors)

	at := r.time()
	valid := make(map[string][]*spirev1.Selector)
	for _, n := range r.m.nodes {
		if s := r.m.selectors[n.SpiffeId]; s != nil && time.Unix(n.CertNotAfter, 0).After(at) {
			valid[n.SpiffeId] = s
		}
	}
	got, err = r.ds().ListNodeSelectors(r.env.ctx(), &datastore.ListNodeSelectorsRequest{ValidAt: at})
	r.fails(err, codes.OK)
	r.agree(got.Selectors, valid)
}

func (r *nodeRun) events() {
	got, err := r.ds().ListAttestedNodeEvents(r.env.ctx(), &datastore.ListAttestedNodeEventsRequest{})
	r.fails(err, codes.OK)
	var ids []string
	for _, event := range got.Events {
		ids = append(ids, event.SpiffeID)
	}
	r.agree(fmt.Sprint(ids), fmt.Sprint(r.m.events))
}

func (r *nodeRun) list() {
	req := &datastore.ListAttestedNodesRequest{FetchSelectors: r.flag("with selectors")}
	yes, no := true, false
	bools := []*bool{nil, nil, &yes, &no}
	req.ByBanned = rapid.SampledFrom(bools).Draw(r.T, "by banned")
	req.ByCanReattest = rapid.SampledFrom(bools).Draw(r.T, "by can reattest")
	req.ByAttestationType = rapid.SampledFrom([]string{"", "", "t", "u"}).Draw(r.T, "by type")
	if r.flag("by selectors") {
		match := datastore.MatchBehavior(rapid.IntRange(0, 3).Draw(r.T, "match"))
		req.BySelectorMatch = &datastore.BySelectors{Selectors: r.selectors(1), Match: match}
	}
	if r.flag("by expiry") {
		req.ByExpiresBefore = r.time()
	}
	if r.flag("counted") {
		n, err := r.ds().CountAttestedNodes(r.env.ctx(), countRequest(req))
		r.fails(err, codes.OK)
		r.agree(int(n), len(r.m.list(req)))
	}
	if r.flag("by validity") {
		req.ValidAt = r.time()
	}
	if r.flag("by id") {
		req.BySpiffeIDs = []string{r.id(), r.id(), r.id()}
	}
	r.agree(r.pages(req), r.m.list(req))
}

// pages lists all pages of a random size.
func (r *nodeRun) pages(req *datastore.ListAttestedNodesRequest) []*spirev1.AttestedNode {
	size := rapid.Int32Range(0, 3).Draw(r.T, "page size")
	var all []*spirev1.AttestedNode
	for token := ""; ; {
		if size > 0 {
			req.Pagination = &datastore.Pagination{PageSize: size, Token: token}
		}
		got, err := r.ds().ListAttestedNodes(r.env.ctx(), req)
		r.fails(err, codes.OK)
		all = append(all, got.Nodes...)
		if size == 0 || len(got.Nodes) == 0 {
			return all
		}
		token = got.Pagination.Token
	}
}
