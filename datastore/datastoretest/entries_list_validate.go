package datastoretest

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spire-raft/spire-raft/datastore"
	"github.com/spire-raft/spire-raft/store"
)

func listEntriesValidates(e *env) {
	closed := e.all[len(e.all)-1]
	if err := closed.Close(); err != nil {
		e.Fatal(err)
	}
	page := func(token string, size int32) *datastore.Pagination {
		return &datastore.Pagination{Token: token, PageSize: size}
	}
	noSelectors := &datastore.BySelectors{}
	badMatch := bySelectors(9, "a:1").BySelectors
	const badToken = "datastore-sql: rpc error: code = InvalidArgument desc = could not parse token '%s'"
	for _, test := range []struct {
		req  listEntries
		text string // of a status; a plain error has its prefix in front
		code codes.Code
	}{
		{listEntries{Pagination: page("x", 0), BySelectors: noSelectors}, "cannot paginate with pagesize = 0", codes.InvalidArgument},
		{listEntries{Pagination: page("", -1)}, "cannot paginate with pagesize = -1", codes.InvalidArgument},
		{listEntries{Pagination: page("x", 1), BySelectors: noSelectors}, "cannot list by empty selector set", codes.InvalidArgument},
		{listEntries{BySelectors: badMatch}, `datastore-sql: unhandled selectors match behavior '\t'`, codes.OK},
		{byFederatesWith(-1, "a"), `datastore-sql: unhandled federates with match behavior '�'`, codes.OK},
		{byFederatesWith(65, "a"), `datastore-sql: unhandled federates with match behavior 'A'`, codes.OK},
	} {
		_, err := closed.ListRegistrationEntries(e.ctx(), &test.req)
		if test.code == codes.OK {
			e.failsPlainly(err, test.text)
		} else {
			e.failsAs(err, test.code, test.text)
		}
	}
	for _, token := range []string{"x", "-1", "+1", " 1", "1.0", "0x1", "18446744073709551616"} {
		_, err := closed.ListRegistrationEntries(e.ctx(), &listEntries{Pagination: page(token, 1)})
		if want := fmt.Sprintf(badToken, token); err == nil || err.Error() != want || status.Code(err) != codes.InvalidArgument {
			e.Errorf("token %q: got %v (%v), want %s", token, err, status.Code(err), want)
		}
	}
	if _, err := closed.ListRegistrationEntries(e.ctx(), &listEntries{}); !errors.Is(err, store.ErrClosed) {
		e.Errorf("valid request: got %v, want ErrClosed", err)
	}
}

func countEntriesValidates(e *env) {
	closed := e.all[len(e.all)-1]
	if err := closed.Close(); err != nil {
		e.Fatal(err)
	}
	n, err := closed.CountRegistrationEntries(e.ctx(), countOf(bySelectors(datastore.Exact)))
	e.failsAs(err, codes.InvalidArgument, "cannot list by empty selector set")
	if n != 0 {
		e.Errorf("empty selector set: got %d, want 0", n)
	}
	n, err = closed.CountRegistrationEntries(e.ctx(), countOf(bySelectors(9, "a:1")))
	e.failsPlainly(err, `datastore-sql: unhandled selectors match behavior '\t'`)
	if n != -1 {
		e.Errorf("unknown match: got %d, want -1", n)
	}
	n, err = closed.CountRegistrationEntries(e.ctx(), countOf(byFederatesWith(9, "a")))
	e.failsPlainly(err, `datastore-sql: unhandled federates with match behavior '\t'`)
	if n != -1 {
		e.Errorf("unknown match: got %d, want -1", n)
	}
	if n, err = closed.CountRegistrationEntries(e.ctx(), countOf(listEntries{})); n != -1 || !errors.Is(err, store.ErrClosed) {
		e.Errorf("closed: got %d, %v, want -1 and ErrClosed", n, err)
	}
}
