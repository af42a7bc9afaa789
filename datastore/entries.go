package datastore

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/cache"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

var entries = collection[*spirev1.RegistrationEntry]{
	kind: records.Entries, unique: "registered_entries.entry_id",
	blank: func(id string, _ map[string]string) *spirev1.RegistrationEntry {
		return &spirev1.RegistrationEntry{EntryId: id}
	},
}

// CreateRegistrationEntry is [DataStore.CreateOrReturnRegistrationEntry] for who
// doesn't ask whether the entry existed.
func (d *DataStore) CreateRegistrationEntry(ctx context.Context, e *spirev1.RegistrationEntry) (*spirev1.RegistrationEntry, error) {
	entry, _, err := d.CreateOrReturnRegistrationEntry(ctx, e)
	return entry, err
}

// CreateOrReturnRegistrationEntry stores a new entry and returns it as stored,
// and false. Where there are similar entries, with the same SPIFFE ID, parent
// and set of selectors, it returns the oldest and true, and changes nothing.
//
// An entry without an id gets one. Its revision number is 0, its time of
// creation that of this server's clock, to the nearest second. Every trust
// domain that it federates with must have a bundle.
func (d *DataStore) CreateOrReturnRegistrationEntry(ctx context.Context, e *spirev1.RegistrationEntry) (entry *spirev1.RegistrationEntry, existing bool, err error) {
	if err := checkNewEntry(e); err != nil {
		return nil, false, err
	}
	now := d.clock()
	created := newEntry(e, now)
	stored, err := update(ctx, d, func(tx store.Tx) (*spirev1.RegistrationEntry, error) {
		similar, ok, err := similarEntry(ctx, tx, created)
		if err != nil || ok {
			return similar, err
		}
		return created, createEntry(ctx, tx, created, e.FederatesWith, now)
	})
	return stored, err == nil && stored != created, err
}

// FetchRegistrationEntry returns the entry with the given id, or nil.
func (d *DataStore) FetchRegistrationEntry(ctx context.Context, entryID string) (*spirev1.RegistrationEntry, error) {
	cached := func(v cache.View) (*spirev1.RegistrationEntry, bool) {
		e, err := v.Entry(entryID)
		return fetched(e, err, records.CloneEntry)
	}
	return cachedView(ctx, d, store.Linearizable(), pointWait, cached, func(tx store.Tx) (*spirev1.RegistrationEntry, error) {
		item, _, err := entries.get(ctx, tx, entryID)
		return item.Object, err
	})
}

// FetchRegistrationEntries returns those entries that exist of the given ids,
// by id, all from one snapshot. The map is not nil. With a
// [MalformedRecordsError] come all but those that it names.
func (d *DataStore) FetchRegistrationEntries(ctx context.Context, entryIDs []string) (map[string]*spirev1.RegistrationEntry, error) {
	cached := func(v cache.View) (map[string]*spirev1.RegistrationEntry, bool) { return cachedEntries(v, entryIDs) }
	return cachedView(ctx, d, store.Linearizable(), pointWait, cached, func(tx store.Tx) (map[string]*spirev1.RegistrationEntry, error) {
		var bad MalformedRecordsError
		found := make(map[string]*spirev1.RegistrationEntry, len(entryIDs))
		for _, id := range distinct(entryIDs) {
			item, ok, err := entries.get(ctx, tx, id)
			switch {
			case ok:
				found[id] = item.Object
			case err != nil && !bad.collect(err):
				return nil, err
			}
		}
		return found, bad.errOrNil()
	})
}

// UpdateRegistrationEntry replaces the fields of an entry that mask names; a nil
// mask names all. Every call that succeeds raises the revision number, whether
// or not it changes anything. It returns the entry as it is then. The error is
// NotFound if there is none.
//
// The entry may become similar to others.
func (d *DataStore) UpdateRegistrationEntry(ctx context.Context, e *spirev1.RegistrationEntry, mask *spirev1.RegistrationEntryMask) (*spirev1.RegistrationEntry, error) {
	if mask == nil {
		mask = allEntryFields
	}
	if err := checkEntryUpdate(e, mask); err != nil {
		return nil, err
	}
	return update(ctx, d, func(tx store.Tx) (*spirev1.RegistrationEntry, error) {
		old, err := entries.mustGet(ctx, tx, e.EntryId)
		if err != nil {
			return nil, err
		}
		merged := mergeEntry(old.Object, e, mask)
		if mask.AdditionalAttributes {
			if err := checkAttributes(merged); err != nil {
				return nil, err
			}
		}
		if (mask.StoreSvid || mask.Selectors) && merged.StoreSvid && !haveOneType(merged.Selectors) {
			return nil, errSelectorTypes()
		}
		if err := checkRepetitions(merged); err != nil {
			return nil, err
		}
		if mask.FederatesWith {
			if err := checkFederated(ctx, tx, e.FederatesWith); err != nil {
				return nil, err
			}
		}
		return merged, replaceEntry(tx, old, merged, d.clock())
	})
}

