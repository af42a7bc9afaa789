package datastoretest

import (
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

var modelEntryTests = []conformanceTest{
	{"Entries_RandomOperationsAgreeWithTheModel", entriesAgreeWithModel},
}

// entriesAgreeWithModel does random operations on random DataStores and compares
// each result, and then all entries and events, with the model. All runs share
// a backend, which each begins by emptying.
func entriesAgreeWithModel(e *env) {
	m := &entryModel{now: e.clock.Now().Unix()}
	rapid.Check(e.T, func(t *rapid.T) {
		r := &modelRun{T: t, env: e, m: m}
		r.clear()
		r.Repeat(map[string]func(*rapid.T){
			"create":        func(t *rapid.T) { r.with(t).create() },
			"update":        func(t *rapid.T) { r.with(t).update() },
			"delete":        func(t *rapid.T) { r.with(t).delete() },
			"prune":         func(t *rapid.T) { r.with(t).prune() },
			"set bundle":    func(t *rapid.T) { r.with(t).setBundle() },
			"delete bundle": func(t *rapid.T) { r.with(t).deleteBundle() },
			"list":          func(t *rapid.T) { r.with(t).list() },
			"":              func(t *rapid.T) { r.with(t).compare() },
		})
	})
}

// modelRun is one sequence of operations.
type modelRun struct {
	*rapid.T
	env *env
	m   *entryModel
}

func (r *modelRun) with(t *rapid.T) *modelRun { return &modelRun{T: t, env: r.env, m: r.m} }

// ds returns one of the DataStores.
func (r *modelRun) ds() *datastore.DataStore { return rapid.SampledFrom(r.env.all).Draw(r.T, "store") }

func (r *modelRun) clear() {
	ctx := r.env.ctx()
	for _, n := range slices.Clone(r.m.entries) {
		if _, err := r.env.DeleteRegistrationEntry(ctx, n.entry.EntryId); err != nil {
			r.Fatal(err)
		}
		r.m.remove(func(e *registration) bool { return e == n.entry })
	}
	for _, id := range slices.Clone(r.m.bundles) {
		if err := r.env.DeleteBundle(ctx, id, datastore.Restrict); err != nil {
			r.Fatal(err)
		}
	}
	r.m.bundles = nil
}

var modelTrustDomains = []string{"td:1", "td:2", "td:3"}

func drawAny[V any](r *modelRun, label string, values ...V) V {
	return rapid.SampledFrom(values).Draw(r.T, label)
}

func drawSome[V any](r *modelRun, label string, most int, values ...V) []V {
	return rapid.SliceOfN(rapid.SampledFrom(values), 0, most).Draw(r.T, label)
}

func (r *modelRun) selectors(most int) []*spirev1.Selector {
	return parseSelectors(drawSome(r, "selectors", most, "a:1", "a:2", "b:1")...)
}

// entry draws an entry. Most are valid.
func (r *modelRun) entry() *registration {
	return &registration{
		EntryId:       drawAny(r, "id", "i1", "i2", "i3", "i4", "i5", "i6"),
		SpiffeId:      drawAny(r, "spiffe id", "", "s1", "s1", "s2", "s2", "s3"),
		ParentId:      drawAny(r, "parent", "", "p1", "p2"),
		Selectors:     r.selectors(3),
		FederatesWith: drawSome(r, "federates with", 2, modelTrustDomains...),
		DnsNames:      drawSome(r, "dns names", 2, "x", "y", "z"),
		Hint:          drawAny(r, "hint", "", "h1"),
		Downstream:    drawAny(r, "downstream", false, true),
		Admin:         drawAny(r, "admin", false, true),
		StoreSvid:     drawAny(r, "store svid", false, false, true),
		EntryExpiry:   drawAny[int64](r, "expiry", -1, 0, 1, 2),
		X509SvidTtl:   drawAny[int32](r, "x509 ttl", 0, 0, 0, 1, -1),
		JwtSvidTtl:    drawAny[int32](r, "jwt ttl", 0, 0, 0, 1, -1),
		AdditionalAttributes: drawAny(r, "attributes", nil, nil,
			&spirev1.RegistrationEntry_AdditionalAttributes{},
			&spirev1.RegistrationEntry_AdditionalAttributes{JwtSvidIncludeJti: true},
			&spirev1.RegistrationEntry_AdditionalAttributes{DisableX509SvidPrefetch: true},
		),
	}
}

func (r *modelRun) create() {
	e := r.entry()
	got, existing, err := r.ds().CreateOrReturnRegistrationEntry(r.env.ctx(), e)
	want, wantExisting, refused := r.m.create(e)
	r.same(got, err, want, refused)
	if existing != wantExisting {
		r.Fatalf("existing is %v", existing)
	}
}

func (r *modelRun) update() {
	e := r.entry()
	var mask *entryMask
	if !drawAny(r, "no mask", false, true) {
		mask = &entryMask{}
		fields := mask.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			if drawAny(r, string(fields.Get(i).Name()), false, true) {
				mask.ProtoReflect().Set(fields.Get(i), protoreflect.ValueOfBool(true))
			}
		}
	}
	got, err := r.ds().UpdateRegistrationEntry(r.env.ctx(), e, mask)
	want, refused := r.m.update(e, mask)
	r.same(got, err, want, refused)
}

