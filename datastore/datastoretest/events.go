package datastoretest

import (
	"context"
	"errors"
	"reflect"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spire-raft/spire-raft/datastore"
)

// Section 4 of the specification, and the methods for tests of section 2.10.
var eventTests = []conformanceTest{
	{"Events_NoneIsAnEmptySlice", eventsNone},
	{"Events_IdsCountInEachStream", eventsCount},
	{"Events_BoundsAreExclusive", eventsBounds},
	{"Events_BothBoundsAreAPlainErrorEvenWhenClosed", eventsBothBounds},
	{"FetchEvent_AbsentIsNotFound", eventsFetch},
	{"FetchEvent_CancelledStaysInTheError", eventsCancelled},
	{"PruneEvents_OlderThanTheAge", eventsPrune},
	{"PruneEvents_IdsAreNotUsedAgain", eventsPruneKeepsCounter},
	{"EventsForTesting_GapsAndNumbers", eventsForTesting},
}

// eventStream is one of the two streams.
type eventStream struct {
	name   string
	list   func(ds *datastore.DataStore, ctx context.Context, greater, less uint, c datastore.DataConsistency) ([]simpleEvent, error)
	fetch  func(ds *datastore.DataStore, ctx context.Context, id uint) (*simpleEvent, error)
	prune  func(ds *datastore.DataStore, ctx context.Context, age time.Duration) error
	create func(ds *datastore.DataStore, ctx context.Context, event simpleEvent) error
	delete func(ds *datastore.DataStore, ctx context.Context, id uint) error
}

// simpleEvent is an event of either stream.
type simpleEvent struct {
	ID     uint
	Object string
}

var eventStreams = []eventStream{
	{
		name: "entries",
		list: func(ds *datastore.DataStore, ctx context.Context, greater, less uint, c datastore.DataConsistency) ([]simpleEvent, error) {
			got, err := ds.ListRegistrationEntryEvents(ctx, &datastore.ListRegistrationEntryEventsRequest{
				GreaterThanEventID: greater, LessThanEventID: less, DataConsistency: c,
			})
			if err != nil || got.Events == nil {
				return nil, err
			}
			events := []simpleEvent{}
			for _, event := range got.Events {
				events = append(events, simpleEvent{event.EventID, event.EntryID})
			}
			return events, nil
		},
		fetch: func(ds *datastore.DataStore, ctx context.Context, id uint) (*simpleEvent, error) {
			got, err := ds.FetchRegistrationEntryEvent(ctx, id)
			if got == nil {
				return nil, err
			}
			return &simpleEvent{got.EventID, got.EntryID}, err
		},
		prune: (*datastore.DataStore).PruneRegistrationEntryEvents,
		create: func(ds *datastore.DataStore, ctx context.Context, event simpleEvent) error {
			return ds.CreateRegistrationEntryEventForTesting(ctx, &datastore.RegistrationEntryEvent{EventID: event.ID, EntryID: event.Object})
		},
		delete: (*datastore.DataStore).DeleteRegistrationEntryEventForTesting,
	},
	{
		name: "nodes",
		list: func(ds *datastore.DataStore, ctx context.Context, greater, less uint, c datastore.DataConsistency) ([]simpleEvent, error) {
			got, err := ds.ListAttestedNodeEvents(ctx, &datastore.ListAttestedNodeEventsRequest{
				GreaterThanEventID: greater, LessThanEventID: less, DataConsistency: c,
			})
			if err != nil || got.Events == nil {
				return nil, err
			}
			events := []simpleEvent{}
			for _, event := range got.Events {
				events = append(events, simpleEvent{event.EventID, event.SpiffeID})
			}
			return events, nil
		},
		fetch: func(ds *datastore.DataStore, ctx context.Context, id uint) (*simpleEvent, error) {
			got, err := ds.FetchAttestedNodeEvent(ctx, id)
			if got == nil {
				return nil, err
			}
			return &simpleEvent{got.EventID, got.SpiffeID}, err
		},
		prune: (*datastore.DataStore).PruneAttestedNodeEvents,
		create: func(ds *datastore.DataStore, ctx context.Context, event simpleEvent) error {
			return ds.CreateAttestedNodeEventForTesting(ctx, &datastore.AttestedNodeEvent{EventID: event.ID, SpiffeID: event.Object})
		},
		delete: (*datastore.DataStore).DeleteAttestedNodeEventForTesting,
	},
}

// createEvents appends events of the given objects to a stream.
func (e *env) createEvents(s eventStream, objects ...string) {
	e.Helper()
	for _, object := range objects {
		if err := s.create(e.DataStore, e.ctx(), simpleEvent{Object: object}); err != nil {
			e.Fatal(err)
		}
	}
}

// wantStream fails unless every store has these events and no others in a
// stream.
func (e *env) wantStream(s eventStream, want ...simpleEvent) {
	e.Helper()
	for i, ds := range e.all {
		got, err := s.list(ds, e.ctx(), 0, 0, datastore.RequireCurrent)
		if err != nil || !reflect.DeepEqual(got, append([]simpleEvent{}, want...)) {
			e.Errorf("%s: store %d has %v, %v, want %v", s.name, i, got, err, want)
		}
	}
}

func eventsNone(e *env) {
	for _, s := range eventStreams {
		e.wantStream(s)
		for _, bounds := range [][2]uint{{1, 0}, {0, 1}} {
			got, err := s.list(e.DataStore, e.ctx(), bounds[0], bounds[1], datastore.TolerateStale)
			if err != nil || got == nil || len(got) > 0 {
				e.Errorf("%s: got %#v, %v", s.name, got, err)
			}
		}
	}
}

