package datastoretest

import (
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/datastore"
)

// pageTest is a page of four objects called d, c, b and a, in the order of their
// creation, and what it must have.
type pageTest struct {
	page      *datastore.Pagination
	want      string
	wantToken string
}

// pageTests is how all lists page.
var pageTests = []pageTest{
	{nil, "d c b a", ""},
	{&datastore.Pagination{PageSize: 5}, "d c b a", "4"}, // T1: the last page has a token
	{&datastore.Pagination{PageSize: 4}, "d c b a", "4"},
	{&datastore.Pagination{PageSize: 2}, "d c", "2"},
	{&datastore.Pagination{PageSize: 1}, "d", "1"},
	{&datastore.Pagination{PageSize: 1, Token: "1"}, "c", "2"},
	{&datastore.Pagination{PageSize: 1, Token: "3"}, "a", "4"},
	{&datastore.Pagination{PageSize: 1, Token: "4"}, "", ""},
	{&datastore.Pagination{PageSize: 2, Token: "0"}, "d c", "2"},
	{&datastore.Pagination{PageSize: 2, Token: "02"}, "b a", "4"},
	{&datastore.Pagination{PageSize: 3, Token: "3"}, "a", "4"},
	{&datastore.Pagination{PageSize: 2, Token: "5000000000"}, "", ""}, // T44
	{&datastore.Pagination{PageSize: 2, Token: "9223372036854775808"}, "", ""},
	{&datastore.Pagination{PageSize: 2, Token: "18446744073709551615"}, "", ""},
}

// checkPages runs pageTests and wrong pages on list, which returns what it
// found as "d c".
func (e *env) checkPages(list func(*datastore.DataStore, *datastore.Pagination) (string, *datastore.Pagination, error)) {
	e.Helper()
	for i, test := range pageTests {
		var given datastore.Pagination
		if test.page != nil {
			given = *test.page
		}
		got, next, err := list(e.at(i), test.page)
		e.succeeds(err)
		if got != test.want {
			e.Errorf("%+v: got %q, want %q", test.page, got, test.want)
		}
		if test.page == nil {
			same(e, next, nil, "pagination")
			continue
		}
		same(e, next, &datastore.Pagination{PageSize: test.page.PageSize, Token: test.wantToken}, "pagination")
		same(e, *test.page, given, "the request's pagination afterwards")
	}
	e.checkBadPages(e.DataStore, list)
}

// checkBadPages checks pages that no DataStore takes, be it closed.
func (e *env) checkBadPages(d *datastore.DataStore, list func(*datastore.DataStore, *datastore.Pagination) (string, *datastore.Pagination, error)) {
	e.Helper()
	for _, token := range []string{"x", "-1", "+1", " 1", "1 ", "0x1", "1.0", "18446744073709551616"} {
		_, _, err := list(d, &datastore.Pagination{Token: token, PageSize: 1})
		e.failsAs(err, codes.InvalidArgument, fmt.Sprintf("could not parse token '%s'", token))
	}
	for _, size := range []int32{0, -1} {
		_, _, err := list(d, &datastore.Pagination{PageSize: size})
		e.failsAs(err, codes.InvalidArgument, fmt.Sprintf("cannot paginate with pagesize = %d", size))
	}
}
