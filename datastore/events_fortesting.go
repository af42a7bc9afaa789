package datastore

import (
	"context"

	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// The methods below let tests make gaps in the streams of events, which the
// DataStore itself never does.

// CreateRegistrationEntryEventForTesting adds an event of an entry. Without an
// EventID it gets the next one. With one it goes there, which is AlreadyExists
// if it is taken, and later events come behind.
func (d *DataStore) CreateRegistrationEntryEventForTesting(ctx context.Context, event *RegistrationEntryEvent) error {
	if event == nil {
		return errNoEvent()
	}
	return createEvent(ctx, d, entryEvents, event.EventID, event.EntryID)
}

// CreateAttestedNodeEventForTesting is
// [DataStore.CreateRegistrationEntryEventForTesting] for nodes.
func (d *DataStore) CreateAttestedNodeEventForTesting(ctx context.Context, event *AttestedNodeEvent) error {
	if event == nil {
		return errNoEvent()
	}
	return createEvent(ctx, d, nodeEvents, event.EventID, event.SpiffeID)
}

// DeleteRegistrationEntryEventForTesting deletes an event of an entry, if it is
// there.
func (d *DataStore) DeleteRegistrationEntryEventForTesting(ctx context.Context, eventID uint) error {
	return deleteEvent(ctx, d, entryEvents, eventID)
}

// DeleteAttestedNodeEventForTesting deletes an event of a node, if it is there.
func (d *DataStore) DeleteAttestedNodeEventForTesting(ctx context.Context, eventID uint) error {
	return deleteEvent(ctx, d, nodeEvents, eventID)
}

func createEvent(ctx context.Context, d *DataStore, s stream, id uint, objectID string) error {
	now := d.clock()
	_, err := update(ctx, d, func(tx store.Tx) (struct{}, error) {
		if id == 0 {
			return struct{}{}, s.emit(tx, now, objectID)
		}
		return struct{}{}, s.insert(ctx, tx, records.Event{Number: uint64(id), CreatedAt: now, ObjectID: objectID})
	})
	return err
}

func deleteEvent(ctx context.Context, d *DataStore, s stream, id uint) error {
	_, err := update(ctx, d, func(tx store.Tx) (struct{}, error) {
		return struct{}{}, tx.Delete(s.Key(uint64(id)))
	})
	return err
}

func errNoEvent() error { return failure(codes.InvalidArgument, "event is required") }