// DeleteRegistrationEntry deletes an entry and returns it as it was; of one that
// can't be decoded, it returns the id alone. The error is NotFound if there is
// none.
func (d *DataStore) DeleteRegistrationEntry(ctx context.Context, entryID string) (*spirev1.RegistrationEntry, error) {
	return updateWrecks(ctx, d, func(tx store.Tx, w wrecks) (*spirev1.RegistrationEntry, error) {
		old, err := entries.mustFind(ctx, tx, entryID, w)
		if err != nil {
			return nil, err
		}
		return old.object, deleteEntry(tx, old, d.clock())
	})
}

// newEntry returns the entry that e becomes.
func newEntry(e *spirev1.RegistrationEntry, now time.Time) *spirev1.RegistrationEntry {
	created := mergeEntry(&spirev1.RegistrationEntry{EntryId: e.EntryId}, e, allEntryFields)
	created.RevisionNumber = 0
	created.CreatedAt = now.Round(time.Second).Unix()
	if created.EntryId == "" {
		created.EntryId = newEntryID()
	}
	return created
}

// mergeEntry returns old with the fields of e that mask names, in the form in
// which entries are stored, and the next revision number.
func mergeEntry(old, e *spirev1.RegistrationEntry, mask *spirev1.RegistrationEntryMask) *spirev1.RegistrationEntry {
	merged := records.CopyEntry(old)
	merged.RevisionNumber++
	setIf(mask.ParentId, &merged.ParentId, e.ParentId)
	setIf(mask.SpiffeId, &merged.SpiffeId, e.SpiffeId)
	setIf(mask.X509SvidTtl, &merged.X509SvidTtl, e.X509SvidTtl)
	setIf(mask.JwtSvidTtl, &merged.JwtSvidTtl, e.JwtSvidTtl)
	setIf(mask.Admin, &merged.Admin, e.Admin)
	setIf(mask.Downstream, &merged.Downstream, e.Downstream)
	setIf(mask.EntryExpiry, &merged.EntryExpiry, e.EntryExpiry)
	setIf(mask.StoreSvid, &merged.StoreSvid, e.StoreSvid)
	setIf(mask.Hint, &merged.Hint, e.Hint)
	if mask.Selectors {
		merged.Selectors = records.CopySelectors(e.Selectors)
	}
	if mask.DnsNames {
		merged.DnsNames = append([]string(nil), e.DnsNames...)
	}
	if mask.FederatesWith {
		merged.FederatesWith = slices.Compact(slices.Sorted(slices.Values(e.FederatesWith)))
	}
	if mask.AdditionalAttributes {
		merged.AdditionalAttributes = records.CopyAttributes(e.AdditionalAttributes)
		if attributesSize(e) == 0 {
			merged.AdditionalAttributes = nil // there is no difference between none and empty ones
		}
	}
	return merged
}

func setIf[T any](condition bool, field *T, value T) {
	if condition {
		*field = value
	}
}

// similarEntry returns the oldest entry that is similar to e, and whether there
// is one.
func similarEntry(ctx context.Context, tx store.Tx, e *spirev1.RegistrationEntry) (*spirev1.RegistrationEntry, bool, error) {
	oldest, ok, err := entries.first(ctx, tx, records.FieldSimilar, records.SimilarValue(e))
	if err != nil || !ok {
		return nil, false, err
	}
	item, err := entries.mustGet(ctx, tx, string(oldest.ID))
	return item.Object, err == nil, err
}

// createEntry stores e, with its event. federatesWith are its trust domains in
// the order in which the caller gave them.
func createEntry(ctx context.Context, tx store.Tx, e *spirev1.RegistrationEntry, federatesWith []string, now time.Time) error {
	if err := checkAttributes(e); err != nil {
		return err
	}
	if _, err := entries.create(ctx, tx, e); err != nil {
		return err
	}
	if err := checkFederated(ctx, tx, federatesWith); err != nil {
		return err
	}
	if err := checkRepetitions(e); err != nil {
		return err
	}
	return entryEvents.emit(tx, now, e.EntryId)
}

// replaceEntry puts e in the place of old, with its event.
func replaceEntry(tx store.Tx, old records.Item[*spirev1.RegistrationEntry], e *spirev1.RegistrationEntry, now time.Time) error {
	if err := entries.update(tx, old, e); err != nil {
		return err
	}
	return entryEvents.emit(tx, now, e.EntryId)
}

// deleteEntry deletes old, with its event.
func deleteEntry(tx store.Tx, old stored[*spirev1.RegistrationEntry], now time.Time) error {
	if err := old.delete(tx); err != nil {
		return err
	}
	return entryEvents.emit(tx, now, old.object.EntryId)
}

// checkFederated refuses trust domains without a bundle. It conflicts with the
// deletion of the bundles only.
func checkFederated(ctx context.Context, tx store.Tx, trustDomainIDs []string) error {
	for _, id := range trustDomainIDs {
		if _, ok, err := bundles.first(ctx, tx, records.FieldID, id); err != nil {
			return err
		} else if !ok {
			return failure(codes.Unknown, "unable to find federated bundle %q", id)
		}
	}
	return nil
}

// newEntryID returns a random UUID, version 4.
func newEntryID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
