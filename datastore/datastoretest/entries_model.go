package datastoretest

import (
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// entryModel is the specification of registration entries as a program that is
// as simple as can be: a list, searched from its beginning.
type entryModel struct {
	now     int64
	bundles []string
	entries []numbered // in the order of creation
	number  int        // that was taken last
	events  []string   // ids of entries, of all events
}

// numbered is an entry and the number that page tokens have for it.
type numbered struct {
	number int
	entry  *registration
}

// refusal is an error as a text, or empty.
type refusal = string

func refuse(code codes.Code, text string) refusal { return status.Error(code, text).Error() }

func invalid(text string) refusal {
	return refuse(codes.InvalidArgument, "datastore-validation: invalid registration entry: "+text)
}

// create returns the entry that a creation returns, and whether it existed.
func (m *entryModel) create(e *registration) (*registration, bool, refusal) {
	switch {
	case len(e.Selectors) == 0:
		return nil, false, invalid("missing selector list")
	case e.StoreSvid && e.AdditionalAttributes.GetDisableX509SvidPrefetch():
		return nil, false, refuse(codes.InvalidArgument,
			"datastore-validation: specifying cache behaviour is incompatible with storable SVIDs")
	case e.StoreSvid && len(modelTypes(e.Selectors)) > 1:
		return nil, false, invalid("selector types must be the same when store SVID is enabled")
	}
	if r := modelCheck(e, fullEntryMask()); r != "" {
		return nil, false, r
	}
	for _, old := range m.entries {
		same := old.entry.SpiffeId == e.SpiffeId && old.entry.ParentId == e.ParentId
		if same && slices.Equal(modelSet(old.entry.Selectors), modelSet(e.Selectors)) {
			return old.entry, true, ""
		}
	}
	if e.EntryId != "" && m.find(e.EntryId) >= 0 {
		return nil, false, refuse(codes.AlreadyExists, usedEntryID)
	}
	if r := cmp.Or(m.checkFederated(e, fullEntryMask()), checkRepetitions(e, fullEntryMask())); r != "" {
		return nil, false, r
	}
	created := &registration{EntryId: e.EntryId, CreatedAt: m.now}
	modelApply(created, e, fullEntryMask())
	m.number++
	m.entries = append(m.entries, numbered{m.number, created})
	m.events = append(m.events, created.EntryId)
	return created, false, ""
}

// update returns the entry that an update returns.
func (m *entryModel) update(e *registration, mask *entryMask) (*registration, refusal) {
	if mask == nil {
		mask = fullEntryMask()
	}
	if mask.Selectors && len(e.Selectors) == 0 {
		return nil, invalid("missing selector list")
	}
	if r := modelCheck(e, mask); r != "" {
		return nil, r
	}
	at := m.find(e.EntryId)
	if at < 0 {
		return nil, refuse(codes.NotFound, recordNotFound)
	}
	changed := proto.CloneOf(m.entries[at].entry)
	modelApply(changed, e, mask)
	if changed.StoreSvid && len(modelTypes(changed.Selectors)) > 1 {
		return nil, invalid("selector types must be the same when store SVID is enabled")
	}
	if r := cmp.Or(checkRepetitions(e, mask), m.checkFederated(e, mask)); r != "" {
		return nil, r
	}
	changed.RevisionNumber++
	m.entries[at].entry = changed
	m.events = append(m.events, e.EntryId)
	return changed, ""
}

// remove removes the entries for which gone holds.
func (m *entryModel) remove(gone func(*registration) bool) {
	m.entries = slices.DeleteFunc(m.entries, func(n numbered) bool {
		if gone(n.entry) {
			m.events = append(m.events, n.entry.EntryId)
			return true
		}
		return false
	})
}

// deleteBundle deletes a bundle.
func (m *entryModel) deleteBundle(id string, mode datastore.DeleteMode) refusal {
	if !slices.Contains(m.bundles, id) {
		return refuse(codes.NotFound, recordNotFound)
	}
	federated := 0
	for i, n := range m.entries {
		if !slices.Contains(n.entry.FederatesWith, id) {
			continue
		}
		federated++
		if mode == datastore.Dissociate {
			e := proto.CloneOf(n.entry)
			e.FederatesWith = slices.DeleteFunc(e.FederatesWith, func(td string) bool { return td == id })
			e.RevisionNumber++
			m.entries[i].entry = e
			m.events = append(m.events, e.EntryId)
		}
	}
	switch {
	case mode == datastore.Delete:
		m.remove(func(e *registration) bool { return slices.Contains(e.FederatesWith, id) })
	case mode != datastore.Dissociate && federated > 0:
		return refuse(codes.FailedPrecondition,
			fmt.Sprintf("datastore-sql: cannot delete bundle; federated with %d registration entries", federated))
	}
	m.bundles = slices.DeleteFunc(m.bundles, func(b string) bool { return b == id })
	return ""
}

// list returns the entries that pass the filters of req.
func (m *entryModel) list(req *listEntries) []numbered {
	var found []numbered
	for _, n := range m.entries {
		e := n.entry
		switch {
		case req.ByParentID != "" && req.ByParentID != e.ParentId:
		case req.BySpiffeID != "" && req.BySpiffeID != e.SpiffeId:
		case req.ByHint != "" && req.ByHint != e.Hint:
		case req.ByDownstream != nil && *req.ByDownstream && !e.Downstream:
		case req.BySelectors != nil && !modelMatches(modelSet(e.Selectors), modelSet(req.BySelectors.Selectors), req.BySelectors.Match):
		case req.ByFederatesWith != nil && len(req.ByFederatesWith.TrustDomains) > 0 &&
			!modelMatches(e.FederatesWith, sortedSet(req.ByFederatesWith.TrustDomains), req.ByFederatesWith.Match):
		default:
			found = append(found, n)
		}
	}
	return found
}

// find returns the place of an entry, or -1.
func (m *entryModel) find(id string) int {
	return slices.IndexFunc(m.entries, func(n numbered) bool { return n.entry.EntryId == id })
}

// checkFederated refuses a trust domain without a bundle.
func (m *entryModel) checkFederated(e *registration, mask *entryMask) refusal {
	for _, id := range e.FederatesWith {
		if mask.FederatesWith && !slices.Contains(m.bundles, id) {
			return refuse(codes.Unknown, fmt.Sprintf("unable to find federated bundle %q", id))
		}
	}
	return ""
}

// checkRepetitions refuses what is there twice.
func checkRepetitions(e *registration, mask *entryMask) refusal {
	if mask.Selectors && len(modelSet(e.Selectors)) < len(e.Selectors) {
		return refuse(codes.AlreadyExists, usedSelector)
	}
	if mask.DnsNames && len(sortedSet(e.DnsNames)) < len(e.DnsNames) {
		return refuse(codes.AlreadyExists, usedDNSName)
	}
	return ""
}

func modelCheck(e *registration, mask *entryMask) refusal {
	switch {
	case mask.SpiffeId && e.SpiffeId == "":
		return invalid("missing SPIFFE ID")
	case mask.X509SvidTtl && e.X509SvidTtl < 0:
		return invalid("X509SvidTtl is not set")
	case mask.JwtSvidTtl && e.JwtSvidTtl < 0:
		return invalid("JwtSvidTtl is not set")
	}
	return ""
}

// modelApply gives to the fields of from that mask names, as they are stored.
func modelApply(to, from *registration, mask *entryMask) {
	given := proto.CloneOf(from)
	given.FederatesWith = sortedSet(given.FederatesWith)
	if a := given.AdditionalAttributes; a != nil && !a.DisableX509SvidPrefetch && !a.JwtSvidIncludeJti {
		given.AdditionalAttributes = nil
	}
	fields, source := to.ProtoReflect(), given.ProtoReflect()
	masked := mask.ProtoReflect()
	for i := range masked.Descriptor().Fields().Len() {
		bit := masked.Descriptor().Fields().Get(i)
		field := fields.Descriptor().Fields().ByName(bit.Name())
		switch {
		case !masked.Get(bit).Bool() || bit.Name() == "entry_id":
		case source.Has(field):
			fields.Set(field, source.Get(field))
		default:
			fields.Clear(field)
		}
	}
}

// fullEntryMask returns a mask with all bits.
func fullEntryMask() *entryMask {
	mask := &spirev1.RegistrationEntryMask{}
	fields := mask.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		mask.ProtoReflect().Set(fields.Get(i), protoreflect.ValueOfBool(true))
	}
	return mask
}

// modelMatches compares the set of an object with that of a request, as each
// behaviour does.
func modelMatches(has, wanted []string, match datastore.MatchBehavior) bool {
	within := func(a, b []string) bool {
		return !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
	}
	switch match {
	case datastore.Exact:
		return slices.Equal(has, wanted)
	case datastore.Subset:
		return len(has) > 0 && within(has, wanted)
	case datastore.Superset:
		return within(wanted, has)
	}
	return slices.ContainsFunc(has, func(s string) bool { return slices.Contains(wanted, s) })
}

// modelSet returns selectors as a sorted list without repetitions.
func modelSet(selectors []*spirev1.Selector) []string {
	var set []string
	for _, s := range selectors {
		set = append(set, s.Type+":"+s.Value)
	}
	return sortedSet(set)
}

func modelTypes(selectors []*spirev1.Selector) []string {
	var types []string
	for _, s := range selectors {
		types = append(types, s.Type)
	}
	return sortedSet(types)
}

func sortedSet(list []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}
