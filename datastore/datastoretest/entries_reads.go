package datastoretest

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// concurrentReads reads through one DataStore what was just written through
// another. With caches these are as far as they happen to be.
func concurrentReads(e *env) {
	const rounds = 8
	var hasty []*datastore.DataStore // wait for no cache before they begin
	for i, s := range e.stores {
		d, err := datastore.New(s, e.configs[i])
		e.succeeds(err)
		e.Cleanup(func() { e.succeeds(d.Close()) })
		hasty = append(hasty, d)
	}
	var created, deleted atomic.Int32
	e.concurrently(func(i int, _ *datastore.DataStore) {
		w, r := hasty[i%len(hasty)], hasty[(i+1)%len(hasty)]
		for round := range rounds {
			id := fmt.Sprintf("w%d-%d", i, round)
			if err := e.writeAndRead(w, r, id, &created, &deleted); err != nil {
				e.Errorf("%s: %v", id, err)
				return
			}
		}
	})
}

// writeAndRead creates, updates and deletes an entry through w, and expects to see
// each of it through r. It counts what is created and, before that, deleted.
func (e *env) writeAndRead(w, r *datastore.DataStore, id string, created, deleted *atomic.Int32) error {
	ctx := e.ctx()
	entry := workload(id, "a:1", "id:"+id)
	if _, err := w.CreateRegistrationEntry(ctx, entry); err != nil {
		return err
	}
	least := created.Add(1) // and all that were counted before are there, but for deleted ones
	n, err := r.CountRegistrationEntries(ctx, &datastore.CountRegistrationEntriesRequest{})
	if gone := deleted.Load(); err != nil || n < least-gone {
		return fmt.Errorf("%d entries counted, want at least %d-%d, %v", n, least, gone, err)
	}
	entry.Hint = "new"
	if _, err := w.UpdateRegistrationEntry(ctx, entry, &spirev1.RegistrationEntryMask{Hint: true}); err != nil {
		return err
	}
	if hint, err := listedHint(ctx, r, id); err != nil || hint != "new" {
		return fmt.Errorf("the list has it with hint %q, %v", hint, err)
	}
	if got, err := r.FetchRegistrationEntry(ctx, id); err != nil || got.GetHint() != "new" {
		return fmt.Errorf("after its update: %v, %v", got, err)
	}
	deleted.Add(1)
	if _, err := w.DeleteRegistrationEntry(ctx, id); err != nil {
		return err
	}
	if got, err := r.FetchRegistrationEntry(ctx, id); err != nil || got != nil {
		return fmt.Errorf("after its deletion: %v, %v", got, err)
	}
	return nil
}

// listedHint returns the hint of an entry in the list of all.
func listedHint(ctx context.Context, d *datastore.DataStore, id string) (string, error) {
	list, err := d.ListRegistrationEntries(ctx, &datastore.ListRegistrationEntriesRequest{})
	if err != nil {
		return "", err
	}
	for _, e := range list.Entries {
		if e.EntryId == id {
			return e.Hint, nil
		}
	}
	return "", nil
}
