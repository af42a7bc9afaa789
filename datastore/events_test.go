package datastore

import (
	"context"
	"reflect"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// emitAll appends an event to both streams for each of ids.
func emitAll(t *testing.T, d *DataStore, ids ...string) {
	t.Helper()
	err := change(d, func(_ context.Context, tx store.Tx) error {
		for _, id := range ids {
			if err := entryEvents.emit(tx, d.clock(), id); err != nil {
				return err
			}
			if err := nodeEvents.emit(tx, d.clock(), "node "+id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Spec 4.1 and 4.3.
func TestListEvents(t *testing.T) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	list := func(greater, less uint) []RegistrationEntryEvent {
		t.Helper()
		got, err := d.ListRegistrationEntryEvents(ctx, &ListRegistrationEntryEventsRequest{
			GreaterThanEventID: greater, LessThanEventID: less, DataConsistency: TolerateStale,
		})
		if err != nil {
			t.Fatal(err)
		}
		return got.Events
	}
	if got := list(0, 0); got == nil || len(got) > 0 {
		t.Errorf("no events: %#v", got)
	}
	emitAll(t, d, "a", "b")
	emitAll(t, d, "c")
	all := []RegistrationEntryEvent{{1, "a"}, {2, "b"}, {3, "c"}}
	tests := []struct {
		greater, less uint
		want          []RegistrationEntryEvent
	}{
		{0, 0, all}, {1, 0, all[1:]}, {3, 0, []RegistrationEntryEvent{}}, {9, 0, []RegistrationEntryEvent{}},
		{0, 1, []RegistrationEntryEvent{}}, {0, 3, all[:2]}, {0, 99, all},
	}
	for _, test := range tests {
		if got := list(test.greater, test.less); !reflect.DeepEqual(got, test.want) {
			t.Errorf("> %d, < %d: got %v, want %v", test.greater, test.less, got, test.want)
		}
	}
	nodes, err := d.ListAttestedNodeEvents(ctx, &ListAttestedNodeEventsRequest{GreaterThanEventID: 2})
	if err != nil || !reflect.DeepEqual(nodes.Events, []AttestedNodeEvent{{3, "node c"}}) {
		t.Errorf("nodes: %v, %v", nodes, err)
	}

	const both = "datastore-sql: can't set both greater and less than event id"
	_, err = d.ListRegistrationEntryEvents(ctx, &ListRegistrationEntryEventsRequest{GreaterThanEventID: 1, LessThanEventID: 1})
	if err == nil || err.Error() != both {
		t.Errorf("both bounds: %v", err)
	}
	_, err = d.ListAttestedNodeEvents(ctx, &ListAttestedNodeEventsRequest{GreaterThanEventID: 1, LessThanEventID: 1})
	if err == nil || err.Error() != both {
		t.Errorf("both bounds: %v", err)
	}
}

// Spec 4.4.
func TestFetchEvent(t *testing.T) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	emitAll(t, d, "a")
	entry, err := d.FetchRegistrationEntryEvent(ctx, 1)
	if err != nil || *entry != (RegistrationEntryEvent{1, "a"}) {
		t.Errorf("got %v, %v", entry, err)
	}
	node, err := d.FetchAttestedNodeEvent(ctx, 1)
	if err != nil || *node != (AttestedNodeEvent{1, "node a"}) {
		t.Errorf("got %v, %v", node, err)
	}
	for _, id := range []uint{0, 2} {
		got, err := d.FetchRegistrationEntryEvent(ctx, id)
		if got != nil || status.Code(err) != codes.NotFound {
			t.Errorf("%d: got %v, %v", id, got, err)
		}
	}
}

// Spec 4.5 and 4.1.
func TestPruneEvents(t *testing.T) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	now := time.Unix(1000, 1)
	d.clock = func() time.Time { return now }
	emitAll(t, d, "old")
	now = now.Add(time.Nanosecond)
	emitAll(t, d, "young")

	prune := func(age time.Duration, want int) {
		t.Helper()
		if err := d.PruneRegistrationEntryEvents(ctx, age); err != nil {
			t.Fatal(err)
		}
		got, err := d.ListRegistrationEntryEvents(ctx, &ListRegistrationEntryEventsRequest{})
		if err != nil || len(got.Events) != want {
			t.Errorf("older than %d: got %v, %v, want %d", age, got, err, want)
		}
	}
	prune(1, 2)
	prune(0, 1)
	prune(-1, 0)
	nodes, err := d.ListAttestedNodeEvents(ctx, &ListAttestedNodeEventsRequest{})
	if err != nil || len(nodes.Events) != 2 {
		t.Errorf("the other stream has %v, %v", nodes, err)
	}
	if err := d.PruneAttestedNodeEvents(ctx, -1); err != nil {
		t.Error(err)
	}
	emitAll(t, d, "next")
	if _, err := d.FetchRegistrationEntryEvent(ctx, 3); err != nil {
		t.Errorf("numbers start again: %v", err)
	}
}

func TestStream_InsertRaisesTheNumber(t *testing.T) {
	d, closeStore := newDataStore(t)
	defer closeStore()
	insert := func(ctx context.Context, tx store.Tx) error {
		return entryEvents.insert(ctx, tx, records.Event{Number: 5, CreatedAt: time.Unix(1, 0), ObjectID: "e"})
	}
	if err := change(d, insert); err != nil {
		t.Fatal(err)
	}
	if err := change(d, insert); status.Code(err) != codes.AlreadyExists {
		t.Errorf("again: %v", err)
	}
	emitAll(t, d, "next")
	if e, err := d.FetchRegistrationEntryEvent(context.Background(), 6); err != nil || e.EntryID != "next" {
		t.Errorf("got %v, %v", e, err)
	}
}
