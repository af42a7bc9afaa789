package datastore

import (
	"context"
	"errors"
	"fmt"
	"time"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// ImportedEntry is what became of an entry of an import.
type ImportedEntry struct {
	Entry    *spirev1.RegistrationEntry
	Existing bool // Entry was there before, and is similar to the one given
}

// ImportError is the reason why an entry can't be imported.
type ImportError struct {
	Index int // of the entry, from 0
	Err   error
}

func (e *ImportError) Error() string { return fmt.Sprintf("entry %d: %v", e.Index, e.Err) }

// Unwrap returns the error that CreateRegistrationEntry would return.
func (e *ImportError) Unwrap() error { return e.Err }

// ImportRegistrationEntries does for each of given what
// [DataStore.CreateOrReturnRegistrationEntry] does, in their order, with a few
// transactions for many entries.
//
// If some are invalid, nothing is done, and the error joins an [ImportError] for
// each. Otherwise each transaction takes up to a thousand entries, with their
// events, all or none. The first one that fails ends the import: its error is
// an ImportError if an entry is to blame, such as one whose id is taken. What
// the transactions before it did is returned along with the error, and is the
// beginning of given. After [store.ErrUnknownOutcome] the rest of given may be
// imported again: entries that are there already are found similar.
func (d *DataStore) ImportRegistrationEntries(ctx context.Context, given []*spirev1.RegistrationEntry) ([]ImportedEntry, error) {
	var invalid []error
	for i, e := range given {
		if err := checkNewEntry(e); err != nil {
			invalid = append(invalid, &ImportError{Index: i, Err: err})
		}
	}
	if len(invalid) > 0 {
		return nil, errors.Join(invalid...)
	}
	imported := make([]ImportedEntry, 0, len(given))
	for len(imported) < len(given) {
		var b batch
		rest := given[len(imported):]
		n := 0
		for n < len(rest) && b.take(rest[n]) {
			n++
		}
		part, err := d.importBatch(ctx, rest[:n])
		if blamed, ok := errors.AsType[*ImportError](err); ok {
			blamed.Index += len(imported)
		}
		if err != nil {
			return imported, err
		}
		imported = append(imported, part...)
	}
	return imported, nil
}

// importBatch imports valid entries in one transaction.
func (d *DataStore) importBatch(ctx context.Context, given []*spirev1.RegistrationEntry) ([]ImportedEntry, error) {
	now := d.clock()
	created := make([]*spirev1.RegistrationEntry, len(given))
	for i, e := range given {
		created[i] = newEntry(e, now)
	}
	blamed := -1
	imported, err := update(ctx, d, func(tx store.Tx) ([]ImportedEntry, error) {
		blamed = -1
		imported := make([]ImportedEntry, len(given))
		fresh := newEntries{}
		for i, e := range created {
			var err error
			if imported[i], err = fresh.createOrReturn(ctx, tx, e, given[i].FederatesWith, now); err != nil {
				blamed = i
				return nil, err
			}
		}
		return imported, nil
	})
	if err != nil && blamed >= 0 && ctx.Err() == nil {
		err = &ImportError{Index: blamed, Err: err}
	}
	return imported, err
}

// newEntries are the entries that a transaction has created, which it can't find
// by their indexes, by what similar ones share.
type newEntries map[string]*spirev1.RegistrationEntry

func (n newEntries) createOrReturn(ctx context.Context, tx store.Tx, e *spirev1.RegistrationEntry, federatesWith []string, now time.Time) (ImportedEntry, error) {
	like := records.SimilarValue(e)
	if similar, ok := n[like]; ok {
		return ImportedEntry{Entry: records.CopyEntry(similar), Existing: true}, nil
	}
	if similar, ok, err := similarEntry(ctx, tx, e); err != nil || ok {
		return ImportedEntry{Entry: similar, Existing: ok}, err
	}
	n[like] = e
	return ImportedEntry{Entry: e}, createEntry(ctx, tx, e, federatesWith, now)
}
