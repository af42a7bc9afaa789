package datastore

import (
	"context"
	"errors"
	"time"

	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// prunePage is how many events are deleted in one transaction.
const prunePage = 4096

// stream is one sequence of events. Its methods run in a transaction.
type stream struct{ *records.Stream }

var (
	entryEvents = stream{records.EntryEvents}
	nodeEvents  = stream{records.NodeEvents}
)

// emit appends an event for the object with the given id. It never conflicts.
func (s stream) emit(tx store.Tx, now time.Time, objectID string) error {
	value, err := s.Encode(records.Event{CreatedAt: now, ObjectID: objectID})
	if err != nil {
		return err
	}
	number, err := tx.Sequence(s.Counter())
	if err != nil {
		return err
	}
	key, offset := s.UnnumberedKey()
	return tx.Put(key, value, store.Patch{Sequence: number, Target: store.PatchKey, Offset: offset})
}

// insert adds an event under a number of the caller's, beyond which the stream
// then goes on.
func (s stream) insert(ctx context.Context, tx store.Tx, e records.Event) error {
	key := s.Key(e.Number)
	if _, ok, err := tx.Get(ctx, key); err != nil {
		return err
	} else if ok {
		return errUnique(s.Type() + ".id")
	}
	value, err := s.Encode(e)
	if err != nil {
		return err
	}
	if err := tx.RaiseSequence(s.Counter(), e.Number); err != nil {
		return err
	}
	return tx.Put(key, value)
}

// get returns the event with the given number. The error is errNotFound if
// there is none.
func (s stream) get(ctx context.Context, tx store.Tx, number uint64) (records.Event, error) {
	kv, ok, err := tx.Get(ctx, s.Key(number))
	if err != nil {
		return records.Event{}, err
	}
	if !ok {
		return records.Event{}, errNotFound()
	}
	return s.DecodePair(kv.Key, kv.Value)
}

// list returns the events with a number greater than after and less than
// before, in order. A before of 0 is no bound. What can't be decoded is added to
// bad.
func (s stream) list(ctx context.Context, tx store.Tx, after, before uint64, bad *MalformedRecordsError) ([]records.Event, error) {
	r := store.Range{}
	r.Start, r.End = s.After(after)
	if before > 0 {
		r.End = s.Key(before)
	}
	var events []records.Event
	err := scanAll(ctx, tx, r, func(kv store.KeyValue) error {
		e, err := s.DecodePair(kv.Key, kv.Value)
		switch {
		case err == nil:
			events = append(events, e)
		case !bad.collect(err):
			return err
		}
		return nil
	})
	return events, err
}

// checkEventBounds refuses requests with both bounds.
func checkEventBounds(greater, less uint) error {
	if greater != 0 && less != 0 {
		return errors.New(storagePrefix + "can't set both greater and less than event id")
	}
	return nil
}

// listEvents lists events for one of the streams. The result is not nil.
func listEvents[E any](ctx context.Context, d *DataStore, s stream, c DataConsistency, greater, less uint, convert func(records.Event) E) ([]E, error) {
	if err := checkEventBounds(greater, less); err != nil {
		return nil, err
	}
	return view(ctx, d, d.consistency(c), func(tx store.Tx) ([]E, error) {
		var bad MalformedRecordsError
		events, err := s.list(ctx, tx, uint64(greater), uint64(less), &bad)
		if err != nil {
			return nil, err
		}
		converted := make([]E, len(events))
		for i, e := range events {
			converted[i] = convert(e)
		}
		return converted, bad.errOrNil()
	})
}

// fetchEvent returns one event of one of the streams.
func fetchEvent[E any](ctx context.Context, d *DataStore, s stream, id uint, convert func(records.Event) E) (*E, error) {
	return view(ctx, d, store.Linearizable(), func(tx store.Tx) (*E, error) {
		e, err := s.get(ctx, tx, uint64(id))
		if err != nil {
			return nil, err
		}
		converted := convert(e)
		return &converted, nil
	})
}

// pruneEvents deletes the events of one of the streams that are older than age.
// Servers' clocks differ, so old events may stand behind younger ones: it looks
// at all. It takes as many transactions as it needs, since there may be more
// events than fit into one: after an error some may be gone, and it can be
// called again. Those that can't be decoded have no age: they stay, and are named
// when the others are gone.
func pruneEvents(ctx context.Context, d *DataStore, s stream, age time.Duration) error {
	limit := d.clock().Add(-age)
	var bad MalformedRecordsError
	old, err := view(ctx, d, store.Linearizable(), func(tx store.Tx) ([][]byte, error) {
		events, err := s.list(ctx, tx, 0, 0, &bad)
		var old [][]byte
		for _, e := range events {
			if e.CreatedAt.Before(limit) {
				old = append(old, s.Key(e.Number))
			}
		}
		return old, err
	})
	for err == nil && len(old) > 0 {
		n := min(len(old), prunePage)
		_, err = update(ctx, d, func(tx store.Tx) (struct{}, error) {
			for _, key := range old[:n] {
				if err := tx.Delete(key); err != nil {
					return struct{}{}, err
				}
			}
			return struct{}{}, nil
		})
		old = old[n:]
	}
	if err == nil {
		err = translate(bad.errOrNil())
	}
	return err
}

func toEntryEvent(e records.Event) RegistrationEntryEvent {
	return RegistrationEntryEvent{EventID: uint(e.Number), EntryID: e.ObjectID}
}

func toNodeEvent(e records.Event) AttestedNodeEvent {
	return AttestedNodeEvent{EventID: uint(e.Number), SpiffeID: e.ObjectID}
}

// ListRegistrationEntryEvents returns the events of entries in the order of
// their ids, all or on one side of a bound. Events is not nil. With a
// [MalformedRecordsError] come all but those that it names.
func (d *DataStore) ListRegistrationEntryEvents(ctx context.Context, req *ListRegistrationEntryEventsRequest) (*ListRegistrationEntryEventsResponse, error) {
	req = orEmpty(req)
	events, err := listEvents(ctx, d, entryEvents, req.DataConsistency, req.GreaterThanEventID, req.LessThanEventID, toEntryEvent)
	if events == nil {
		return nil, err
	}
	return &ListRegistrationEntryEventsResponse{Events: events}, err
}

// FetchRegistrationEntryEvent returns the event with the given id. The error is
// NotFound if there is none.
func (d *DataStore) FetchRegistrationEntryEvent(ctx context.Context, eventID uint) (*RegistrationEntryEvent, error) {
	return fetchEvent(ctx, d, entryEvents, eventID, toEntryEvent)
}

// PruneRegistrationEntryEvents deletes the events of entries that are older than
// olderThan by this server's clock. Their ids are not used again. Those that can't
// be decoded stay, and are in a [MalformedRecordsError] when the others are gone.
func (d *DataStore) PruneRegistrationEntryEvents(ctx context.Context, olderThan time.Duration) error {
	return pruneEvents(ctx, d, entryEvents, olderThan)
}

// ListAttestedNodeEvents is ListRegistrationEntryEvents for nodes and their
// selectors.
func (d *DataStore) ListAttestedNodeEvents(ctx context.Context, req *ListAttestedNodeEventsRequest) (*ListAttestedNodeEventsResponse, error) {
	req = orEmpty(req)
	events, err := listEvents(ctx, d, nodeEvents, req.DataConsistency, req.GreaterThanEventID, req.LessThanEventID, toNodeEvent)
	if events == nil {
		return nil, err
	}
	return &ListAttestedNodeEventsResponse{Events: events}, err
}

// FetchAttestedNodeEvent is FetchRegistrationEntryEvent for nodes.
func (d *DataStore) FetchAttestedNodeEvent(ctx context.Context, eventID uint) (*AttestedNodeEvent, error) {
	return fetchEvent(ctx, d, nodeEvents, eventID, toNodeEvent)
}

// PruneAttestedNodeEvents is PruneRegistrationEntryEvents for nodes.
func (d *DataStore) PruneAttestedNodeEvents(ctx context.Context, olderThan time.Duration) error {
	return pruneEvents(ctx, d, nodeEvents, olderThan)
}
