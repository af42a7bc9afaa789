package datastore

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
)

const (
	entryIDBytesMax    = 255
	attributesBytesMax = 65535
)

// allEntryFields is what a nil mask stands for.
var allEntryFields = &spirev1.RegistrationEntryMask{
	Selectors: true, ParentId: true, SpiffeId: true, X509SvidTtl: true, FederatesWith: true, EntryId: true,
	Admin: true, Downstream: true, EntryExpiry: true, DnsNames: true, StoreSvid: true, JwtSvidTtl: true,
	Hint: true, AdditionalAttributes: true,
}

// checkNewEntry refuses what can't become an entry. It names the first thing
// that is wrong, in the order in which SPIRE looks.
func checkNewEntry(e *spirev1.RegistrationEntry) error {
	switch {
	case e == nil:
		return errNoEntry()
	case len(e.Selectors) == 0:
		return errInvalidEntry("missing selector list")
	case e.StoreSvid && e.AdditionalAttributes.GetDisableX509SvidPrefetch():
		return errValidation("specifying cache behaviour is incompatible with storable SVIDs")
	case e.StoreSvid && !haveOneType(e.Selectors):
		return errSelectorTypes()
	case len(e.EntryId) > entryIDBytesMax:
		return errInvalidEntry("entry ID too long")
	case strings.ContainsFunc(e.EntryId, notInEntryID):
		return errInvalidEntry("entry ID contains invalid characters")
	}
	return checkEntryFields(e, allEntryFields)
}

// checkEntryUpdate is checkNewEntry for an update of the fields in mask.
func checkEntryUpdate(e *spirev1.RegistrationEntry, mask *spirev1.RegistrationEntryMask) error {
	switch {
	case e == nil:
		return errNoEntry()
	case mask.Selectors && len(e.Selectors) == 0:
		return errInvalidEntry("missing selector list")
	}
	return checkEntryFields(e, mask)
}

// checkEntryFields has the checks that new entries and updates share.
func checkEntryFields(e *spirev1.RegistrationEntry, mask *spirev1.RegistrationEntryMask) error {
	switch {
	case mask.SpiffeId && e.SpiffeId == "":
		return errInvalidEntry("missing SPIFFE ID")
	case mask.X509SvidTtl && e.X509SvidTtl < 0:
		return errInvalidEntry("X509SvidTtl is not set")
	case mask.JwtSvidTtl && e.JwtSvidTtl < 0:
		return errInvalidEntry("JwtSvidTtl is not set")
	case mask.Selectors && slices.Contains(e.Selectors, nil):
		return errInvalidEntry("selector is nil")
	}
	return checkEntryText(e, mask)
}

// checkEntryText refuses what protobuf can't encode, and names the field.
func checkEntryText(e *spirev1.RegistrationEntry, mask *spirev1.RegistrationEntryMask) error {
	bad := func(s string) bool { return !utf8.ValidString(s) }
	var field string
	switch {
	case mask.SpiffeId && bad(e.SpiffeId):
		field = "spiffe_id"
	case mask.ParentId && bad(e.ParentId):
		field = "parent_id"
	case mask.Hint && bad(e.Hint):
		field = "hint"
	case mask.DnsNames && slices.ContainsFunc(e.DnsNames, bad):
		field = "dns_names"
	case mask.FederatesWith && slices.ContainsFunc(e.FederatesWith, bad):
		field = "federates_with"
	case mask.Selectors && slices.ContainsFunc(e.Selectors, func(s *spirev1.Selector) bool { return bad(s.Type) || bad(s.Value) }):
		field = "selectors"
	default:
		return nil
	}
	return errInvalidEntry(field + " is not valid UTF-8")
}

// checkRepetitions refuses an entry that has a selector or a DNS name twice.
func checkRepetitions(e *spirev1.RegistrationEntry) error {
	type selector struct{ typ, value string }
	selectors := make(map[selector]bool, len(e.Selectors))
	for _, s := range e.Selectors {
		selectors[selector{s.Type, s.Value}] = true
	}
	if len(selectors) < len(e.Selectors) {
		return errUnique("selectors.registered_entry_id, selectors.type, selectors.value")
	}
	names := make(map[string]bool, len(e.DnsNames))
	for _, name := range e.DnsNames {
		names[name] = true
	}
	if len(names) < len(e.DnsNames) {
		return errUnique("dns_names.registered_entry_id, dns_names.value")
	}
	return nil
}

// checkAttributes refuses additional attributes that are too large. SPIRE looks
// only where an entry is to be written.
func checkAttributes(e *spirev1.RegistrationEntry) error {
	if attributesSize(e) <= attributesBytesMax {
		return nil
	}
	return errInvalidEntry(fmt.Sprintf("additional attributes size exceeds the maximum allowed size of %d bytes", attributesBytesMax))
}

// attributesSize is how many bytes the additional attributes of e take.
func attributesSize(e *spirev1.RegistrationEntry) int {
	return proto.Size(records.CopyAttributes(e.AdditionalAttributes)) // of a copy: Size writes to it
}

func haveOneType(selectors []*spirev1.Selector) bool {
	return !slices.ContainsFunc(selectors, func(s *spirev1.Selector) bool { return s.GetType() != selectors[0].GetType() })
}

func notInEntryID(r rune) bool {
	letter := r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
	return !letter && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
}

func errNoEntry() error { return errValidation("invalid request: missing registered entry") }

func errInvalidEntry(text string) error { return errValidation("invalid registration entry: " + text) }

func errSelectorTypes() error {
	return errInvalidEntry("selector types must be the same when store SVID is enabled")
}
