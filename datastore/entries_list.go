package datastore

import (
	"context"
	"fmt"
	"math"

	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/cache"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// ListRegistrationEntries returns the entries that pass all filters, in the
// order of their creation. Entries is not nil. With a [MalformedRecordsError] come
// all of the page but those that it names. No filter needs a decoded entry: what
// an index rules out is not looked at.
func (d *DataStore) ListRegistrationEntries(ctx context.Context, req *ListRegistrationEntriesRequest) (*ListRegistrationEntriesResponse, error) {
	req = orEmpty(req)
	q, err := entryQuery(req)
	if err != nil {
		return nil, err
	}
	var cached func(cache.View) (*ListRegistrationEntriesResponse, bool)
	if len(q.filters) == 0 {
		cached = func(v cache.View) (*ListRegistrationEntriesResponse, bool) {
			found, last, ok := cachedPage(ctx, v, q.page)
			return &ListRegistrationEntriesResponse{Entries: found, Pagination: nextPage(req.Pagination, last)}, ok
		}
	}
	return cachedView(ctx, d, d.consistency(req.DataConsistency), rangeWait, cached, func(tx store.Tx) (*ListRegistrationEntriesResponse, error) {
		var bad MalformedRecordsError
		items, last, err := entries.list(ctx, tx, q, &bad)
		if err != nil {
			return nil, err
		}
		found := append([]*spirev1.RegistrationEntry{}, objects(items)...)
		return &ListRegistrationEntriesResponse{Entries: found, Pagination: nextPage(req.Pagination, last)}, bad.errOrNil()
	})
}

// CountRegistrationEntries returns how many entries pass all filters. With an
// error it is -1, but 0 where there are no selectors in the request's set of
// selectors.
func (d *DataStore) CountRegistrationEntries(ctx context.Context, req *CountRegistrationEntriesRequest) (int32, error) {
	req = orEmpty(req)
	q, err := entryQuery(&ListRegistrationEntriesRequest{
		ByParentID:      req.ByParentID,
		BySelectors:     req.BySelectors,
		BySpiffeID:      req.BySpiffeID,
		ByFederatesWith: req.ByFederatesWith,
		ByHint:          req.ByHint,
		ByDownstream:    req.ByDownstream,
	})
	if err != nil {
		if req.BySelectors != nil && len(req.BySelectors.Selectors) == 0 {
			return 0, err
		}
		return -1, err
	}
	var cached func(cache.View) (int, bool)
	if len(q.filters) == 0 {
		cached = cachedSize(cache.KindEntry)
	}
	n, err := cachedView(ctx, d, d.consistency(req.DataConsistency), rangeWait, cached, func(tx store.Tx) (int, error) {
		return entries.count(ctx, tx, q.filters...)
	})
	if err != nil {
		return -1, err
	}
	return int32(min(n, math.MaxInt32)), nil
}

// entryQuery reads a request. Its errors are those for callers, found in the
// order in which SPIRE looks.
func entryQuery(req *ListRegistrationEntriesRequest) (query, error) {
	page, pageErr := newPage(req.Pagination)
	if pageErr != nil && req.Pagination.PageSize <= 0 {
		return query{}, pageErr
	}
	filters, err := entryFilters(req)
	if err == nil && pageErr != nil {
		err = fmt.Errorf(storagePrefix+"%w", pageErr)
	}
	return query{filters: filters, page: page}, err
}

// entryFilters returns the filters of a request. The rarer an index record
// usually is, the earlier its filter comes: the first one leads the others.
func entryFilters(req *ListRegistrationEntriesRequest) ([]filter, error) {
	var filters []filter
	equals := func(field, value string) {
		if value != "" {
			filters = append(filters, entries.equals(field, value))
		}
	}
	equals(records.FieldSpiffeID, req.BySpiffeID)
	if by := req.BySelectors; by != nil {
		if len(by.Selectors) == 0 {
			return nil, failure(codes.InvalidArgument, "cannot list by empty selector set")
		}
		if !by.Match.known() {
			return nil, fmt.Errorf(storagePrefix+"unhandled selectors match behavior %q", by.Match)
		}
		filters = append(filters, entries.matches(records.FieldSelector, records.SelectorValues(by.Selectors), by.Match))
	}
	equals(records.FieldParentID, req.ByParentID)
	equals(records.FieldHint, req.ByHint)
	if by := req.ByFederatesWith; by != nil && len(by.TrustDomains) > 0 {
		if !by.Match.known() {
			return nil, fmt.Errorf(storagePrefix+"unhandled federates with match behavior %q", by.Match)
		}
		filters = append(filters, entries.matches(records.FieldFederatesWith, by.TrustDomains, by.Match))
	}
	if req.ByDownstream != nil && *req.ByDownstream {
		filters = append(filters, entries.equals(records.FieldDownstream, records.ValueTrue))
	}
	return filters, nil
}
