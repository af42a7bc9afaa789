package datastoretest

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store"
)

// notFoundText is the text of most methods for what doesn't exist.
const notFoundText = "datastore-sql: record not found"

// succeeds ends the test on an error.
func (e *env) succeeds(err error) {
	e.Helper()
	if err != nil {
		e.Fatalf("got error %v", err)
	}
}

// failsAs reports an error that is not a status with code and text.
func (e *env) failsAs(err error, code codes.Code, text string) {
	e.Helper()
	if err == nil {
		e.Errorf("no error, want %v %q", code, text)
		return
	}
	_, isStatus := status.FromError(err)
	if full := "rpc error: code = " + code.String() + " desc = " + text; !isStatus || err.Error() != full {
		e.Errorf("got error %q (a status: %v), want %q", err, isStatus, full)
	}
	if got := status.Code(err); got != code || !errors.Is(err, status.Error(code, text)) {
		e.Errorf("got %v with code %v, which is no %v %q to errors.Is", err, got, code, text)
	}
}

// failsWith reports an error that is not a status with code and with all of
// parts in its text.
func (e *env) failsWith(err error, code codes.Code, parts ...string) {
	e.Helper()
	if err == nil || status.Code(err) != code {
		e.Errorf("got error %v, want code %v", err, code)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			e.Errorf("got error %q, want %q in it", err, part)
		}
	}
}

// failsPlainly reports an error that has another text, or is a status.
func (e *env) failsPlainly(err error, text string) {
	e.Helper()
	if err == nil || err.Error() != text {
		e.Errorf("got error %v, want %q", err, text)
	}
	if _, isStatus := status.FromError(err); isStatus {
		e.Errorf("error %v is a status", err)
	}
}

// isNotFound reports an error that is not that of what doesn't exist.
func (e *env) isNotFound(err error) {
	e.Helper()
	e.failsAs(err, codes.NotFound, notFoundText)
}

// isClosed reports an error that is not that of a closed DataStore.
func (e *env) isClosed(err error) {
	e.Helper()
	if !errors.Is(err, store.ErrClosed) {
		e.Errorf("got error %v, want one of a closed DataStore", err)
	}
}

// notUTF8 is a string that no message can hold.
const notUTF8 = "a\xff"

// isInvalidText reports an error that is not that of a string which isn't UTF-8.
func (e *env) isInvalidText(err error) {
	e.Helper()
	e.failsWith(err, codes.InvalidArgument, "UTF-8")
}

// same reports a difference in the sense of Go's deep equality, by which SPIRE's
// tests compare messages.
func same[T any](e *env, got, want T, what string) {
	e.Helper()
	if !reflect.DeepEqual(got, want) {
		e.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

// parallel calls fn with 0 to n-1 at the same time and returns the errors.
func parallel(n int, fn func(i int) error) []error {
	failed := make(chan error, n)
	for i := range n {
		go func() { failed <- fn(i) }()
	}
	var errs []error
	for range n {
		if err := <-failed; err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// at returns the DataStore on handle i, counting round.
func (e *env) at(i int) *datastore.DataStore { return e.all[i%len(e.all)] }

// nodeEvents returns the SPIFFE IDs of all node events, whose ids must be 1, 2,
// 3 and so on, as every DataStore gives them.
func (e *env) nodeEvents() []string {
	e.Helper()
	var ids []string
	for i, d := range e.all {
		got, err := d.ListAttestedNodeEvents(e.ctx(), &datastore.ListAttestedNodeEventsRequest{})
		e.succeeds(err)
		var found []string
		for n, event := range got.Events {
			if event.EventID != uint(n)+1 {
				e.Errorf("event %d of nodes has the id %d", n+1, event.EventID)
			}
			found = append(found, event.SpiffeID)
		}
		if i > 0 && !slices.Equal(found, ids) {
			e.Errorf("DataStore %d has the node events %q, another %q", i, found, ids)
		}
		ids = found
	}
	return ids
}

// entryEvents is nodeEvents for entries.
func (e *env) entryEvents() []string {
	e.Helper()
	got, err := e.ListRegistrationEntryEvents(e.ctx(), &datastore.ListRegistrationEntryEventsRequest{})
	e.succeeds(err)
	var ids []string
	for n, event := range got.Events {
		if event.EventID != uint(n)+1 {
			e.Errorf("event %d of entries has the id %d", n+1, event.EventID)
		}
		ids = append(ids, event.EntryID)
	}
	return ids
}

// sameEvents reports events that are not those of the given ids, in order.
func (e *env) sameEvents(got []string, want ...string) {
	e.Helper()
	if !slices.Equal(got, want) {
		e.Errorf("got events of %q, want %q", got, want)
	}
}

// selectorList reads "a:1 b:2".
func selectorList(text string) []*spirev1.Selector {
	return parseSelectors(strings.Fields(text)...)
}
