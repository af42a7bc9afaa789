package datastoretest

import (
	"context"
	"reflect"

	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/datastore"
)

var nilTests = []conformanceTest{
	{"2.0 a nil request asks for everything", nilRequests},
	{"2.10 a nil event is refused", nilEvents},
}

// requestCall calls a method that takes a request R, which may be nil.
type requestCall func(ctx context.Context, d *datastore.DataStore, empty bool) (any, error)

// nilOrEmpty makes a requestCall of a method.
func nilOrEmpty[R, S any](method func(*datastore.DataStore, context.Context, *R) (S, error)) requestCall {
	return func(ctx context.Context, d *datastore.DataStore, empty bool) (any, error) {
		if empty {
			return method(d, ctx, new(R))
		}
		return method(d, ctx, nil)
	}
}

// requestCalls are the methods that take a request.
var requestCalls = map[string]requestCall{
	"ListBundles":                 nilOrEmpty((*datastore.DataStore).ListBundles),
	"ListRegistrationEntries":     nilOrEmpty((*datastore.DataStore).ListRegistrationEntries),
	"CountRegistrationEntries":    nilOrEmpty((*datastore.DataStore).CountRegistrationEntries),
	"ListRegistrationEntryEvents": nilOrEmpty((*datastore.DataStore).ListRegistrationEntryEvents),
	"ListAttestedNodes":           nilOrEmpty((*datastore.DataStore).ListAttestedNodes),
	"CountAttestedNodes":          nilOrEmpty((*datastore.DataStore).CountAttestedNodes),
	"ListAttestedNodeEvents":      nilOrEmpty((*datastore.DataStore).ListAttestedNodeEvents),
	"ListNodeSelectors":           nilOrEmpty((*datastore.DataStore).ListNodeSelectors),
	"ListFederationRelationships": nilOrEmpty((*datastore.DataStore).ListFederationRelationships),
}

func nilRequests(e *env) {
	nothing := make(map[string]any)
	for name, call := range requestCalls {
		var err error
		nothing[name], err = call(e.ctx(), e.DataStore, true)
		e.succeeds(err)
	}
	e.addBundles("td")
	e.addNodes(joinTokenNode("foo"))
	e.setSelectors("foo", "a:1")
	e.addRelationships(webRelationship("td"))
	_, err := e.CreateRegistrationEntry(e.ctx(), workload("a", "a:1"))
	e.succeeds(err)
	for name, call := range requestCalls {
		for _, d := range e.all {
			want, err := call(e.ctx(), d, true)
			e.succeeds(err)
			if reflect.DeepEqual(want, nothing[name]) {
				e.Errorf("%s found nothing", name)
			}
			got, err := call(e.ctx(), d, false)
			e.succeeds(err)
			same(e, got, want, name)
		}
	}
	e.succeeds(e.Close())
	for _, call := range requestCalls {
		_, err := call(e.ctx(), e.DataStore, false)
		e.isClosed(err)
	}
}

func nilEvents(e *env) {
	e.failsAs(e.CreateRegistrationEntryEventForTesting(e.ctx(), nil), codes.InvalidArgument, "event is required")
	e.failsAs(e.CreateAttestedNodeEventForTesting(e.ctx(), nil), codes.InvalidArgument, "event is required")
	e.sameEvents(e.entryEvents())
	e.sameEvents(e.nodeEvents())
}
