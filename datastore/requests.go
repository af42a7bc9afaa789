package datastore

import (
	"time"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// Pagination asks for a page of a list: at most PageSize objects behind Token,
// which is that of the page before, or empty. The response has a token unless
// the page is empty.
type Pagination struct {
	Token    string
	PageSize int32
}

// BySelectors filters by selectors.
type BySelectors struct {
	Selectors []*spirev1.Selector
	Match     MatchBehavior
}

// ByFederatesWith filters by federated trust domains, given as ids.
type ByFederatesWith struct {
	TrustDomains []string
	Match        MatchBehavior
}

// Filters of the requests below are ANDed, and unset ones restrict nothing. A nil
// request has none.

// orEmpty returns req, or the empty request if it is nil.
func orEmpty[T any](req *T) *T {
	if req == nil {
		return new(T)
	}
	return req
}

// ListBundlesRequest is a request of ListBundles.
type ListBundlesRequest struct {
	Pagination *Pagination
}

// ListBundlesResponse is the response of ListBundles.
type ListBundlesResponse struct {
	Bundles    []*spirev1.Bundle
	Pagination *Pagination
}

// ListRegistrationEntriesRequest is a request of ListRegistrationEntries.
type ListRegistrationEntriesRequest struct {
	DataConsistency DataConsistency
	ByParentID      string
	BySelectors     *BySelectors
	BySpiffeID      string
	Pagination      *Pagination
	ByFederatesWith *ByFederatesWith
	ByHint          string
	ByDownstream    *bool // false restricts nothing
}

// ListRegistrationEntriesResponse is the response of ListRegistrationEntries.
type ListRegistrationEntriesResponse struct {
	Entries    []*spirev1.RegistrationEntry
	Pagination *Pagination
}

// CountRegistrationEntriesRequest is a request of CountRegistrationEntries.
type CountRegistrationEntriesRequest struct {
	DataConsistency DataConsistency
	ByParentID      string
	BySelectors     *BySelectors
	BySpiffeID      string
	ByFederatesWith *ByFederatesWith
	ByHint          string
	ByDownstream    *bool // false restricts nothing
}

// ListAttestedNodesRequest is a request of ListAttestedNodes.
type ListAttestedNodesRequest struct {
	ByAttestationType string
	ByBanned          *bool
	ByExpiresBefore   time.Time
	BySelectorMatch   *BySelectors
	BySpiffeIDs       []string
	FetchSelectors    bool
	Pagination        *Pagination
	ByCanReattest     *bool
	ValidAt           time.Time
}

// ListAttestedNodesResponse is the response of ListAttestedNodes.
type ListAttestedNodesResponse struct {
	Nodes      []*spirev1.AttestedNode
	Pagination *Pagination
}

// CountAttestedNodesRequest is a request of CountAttestedNodes.
type CountAttestedNodesRequest struct {
	ByAttestationType string
	ByBanned          *bool
	ByExpiresBefore   time.Time
	BySelectorMatch   *BySelectors
	FetchSelectors    bool // has no effect
	ByCanReattest     *bool
}

// ListNodeSelectorsRequest is a request of ListNodeSelectors.
type ListNodeSelectorsRequest struct {
	DataConsistency DataConsistency
	ValidAt         time.Time
}

// ListNodeSelectorsResponse is the response of ListNodeSelectors: the selectors
// of each SPIFFE ID that has some.
type ListNodeSelectorsResponse struct {
	Selectors map[string][]*spirev1.Selector
}

// ListRegistrationEntryEventsRequest is a request of
// ListRegistrationEntryEvents. At most one of the bounds may be set.
type ListRegistrationEntryEventsRequest struct {
	DataConsistency    DataConsistency
	GreaterThanEventID uint
	LessThanEventID    uint
}

// ListRegistrationEntryEventsResponse is the response of
// ListRegistrationEntryEvents.
type ListRegistrationEntryEventsResponse struct {
	Events []RegistrationEntryEvent
}

// ListAttestedNodeEventsRequest is a request of ListAttestedNodeEvents. At most
// one of the bounds may be set.
type ListAttestedNodeEventsRequest struct {
	DataConsistency    DataConsistency
	GreaterThanEventID uint
	LessThanEventID    uint
}

// ListAttestedNodeEventsResponse is the response of ListAttestedNodeEvents.
type ListAttestedNodeEventsResponse struct {
	Events []AttestedNodeEvent
}

// ListFederationRelationshipsRequest is a request of
// ListFederationRelationships.
type ListFederationRelationshipsRequest struct {
	Pagination *Pagination
}

// ListFederationRelationshipsResponse is the response of
// ListFederationRelationships.
type ListFederationRelationshipsResponse struct {
	FederationRelationships []*FederationRelationship
	Pagination              *Pagination
}