func eventsCount(e *env) {
	e.createEntries(workload("a", "a:1"), workload("b", "a:1"))
	e.createEvents(eventStreams[1], "n1")
	e.createEntries(workload("c", "a:1"))
	e.createEvents(eventStreams[1], "n2")
	e.wantStream(eventStreams[0], simpleEvent{1, "a"}, simpleEvent{2, "b"}, simpleEvent{3, "c"})
	e.wantStream(eventStreams[1], simpleEvent{1, "n1"}, simpleEvent{2, "n2"})
}

func eventsBounds(e *env) {
	for _, s := range eventStreams {
		e.createEvents(s, "a", "b", "c", "d")
		if err := s.delete(e.DataStore, e.ctx(), 2); err != nil {
			e.Fatal(err)
		}
		a, c, d := simpleEvent{1, "a"}, simpleEvent{3, "c"}, simpleEvent{4, "d"}
		for _, test := range []struct {
			greater, less uint
			want          []simpleEvent
		}{
			{0, 0, []simpleEvent{a, c, d}},
			{1, 0, []simpleEvent{c, d}},
			{2, 0, []simpleEvent{c, d}},
			{3, 0, []simpleEvent{d}},
			{4, 0, []simpleEvent{}},
			{^uint(0), 0, []simpleEvent{}},
			{0, 1, []simpleEvent{}},
			{0, 2, []simpleEvent{a}},
			{0, 3, []simpleEvent{a}},
			{0, 4, []simpleEvent{a, c}},
			{0, ^uint(0), []simpleEvent{a, c, d}},
		} {
			for _, ds := range e.all {
				got, err := s.list(ds, e.ctx(), test.greater, test.less, datastore.RequireCurrent)
				if err != nil || !reflect.DeepEqual(got, test.want) {
					e.Errorf("%s > %d, < %d: got %v, %v, want %v", s.name, test.greater, test.less, got, err, test.want)
				}
			}
		}
	}
}

func eventsBothBounds(e *env) {
	closed := e.all[len(e.all)-1]
	if err := closed.Close(); err != nil {
		e.Fatal(err)
	}
	for _, s := range eventStreams {
		for _, bounds := range [][2]uint{{1, 1}, {1, 9}, {9, 1}} {
			_, err := s.list(closed, e.ctx(), bounds[0], bounds[1], datastore.RequireCurrent)
			e.failsPlainly(err, "datastore-sql: can't set both greater and less than event id")
		}
	}
}

func eventsFetch(e *env) {
	for _, s := range eventStreams {
		e.createEvents(s, "a", "b")
		if err := s.delete(e.DataStore, e.ctx(), 1); err != nil {
			e.Fatal(err)
		}
		for _, ds := range e.all {
			got, err := s.fetch(ds, e.ctx(), 2)
			if err != nil || *got != (simpleEvent{2, "b"}) {
				e.Errorf("%s: got %v, %v", s.name, got, err)
			}
			for _, id := range []uint{0, 1, 3, ^uint(0)} {
				got, err := s.fetch(ds, e.ctx(), id)
				e.failsAs(err, codes.NotFound, recordNotFound)
				if got != nil {
					e.Errorf("%s: got %v with the error", s.name, got)
				}
			}
		}
	}
}

func eventsCancelled(e *env) {
	ctx, cancel := context.WithCancel(e.ctx())
	cancel()
	for _, s := range eventStreams {
		_, err := s.fetch(e.DataStore, ctx, 1)
		if !errors.Is(err, context.Canceled) {
			e.Errorf("%s: fetch: %v", s.name, err)
		}
		if _, err = s.list(e.DataStore, ctx, 0, 0, datastore.RequireCurrent); !errors.Is(err, context.Canceled) {
			e.Errorf("%s: list: %v", s.name, err)
		}
	}
}

func eventsPrune(e *env) {
	for _, s := range eventStreams {
		e.createEvents(s, "a")
		e.clock.advance(time.Nanosecond)
		e.createEvents(s, "b")
		e.clock.advance(time.Nanosecond)
		prune := func(age time.Duration, left ...simpleEvent) {
			e.Helper()
			if err := s.prune(e.DataStore, e.ctx(), age); err != nil {
				e.Error(err)
			}
			e.wantStream(s, left...)
		}
		a, b := simpleEvent{1, "a"}, simpleEvent{2, "b"}
		prune(time.Hour, a, b)
		prune(2, a, b) // a is as old as that
		prune(1, b)
		prune(0)
		e.createEvents(s, "c")
		prune(0, simpleEvent{3, "c"}) // created now
		prune(-1)
	}
}

func eventsPruneKeepsCounter(e *env) {
	for _, s := range eventStreams {
		e.createEvents(s, "a", "b")
		if err := s.prune(e.DataStore, e.ctx(), -time.Hour); err != nil {
			e.Fatal(err)
		}
		e.createEvents(s, "c")
		e.wantStream(s, simpleEvent{3, "c"})
	}
}

func eventsForTesting(e *env) {
	for _, s := range eventStreams {
		for _, event := range []simpleEvent{{0, "a"}, {5, "b"}, {0, "c"}, {3, "d"}, {0, "e"}} {
			if err := s.create(e.DataStore, e.ctx(), event); err != nil {
				e.Fatal(err)
			}
		}
		err := s.create(e.DataStore, e.ctx(), simpleEvent{3, "again"})
		if status.Code(err) != codes.AlreadyExists {
			e.Errorf("%s: got %v, want AlreadyExists", s.name, err)
		}
		for _, id := range []uint{5, 5, 99} { // absent is no error
			if err := s.delete(e.DataStore, e.ctx(), id); err != nil {
				e.Error(err)
			}
		}
		e.wantStream(s, simpleEvent{1, "a"}, simpleEvent{3, "d"}, simpleEvent{6, "c"}, simpleEvent{7, "e"})
	}
}