func (r *modelRun) delete() {
	id := r.entry().EntryId
	got, err := r.ds().DeleteRegistrationEntry(r.env.ctx(), id)
	at := r.m.find(id)
	if at < 0 {
		r.same(got, err, nil, refuse(codes.NotFound, recordNotFound))
		return
	}
	r.same(got, err, r.m.entries[at].entry, "")
	r.m.remove(func(e *registration) bool { return e.EntryId == id })
}

func (r *modelRun) prune() {
	limit := drawAny[int64](r, "limit", 0, 1, 2, 3)
	if err := r.ds().PruneRegistrationEntries(r.env.ctx(), time.Unix(limit, 999)); err != nil {
		r.Fatal(err)
	}
	r.m.remove(func(e *registration) bool { return e.EntryExpiry != 0 && e.EntryExpiry < limit })
}

func (r *modelRun) setBundle() {
	id := drawAny(r, "trust domain", modelTrustDomains...)
	if _, err := r.ds().SetBundle(r.env.ctx(), &spirev1.Bundle{TrustDomainId: id}); err != nil {
		r.Fatal(err)
	}
	if !slices.Contains(r.m.bundles, id) {
		r.m.bundles = append(r.m.bundles, id)
	}
}

func (r *modelRun) deleteBundle() {
	id, mode := drawAny(r, "trust domain", modelTrustDomains...), drawAny(r, "mode", deleteModes...)
	r.same(nil, r.ds().DeleteBundle(r.env.ctx(), id, mode), nil, r.m.deleteBundle(id, mode))
}

// list draws filters and compares the list, its pages and the count.
func (r *modelRun) list() {
	matches := []datastore.MatchBehavior{datastore.Exact, datastore.Subset, datastore.Superset, datastore.MatchAny}
	req := listEntries{
		ByParentID: drawAny(r, "by parent", "", "", "p1", "p2", "p3"),
		BySpiffeID: drawAny(r, "by spiffe id", "", "", "s1", "s2"),
		ByHint:     drawAny(r, "by hint", "", "", "h1"),
	}
	if yes := drawAny(r, "by downstream", 0, 1, 2); yes > 0 {
		req.ByDownstream = new(yes == 2)
	}
	if selectors := r.selectors(4); len(selectors) > 0 {
		req.BySelectors = &datastore.BySelectors{Selectors: selectors, Match: drawAny(r, "match", matches...)}
	}
	if drawAny(r, "by federation", false, true) {
		ids := drawSome(r, "wanted trust domains", 3, append(modelTrustDomains, "td:none")...)
		req.ByFederatesWith = &datastore.ByFederatesWith{TrustDomains: ids, Match: drawAny(r, "match", matches...)}
	}
	want := r.m.list(&req)
	ds := r.ds()
	if n, err := ds.CountRegistrationEntries(r.env.ctx(), countOf(req)); err != nil || int(n) != len(want) {
		r.Fatalf("counted %d, %v, want %d", n, err, len(want))
	}
	r.listed(ds, req, want)
	for size, token := drawAny(r, "page size", 1, 2, 5), ""; ; {
		req.Pagination = &datastore.Pagination{Token: token, PageSize: int32(size)}
		page := want[:min(size, len(want))]
		got := r.listed(ds, req, page)
		token = ""
		if len(page) > 0 {
			token = strconv.Itoa(page[len(page)-1].number)
		}
		if got.Token != token || got.PageSize != int32(size) {
			r.Fatalf("got pagination %v, want token %q", got, token)
		}
		if token == "" {
			return
		}
		want = want[len(page):]
	}
}

// listed compares one list.
func (r *modelRun) listed(ds *datastore.DataStore, req listEntries, want []numbered) *datastore.Pagination {
	got, err := ds.ListRegistrationEntries(r.env.ctx(), &req)
	if err != nil || got.Entries == nil || len(got.Entries) != len(want) {
		r.Fatalf("got %v, %v, want %v", got, err, want)
	}
	for i, n := range want {
		r.same(got.Entries[i], nil, n.entry, "")
	}
	return got.Pagination
}

// compare compares all entries and events.
func (r *modelRun) compare() {
	ds := r.ds()
	r.listed(ds, listEntries{}, r.m.entries)
	got, err := ds.ListRegistrationEntryEvents(r.env.ctx(), &datastore.ListRegistrationEntryEventsRequest{})
	if err != nil || len(got.Events) != len(r.m.events) {
		r.Fatalf("%d events, %v, want %d", len(got.Events), err, len(r.m.events))
	}
	for i, event := range got.Events {
		if event.EventID != uint(i+1) || event.EntryID != r.m.events[i] {
			r.Fatalf("event %d is %v, want of %s", i+1, event, r.m.events[i])
		}
	}
}

// same compares what a method returned with what the model did.
func (r *modelRun) same(got *registration, err error, want *registration, refused refusal) {
	switch {
	case err != nil && err.Error() != refused, err == nil && refused != "":
		r.Fatalf("got error %v, want %q", err, refused)
	case !proto.Equal(proto.CloneOf(got), proto.CloneOf(want)):
		r.Fatalf("got %v, want %v", got, want)
	}
}
