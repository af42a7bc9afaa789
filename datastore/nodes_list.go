package datastore

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spire-raft/spire-raft/cache"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// ListAttestedNodes returns the nodes that pass all filters of req, in the order
// of their creation, with their selectors if req asks for them. Nodes is not
// nil. With a [MalformedRecordsError] come all of the page but those that it
// names, or whose selectors it names: without these, a node would look like one
// that has none.
func (d *DataStore) ListAttestedNodes(ctx context.Context, req *ListAttestedNodesRequest) (*ListAttestedNodesResponse, error) {
	req = orEmpty(req)
	page, pageErr := newPage(req.Pagination)
	if pageErr != nil && req.Pagination.PageSize <= 0 {
		return nil, pageErr
	}
	filters, err := nodeFilters(req)
	if err != nil {
		if _, ok := status.FromError(err); !ok {
			err = failure(codes.Unknown, "%w", err)
		}
		return nil, err
	}
	if pageErr != nil { // of the token: SPIRE reads it last
		return nil, pageErr
	}
	return view(ctx, d, store.Linearizable(), func(tx store.Tx) (*ListAttestedNodesResponse, error) {
		var bad MalformedRecordsError
		found, last, err := listAs(ctx, tx, nodes, query{filters: filters, page: page}, &bad,
			func(item records.Item[*spirev1.AttestedNode]) (*spirev1.AttestedNode, error) {
				if !req.FetchSelectors {
					return item.Object, nil
				}
				return item.Object, withSelectors(ctx, tx, item.Object)
			})
		if err != nil {
			return nil, err
		}
		return &ListAttestedNodesResponse{
			Nodes: append([]*spirev1.AttestedNode{}, found...), Pagination: nextPage(req.Pagination, last),
		}, bad.errOrNil()
	})
}

// CountAttestedNodes returns how many nodes pass all filters of req. With an
// error it returns -1.
func (d *DataStore) CountAttestedNodes(ctx context.Context, req *CountAttestedNodesRequest) (int32, error) {
	req = orEmpty(req)
	filters, err := nodeFilters(&ListAttestedNodesRequest{
		ByAttestationType: req.ByAttestationType,
		ByBanned:          req.ByBanned,
		ByExpiresBefore:   req.ByExpiresBefore,
		BySelectorMatch:   req.BySelectorMatch,
		ByCanReattest:     req.ByCanReattest,
	})
	if err != nil {
		return -1, err
	}
	var cached func(cache.View) (int, bool)
	if len(filters) == 0 {
		cached = cachedSize(cache.KindNode)
	}
	n, err := cachedView(ctx, d, store.Linearizable(), rangeWait, cached, func(tx store.Tx) (int, error) {
		return nodes.count(ctx, tx, filters...)
	})
	if err != nil {
		return -1, err
	}
	return int32(n), nil
}

// nodeFilters returns the filters of req, which indexes know all. The error is
// a status for selectors that are missing, and none for an unknown behaviour.
func nodeFilters(req *ListAttestedNodesRequest) ([]filter, error) {
	var filters []filter
	if by := req.BySelectorMatch; by != nil {
		if len(by.Selectors) == 0 {
			return nil, failure(codes.InvalidArgument, "cannot list by empty selectors set")
		}
		if !by.Match.known() {
			return nil, errors.New(storagePrefix + fmt.Sprintf("unhandled match behavior %q", by.Match))
		}
		filters = append(filters, nodesWithSelectors(by))
	}
	if len(req.BySpiffeIDs) > 0 {
		filters = append(filters, nodes.withIDs(req.BySpiffeIDs))
	}
	if req.ByAttestationType != "" {
		filters = append(filters, nodes.equals(records.FieldType, req.ByAttestationType))
	}
	if req.ByBanned != nil {
		filters = append(filters, nodes.equals(records.FieldBanned, records.BoolValue(*req.ByBanned)))
	}
	if req.ByCanReattest != nil {
		filters = append(filters, nodes.equals(records.FieldCanReattest, records.BoolValue(*req.ByCanReattest)))
	}
	if !req.ByExpiresBefore.IsZero() {
		filters = append(filters, nodes.expiresBefore(ceilSeconds(req.ByExpiresBefore)))
	}
	if !req.ValidAt.IsZero() {
		filters = append(filters, nodes.expiresFrom(ceilSeconds(req.ValidAt)))
	}
	return filters, nil
}

// nodesWithSelectors passes the nodes whose selectors compare with by's. It
// finds all of them first: sets of selectors have numbers of their own, which
// say nothing of the order of the nodes.
func nodesWithSelectors(by *BySelectors) filter {
	match := nodeSelectors.matches(records.FieldSelector, records.SelectorValues(by.Selectors), by.Match)
	return filter{open: func(ctx context.Context, tx store.Tx, bad *MalformedRecordsError) (postings, error) {
		ids, err := nodeSelectors.ids(ctx, tx, bad, match)
		if err != nil {
			return nil, err
		}
		return nodes.withIDs(ids).open(ctx, tx, bad)
	}}
}

// withSelectors gives n, which has none, its selectors.
func withSelectors(ctx context.Context, tx store.Tx, n *spirev1.AttestedNode) error {
	selectors, err := selectorsOf(ctx, tx, n.SpiffeId)
	n.Selectors = selectors
	return err
}
