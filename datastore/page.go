package datastore

import (
	"strconv"

	"google.golang.org/grpc/codes"
)

// page is the part of a list that is asked for: at most limit objects with a
// number greater than after. The zero page is the whole list.
type page struct {
	after uint64
	limit int // 0: no limit
}

// newPage reads p, which may be nil. The error is the one for callers.
func newPage(p *Pagination) (page, error) {
	if p == nil {
		return page{}, nil
	}
	if p.PageSize <= 0 {
		return page{}, failure(codes.InvalidArgument, "cannot paginate with pagesize = %d", p.PageSize)
	}
	var after uint64
	if p.Token != "" {
		var err error
		if after, err = strconv.ParseUint(p.Token, 10, 64); err != nil {
			return page{}, failure(codes.InvalidArgument, "could not parse token '%v'", p.Token)
		}
	}
	return page{after: after, limit: int(p.PageSize)}, nil
}

// nextPage returns the pagination of a response to p, given the number of the
// last object of the page, which is 0 if the page is empty. A page that isn't
// empty has a token, be it the last or not: callers stop at an empty page, and
// take no token for an empty page.
func nextPage(p *Pagination, last uint64) *Pagination {
	if p == nil {
		return nil
	}
	next := &Pagination{PageSize: p.PageSize}
	if last > 0 {
		next.Token = strconv.FormatUint(last, 10)
	}
	return next
}
